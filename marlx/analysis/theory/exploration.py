"""Which joint actions the data hold when agents explore around a joint action: epsilon-greedy of one state.

Every function gives [K A_1 .. A_N]: a distribution over joint actions for each of the K = A_1 x .. x A_N joint actions
that may be greedy, in row-major order.
"""

import math

import numpy as np
import numpy.typing as npt

from marlx.analysis.theory.lattice import Shape

Floats = npt.NDArray[np.float64]


def decentralised(shape: Shape, epsilon: float) -> Floats:
    """Each agent by itself draws uniformly with probability epsilon (MRVF, equation 2); epsilon = 1 is uniform data."""
    found = np.ones((1,) * len(shape) * 2)
    for agent, size in enumerate(shape):
        own = (1 - epsilon) * np.eye(size) + epsilon / size
        axes = [1] * len(shape) * 2
        axes[agent] = axes[len(shape) + agent] = size
        found = found * own.reshape(axes)
    return found.reshape(math.prod(shape), *shape)


def centralised(shape: Shape, epsilon: float) -> Floats:
    """With probability epsilon the whole team draws uniformly (MRVF, equation 8)."""
    cells = math.prod(shape)
    return ((1 - epsilon) * np.eye(cells) + epsilon / cells).reshape(cells, *shape)


EXPLORATIONS = {"decentralised": decentralised, "centralised": centralised}
