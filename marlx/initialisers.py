"""Initialisers by name. `torch_like` is what the papers' code ran: weights and biases uniform in +-1/sqrt(fan_in)."""

import math
from typing import Any

import flax.linen as nn
import jax

NAMES = ("torch_like", "orthogonal")


def bounded(fan_in: int) -> Any:
    """Uniform in +-1/sqrt(fan_in), for weights and biases alike."""
    bound = 1 / math.sqrt(fan_in)
    return lambda key, shape, dtype=jax.numpy.float32: jax.random.uniform(key, shape, dtype, -bound, bound)


def linear(features: int, fan_in: int, scheme: str = "torch_like", name: str | None = None, bias: bool = True) -> Any:
    """An affine layer fan_in -> features."""
    if scheme == "orthogonal":
        return nn.Dense(features, bias, kernel_init=nn.initializers.orthogonal(), name=name)
    return nn.Dense(features, bias, kernel_init=bounded(fan_in), bias_init=bounded(fan_in), name=name)
