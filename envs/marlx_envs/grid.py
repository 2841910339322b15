"""Entities on a bounded grid: cells as numbers, sets as bits, pictures of a neighbourhood.

Written for batches of environments on CPU and GPU: no gather, no scatter, few and large elementwise kernels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

BLIND = -(2**18)  # far from every cell


@dataclass(frozen=True)
class Grid:
    """Cells of a bounded grid as numbers: (row + 1) * stride + column, with `margin` wall columns after each row.

    A neighbour is then a plain offset, and two cells whose columns differ by less than the margin allows have a
    difference that no other pair of rows and columns shares.
    """

    height: int
    width: int
    margin: int

    @property
    def stride(self) -> int:
        """Difference between a cell and the one below it."""
        return self.width + self.margin

    @property
    def moves(self) -> tuple[int, int, int, int]:
        """Offsets of right, down, left, up."""
        return 1, self.stride, -1, -self.stride

    @property
    def end(self) -> int:
        """Above every cell and its neighbourhood; `none` must not be below it."""
        return (self.height + self.margin + 2) * self.stride

    @property
    def none(self) -> int:
        """The number of no cell, outside of every neighbourhood; what a removed entity has."""
        return int(np.iinfo(self.dtype).max)

    @property
    def dtype(self) -> Any:
        """Smallest type of a cell."""
        return np.uint8 if self.end <= np.iinfo(np.uint8).max else np.uint16

    def cell(self, row: Any, column: Any) -> Any:
        """Number of a cell."""
        return (row + 1) * self.stride + column

    def column(self, cell: jax.Array) -> jax.Array:
        """Columns of cells."""
        return lax.rem(cell, jnp.full_like(cell, self.stride))

    def inside(self, cell: jax.Array) -> jax.Array:
        """Whether cells (at least 0) are on the grid, not in a wall."""
        return (cell >= self.stride) & (cell < (self.height + 1) * self.stride) & (self.column(cell) < self.width)


def settle(x: jax.Array) -> jax.Array:
    """The same numbers (none negative) or bools, computed once.

    XLA on CPU computes an elementwise producer anew in each consumer, and once more for each element that it is
    broadcast to: here hundreds of operations each time. A reduction it never repeats, so this takes the maximum with 0;
    `lax.optimization_barrier` is dropped before fusion.
    """
    if x.dtype == bool:
        return settle(x.astype(jnp.int8)) == 1
    padded = jnp.pad(x[..., None], [(0, 0)] * x.ndim + [(0, 1)])
    return lax.reduce(padded, jnp.zeros((), x.dtype), lax.max, (x.ndim,))


def union(sets: list[jax.Array]) -> jax.Array:
    """Bitwise or of a list, which must not be empty."""
    result = sets[0]
    for other in sets[1:]:
        result = result | other
    return result


def where_bits(count: int, test: Callable[[int], jax.Array]) -> jax.Array:
    """Sets uint32 [...] of those numbers below `count` that pass a test, which gives bool [...]."""
    return union([jnp.where(test(i), np.uint32(1 << i), np.uint32(0)) for i in range(count)])


def members(bits: jax.Array, count: int) -> jax.Array:
    """Bool [..., count], which numbers are in the sets uint32 [...]."""
    return (bits[..., None] >> np.arange(count, dtype=np.uint32)) & 1 == 1


def take(values: jax.Array, order: jax.Array) -> jax.Array:
    """values[order], for values [N] that are not negative and a permutation [N]; a gather is slow on CPU."""
    none = np.zeros((), values.dtype)
    return union([jnp.where(order == i, values[i], none) for i in range(values.shape[0])])


def picture(places: Any, layers: Sequence[Sequence[jax.Array]]) -> jax.Array:
    """1 where a layer has an entity at a place, else 0.

    Args:
        places: int32 [P], cells.
        layers: for each of C layers the cells of its entities, each int32 [].

    Returns:
        float32 [P * C], layer fastest.
    """
    beyond = 2**20  # one comparison tells both place and layer
    wanted = np.add.outer(places, np.arange(len(layers)) * beyond).ravel()
    return union([wanted == cell + index * beyond for index, layer in enumerate(layers) for cell in layer]).astype(
        jnp.float32
    )


@partial(jax.jit, static_argnames=("grid", "radius"))
def views(grid: Grid, radius: int, observers: jax.Array, layers: Sequence[Sequence[jax.Array]]) -> jax.Array:
    """What each observer sees in the square around it, 1 where a layer has an entity, else 0.

    Args:
        grid: its margin must be at least the radius.
        radius: cells seen to each side.
        observers: int32 [N], cells; `BLIND` for those who see nothing.
        layers: for each of C layers the cells of its entities, each int32 [].

    Returns:
        float32 [N, (2 radius + 1)^2 * C], row by row, layer fastest.
    """
    side = 2 * radius + 1
    place, layer = np.divmod(np.arange(side * side * len(layers)), len(layers))
    nowhere = np.uint32(2**32 - 1)

    def place_of(cell: jax.Array) -> jax.Array:
        from_corner = (cell - observers + radius * (grid.stride + 1)).astype(jnp.uint32)  # huge if it is negative
        row = from_corner // grid.stride
        column = from_corner - row * grid.stride
        return jnp.where((row < side) & (column < side), row * side + column, nowhere)

    # A place is a bit: far less work than comparing every entity with every place.
    pixels = jnp.zeros((), jnp.uint32)
    for index, cells in enumerate(layers):
        seen = [place_of(cell) for cell in cells]
        for group in range(-(-side * side // 32) if seen else 0):
            word = settle(union([jnp.where(p >> 5 == group, 1 << (p & 31), 0) for p in seen]))
            pixels = jnp.where((layer == index) & (place // 32 == group), word[:, None], pixels)
    return ((pixels >> (place % 32).astype(np.uint32)) & 1).astype(jnp.float32)
