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
Method(
    name="qatten",
    summary="heads of attention from the state over the agents",
    source="Yang et al. 2020",
    composition={"mixer": "qatten"},
)
Method(
    name="qplex",
    summary="duplex dueling network: every joint value with IGM, not only monotone ones",
    source="Wang et al. 2021",
    composition={"mixer": "qplex"},
    # Heads and layers are those of pymarl2; the authors have 4 and 1 in SMAC, and for matrix games this larger network,
    # since there the importances alone tell the joint actions apart.
    environments={"matrix_game": {"algorithm.heads": 10, "algorithm.layers": 3}},
)
