"""The learning step: batches that devices share, masked means, optimisers as the papers' code has them, clipping."""

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import optax

from marlx.guard import guarded
from marlx.types import Params

OPTIMISERS = ("adam", "rmsprop")


def over_devices(tree: Any, axis: str | None) -> Any:
    """The sum of a pytree over the devices that share a batch (`axis`, a mesh axis; None: a device has it whole)."""
    return tree if axis is None else jax.lax.psum(tree, axis)


def row_numbers(rows: int, axis: str | None) -> jax.Array:
    """The numbers, within the whole batch, of the rows [B] that this device has of it."""
    return jnp.arange(rows) + (0 if axis is None else jax.lax.axis_index(axis) * rows)


def drawn_by_row(
    draw: Callable[[chex.PRNGKey, tuple[int, ...]], jax.Array],
    key: chex.PRNGKey,
    lead: tuple[int, ...],
    rest: tuple[int, ...] = (),
    axis: str | None = None,
) -> jax.Array:
    """Random numbers [.. B rest] of slots and rows lead = [.. B]; a row has a stream of its own, on any device."""
    *slots, rows = lead
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, row_numbers(rows, axis))
    return jax.vmap(lambda key: draw(key, (*slots, *rest)), out_axes=len(slots))(keys)


def masked_mean(values: jax.Array, mask: jax.Array, axis: str | None = None) -> jax.Array:
    """Mean of values [..] where mask [..] is true; 0 if it is nowhere true.

    With `axis` it is this device's share of the mean over all devices: shares, and their gradients, add up to it.
    """
    mask = jnp.broadcast_to(mask, values.shape).astype(values.dtype)
    return (values * mask).sum() / jnp.maximum(over_devices(mask.sum(), axis), 1)


def squared_error(
    values: jax.Array,
    targets: jax.Array,
    mask: jax.Array,
    weights: jax.Array | float = 1.0,
    axis: str | None = None,
) -> jax.Array:
    """Mean of w (Q - y)^2 over the steps of a batch (POW eq. 4a, 4b, 4c, 7 and 10; ReMIX eq. 7; MRVF eq. 6 and 7).

    The divisor is the number of steps, not the sum of their weights. Shapes and `axis` as in `masked_mean`.
    """
    return masked_mean(weights * (values - targets) ** 2, mask, axis)


def optimiser(name: str, learning_rate: jax.Array | float, max_gradient_norm: jax.Array | float) -> Any:
    """Clipping by global norm, then Adam (pymarl2 family) or RMSprop (pymarl family, epsilon outside the root).

    Stops for good at what is not finite. Every number may be traced. State is flat vectors: a few large kernels instead
    of many small ones.
    """
    if name == "adam":
        rule = optax.scale_by_adam(b1=0.9, b2=0.999, eps=1e-8)
    else:
        rule = optax.scale_by_rms(decay=0.99, eps=1e-5, eps_in_sqrt=False)
    clipped = optax.chain(clip_by_norm(max_gradient_norm), rule, optax.scale_by_learning_rate(learning_rate))
    return _flat(guarded(clipped))


def _flat(inner: Any) -> Any:
    """`optax.flatten`, which parameters of no arrays (a mixer without any) pass through."""
    flat = optax.flatten(inner)

    def init(params: Params) -> Any:
        return flat.init(params) if jax.tree.leaves(params) else optax.EmptyState()

    def update(updates: Params, state: Any, params: Params | None = None) -> tuple[Params, Any]:
        return flat.update(updates, state, params) if jax.tree.leaves(updates) else (updates, state)

    return optax.GradientTransformation(init, update)


def optimisers(training: Any) -> Any:
    """The optimiser of section `training`, for parameters {"agent": .., others}; NA2Q has another for the others."""
    numbers = (training.learning_rate, training.max_gradient_norm)
    everything = optimiser(training.optimiser, *numbers)
    if training.mixer_optimiser == "same":
        return everything

    def rooms(params: Params) -> Params:
        return jax.tree_util.tree_map_with_path(lambda path, _: path[0].key == "agent", params)

    return optax.partition({True: everything, False: optimiser(training.mixer_optimiser, *numbers)}, rooms)


def stepped(rule: Any, gradients: Params, moments: Any, params: Params, axis: str | None = None) -> tuple[Params, Any]:
    """Parameters and optimiser state after a step on the sum of the devices' shares of a gradient."""
    updates, moments = rule.update(over_devices(gradients, axis), moments, params)
    return jax.tree.map(jnp.add, params, updates), moments


def clip_by_norm(max_norm: jax.Array | float) -> optax.GradientTransformation:
    """Scale min(1, max_norm / (norm + 1e-6)) with the norm over all parameters, as torch's clip_grad_norm_."""

    def update(updates: Params, state: Any, params: Params | None = None) -> tuple[Params, Any]:
        scale = jnp.minimum(1.0, max_norm / (optax.global_norm(updates) + 1e-6))
        return jax.tree.map(lambda g: g * scale, updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def where_tree(condition: jax.Array, new: Params, old: Params) -> Params:
    """`new` where the scalar condition holds, else `old`, leaf by leaf. (No `cond`: batched it runs both branches.)"""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), new, old)
