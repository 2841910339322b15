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

from marlx_envs.smax_special import Special, healer_turn, mended, patients, special, splashed
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


def statistics(kinds: Kinds) -> Statistics:
    """Numbers of units from their kinds, [N L] or [N 1]."""

    def of(field: str) -> jax.Array:
        values = [np.float32(getattr(unit, field)) for unit in UNITS]
        if isinstance(kinds, np.ndarray):
            return jnp.asarray(np.array(values)[kinds])
        drawn = enumerate(values[:JAXMARL_KINDS])
        return sum((jnp.where(kinds == kind, value, 0) for kind, value in drawn), jnp.float32(0))

    return Statistics(*(of(field) for field in Statistics._fields))


def step(
    kinds: Kinds, units: Units, orders: Orders, actions: jax.Array, pick: jax.Array, noise: jax.Array
) -> tuple[Units, Orders, jax.Array]:
    """One step with its randomness given.

    Args:
        kinds: uint8 [N L] or [N 1].
        units: before.
        orders: before.
        actions: int32 [A L], of allies, STOP where they are none of theirs.
        pick: float32 [E L] in [0, 1), chooses the ally that an enemy walks towards, among those it sees.
        noise: float32 [8 N L], seconds, added to the cooldown of a unit that shoots at that tick.

    Returns:
        units, orders, actions of all units int32 [N L], enemies' being SHOOT + j to attack ally A - 1 - j.
    """
    numbers, facts, n_allies = statistics(kinds), special(kinds), actions.shape[0]
    enemy_actions, target = enemy_turn(numbers, units, orders, pick, n_allies, facts)
    actions = jnp.concatenate([actions, enemy_actions])
    after = fight(numbers, units, actions, n_allies, noise, facts)
    return after, Orders(orders.goal, target), actions


def enemy_turn(
    numbers: Statistics,
    units: Units,
    orders: Orders,
    pick: jax.Array,
    n_allies: int,
    facts: Special | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Actions int32 [E L] and targets int32 [E L] of the enemies.

    An enemy that has allies in range shoots its last target while that is one of them, else the nearest. Otherwise it
    walks, along the axis of the larger distance, towards one of the allies it sees, drawn anew at every step, or else
    towards its goal. Enemies count allies from the last to the first.
    """
    own = units.position[:, n_allies:]
    x, y = own
    alive = units.health[n_allies:] > 0
    sight, reach = numbers.sight[n_allies:] ** 2, numbers.range[n_allies:] ** 2
    nearest = jnp.full(x.shape, jnp.inf)
    target = jnp.full(x.shape, NO_TARGET, jnp.int32)
    holds = jnp.zeros(x.shape, bool)
    seen_allies = []
    for slot in range(n_allies):
        ally = n_allies - 1 - slot
        dx, dy = units.position[0, ally] - x, units.position[1, ally] - y
        squared = dx * dx + dy * dy
        seen = (squared < sight) & alive & (units.health[ally] > 0)
        if facts is not None:
            seen &= facts.hits[ally, n_allies:, None]
        shootable = seen & (squared < reach)
        holds = holds | (shootable & (orders.target == slot))
        closer = shootable & (squared < nearest)
        nearest = jnp.where(closer, squared, nearest)
        target = jnp.where(closer, slot, target)
        seen_allies.append((seen, dx, dy))
    target = jnp.where(holds, orders.target, target)
    count = sum((seen.astype(jnp.float32) for seen, _, _ in seen_allies), jnp.float32(0))
    wanted = count * (1 - pick)
    before = jnp.zeros_like(count)
    to_x, to_y = orders.goal[0] - x, orders.goal[1] - y
    for seen, dx, dy in seen_allies:
        upto = before + seen
        chosen = seen & (before < wanted) & (upto >= wanted)
        to_x, to_y = jnp.where(chosen, dx, to_x), jnp.where(chosen, dy, to_y)
        before = upto
    actions = jnp.where(target == NO_TARGET, _axis(to_x, to_y), SHOOT + target)
    if facts is not None:
        for enemy in np.flatnonzero(facts.heals[n_allies:]):
            turn = _healer_turn(numbers, units, orders, n_allies + int(enemy), n_allies, facts)
            actions = actions.at[enemy].set(turn)
    return actions, target


def _healer_turn(
    numbers: Statistics, units: Units, orders: Orders, healer: int, n_allies: int, facts: Special
) -> jax.Array:
    """Action of an enemy that heals, int32 [L]."""
    reach, sight = numbers.range[healer] ** 2, numbers.sight[healer] ** 2
    slot, follows, dx, dy = healer_turn(
        healer, n_allies, units.position, units.health, numbers.health, reach, sight, facts
    )
    goal = orders.goal[:, healer - n_allies] - units.position[:, healer]
    walk = _axis(jnp.where(follows, dx, goal[0]), jnp.where(follows, dy, goal[1]))
    return jnp.where(slot == NO_TARGET, walk, SHOOT + slot)


def _axis(x: jax.Array, y: jax.Array) -> jax.Array:
    """The direction 0 .. 3 best aligned with a vector; the first of several."""
    action, best = jnp.zeros(x.shape, jnp.int32), y
    for direction, along in ((1, x), (2, -y), (3, -x)):
        action, best = jnp.where(along > best, direction, action), jnp.maximum(along, best)
    return action


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
    ally_aims = actions[:n_allies] - SHOOT == np.arange(n_enemies)[:, None, None]  # [E A L]
    enemy_aims = actions[n_allies:] - SHOOT == np.arange(n_allies)[::-1, None, None]  # [A E L]
    velocity = jnp.stack([(actions == 1) * 1.0 - (actions == 3), (actions == 0) * 1.0 - (actions == 2)])
    stride = velocity * numbers.speed * TICK
    reach = numbers.range**2
    mends = {}
    if facts is not None:
        ally_aims &= facts.hits[theirs, ours, None]
        enemy_aims &= facts.hits[ours, theirs, None]
        healers = [int(healer) for healer in np.flatnonzero(facts.heals)]
        mends = {healer: patients(actions[healer] - SHOOT, healer, n_allies, facts) for healer in healers}

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


def _volley(
    units: Units,
    ready: jax.Array,
    reach: jax.Array,
    damage: jax.Array,
    aims: jax.Array,
    shooters: slice,
    targets: slice,
    facts: Special | None,
) -> tuple[jax.Array, jax.Array]:
    """Health that each target loses, float32 [targets L], and who shoots, bool [shooters L]; aims has both axes."""
    x, y = units.position
    there_x, there_y = jnp.where(aims, x[targets, None], 0).sum(0), jnp.where(aims, y[targets, None], 0).sum(0)
    target_lives = (aims & (units.health[targets, None] > 0)).any(0)
    dx, dy = there_x - x[shooters], there_y - y[shooters]
    shoots = target_lives & (dx * dx + dy * dy < reach[shooters]) & ready[shooters]
    dealt = jnp.where(shoots, damage[shooters], 0)
    loss = jnp.where(aims, dealt, 0).sum(1)
    if facts is not None:
        loss += splashed(
            x[targets], y[targets], there_x, there_y, shoots, damage[shooters], aims, facts, shooters, targets
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
