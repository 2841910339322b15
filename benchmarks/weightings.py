"""What a weighting costs: methods against QMIX with the same joint critic, whose errors all weigh the same."""

from benchmarks.common import Table
from benchmarks.methods import Words, costs

UNWEIGHTED = ("qmix", "algorithm.critic=central")
WEIGHTED: list[Words] = [("cw_qmix",), ("ow_qmix",), ("remix",), ("qpro",)]


def run(*, quick: bool) -> list[Table]:
    """Every weighting without networks of its own; and the reference against itself, the noise of the table."""
    return [costs("Cost of a weighting", UNWEIGHTED, [UNWEIGHTED, *WEIGHTED], *((1, 1) if quick else (4, 15)))]
