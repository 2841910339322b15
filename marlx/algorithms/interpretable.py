"""Methods whose joint value says who contributes: by agents and pairs, by groups, or to coalitions."""

from marlx.algorithms.method import Method

Method(
    name="na2q",
    summary="additive model of agents and pairs; heads of their own for agents; credits from learned semantics",
    source="Liu et al. 2023 (NA2Q)",
    composition={"mixer": "na2q"},
    defaults={"agent.head": "individual", "agent.agent_id": False},
)
Method(
    name="gomarl",
    summary="agents mixed within groups that are found while learning, utilities from group states",
    source="Zang et al. 2023 (GoMARL)",
    composition={"mixer": "gomarl"},
    defaults={"agent.head": "group_state", "training.loss_scale": 0.5},
)
Method(
    name="shaq",
    summary="sum of the utilities, larger where not greedy, by what agents contribute to coalitions",
    source="Wang et al. 2022 (SHAQ)",
    composition={"mixer": "shaq"},
)
