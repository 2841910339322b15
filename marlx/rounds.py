"""Factorization in rounds (MRVF): utilities of round k given the greedy joint action of round k - 1.

    q^k_i = W2 relu(W1 (h_i || c_i(u-bar^(k-1))) + b1) + b2

Memory h_i and the features that actions pick from are computed once; a round adds its condition c_i and last layers.
What is wired how is not written in the paper (its Figure 9 is missing): see the options.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
from marlx_envs.options import choice, flag, size

from marlx.exploration import greedy
from marlx.initialisers import bounded, linear
from marlx.types import Params

EMBEDDINGS = ("features", "index")

# The preceding joint action int32 [R N], None in the first round -> what an agent sees of itself and of the team.
Condition = Callable[[jax.Array | None], tuple[jax.Array, jax.Array]]


@dataclass(frozen=True)
class Rounds:
    """The last layers of N agents with A actions each: q^1 .. q^K and their greedy joint actions.

    [CHOICE] c_i of "features" is a row E(o_i)[u_i] of the agent's own, picked by its action from an affine layer
    O -> A C of its observation, beside the mean of all agents' rows; in the first round, which no action precedes, a
    learned row. c_i of "index" is onehot(u_i) || onehot(u_1) || .. || onehot(u_N), zeros in the first round.
    """

    n_agents: int
    n_actions: int
    observation_size: int
    memory_size: int
    rounds: int = size(3, "rounds K of factorization", high=32)
    round_width: int = size(128, "width of the layer that sees memory and the preceding joint action", high=4096)
    embedding: str = choice(
        "features", "how an action is seen: features of the observation that it picks, or its index", EMBEDDINGS
    )
    embedding_width: int = size(128, "width C of the features that an action picks (embedding=features)", high=4096)
    share_rounds: bool = flag(True, "one set of last layers and one mixer for all rounds")

    def init(self, key: chex.PRNGKey) -> Params:
        """Parameters."""
        n, sizes = self.n_agents, (self.memory_size, self.observation_size, self.n_actions)
        memory, observation, available = (jnp.zeros((1, n, size)) for size in sizes)
        return self._network.init(key, memory, observation, available > 0)

    def apply(
        self, params: Params, memory: jax.Array, observation: jax.Array, available: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """All rounds, one after the other.

        Args:
            memory: h [.. N H]; observation: [.. N O]; available: bool [.. N A].

        Returns:
            Utilities q^k [K .. N A]; greedy joint actions u-bar^k, int32 [K .. N], which pass no gradient.
        """
        rows = (x.reshape(-1, *x.shape[-2:]) for x in (memory, observation, available))
        played: Any = self._network.apply(params, *rows)
        utilities, chosen = played
        return utilities.reshape(self.rounds, *available.shape), chosen.reshape(self.rounds, *available.shape[:-1])

    @property
    def _network(self) -> "_Network":
        return _Network(self)


class _LastLayers(nn.Module):
    """One set of last layers. Those that see memory and condition are one layer in parts, summed."""

    options: Rounds

    def setup(self) -> None:
        o = self.options
        condition = 2 * o.embedding_width if o.embedding == "features" else (1 + o.n_agents) * o.n_actions
        width, fan_in = o.round_width, o.memory_size + condition
        self.memory = linear(width, fan_in)
        self.own = linear(width, fan_in, bias=False)
        self.team = linear(width, fan_in, bias=False)
        self.utilities = linear(o.n_actions, width)

    def remember(self, memory: jax.Array) -> jax.Array:
        """What no round changes: memory [R N H] -> [R N W]."""
        return _rows(self.memory, memory)

    def __call__(self, remembered: jax.Array, own: jax.Array, team: jax.Array) -> jax.Array:
        """Utilities [R N A] from [R N W] and both parts of the condition, [R N .] and [R 1 .], or [1 1 .] for all."""
        return _rows(self.utilities, nn.relu(remembered + _rows(self.own, own) + _rows(self.team, team)))


class _Network(nn.Module):
    """Memory [R N H], observation [R N O], available [R N A] -> utilities [K R N A], greedy joint actions [K R N]."""

    options: Rounds

    @nn.compact
    def __call__(self, memory: jax.Array, observation: jax.Array, available: jax.Array) -> tuple[jax.Array, jax.Array]:
        o = self.options
        sets = [_LastLayers(o, name=f"last_{k + 1}") for k in range(1 if o.share_rounds else o.rounds)]
        remembered = [last.remember(memory) for last in sets]
        conditions = self._of_features(observation) if o.embedding == "features" else self._of_indices()
        utilities: list[jax.Array] = []
        chosen: list[jax.Array] = []
        for k in range(o.rounds):
            last = k % len(sets)
            utilities.append(sets[last](remembered[last], *conditions(chosen[-1] if k else None)))
            chosen.append(greedy(jax.lax.stop_gradient(utilities[-1]), available))
        return jnp.stack(utilities), jnp.stack(chosen)

    def _of_features(self, observation: jax.Array) -> Condition:
        o, c = self.options, self.options.embedding_width
        default = self.param("default_row", bounded(o.observation_size), (1, 1, c))
        if o.rounds > 1:
            rows = _rows(linear(o.n_actions * c, o.observation_size, name="embedding"), observation)
            rows = rows.reshape(*observation.shape[:2], o.n_actions, c)

        def condition(preceding: jax.Array | None) -> tuple[jax.Array, jax.Array]:
            if preceding is None:
                return default, default
            own = (rows * jax.nn.one_hot(preceding, o.n_actions)[..., None]).sum(-2)
            return own, own.mean(1, keepdims=True)

        return condition

    def _of_indices(self) -> Condition:
        o = self.options

        def condition(preceding: jax.Array | None) -> tuple[jax.Array, jax.Array]:
            nobody = jnp.full((1, o.n_agents), o.n_actions)  # the code A gives zeros
            own = jax.nn.one_hot(nobody if preceding is None else preceding, o.n_actions)
            return own, own.reshape(len(own), 1, -1)

        return condition


def _rows(layer: Any, x: jax.Array) -> jax.Array:
    """A layer on the last axis. Two axes inside: weight gradients of more would be products that XLA transposes for."""
    y: jax.Array = layer(x.reshape(-1, x.shape[-1]))
    return y.reshape(*x.shape[:-1], y.shape[-1])
