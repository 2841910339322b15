"""Turns of agents and of prey in predator-prey. Knows no rewards and no options.

Axis letters: N agents, M prey. Who moves when is random, and each move is judged by what moved before it. The loops
over turns are unrolled over single numbers, so that a batch of environments is the only array axis and one compiled
loop does all turns; sets of agents are bits of one uint32.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from marlx_envs.grid import Grid, settle, take, union, where_bits

MAX_AGENTS = 31  # bit 31 of a set of agents stands for a wall or a prey
BARRIER = np.uint32(1 << 31)
NEIGHBOURS = 4  # of a cell
STAYED, CAPTURED, MISSED = 4, 5, 8  # outcome of a prey's turn: 0 .. 3 a move, or one of these; MISSED is added to it


@partial(jax.jit, static_argnames="capacity")
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
    needed: tuple[int, int]  # catchers that capture a stag, a hare
    n_stags: int  # the first so many prey
    adjacent: bool  # catchers stand beside the prey, not in its cell
    freezes: bool  # an agent takes part in one capture only
    removes: bool  # it leaves the grid thereby
    in_turn: bool  # else all agents move at once, then come all captures, then all prey move at once

    @property
    def capacity(self) -> int:
        """How many agents a cell can hold."""
        return 1 if self.adjacent else max(2, *self.needed)


class Hunted(NamedTuple):
    """What came of the turns of all prey."""

    outcomes: jax.Array  # int32 [M], a direction, STAYED or CAPTURED; MISSED is added after a failed attempt
    cells: jax.Array  # int32 [M]
    tried: jax.Array  # uint32 [], the set of agents who were near a prey and tried to catch
    caught: jax.Array  # uint32 [], those of them who took part in a capture


@partial(jax.jit, static_argnames="hunt")
def prey_turns(
    hunt: Hunt,
    prey: jax.Array,
    agents: jax.Array,
    catchers: jax.Array,
    order: jax.Array,
    uniforms: jax.Array,
) -> Hunted:
    """Each prey in turn is captured, or moves to a random free neighbour.

    Args:
        hunt: the rules.
        prey: int32 [M], cells.
        agents: int32 [N], cells.
        catchers: uint32 [], the set of active agents that chose to catch.
        order: int32 [M], prey from first to last.
        uniforms: float32 [M], by turn: chooses among the free neighbours if below 1, else the prey rests.
    """
    n_prey, n_agents, moves = prey.shape[0], agents.shape[0], np.array(hunt.grid.moves)
    cell = settle(take(prey, order))
    neighbour = cell + moves[:, None]
    later = [(neighbour == cell[j]) & (np.arange(n_prey) < j) for j in range(1, n_prey) if hunt.in_turn]
    closed = jnp.where(union([~hunt.grid.inside(neighbour), *later]), BARRIER, np.uint32(0))
    standing = settle(where_bits(n_agents, lambda i: neighbour == agents[i]) | closed)
    if hunt.adjacent:
        near = standing[0] | standing[1] | standing[2] | standing[3]
    else:
        near = where_bits(n_agents, lambda i: cell == agents[i])
    near = settle(near & catchers)
    needed = jnp.where(order < hunt.n_stags, np.uint32(hunt.needed[0]), np.uint32(hunt.needed[1]))
    outcomes = (_in_turn if hunt.in_turn else _at_once)(hunt, cell, needed, standing, near, uniforms)
    outcome_of = _packed(outcomes, order)
    captured_in_turn = outcome_of(order) == CAPTURED
    caught = jnp.bitwise_or.reduce(jnp.where(captured_in_turn, near, 0))
    tried = jnp.bitwise_or.reduce(near)
    outcome = outcome_of(np.arange(n_prey)).astype(jnp.int32)
    kind = outcome & 7
    moved = prey + union([jnp.where(kind == d, int(moves[d]), 0) for d in range(4)])
    return Hunted(outcome, jnp.where(kind == CAPTURED, hunt.grid.none, moved), tried, caught)


def _packed(outcomes: list[jax.Array], order: jax.Array) -> Callable[[Any], jax.Array]:
    """The outcome uint32 [...] of prey int32 [...], from outcomes by turn; one word holds eight."""
    bits, per_word = 4, 8
    shift = (order % per_word * bits).astype(jnp.uint32)
    words = []
    for group in range(-(-len(outcomes) // per_word)):
        here = order // per_word == group
        words.append(settle(union([jnp.where(here[k], x << shift[k], 0) for k, x in enumerate(outcomes)])))

    def outcome_of(prey: Any) -> jax.Array:
        word = words[0]
        for group in range(1, len(words)):
            word = jnp.where(prey // per_word == group, words[group], word)
        return (word >> (prey % per_word * bits).astype(jnp.uint32)) & (2**bits - 1)

    return outcome_of


def _capture(
    hunt: Hunt, near: jax.Array, needed: jax.Array, active: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Whether one prey is captured, whether an attempt failed, and who is active then."""
    near = near & active
    count = lax.population_count(near)
    captured = count >= needed
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
            free.append(~union([(standing[d, k] & present) != 0, *(target == cells[j] for j in range(k))]))
        chosen = _choose(free, jnp.where(captured, 1, uniforms[k]))
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
