"""What units do that jaxmarl's SMAX does not know: splash, bursting, healing, flying. Axes as in `smax_rules`.

Such units stand where kinds are fixed, so that who does what is known before anything is compiled, and battles without
them are computed as if this file were not there.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from marlx_envs.smax_units import JAXMARL_KINDS, UNITS, Kinds

Flags = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.float32]


class Special(NamedTuple):
    """Facts about the units of a scenario; N of both teams."""

    hits: Flags  # [N N], whether a unit (first) can be attacked by another (second)
    touches: Flags  # [N N], whether two push each other
    splash: Numbers  # [N], cells
    bursts: Flags  # [N]
    heals: Numbers  # [N], health in a second


def special(kinds: Kinds) -> Special | None:
    """The facts, or None if all units are of jaxmarl's kinds. `kinds` uint8 [N] or [N 1]."""
    if not isinstance(kinds, np.ndarray) or (kinds < JAXMARL_KINDS).all():
        return None
    units = [UNITS[kind] for kind in kinds.ravel()]
    flies, hits_air = np.array([u.flies for u in units]), np.array([u.hits_air for u in units])
    heals = np.array([u.heals for u in units], np.float32)
    return Special(
        hits=(~flies[:, None] | hits_air) & (heals == 0),
        touches=flies[:, None] == flies,
        splash=np.array([u.splash for u in units], np.float32),
        bursts=np.array([u.bursts for u in units]),
        heals=heals,
    )


def splashed(
    x: jax.Array,
    y: jax.Array,
    there_x: jax.Array,
    there_y: jax.Array,
    shoots: jax.Array,
    damage: jax.Array,
    aims: jax.Array,
    facts: Special,
    shooters: slice,
    targets: slice,
) -> jax.Array:
    """Health that those beside a target lose, float32 [targets L].

    Args:
        x: float32 [targets L], where they are; so is `y`.
        there_x: float32 [shooters L], where the target of a shooter is; so is `there_y`.
        shoots: bool [shooters L].
        damage: float32 [shooters L] or [shooters 1].
        aims: bool [targets shooters L].
    """
    loss = jnp.zeros_like(x)
    hits = facts.hits[targets, shooters]
    for shooter in np.flatnonzero(facts.splash[shooters]):
        near = (x - there_x[shooter]) ** 2 + (y - there_y[shooter]) ** 2 < facts.splash[shooters][shooter] ** 2
        beside = near & hits[:, shooter, None] & ~aims[:, shooter]
        loss += jnp.where(beside & shoots[shooter], damage[shooter], 0)
    return loss


def patients(actions: jax.Array, healer: int, n_allies: int, facts: Special) -> jax.Array:
    """Whom a healer's action names, bool [N L]: one of its own team, not itself, not a healer.

    Args:
        actions: int32 [L], the healer's, counted from 0 at the first attack; teams count as they count their enemies,
            allies from the first, enemies from the last.
    """
    unit = np.arange(len(facts.heals))[:, None]
    own = (unit >= n_allies) == (healer >= n_allies)
    named = unit if healer < n_allies else len(facts.heals) - 1 - unit
    return own & (facts.heals == 0)[:, None] & (actions == named)


def mended(
    position: jax.Array, alive: jax.Array, aims: dict[int, jax.Array], reach: jax.Array, facts: Special
) -> jax.Array:
    """Health that units gain in a second, float32 [N L].

    Args:
        position: float32 [2 N L].
        alive: bool [N L].
        aims: healer -> `patients`.
        reach: squares of ranges, float32 [N L] or [N 1].
    """
    gain = jnp.zeros(alive.shape)
    x, y = position
    for healer, named in aims.items():
        near = (x - x[healer]) ** 2 + (y - y[healer]) ** 2 < reach[healer]
        gain += jnp.where(named & near & alive & alive[healer], facts.heals[healer], 0)
    return gain


def healer_turn(
    healer: int,
    n_allies: int,
    position: jax.Array,
    health: jax.Array,
    full: jax.Array,
    reach: jax.Array,
    sight: jax.Array,
    facts: Special,
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """What an enemy healer turns to: the nearest wounded in range; else it follows the nearest wounded, or unit, seen.

    Args:
        position: float32 [2 N L].
        health: float32 [N L]; `full` is its maximum, [N L] or [N 1].
        reach: square of its range, as `sight`, [L] or [1].

    Returns:
        slot of whom it heals int32 [L], -1 if nobody; whether it follows somebody bool [L]; the way there x, y [L].
    """
    x, y = position
    dx, dy = x - x[healer], y - y[healer]
    squared = dx * dx + dy * dy
    team = ((np.arange(len(facts.heals)) >= n_allies) & (facts.heals == 0))[:, None]
    seen = team & (health > 0) & (squared < sight)
    wounded = seen & (health < full)
    patient = jnp.argmin(jnp.where(wounded, squared, jnp.inf), axis=0)
    near = (wounded & (squared < reach)).any(0)
    slot = jnp.where(near, len(facts.heals) - 1 - patient, -1).astype(jnp.int32)
    followed = jnp.where(wounded.any(0), wounded, seen)
    leader = jnp.argmin(jnp.where(followed, squared, jnp.inf), axis=0)
    chosen = np.arange(len(facts.heals))[:, None] == leader
    return slot, seen.any(0), jnp.where(chosen, dx, 0).sum(0), jnp.where(chosen, dy, 0).sum(0)
