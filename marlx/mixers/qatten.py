"""Qatten: heads of attention from the state over the agents, each a convex mean of the utilities (Yang et al. 2020)."""

import math
from dataclasses import dataclass
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from marlx_envs.discovery import Entry
from marlx_envs.options import UsageError, flag, needed, size

from marlx.initialisers import bounded, linear, linear_heads
from marlx.mixers.base import Context, Mixer
from marlx.types import Params

Entry(
    name="qatten",
    summary="heads of attention from the state over the agents",
    source="Yang et al. 2020",
    factory="Qatten",
)


@dataclass(frozen=True)
class Qatten(Mixer):
    """Q_tot = sum_h |w_h(s)| sum_i lambda_{h,i}(s, o_i) q_i + c(s)."""

    observation_size: int

    heads: int = size(4, "heads of attention", high=256)
    embedding_width: int = size(32, "width E of queries and keys", high=4096)
    hidden_width: int = size(64, "width of the hidden layers of queries and head weights", high=4096)
    weighted_heads: bool = flag(True, "weight the heads by |w(s)|; False gives each the weight 1")
    own_features: int = size(
        0,
        "what the keys read: 0 the observations; U > 0 the first N U entries of the state, U of each agent in turn, "
        "which in the code released are its features in SMAC",
        low=0,
    )

    def __post_init__(self) -> None:
        """Checks that the state is as long as the features to be read from it."""
        if self.own_features * self.n_agents > self.state_size:
            raise UsageError(
                f"algorithm.own_features must be at most {self.state_size // self.n_agents}, since the state has "
                f"{self.state_size} entries for {self.n_agents} agents, not {self.own_features}"
            )

    @property
    def _network(self) -> "_Attention":
        return _Attention(self.heads, self.embedding_width, self.hidden_width, self.weighted_heads)

    def init(self, key: chex.PRNGKey) -> Params:
        """Parameters of queries, keys, head weights and c."""
        features = jnp.zeros((1, self.n_agents, self.own_features or self.observation_size))
        return self._network.init(key, jnp.zeros((1, self.state_size)), features)

    def apply(
        self, params: Params, utilities: jax.Array, state: jax.Array, context: Context | None = None
    ) -> jax.Array:
        """Q_tot [..] from utilities [.. N], state [.. D] and the observations of the context."""
        self.check_sizes(utilities, state)
        rows = state.reshape(-1, self.state_size)
        parts: Any = self._network.apply(params, rows, self._features(rows, context))
        return mix(utilities.reshape(len(rows), self.n_agents), *parts).reshape(state.shape[:-1])

    def _features(self, state: jax.Array, context: Context | None) -> jax.Array:
        """What the keys read: state [R D] -> [R N U]."""
        if self.own_features:
            return state[:, : self.n_agents * self.own_features].reshape(-1, self.n_agents, self.own_features)
        return needed(context, self, "context").observation.reshape(-1, self.n_agents, self.observation_size)


def mix(utilities: jax.Array, logits: jax.Array, head_weights: jax.Array, value: jax.Array) -> jax.Array:
    """The mixing itself: each head is a mean of the utilities, by a softmax over the agents.

    Args:
        utilities: q [.. N]; logits: [.. H N]; head_weights: raw w [.. H], taken absolutely; value: c [..].

    Returns:
        Q_tot [..].
    """
    attention = nn.softmax(logits, axis=-1)
    heads = (attention * utilities[..., None, :]).sum(-1)
    return (jnp.abs(head_weights) * heads).sum(-1) + value


class _Attention(nn.Module):
    """State [R D], features [R N U] -> logits [R H N], raw head weights [R H], c [R].

    The layers that read the state are one product, `first`: hidden layers of the queries, of w and of c.
    """

    heads: int
    embedding_width: int
    hidden_width: int
    weighted: bool

    @nn.compact
    def __call__(self, state: jax.Array, features: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        rows, h, e, k, u = len(state), self.heads, self.embedding_width, self.hidden_width, features.shape[-1]
        widths = (h * k, k * self.weighted, e)
        first = nn.relu(linear(sum(widths), state.shape[-1], name="first")(state))
        queries, weights, value = jnp.split(first, np.cumsum(widths[:-1]), axis=-1)
        queries = linear_heads(h, e, k, name="queries")(queries.reshape(rows, h, k))
        # query . (K u_i) as (K' query) . u_i: the layer of the keys is applied to a query once, not to every agent. It
        # has no bias: that would add the same to the logits of all agents, which a softmax does not see.
        kernel = self.param("keys", bounded(u), (h, e, u))
        logits = jnp.einsum("rhu,rnu->rhn", jnp.einsum("rhe,heu->rhu", queries, kernel), features) / math.sqrt(e)
        weights = linear(h, k, name="weights")(weights) if self.weighted else jnp.ones((rows, h))
        return logits, weights, linear(1, e, name="value")(value)[:, 0]
