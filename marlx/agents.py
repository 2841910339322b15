"""Individual utilities Q_i(tau_i, .): one network shared by all agents.

Inputs are the observation and, as options, one-hot last action (zeros at an episode's first slot) and one-hot agent
id. `unroll` serves learning (T slots) and acting (one slot) alike.
"""

from dataclasses import dataclass
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
from marlx_envs.options import choice, flag, size

from marlx import gru, initialisers
from marlx.types import Params, View


@dataclass(frozen=True)
class AgentOptions:
    """Section `agent` of an experiment."""

    network: str = choice("gru", "memory of the agents: a GRU, or none (mlp)", ("gru", "mlp"))
    hidden_size: int = size(64, "width of every layer and of the memory", high=4096)
    last_action: bool = flag(True, "append the one-hot last action to the observation")
    agent_id: bool = flag(True, "append the one-hot agent id; needed where roles differ but observations do not")
    initialiser: str = choice("torch_like", "distribution of the initial weights", initialisers.NAMES)

    def plain(self) -> "AgentOptions":
        """The same without what only some methods' agents have; the agents of joint critics."""
        return self


class _Network(nn.Module):
    """The parameters and the maths: inputs [T R I], memory [R H] -> utilities [T R A], memory of all slots [T R H]."""

    options: AgentOptions
    n_actions: int

    @nn.compact
    def __call__(self, inputs: jax.Array, hidden: jax.Array, keeps: jax.Array) -> tuple[jax.Array, jax.Array]:
        width, scheme = self.options.hidden_size, self.options.initialiser
        if self.options.network == "gru":
            both = gru.unroll(self._gru_params(width, inputs.shape[-1]), hidden.T, inputs, keeps)
            utilities, hiddens = (jnp.swapaxes(x, -1, -2) for x in both)
            return utilities, hiddens
        features = nn.relu(initialisers.linear(width, inputs.shape[-1], scheme, "encoder")(inputs))
        hiddens = nn.relu(initialisers.linear(width, width, scheme, "body")(features))
        return initialisers.linear(self.n_actions, width, scheme, "utilities")(hiddens), hiddens

    def _gru_params(self, width: int, fan_in: int) -> gru.GRUParams:
        if self.options.initialiser == "orthogonal":
            encoder_kernel = kernel = initialisers.orthogonal
            encoder_bias = bias = nn.initializers.zeros
        else:
            encoder_kernel = encoder_bias = initialisers.bounded(fan_in)
            kernel = bias = initialisers.bounded(width)
        return gru.GRUParams(
            encoder_kernel=self.param("encoder_kernel", encoder_kernel, (width, fan_in)),
            encoder_bias=self.param("encoder_bias", encoder_bias, (width,)),
            input_kernel=self.param("input_kernel", kernel, (3, width, width)),
            input_bias=self.param("input_bias", bias, (3, width)),
            recurrent_kernel=self.param("recurrent_kernel", kernel, (3, width, width)),
            recurrent_bias=self.param("recurrent_bias", bias, (width,)),
            head_kernel=self.param("head_kernel", kernel, (self.n_actions, width)),
            head_bias=self.param("head_bias", bias, (self.n_actions,)),
        )


@dataclass(frozen=True)
class Agent:
    """The shared agent of a team of N agents with A actions each and O observation features."""

    n_agents: int
    n_actions: int
    observation_size: int
    options: AgentOptions = AgentOptions()

    @property
    def _network(self) -> _Network:
        return _Network(self.options, self.n_actions)

    @property
    def input_size(self) -> int:
        """O, plus A with the last action, plus N with the agent id."""
        extras = self.n_actions * self.options.last_action + self.n_agents * self.options.agent_id
        return self.observation_size + extras

    def init(self, key: chex.PRNGKey) -> Params:
        """Parameters."""
        inputs, hidden = jnp.zeros((1, 1, self.input_size)), jnp.zeros((1, self.options.hidden_size))
        return self._network.init(key, inputs, hidden, jnp.ones((1, 1)))

    def initial_memory(self, batch: int) -> jax.Array:
        """Memory before any slot, float [B N H]."""
        return jnp.zeros((batch, self.n_agents, self.options.hidden_size))

    def inputs(self, view: View) -> jax.Array:
        """What the network sees, float [.. N I]."""
        parts: list[Any] = [view.observation]
        if self.options.last_action:
            parts.append(jax.nn.one_hot(view.previous_actions, self.n_actions))  # the code A for "none" gives zeros
        if self.options.agent_id:
            identity = jnp.eye(self.n_agents)
            parts.append(jnp.broadcast_to(identity, (*view.observation.shape[:-1], self.n_agents)))
        return jnp.concatenate(parts, axis=-1) if len(parts) > 1 else parts[0]

    def group_state(self, params: Params, memory: jax.Array) -> jax.Array | None:
        """GoMARL's group states [.. N G] from memory [.. N H]; None for agents without them."""
        return None

    def unroll(self, params: Params, memory: jax.Array, view: View) -> tuple[jax.Array, jax.Array]:
        """Utilities of all actions over T slots.

        Args:
            memory: float [B N H], before the first slot.
            view: leading axes [T B]; memory is cleared where `view.starts`.

        Returns:
            utilities float [T B N A], memory after each slot [T B N H].
        """
        slots, batch = view.starts.shape
        rows = batch * self.n_agents
        inputs = self.inputs(view).reshape(slots, rows, self.input_size)
        keeps = jnp.repeat(1.0 - view.starts, self.n_agents, axis=1)
        unrolled: Any = self._network.apply(params, inputs, memory.reshape(rows, -1), keeps)
        utilities, hiddens = unrolled
        shape = (slots, batch, self.n_agents, -1)
        return utilities.reshape(shape), hiddens.reshape(shape)


def take(utilities: jax.Array, actions: jax.Array) -> jax.Array:
    """Utilities of given actions: [.. A], int [..] -> [..]. A one-hot sum: on CPU its gradient beats a scatter."""
    return (utilities * jax.nn.one_hot(actions, utilities.shape[-1])).sum(-1)
