"""Derivatives of plain float64 references, for tests of gradients."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np


def as_float64(tree: Any) -> Any:
    """Every leaf as a NumPy array that can be written to."""
    return jax.tree.map(lambda x: np.array(x, np.float64), tree)


def finite_differences(function: Callable[[Any], float], tree: Any, step: float = 1e-6) -> Any:
    """Central differences of a scalar function of a pytree of float64 arrays, entry by entry."""
    gradients = jax.tree.map(np.zeros_like, tree)
    for leaf, gradient in zip(jax.tree.leaves(tree), jax.tree.leaves(gradients), strict=True):
        for index in np.ndindex(leaf.shape):
            middle = leaf[index]
            leaf[index] = middle + step
            above = function(tree)
            leaf[index] = middle - step
            gradient[index] = (above - function(tree)) / (2 * step)
            leaf[index] = middle
    return gradients


def assert_close(found: Any, expected: Any) -> None:
    """Equality of two pytrees of gradients to 1e-5, relative to the greatest entry of each leaf."""
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * max(np.abs(b).max(), 1e-3))
