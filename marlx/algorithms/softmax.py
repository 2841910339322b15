"""RES (Pan et al. 2021): targets that average over one agent's deviations from the greedy joint action, where a maximum
would overestimate, and a loss that keeps the joint value near the return that followed.

    V = sum_(i, a) softmax(beta Q_tot(s, u-hat with u_i = a)) Q-_tot(s, u-hat with u_i = a)
    L = L_td + lambda 1/M sum_t m_t (Q_tot(s_t, u_t) - R_t)^2

Values under the softmax are the live ones, those that are averaged the target's. The greedy joint action is a deviation
of each agent, and so is there N times.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from marlx_envs.options import number

from marlx.algorithms.method import Method

Method(
    name="res",
    summary="QMIX whose targets average over one agent's deviations, and whose joint value is kept near the returns",
    source="Pan et al. 2021 (RES)",
    composition={"mixer": "qmix", "target": "softmax"},
    environments={"smax": {"algorithm.softmax_beta": 5.0}},
)


@dataclass(frozen=True)
class SoftmaxOptions:
    """Fields that targets by a softmax add."""

    softmax_beta: float = number(0.05, "inverse temperature over one agent's deviations; RES 5 in StarCraft", low=0)
    return_loss_scale: float = number(0.05, "lambda, factor of the squared distance to the return", low=0)


def deviations(utilities: jax.Array, greedy_utilities: jax.Array) -> jax.Array:
    """Utilities that are taken where agent i takes a and every other agent its greedy action.

    Args:
        utilities: q [.. N A]; greedy_utilities: of the greedy actions [.. N].

    Returns:
        [N(i) A .. N(j)].
    """
    of_all = jnp.moveaxis(utilities, (-2, -1), (0, 1))[..., None]
    mine = jnp.eye(utilities.shape[-2], dtype=bool)
    mine = mine.reshape(len(mine), 1, *(1,) * (greedy_utilities.ndim - 1), len(mine))
    return jnp.where(mine, of_all, greedy_utilities)


def softmax_value(live: jax.Array, copy: jax.Array, available: jax.Array, beta: jax.Array | float) -> jax.Array:
    """The mean of the target's values under a softmax of the live ones, over deviations to available actions.

    In the released code those that are not available keep a weight, as a mixer is finite where their utilities are not.

    Args:
        live, copy: Q_tot and Q-_tot at the deviations [.. N A]; available: bool [.. N A].

    Returns:
        [..]; 0 where nothing is available.
    """
    weights = jax.nn.softmax(beta * live, axis=(-2, -1), where=available)
    return (jnp.where(available, weights, 0) * copy).sum((-2, -1))
