"""How the errors of a batch are weighted, as metrics: heat maps of weights over training (paper ReMIX, Figure 3)."""

from collections.abc import Mapping

import chex
import jax
import jax.numpy as jnp

from marlx import joint_actions
from marlx.losses import over_devices
from marlx.types import Metrics

BINS = 20  # of weights from 0 to 1; the last one has all that are larger
SIGNS = ("negative", "zero", "positive")  # of rewards


def recorded(
    weights: jax.Array,
    actions: jax.Array,
    rewards: jax.Array,
    valid: jax.Array,
    n_actions: int,
    errors: Mapping[str, jax.Array],
    axis: str | None = None,
) -> Metrics:
    """Shares of weights; how often steps are paid or punished and joint actions taken, and how they are weighted.

    All are means over the valid steps of a batch, so that their means over updates are too: the mean weight of joint
    action u is weight_mass/u over data_share/u, that of steps with a positive reward reward_mass/positive over
    reward_share/positive, and the mean error there error_joint/positive over the same.

    Args:
        weights [..] >= 0, actions int32 [.. N], rewards [..] that are learnt from, valid bool [..].
        errors: |what is believed of the joint action - target| [..], by who believes it ("joint" is Q_tot).
        axis: mesh axis of the devices that share the batch.

    Returns:
        This device's share of "weight_share/50" (weights from 0.50 on, below those of the next), "reward_share/zero",
        "reward_mass/zero", "error_joint/zero", and where joint actions are few "data_share/AB", "weight_mass/AB", and
        so on.
    """
    chex.assert_equal_shape((weights, rewards, valid))
    mask = valid.astype(jnp.float32).reshape(-1)
    mask /= jnp.maximum(over_devices(mask.sum(), axis), 1)
    weights = weights.reshape(-1)
    bins = jnp.clip(jnp.floor(weights * BINS), 0, BINS - 1).astype(jnp.int32)
    shares = _sums(mask, bins, BINS)
    found = {f"weight_share/{100 * k // BINS:02d}": shares[k] for k in range(BINS)}
    signs = jnp.sign(rewards).astype(jnp.int32).reshape(-1) + 1
    share, mass = (_sums(x, signs, len(SIGNS)) for x in (mask, mask * weights))
    found |= {f"reward_share/{name}": share[k] for k, name in enumerate(SIGNS)}
    found |= {f"reward_mass/{name}": mass[k] for k, name in enumerate(SIGNS)}
    for who, error in errors.items():
        sums = _sums(mask * error.reshape(-1), signs, len(SIGNS))
        found |= {f"error_{who}/{name}": sums[k] for k, name in enumerate(SIGNS)}
    n_agents = actions.shape[-1]
    if joint_actions.few(n_agents, n_actions):
        places = jnp.asarray([n_actions**k for k in reversed(range(n_agents))], jnp.int32)
        joint = (actions.reshape(-1, n_agents) * places).sum(-1)
        names = joint_actions.names(n_agents, n_actions)
        data, mass = (_sums(x, joint, len(names)) for x in (mask, mask * weights))
        found |= {f"data_share/{name}": data[k] for k, name in enumerate(names)}
        found |= {f"weight_mass/{name}": mass[k] for k, name in enumerate(names)}
    return found


def _sums(values: jax.Array, of: jax.Array, count: int) -> jax.Array:
    """Sums [K] of values [R] by their kinds, int [R] from 0 to K - 1."""
    return values @ jax.nn.one_hot(of, count)
