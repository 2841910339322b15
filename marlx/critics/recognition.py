"""POW's recognition network Q_r: a joint value that is largest at the greedy joint action (POW, section 3.2, eq. 6).

    Q_r(s, u) = V(s) + sum_i lambda_i(s, u) a_i,   lambda_i >= 0,   a_i = Q_i(u_i) - max Q_i <= 0

so Q_r(s, greedy) = V(s), and the gap between the two is -lambda a.
"""

from dataclasses import dataclass
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from marlx.initialisers import linear
from marlx.types import Params


@dataclass(frozen=True)
class Recognition:
    """Q_r for N agents with A actions each and D global-state features."""

    n_agents: int
    n_actions: int
    state_size: int
    width: int = 128
    mixing_width: int = 64

    @property
    def _network(self) -> "_Network":
        return _Network(self.n_agents, self.width, self.mixing_width)

    def init(self, key: chex.PRNGKey) -> Params:
        """Parameters of the three networks."""
        return self._network.init(key, jnp.zeros((1, self.state_size)), jnp.zeros((1, self.n_agents * self.n_actions)))

    def apply(
        self, params: Params, state: jax.Array, actions: jax.Array, advantages: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Q_r [..] and lambda a [..] from states [.. D], actions int [.. N] and advantages [.. N]."""
        rows = state.reshape(-1, self.state_size)
        joint = jax.nn.one_hot(actions, self.n_actions).reshape(len(rows), -1)
        networks: Any = self._network.apply(params, rows, joint)
        value, found = recognise(advantages.reshape(len(rows), -1), *networks)
        return value.reshape(state.shape[:-1]), found.reshape(state.shape[:-1])


def recognise(advantages: jax.Array, w1: jax.Array, w2: jax.Array, value: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Q_r and lambda a (POW eq. 6): lambda_i = sum_k |W1_ik| |w2_k|, no bias and no activation between.

    Args:
        advantages: a [.. N], never positive; w1: raw [.. N K]; w2: raw [.. K]; value: V [..].

    Returns:
        Q_r [..] = V + lambda a, and lambda a [..].
    """
    found = (jnp.einsum("...n,...nk->...k", advantages, jnp.abs(w1)) * jnp.abs(w2)).sum(-1)
    return value + found, found


class _Network(nn.Module):
    """State [R D], joint one-hot actions [R NA] -> raw W1 [R N K], raw w2 [R K], V [R].

    The layers that read the state are one product, and so are those that read the actions; V reads the state alone.
    """

    n_agents: int
    width: int
    mixing_width: int

    @nn.compact
    def __call__(self, state: jax.Array, joint: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        d, both = state.shape[-1], state.shape[-1] + joint.shape[-1]
        n, h, k = self.n_agents, self.width, self.mixing_width
        of_both = linear(2 * h, both, name="first")(state) + linear(2 * h, both, name="actions", bias=False)(joint)
        w1, w2 = jnp.split(nn.relu(of_both), 2, axis=-1)
        value = nn.relu(linear(h, d, name="value_first")(state))
        w1, w2, value = (
            nn.relu(linear(h, h, name=f"{name}_second")(x)) for name, x in (("w1", w1), ("w2", w2), ("value", value))
        )
        w1 = linear(n * k, h, name="w1")(w1).reshape(-1, n, k)
        return w1, linear(k, h, name="w2")(w2), linear(1, h, name="value")(value)[:, 0]
