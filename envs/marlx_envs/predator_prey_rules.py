"""The moves of predator-prey: grid cells as numbers, the turns of agents and of prey. Knows no rewards and no options.

Axis letters: N agents, M prey. Who moves when is random, and each move is judged by what moved before it. The loops
over turns are unrolled over single numbers, so that a batch of environments is the only array axis and one compiled
loop does all turns; sets of agents are bits of one uint32.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

MAX_AGENTS = 31  # bit 31 of a set of agents stands for a wall or a prey
BARRIER = np.uint32(1 << 31)
STAYED, CAPTURED, MISSED = 4, 5, 8  # outcome of a prey's turn: 0 .. 3 a move, or one of these; MISSED is added to it
_OUTCOME_BITS = 4


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
    def none(self) -> int:
        """The number of no cell, outside of every neighbourhood; what a removed entity has."""
        return int(np.iinfo(self.dtype).max)

    @property
    def dtype(self) -> Any:
        """Smallest type of a cell."""
        beyond = (self.height + self.margin + 2) * self.stride
        return np.uint8 if beyond <= np.iinfo(np.uint8).max else np.uint16

    def cell(self, row: Any, column: Any) -> Any:
        """Number of a cell."""
        return (row + 1) * self.stride + column

    def row(self, cell: jax.Array) -> jax.Array:
        """Rows of cells; at least `height + margin` for `none`."""
        return lax.div(cell, jnp.full_like(cell, self.stride)) - 1

    def column(self, cell: jax.Array) -> jax.Array:
        """Columns of cells."""
        return lax.rem(cell, jnp.full_like(cell, self.stride))

    def inside(self, cell: jax.Array) -> jax.Array:
        """Whether cells (at least 0) are on the grid, not in a wall."""
        return (cell >= self.stride) & (cell < (self.height + 1) * self.stride) & (self.column(cell) < self.width)


def settle(x: jax.Array) -> jax.Array:
    """The same values, computed once.

    XLA on CPU computes an elementwise producer anew in each consumer and once for each element that is broadcast,
    here hundreds of operations for each; a reduction it never repeats. This one adds a zero to a number.
    """
    padded = jnp.pad(x[..., None], [(0, 0)] * x.ndim + [(0, 1)])
    return lax.reduce(padded, jnp.zeros((), x.dtype), lax.max, (x.ndim,))


def union(sets: "list[jax.Array]") -> jax.Array:
    """Bitwise or of a list."""
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


def put(values: jax.Array, order: jax.Array) -> jax.Array:
    """The inverse of `take`: put(take(x, order), order) = x."""
    none, index = np.zeros((), values.dtype), np.arange(values.shape[0])
    return union([jnp.where(order[i] == index, values[i], none) for i in range(values.shape[0])])


def agents_in_turn(
    cells: jax.Array, targets: jax.Array, barriers: jax.Array, order: jax.Array, capacity: int
) -> jax.Array:
    """Each agent in turn enters its target cell if that has room now.

    Args:
        cells: int32 [N].
        targets: int32 [N], a neighbour or the agent's own cell.
        barriers: int32 [K], cells that stay closed.
        order: int32 [N], agents from first to last.
        capacity: how many agents a cell can hold.

    Returns:
        the set of agents that moved, uint32 [].
    """
    count = cells.shape[0]
    target = settle(take(targets, order))
    closed = _closed(target, barriers)
    before = settle(where_bits(count, lambda i: target == cells[i]) | closed)
    after = settle(where_bits(count, lambda i: target == targets[i]))
    moved = jnp.zeros((), jnp.uint32)
    for turn in range(count):
        inside = (before[turn] & ~moved) | (after[turn] & moved)
        room = (inside == 0) if capacity == 1 else (inside < BARRIER) & (lax.population_count(inside) < capacity)
        moved = moved | jnp.where(room, np.uint32(1) << order[turn].astype(jnp.uint32), np.uint32(0))
    return settle(moved)


def agents_at_once(cells: jax.Array, targets: jax.Array, barriers: jax.Array, capacity: int) -> jax.Array:
    """All agents propose their target; a cell whose occupants and proposals exceed its capacity admits nobody.

    Arguments and result are those of `agents_in_turn`, without the order.
    """
    count = cells.shape[0]
    occupants = settle(where_bits(count, lambda i: targets == cells[i]) | _closed(targets, barriers))
    proposals = settle(where_bits(count, lambda i: targets == targets[i]))
    moving = targets != cells
    movers = settle(where_bits(count, lambda i: moving[i]))
    room = lax.population_count(occupants) + lax.population_count(proposals & movers) <= capacity
    admitted = room & moving & (occupants < BARRIER)
    return settle(where_bits(count, lambda i: admitted[i]))


def _closed(targets: jax.Array, barriers: jax.Array) -> jax.Array:
    """BARRIER where a target is one of the barriers, else 0; uint32 [N]."""
    hits = [jnp.where(targets == barriers[i], BARRIER, np.uint32(0)) for i in range(barriers.shape[0])]
    return union(hits) if hits else jnp.zeros_like(targets, jnp.uint32)


@dataclass(frozen=True)
class Hunt:
    """What decides a turn of a prey, besides its place."""

    grid: Grid
    adjacent: bool  # catchers stand beside the prey, not in its cell
    freezes: bool  # an agent takes part in one capture only
    removes: bool  # it leaves the grid thereby
    in_turn: bool  # else captures come first and all prey move at once


def prey_turns(
    hunt: Hunt,
    prey: jax.Array,
    needed: jax.Array,
    agents: jax.Array,
    catchers: jax.Array,
    order: jax.Array,
    uniforms: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Each prey in turn is captured, or moves to a random free neighbour.

    Args:
        prey: int32 [M], cells.
        needed: int32 [M], how many catchers capture it.
        agents: int32 [N], cells.
        catchers: uint32 [], the set of active agents that chose to catch.
        order: int32 [M], prey from first to last.
        uniforms: float32 [M], by turn: chooses among the free neighbours if below 1, else the prey rests.

    Returns:
        outcomes int32 [M] by prey, a direction, STAYED or CAPTURED, with MISSED added after a vain attempt;
        new cells int32 [M];
        two sets of agents, uint32 [2]: those who were beside a prey and tried, and those who took part in a capture.
    """
    n_prey, n_agents, moves = prey.shape[0], agents.shape[0], np.array(hunt.grid.moves)
    cell = settle(take(prey, order))
    neighbour = cell + moves[:, None]
    walls = jnp.where(hunt.grid.inside(neighbour), np.uint32(0), BARRIER)
    standing = settle(where_bits(n_agents, lambda i: neighbour == agents[i]) | walls)
    if hunt.adjacent:
        near = standing[0] | standing[1] | standing[2] | standing[3]
    else:
        near = where_bits(n_agents, lambda i: cell == agents[i])
    near = settle(near & catchers)
    needed = settle(take(needed, order))
    uniforms = settle(uniforms)
    outcomes = (_in_turn if hunt.in_turn else _at_once)(hunt, cell, needed, standing, near, uniforms)
    per_word = 32 // _OUTCOME_BITS
    words = [
        settle(union([outcome << np.uint32(_OUTCOME_BITS * i) for i, outcome in enumerate(outcomes[g : g + per_word])]))
        for g in range(0, n_prey, per_word)
    ]
    shifts = np.arange(per_word, dtype=np.uint32) * _OUTCOME_BITS
    by_turn = jnp.concatenate([(word >> shifts) & (2**_OUTCOME_BITS - 1) for word in words])[:n_prey]
    caught = jnp.bitwise_or.reduce(jnp.where(by_turn == CAPTURED, near, 0))
    tried = jnp.bitwise_or.reduce(near)
    outcome = settle(put(by_turn, order).astype(jnp.int32))
    kind = outcome & 7
    moved = prey + union([jnp.where(kind == d, int(moves[d]), 0) for d in range(4)])
    return outcome, jnp.where(kind == CAPTURED, hunt.grid.none, moved), jnp.stack([tried, caught])


