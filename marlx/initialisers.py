"""Initialisers by name. `torch_like` is what the papers' code ran: weights and biases uniform in +-1/sqrt(fan_in)."""

import math
from functools import partial
from typing import Any

import flax.linen as nn
import jax

NAMES = ("torch_like", "orthogonal")


def bounded(fan_in: int) -> Any:
    """Uniform in +-1/sqrt(fan_in), for weights and biases alike."""
    bound = 1 / math.sqrt(fan_in)
    return lambda key, shape, dtype=jax.numpy.float32: jax.random.uniform(key, shape, dtype, -bound, bound)


def orthogonal(key: Any, shape: tuple[int, ...], dtype: Any = jax.numpy.float32) -> jax.Array:
    """Orthogonal in the last two axes, for each index of the axes before them (the gates of a recurrent unit)."""
    rule = nn.initializers.orthogonal()
    for size in shape[:-2]:
        rule = partial(_stacked, rule, size)
    return rule(key, shape[-2:] if len(shape) < 3 else shape, dtype)


def _stacked(rule: Any, size: int, key: Any, shape: tuple[int, ...], dtype: Any) -> jax.Array:
    return jax.vmap(lambda key: rule(key, shape[1:], dtype))(jax.random.split(key, size))


def linear(
    features: int,
    fan_in: int,
    scheme: str = "torch_like",
    name: str | None = None,
    bias: bool = True,
    product: Any = None,
) -> Any:
    """An affine layer fan_in -> features; `product` takes the place of `jax.lax.dot_general`."""
    if scheme == "orthogonal":
        return nn.Dense(features, bias, kernel_init=nn.initializers.orthogonal(), name=name, dot_general=product)
    rule = bounded(fan_in)
    return nn.Dense(features, bias, kernel_init=rule, bias_init=rule, name=name, dot_general=product)


def linear_heads(heads: int, features: int, fan_in: int, name: str | None = None) -> Any:
    """An affine layer fan_in -> features for each head, as one product: [R heads fan_in] -> [R heads features]."""
    rule = bounded(fan_in)
    return nn.Einsum((heads, fan_in, features), "rhi,hio->rho", kernel_init=rule, bias_init=rule, name=name)


def stacked(key: Any, fan_in: int, features: int, *stack: int) -> dict[str, jax.Array]:
    """Affine layers side by side, torch-like: {"kernel" [*stack fan_in features], "bias" [*stack features]}."""
    both = bounded(fan_in)(key, (*stack, fan_in + 1, features))
    return {"kernel": both[..., :-1, :], "bias": both[..., -1, :]}


def affine(layer: dict[str, jax.Array], rows: jax.Array) -> jax.Array:
    """Each layer of a stack on rows of its own (or on the same): [*stack R fan_in] -> [*stack R features]."""
    return rows @ layer["kernel"] + layer["bias"][..., None, :]
