"""Joint values of memories and actions that read memory and state once for any number of joint actions."""

import abc
from dataclasses import dataclass
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from marlx.types import Params


@dataclass(frozen=True)
class OfMemories(abc.ABC):
    """Q_jt of N agents with A actions, D global-state features and memories H wide."""

    n_agents: int
    n_actions: int
    state_size: int
    memory_size: int

    def init(self, key: chex.PRNGKey) -> Params:
        """Parameters."""
        memory, state = jnp.zeros((1, self.n_agents, self.memory_size)), jnp.zeros((1, self.state_size))
        return self._network.init(key, memory, state, jnp.zeros((1, self.n_agents), jnp.int32))

    def apply(self, params: Params, memory: jax.Array, state: jax.Array, *actions: jax.Array) -> list[jax.Array]:
        """What is believed of several joint actions in the same states.

        Args:
            memory: h [.. N H]; state: [.. D]; actions: int [.. N] each.

        Returns:
            For each joint action a value [..], or a table [.. K] with K of the subclass.
        """
        shape, rows = state.shape[:-1], state.reshape(-1, self.state_size)
        memory = memory.reshape(len(rows), self.n_agents, self.memory_size)
        found: Any = self._network.apply(params, memory, rows, *(u.reshape(-1, self.n_agents) for u in actions))
        return [value.reshape(*shape, *value.shape[1:]) for value in found]

    @property
    @abc.abstractmethod
    def _network(self) -> nn.Module:
        """Memory [R N H], state [R D], joint actions [R N] .. -> list of values [R] or tables [R ..]."""
