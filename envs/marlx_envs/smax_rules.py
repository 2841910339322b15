"""Rules of a SMAX battle on arrays whose last axis [L] is of environments (`batch_last`); as in jaxmarl 0.2.0.

Axis letters: N units, A allies (the first units), E enemies, K kinds. A step is eight ticks of 1/16 s in which every
unit keeps its action. All units move and shoot at once, from the same snapshot: those killed in a tick still deal
their damage in it. What does not change within a step (targets, statistics of units) is settled before the ticks, and
damage is a dense sum over pairs.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from marlx_envs.smax_special import Special, mended, patients, splashed
from marlx_envs.smax_units import JAXMARL_KINDS, UNITS, Kinds

MAP = 32.0  # cells in each direction
TICKS = 8
TICK = 1 / 16  # seconds
COOLDOWN_NOISE = (-1 / 16, 2 / 16)  # seconds, uniform, added to the cooldown after a shot
STOP = 4  # 0 north (+y), 1 east (+x), 2 south, 3 west, 4 stop, 5 + j attack enemy j
SHOOT = 5
NO_TARGET = -1


class Units(NamedTuple):
    """All units; health 0 is dead."""

    position: jax.Array  # float32 [2 N L], x and y
    health: jax.Array  # float32 [N L]
    cooldown: jax.Array  # float32 [N L], seconds; falls below 0 while a unit does not shoot


class Orders(NamedTuple):
    """What the enemies remember."""

    goal: jax.Array  # float32 [2 E L], where to go when nobody is seen
    target: jax.Array  # int32 [E L], the ally shot at last, in the enemies' order; NO_TARGET if none


class Statistics(NamedTuple):
    """Numbers of the units, float32 [N L] or [N 1]."""

    speed: jax.Array
    damage: jax.Array
    range: jax.Array
    sight: jax.Array
    radius: jax.Array
    health: jax.Array
    cooldown: jax.Array


class Aims(NamedTuple):
    """Whom a team's units attack; S shooters, T units of the other team."""

    target: jax.Array  # int32 [S L], 0 .. T - 1
    any: jax.Array  # bool [S L], whether there is a target
    pairs: jax.Array  # bool [T S L]


def statistics(kinds: Kinds) -> Statistics:
    """Numbers of units from their kinds, [N L] or [N 1]."""

    def of(field: str) -> jax.Array:
        values = [np.float32(getattr(unit, field)) for unit in UNITS]
        if isinstance(kinds, np.ndarray):
            return jnp.asarray(np.array(values)[kinds])
        drawn = enumerate(values[:JAXMARL_KINDS])
        return sum((jnp.where(kinds == kind, value, 0) for kind, value in drawn), jnp.float32(0))

    return Statistics(*(of(field) for field in Statistics._fields))


