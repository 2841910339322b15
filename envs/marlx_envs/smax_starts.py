"""How SMAX battles begin: where units stand and, where kinds are drawn, who they are. Axes as in `smax_rules`."""

import jax
import jax.numpy as jnp
import numpy as np

from marlx_envs.smax_rules import MAP

SPREAD = 2.0  # cells; units stand within so much of their place in each direction
MARGIN = 1.0  # cells from the border, for surrounding teams that are kept inside
CORNERS = np.array([[0, 0, MAP, MAP], [0, MAP, 0, MAP]], np.float32)


def facing(uniforms: jax.Array, n_allies: int) -> jax.Array:
    """Positions float32 [2 N]: allies around (8, 16), enemies around (24, 16). Uniforms [2 N] in [0, 1)."""
    x = jnp.where(np.arange(uniforms.shape[1]) < n_allies, MAP / 4, 3 * MAP / 4)
    return jnp.stack([x, jnp.full_like(x, MAP / 2)]) + _noise(uniforms)


def mirrored(uniforms: jax.Array, n_allies: int) -> jax.Array:
    """Allies anywhere in the left half, enemy i opposite ally i, further enemies anywhere in the right half."""
    n_enemies = uniforms.shape[1] - n_allies
    both = min(n_allies, n_enemies)
    half = np.array([[MAP / 2], [MAP]], np.float32)
    allies = uniforms[:, :n_allies] * half
    opposite = jnp.stack([MAP - allies[0, :both], allies[1, :both]])
    further = np.array([[MAP / 2], [0]], np.float32) + uniforms[:, n_allies + both :] * half
    return jnp.concatenate([allies, opposite, further], axis=1)


def surrounding(
    uniforms: jax.Array, groups: jax.Array, along: jax.Array, allies_inside: jax.Array, n_allies: int, inside: bool
) -> jax.Array:
    """One team around the centre, the other in up to four groups, each on a line from a corner to the centre.

    Args:
        uniforms: float32 [2 N] in [0, 1).
        groups: int32 [N], which group a unit belongs to if its team is outside.
        along: float32 [4], how far each group is from its corner, 0 .. 1.
        allies_inside: bool [].
        inside: places are drawn among those of a group that are on the map; else some are not, and who begins there
            dies at the first tick, as in jaxmarl.
    """
    centre = MAP / 2
    places = along * centre + (1 - along) * CORNERS
    place = sum((jnp.where(groups == g, places[:, g, None], 0) for g in range(4)), jnp.float32(0))
    if inside:
        low, high = jnp.maximum(place - SPREAD, MARGIN), jnp.minimum(place + SPREAD, MAP - MARGIN)
        outer = low + uniforms * (high - low)
    else:
        outer = place + _noise(uniforms)
    ally = np.arange(uniforms.shape[1]) < n_allies
    return jnp.where(ally == allies_inside, centre + _noise(uniforms), outer)


def _noise(uniforms: jax.Array) -> jax.Array:
    return (2 * uniforms - 1) * SPREAD
