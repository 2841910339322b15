"""Methods that weight the error of a monotone joint value, with targets from an unrestricted joint critic."""

from marlx.algorithms.method import Method

Method(
    name="cw_qmix",
    summary="QMIX, errors weighted down unless the action is greedy or better than the critic's greedy one",
    source="Rashid et al. 2020 (WQMIX)",
    composition={"mixer": "qmix", "weighting": "cw", "critic": "central"},
)
Method(
    name="ow_qmix",
    summary="QMIX, overestimated joint actions weighted down",
    source="Rashid et al. 2020 (WQMIX)",
    composition={"mixer": "qmix", "weighting": "ow", "critic": "central"},
)
Method(
    name="ideal_cw_qmix",
    summary="QMIX, all but the known best joint action weighted down; for games",
    source="Rashid et al. 2020 (WQMIX)",
    composition={"mixer": "qmix", "weighting": "ideal_cw", "critic": "central"},
)
Method(
    name="resq",
    summary="QMIX plus a residual that is never positive and is masked at the greedy action",
    source="Shen et al. 2022 (ResQ)",
    composition={"mixer": "qmix", "critic": "central", "residual": "constrained"},
)
Method(
    name="pow_vdn",
    summary="VDN on potentially optimal joint actions, which a network recognises",
    source="POW",
    composition={"mixer": "vdn", "weighting": "pow", "critic": "central"},
    defaults={"algorithm.critic_width": 64},
    environments={
        "predator_prey": {"algorithm.tolerance": 1.0, "algorithm.recognition_parts": 8},
        "smax": {"algorithm.recognition_parts": 8},
    },
)
Method(
    name="pow_qmix",
    summary="QMIX on potentially optimal joint actions, which a network recognises",
    source="POW",
    composition={"mixer": "qmix", "weighting": "pow", "critic": "central"},
    defaults={"algorithm.critic_width": 64},
    environments={
        "predator_prey": {"algorithm.tolerance": 1.0, "algorithm.recognition_parts": 8},
        "smax": {"algorithm.recognition_parts": 8},
    },
)
Method(
    name="pow_qplex",
    summary="QPLEX on potentially optimal joint actions, which a network recognises",
    source="POW",
    composition={"mixer": "qplex", "weighting": "pow", "critic": "central"},
    defaults={"algorithm.critic_width": 64},
    environments={
        "predator_prey": {"algorithm.tolerance": 1.0, "algorithm.recognition_parts": 8},
        "smax": {"algorithm.recognition_parts": 8},
    },
)
