"""The state of a SMAX battle, and what is seen of it. Layouts of observations and states are jaxmarl's.

Axis letters: N units, A allies (the first units), E enemies, K kinds, F = 7 + K features of another unit.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from marlx_envs.smax_rules import MAP, SHOOT, STOP, Units, statistics
from marlx_envs.smax_special import Special, special
from marlx_envs.smax_units import Kinds, n_kinds

NO_ACTION = 255  # of units at the start of an episode


class Battle(NamedTuple):
    """One battle. In a packed one health is a byte, and `orders` and `time`, which nobody sees, are None."""

    units: Units  # [.. N]
    actions: jax.Array  # uint8 [N], the latest; NO_ACTION at the start
    kinds: jax.Array | None  # uint8 [N], only where they are drawn
    orders: Any  # Orders [.. E]
    time: Any  # int32 [], environment steps done


class Seen(NamedTuple):
    """A battle as observations need it; leading axis [N]."""

    kinds: Kinds
    alive: jax.Array  # bool
    health: jax.Array  # fraction
    x: jax.Array  # cells
    y: jax.Array
    cooldown: jax.Array  # fraction of the kind's, within 0 .. 1


def seen(battle: Battle, kinds: Kinds) -> Seen:
    """Fractions and places of all units."""
    numbers = statistics(kinds)
    (x, y), health, cooldown = battle.units
    return Seen(kinds, health > 0, health / numbers.health, x, y, jnp.clip(cooldown / numbers.cooldown, 0, 1))


def observe(battle: Battle, kinds: Kinds, n_allies: int) -> jax.Array:
    """Observations of the allies, float32 [A F * (N - 1) + 4 + K].

    For every other unit, allies before enemies and oneself left out: health, place relative to oneself in units of
    one's sight (2), latest movement (2), latest attack (number of the action as a fraction of the largest), cooldown,
    kind; zeros where the unit is out of sight or one of both is dead. Then oneself: health, place as a fraction of the
    map (2), cooldown, kind; zeros when dead.
    """
    units = seen(battle, kinds)
    count = kinds.shape[0]
    sight = statistics(kinds).sight[:n_allies]
    none = jnp.zeros(n_allies)
    bits = (units.kinds[:, None] == np.arange(n_kinds(kinds))).astype(jnp.float32)
    moved_x, moved_y, attack = _latest(battle.actions, n_allies)
    others = _columns([units.health, units.x, units.y, moved_x, moved_y, attack, units.cooldown], bits)
    own_place = _columns([none, units.x[:n_allies], units.y[:n_allies], *[none] * 4], jnp.zeros_like(bits[:n_allies]))
    scale = _columns([none + 1, 1 / sight, 1 / sight, *[none + 1] * 4], jnp.ones_like(bits[:n_allies]))
    visible = (_squared(units, n_allies) < (sight**2)[:, None]) & units.alive[:n_allies, None] & units.alive
    features = jnp.where(visible[..., None], (others - own_place[:, None]) * scale[:, None], 0)
    allies = _without_diagonal(features[:, :n_allies])
    own = _columns([units.health, units.x / MAP, units.y / MAP, units.cooldown], bits)
    own = jnp.where(units.alive[:, None], own, 0)[:n_allies]
    rows = [allies, features[:, n_allies:].reshape(n_allies, (count - n_allies) * features.shape[-1]), own]
    return jnp.concatenate(rows, axis=-1)


def normalised_state(battle: Battle, kinds: Kinds, n_allies: int) -> jax.Array:
    """Global state, float32 [N * (4 + K) + A * (5 + E)]: all units as they see themselves, allies' latest actions."""
    units = seen(battle, kinds)
    bits = (units.kinds[:, None] == np.arange(n_kinds(kinds))).astype(jnp.float32)
    rows = _columns([units.health, units.x / MAP, units.y / MAP, units.cooldown], bits)
    rows = jnp.where(units.alive[:, None], rows, 0)
    n_actions = SHOOT + kinds.shape[0] - n_allies
    latest = (battle.actions[:n_allies, None] == np.arange(n_actions)).astype(jnp.float32)
    return jnp.concatenate([rows.reshape(-1), latest.reshape(-1)])


def raw_state(battle: Battle, kinds: Kinds, n_allies: int) -> jax.Array:
    """Global state of jaxmarl, float32 [N * (6 + K)]: places in cells, cooldowns in seconds, teams, kinds by number."""
    units = seen(battle, kinds)
    bits = (units.kinds[:, None] == np.arange(n_kinds(kinds))).astype(jnp.float32)
    rows = _columns([units.health, units.x, units.y, battle.units.cooldown], bits)
    rows = jnp.where(units.alive[:, None], rows, 0)
    teams = jnp.asarray(np.arange(kinds.shape[0]) >= n_allies, jnp.float32)
    return jnp.concatenate([rows.reshape(-1), teams, units.kinds.astype(jnp.float32)])


def available_actions(battle: Battle, kinds: Kinds, n_allies: int) -> jax.Array:
    """Stopping; moving while alive; attacking live enemies in range, or healing allies. Bool [A 5 + E]."""
    units = seen(battle, kinds)
    alive = units.alive[:n_allies, None]
    near = _squared(units, n_allies) < (statistics(kinds).range[:n_allies] ** 2)[:, None]
    within = near & alive & units.alive
    attacks, facts = within[:, n_allies:], special(kinds)
    if facts is not None:
        attacks &= facts.hits[n_allies:, :n_allies].T
        attacks |= _healing(within, attacks.shape[1], facts)
    moves = jnp.broadcast_to(alive | (np.arange(SHOOT) == STOP), (n_allies, SHOOT))
    return jnp.concatenate([moves, attacks], axis=-1)


def _healing(within: jax.Array, n_slots: int, facts: Special) -> jax.Array:
    """Allies that allied healers can name in the slots of enemies, bool [A E]."""
    n_allies = within.shape[0]
    heals = facts.heals[:n_allies] > 0
    pairs = jnp.where(heals[:, None] & ~heals, within[:, :n_allies], False)
    return jnp.pad(pairs, ((0, 0), (0, max(0, n_slots - n_allies))))[:, :n_slots]


def _latest(actions: jax.Array, n_allies: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Latest movement in x and y and latest attack of each unit, float32 [N]."""
    count = actions.shape[0]
    largest = SHOOT - 1 + np.where(np.arange(count) < n_allies, count - n_allies, n_allies)
    x = (actions == 1).astype(jnp.float32) - (actions == 3)
    y = (actions == 0).astype(jnp.float32) - (actions == 2)
    attacks = (actions >= SHOOT) & (actions != NO_ACTION)
    return x, y, jnp.where(attacks, jnp.minimum(actions / np.float32(largest), 1), 0)


def _squared(units: Seen, n_allies: int) -> jax.Array:
    """Squared distances from allies to units, float32 [A N]."""
    return (units.x[:n_allies, None] - units.x) ** 2 + (units.y[:n_allies, None] - units.y) ** 2


def _columns(columns: list[jax.Array], more: jax.Array) -> jax.Array:
    """Features side by side, [.. F]."""
    return jnp.concatenate([jnp.stack(columns, axis=-1), more], axis=-1)


def _without_diagonal(pairs: jax.Array) -> jax.Array:
    """[A A F] -> [A (A - 1) * F]; a row begins one later in memory than the diagonal's element before it."""
    count, width = pairs.shape[0], pairs.shape[-1]
    between = pairs.reshape(count * count, width)[1:].reshape(count - 1, count + 1, width)[:, :-1]
    return between.reshape(count, (count - 1) * width)
