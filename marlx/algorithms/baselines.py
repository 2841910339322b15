"""Baselines that are a mixer and nothing else."""

from marlx.algorithms.method import Method

Method(
    name="iql",
    summary="independent Q-learning: no mixer, one target for each agent",
    source="Tan 1993",
    composition={"mixer": "independent"},
)
Method(
    name="vdn",
    summary="value decomposition network: the sum of the utilities",
    source="Sunehag et al. 2018",
    composition={"mixer": "vdn"},
)
Method(
    name="qmix",
    summary="monotone mixing network whose weights come from the state",
    source="Rashid et al. 2018",
    composition={"mixer": "qmix"},
)
