"""Weights w(s, u) of the squared errors of the joint value: pure functions of arrays -> [..], no gradient through."""

from collections.abc import Callable

import jax
import jax.numpy as jnp


def uniform(joint_value: jax.Array, target: jax.Array) -> jax.Array:
    """1 everywhere: joint_value [..], target [..] -> [..]."""
    return jnp.ones_like(joint_value)


Weighting = Callable[[jax.Array, jax.Array], jax.Array]  # joint values, targets -> weights

WEIGHTINGS: dict[str, Weighting] = {"uniform": uniform}
