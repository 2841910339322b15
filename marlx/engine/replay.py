"""A ring of packed rows: init, add, sample. Works on any pytree; rows are the leading axis.

A row holds the environments' own packed states, so that observations are never stored. The write position is not an
array of the seed but an argument shared by all seeds, so that writes stay in-place slices under `vmap`.
"""

from typing import Any

import chex
import jax
import jax.numpy as jnp

from marlx.types import UNIFORM, Sampling

Rows = Any  # a pytree whose leaves have the leading axis [rows]


def init(rows: Rows, capacity: int) -> Rows:
    """An empty ring for `capacity` rows shaped like `rows` [E ...]. Capacity must be a multiple of E."""
    chex.assert_equal_shape_prefix(jax.tree.leaves(rows), 1)
    added = jax.tree.leaves(rows)[0].shape[0]
    if capacity % added:
        raise ValueError(f"capacity {capacity} must be a multiple of the {added} rows added at a time")
    return jax.tree.map(lambda x: jnp.zeros((capacity, *x.shape[1:]), x.dtype), rows)


def add(ring: Rows, rows: Rows, total: jax.Array) -> Rows:
    """Writes rows [E ...] over the oldest ones; `total` counts the rows added before."""

    def write(store: jax.Array, new: jax.Array) -> jax.Array:
        return jax.lax.dynamic_update_slice_in_dim(store, new, total % store.shape[0], axis=0)

    return jax.tree.map(write, ring, rows)


def sample(ring: Rows, key: chex.PRNGKey, total: jax.Array, batch_size: int, sampling: Sampling = UNIFORM) -> Rows:
    """`batch_size` rows of the ring, as `draw` numbers them."""
    return take(ring, draw(ring, key, total, batch_size, sampling))


def take(ring: Rows, chosen: jax.Array) -> Rows:
    """The rows of given numbers, int32 [B]."""
    return jax.tree.map(lambda store: store[chosen], ring)


def draw(ring: Rows, key: chex.PRNGKey, total: jax.Array, batch_size: int, sampling: Sampling = UNIFORM) -> jax.Array:
    """Numbers of `batch_size` rows, uniformly, out of the min(total, capacity) that are there, int32 [B].

    All different, except that the rows drawn from the recent ones (`sampling`) come on top of the others.
    """
    capacity = jax.tree.leaves(ring)[0].shape[0]
    stored = jnp.minimum(total, capacity)
    chosen = without_replacement(key, stored, batch_size - sampling.recent)
    if sampling.recent:
        window = jnp.minimum(stored, sampling.window)
        age = without_replacement(jax.random.fold_in(key, 1), window, sampling.recent)
        chosen = jnp.concatenate([chosen, (total - 1 - age) % capacity])
    return chosen


def without_replacement(key: chex.PRNGKey, population: jax.Array, count: int) -> jax.Array:
    """`count` different numbers below `population` (>= count), every set equally likely, int32 [count].

    Floyd's algorithm draws t_j uniformly from 0..j for j = population - count .. population - 1 and takes j itself
    where t_j was taken before. Draw j depends only on earlier ones, so repeating the rule for all j at once reaches
    the sequential outcome, its unique fixed point; collisions are few, so two or three rounds do.
    """
    last = population - count + jnp.arange(count)
    drawn = jax.random.randint(key, (count,), 0, last + 1)
    earlier = jnp.tri(count, k=-1, dtype=bool)

    def resolve(taken: jax.Array) -> jax.Array:
        return jnp.where((earlier & (drawn[:, None] == taken)).any(-1), last, drawn)

    def unsettled(pair: tuple[jax.Array, jax.Array]) -> jax.Array:
        return (pair[0] != pair[1]).any()

    first = resolve(drawn)
    return jax.lax.while_loop(unsettled, lambda pair: (pair[1], resolve(pair[1])), (first, resolve(first)))[1]