def fight(
    numbers: Statistics,
    units: Units,
    actions: jax.Array,
    n_allies: int,
    noise: jax.Array,
    facts: Special | None = None,
) -> Units:
    """The ticks of a step; actions int32 [N L], noise float32 [8 N L]."""
    ours, theirs = slice(None, n_allies), slice(n_allies, None)
    n_enemies = actions.shape[0] - n_allies
    slots = actions - SHOOT
    ally_aims = _aims(slots[ours], n_enemies, None if facts is None else facts.hits[theirs, ours])
    enemy_aims = _aims(n_allies - 1 - slots[theirs], n_allies, None if facts is None else facts.hits[ours, theirs])
    velocity = jnp.stack([(actions == 1) * 1.0 - (actions == 3), (actions == 0) * 1.0 - (actions == 2)])
    stride = velocity * numbers.speed * TICK
    reach = numbers.range**2
    mends = {}
    if facts is not None:
        healers = [int(healer) for healer in np.flatnonzero(facts.heals)]
        mends = {healer: patients(slots[healer], healer, n_allies, facts) for healer in healers}

    def tick(units: Units, noise: jax.Array) -> tuple[Units, None]:
        alive = units.health > 0
        moved = jnp.where(alive, jnp.clip(units.position + stride, 0, MAP), units.position)
        ready = alive & (units.cooldown <= 0)
        enemy_loss, ally_shots = _volley(units, ready, reach, numbers.damage, ally_aims, ours, theirs, facts)
        ally_loss, enemy_shots = _volley(units, ready, reach, numbers.damage, enemy_aims, theirs, ours, facts)
        shots = jnp.concatenate([ally_shots, enemy_shots])
        health = jnp.maximum(units.health - jnp.concatenate([ally_loss, enemy_loss]), 0)
        if facts is not None:
            health = jnp.where(facts.bursts[:, None] & shots, 0, health)
            gain = mended(units.position, alive, mends, reach, facts) * TICK
            health = jnp.where(health > 0, jnp.minimum(health + gain, numbers.health), 0)
        cooldown = jnp.where(shots, numbers.cooldown + noise, units.cooldown - TICK)
        outside = ((moved <= 0) | (moved >= MAP)).any(axis=0)
        health = jnp.where(outside, 0, health)
        return Units(push(moved, health > 0, numbers.radius, facts), health, cooldown), None

    return lax.scan(tick, units, noise)[0]


def _aims(named: jax.Array, count: int, allowed: np.ndarray | None) -> Aims:
    """Aims at the unit `named` int32 [S L] of `count`, anything else being nobody; `allowed` bool [T S] tells pairs."""
    pairs = named == np.arange(count)[:, None, None]
    if allowed is not None:
        pairs &= allowed[..., None]
    return Aims(jnp.clip(named, 0, count - 1), pairs.any(0), pairs)


def _volley(
    units: Units,
    ready: jax.Array,
    reach: jax.Array,
    damage: jax.Array,
    aims: Aims,
    shooters: slice,
    targets: slice,
    facts: Special | None,
) -> tuple[jax.Array, jax.Array]:
    """Health that each target loses, float32 [T L], and who shoots, bool [S L]."""
    x, y = units.position
    there_x, there_y, its_health = (jnp.take_along_axis(v[targets], aims.target, axis=0) for v in (x, y, units.health))
    dx, dy = there_x - x[shooters], there_y - y[shooters]
    shoots = aims.any & (its_health > 0) & (dx * dx + dy * dy < reach[shooters]) & ready[shooters]
    dealt = jnp.where(shoots, damage[shooters], 0)
    loss = jnp.where(aims.pairs, dealt, 0).sum(1)
    if facts is not None:
        loss += splashed(
            x[targets], y[targets], there_x, there_y, shoots, damage[shooters], aims.pairs, facts, shooters, targets
        )
    return loss, shoots


def push(position: jax.Array, alive: jax.Array, radius: jax.Array, facts: Special | None = None) -> jax.Array:
    """Positions [2 N L] after live units that overlap have pushed each other apart, each by half of the overlap.

    The loop over the pushing unit keeps all pairs from lying in memory, and from being computed twice, once for each
    coordinate.
    """
    x, y = position
    radius = jnp.broadcast_to(radius, x.shape)

    def by_one(unit: jax.Array, sums: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        here_x, here_y, lives, its = (lax.dynamic_index_in_dim(v, unit, 0) for v in (x, y, alive, radius))
        dx, dy = x - here_x, y - here_y
        distance = jnp.sqrt(dx * dx + dy * dy) + 1e-6
        meets = alive & lives
        if facts is not None:
            meets &= jnp.asarray(facts.touches)[unit][:, None]
        overlap = jnp.where(meets, jnp.maximum((radius + its) / distance - 1, 0), 0)
        return sums[0] + dx * overlap, sums[1] + dy * overlap  # nothing from oneself: the difference is 0

    nothing = jnp.zeros_like(x)
    right, up = lax.fori_loop(0, x.shape[0], by_one, (nothing, nothing), unroll=2)
    return position + jnp.stack([right, up]) / 2
