"""The script that plays the enemies of SMAX, as in jaxmarl 0.2.0 (`HeuristicEnemySMAX`). Axes as in `smax_rules`."""

import jax
import jax.numpy as jnp
import numpy as np

from marlx_envs.smax_rules import NO_TARGET, SHOOT, Orders, Statistics, Units
from marlx_envs.smax_special import Special, healer_turn


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
