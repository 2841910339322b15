"""Gradients of a part against differences of a plain NumPy reference in double precision."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

STEP = 1e-6


def check_slopes(value: Callable[[Any], jax.Array], reference: Callable[[Any], float], at: Any, seed: int = 0) -> None:
    """For each leaf of `at` the derivative of both along a random direction, and both values, agree to 1e-5."""
    leaves, structure = jax.tree.flatten(at)
    exact = [np.asarray(x, np.float64) for x in leaves]
    found, gradients = jax.jit(jax.value_and_grad(value))(at)
    np.testing.assert_allclose(found, reference(jax.tree.unflatten(structure, exact)), rtol=1e-5, atol=1e-6)
    random = np.random.default_rng(seed)
    for i, gradient in enumerate(jax.tree.leaves(gradients)):
        direction = random.normal(size=exact[i].shape)
        sides = [
            reference(jax.tree.unflatten(structure, [*exact[:i], exact[i] + step * direction, *exact[i + 1 :]]))
            for step in (STEP, -STEP)
        ]
        slope = (sides[0] - sides[1]) / (2 * STEP)
        tolerance = 1e-5 * np.linalg.norm(gradient) * np.linalg.norm(direction) + 1e-7
        assert abs((np.asarray(gradient, np.float64) * direction).sum() - slope) <= tolerance, (i, gradient.shape)
