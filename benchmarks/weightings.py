"""What a weighting costs: methods against QMIX with the same joint critic, whose errors all weigh the same."""

from benchmarks.common import Table
from benchmarks.methods import Words, costs

UNWEIGHTED = ("qmix", "algorithm.critic=central")
WEIGHTED: list[Words] = [("cw_qmix",), ("ow_qmix",), ("remix",), ("qpro",)]


def run(*, quick: bool) -> list[Table]:
    """Weightings that predator-prey can have and that learn nothing; the reference against itself is the noise."""
    return [costs("Cost of a weighting", UNWEIGHTED, [UNWEIGHTED, *WEIGHTED], *((1, 1) if quick else (4, 15)))]
