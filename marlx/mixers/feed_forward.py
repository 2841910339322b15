"""A feed-forward network of state and utilities without any constraint: the mixer of joint critics (WQMIX, 2.7)."""

from dataclasses import dataclass
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
from marlx_envs.discovery import Entry
from marlx_envs.options import size

from marlx.initialisers import linear
from marlx.mixers.base import Context, Mixer
from marlx.types import Params

Entry(
    name="feed_forward",
    summary="unconstrained network of state and utilities",
    source="Rashid et al. 2020 (WQMIX), joint critic",
    factory="FeedForward",
)


@dataclass(frozen=True)
class FeedForward(Mixer):
    """Q = MLP(s, q_1..q_N) + V(s): three hidden layers, and one of the same width for V."""

    width: int = size(256, "width D of every layer", high=4096)

    @property
    def is_monotone(self) -> bool:
        """Nothing constrains it."""
        return False

    @property
    def _network(self) -> "_Network":
        return _Network(self.width)

    def init(self, key: chex.PRNGKey) -> Params:
        """Parameters of both networks."""
        return self._network.init(key, jnp.zeros((1, self.n_agents)), jnp.zeros((1, self.state_size)))

    def apply(
        self, params: Params, utilities: jax.Array, state: jax.Array, context: Context | None = None
    ) -> jax.Array:
        """Q [..] from utilities [.. N] and state [.. D]."""
        self.check_sizes(utilities, state)
        rows = state.reshape(-1, self.state_size)
        values: Any = self._network.apply(params, utilities.reshape(len(rows), self.n_agents), rows)
        return values.reshape(state.shape[:-1])


class _Network(nn.Module):
    """Utilities [R N], state [R D] -> [R]. The layers that read the state are one product, `first`."""

    width: int

    @nn.compact
    def __call__(self, utilities: jax.Array, state: jax.Array) -> jax.Array:
        d, n, width = state.shape[-1], utilities.shape[-1], self.width
        first = linear(2 * width, d + n, name="first")(state)
        hidden, value = first[:, :width], first[:, width:]
        # Layers of s and of the utilities, summed: the same as one layer of both side by side.
        hidden = nn.relu(hidden + linear(width, d + n, name="first_utilities", bias=False)(utilities))
        hidden = nn.relu(linear(width, width, name="second")(hidden))
        hidden = nn.relu(linear(width, width, name="third")(hidden))
        joint = linear(1, width, name="joint")(hidden)
        return (joint + linear(1, width, name="value")(nn.relu(value)))[:, 0]
