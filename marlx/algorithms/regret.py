"""Methods that weight the error of a monotone joint value by its part in the regret."""

from marlx.algorithms.method import Method

Method(
    name="remix",
    summary="QMIX, errors weighted by regret, on batches half of recent rows",
    source="paper ReMIX (TMLR)",
    composition={"mixer": "qmix", "weighting": "remix", "critic": "central"},
)
Method(
    name="qpro",
    summary="the weights of ReMIX on uniform batches: the abstract states the theorem, and no buffer of recent rows",
    source="paper QPro (AAMAS, extended abstract)",
    composition={"mixer": "qmix", "weighting": "remix", "critic": "central"},
    defaults={"algorithm.recent_factor": False},
)