def _capture(
    hunt: Hunt, near: jax.Array, needed: jax.Array, active: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Whether one prey is captured, whether an attempt failed, and who is active then."""
    near = near & active
    count = lax.population_count(near)
    captured = count >= needed.astype(jnp.uint32)
    missed = (count > 0) & ~captured
    return captured, missed, jnp.where(captured, active & ~near, active) if hunt.freezes else active


def _choose(free: list[jax.Array], uniform: jax.Array) -> list[jax.Array]:
    """One-hot choice of the floor(uniform * n)-th of the n free directions; nothing if the uniform is 1 or n is 0."""
    counts = [f.astype(jnp.int32) for f in free]
    before = [jnp.zeros((), jnp.int32)]
    for count in counts:
        before.append(before[-1] + count)
    rank = (uniform * before[-1].astype(jnp.float32)).astype(jnp.int32)
    return [f & (b == rank) for f, b in zip(free, before, strict=False)]


def _outcome(chosen: list[jax.Array], captured: jax.Array, missed: jax.Array) -> jax.Array:
    """The number of an outcome, uint32 []."""
    outcome = jnp.where(captured, np.uint32(CAPTURED), np.uint32(STAYED))
    for direction, taken in enumerate(chosen):
        outcome = jnp.where(taken, np.uint32(direction), outcome)
    return outcome | jnp.where(missed, np.uint32(MISSED), np.uint32(0))


def _in_turn(
    hunt: Hunt, cell: jax.Array, needed: jax.Array, standing: jax.Array, near: jax.Array, uniforms: jax.Array
) -> list[jax.Array]:
    """Outcomes by turn, each uint32 []; every argument is by turn."""
    n_prey, moves = cell.shape[0], hunt.grid.moves
    cells = [cell[k] for k in range(n_prey)]
    active = jnp.full((), 2**32 - 1, jnp.uint32)
    outcomes = []
    for k in range(n_prey):
        captured, missed, active = _capture(hunt, near[k], needed[k], active)
        present = active if hunt.removes else np.uint32(2**32 - 1)
        free = []
        for d, offset in enumerate(moves):
            target = cells[k] + offset
            taken = union([target == cells[j] for j in range(n_prey) if j != k] or [jnp.zeros((), bool)])
            free.append(((standing[d, k] & present) == 0) & ~taken & ~captured)
        chosen = _choose(free, uniforms[k])
        outcomes.append(_outcome(chosen, captured, missed))
        for d, offset in enumerate(moves):
            cells[k] = jnp.where(chosen[d], cell[k] + offset, cells[k])
        cells[k] = jnp.where(captured, hunt.grid.none, cells[k])
    return outcomes


def _at_once(
    hunt: Hunt, cell: jax.Array, needed: jax.Array, standing: jax.Array, near: jax.Array, uniforms: jax.Array
) -> list[jax.Array]:
    """As `_in_turn`, but captures come first, and a cell that several prey propose admits none of them."""
    n_prey, moves = cell.shape[0], hunt.grid.moves
    active = jnp.full((), 2**32 - 1, jnp.uint32)
    results = []
    for k in range(n_prey):
        captured, missed, active = _capture(hunt, near[k], needed[k], active)
        results.append((captured, missed))
    present = active if hunt.removes else np.uint32(2**32 - 1)
    cells = [jnp.where(captured, hunt.grid.none, cell[k]) for k, (captured, _) in enumerate(results)]
    choices, targets = [], []
    for k, (captured, _) in enumerate(results):
        free = []
        for d, offset in enumerate(moves):
            taken = union([cells[k] + offset == other for other in cells])
            free.append(((standing[d, k] & present) == 0) & ~taken & ~captured)
        chosen = _choose(free, uniforms[k])
        choices.append(chosen)
        targets.append(union([jnp.where(c, cell[k] + offset, 0) for c, offset in zip(chosen, moves, strict=True)]))
    outcomes = []
    for k, (captured, missed) in enumerate(results):
        rivals = [targets[k] == targets[j] for j in range(n_prey) if j != k] or [jnp.zeros((), bool)]
        chosen = [c & ~union(rivals) for c in choices[k]]
        outcomes.append(_outcome(chosen, captured, missed))
    return outcomes
