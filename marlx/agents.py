"""Individual utilities Q_i(tau_i, .): one network shared by all agents, but for heads that some methods have.

Inputs are the observation and, as options, one-hot last action (zeros at an episode's first slot) and one-hot agent
id. `unroll` serves learning (T slots) and acting (one slot) alike. Heads, from the memory h_i to the utilities:

    shared        W h_i + b
    individual    (W + W_i) h_i + b + b_i                                        (NA2Q, Liu et al. 2023)
    group_state   W(g_i) h_i + b(g_i), affine in sg(g_i);  g_i = tanh(MLP(sg(h_i)))   (GoMARL, Zang et al. 2023)
"""

from dataclasses import dataclass, replace
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
from marlx_envs.options import choice, flag, size

from marlx import gru, initialisers
from marlx.types import Params, View

HEADS = ("shared", "individual", "group_state")


@dataclass(frozen=True)
class AgentOptions:
    """Section `agent` of an experiment."""

    network: str = choice("gru", "memory of the agents: a GRU, or none (mlp)", ("gru", "mlp"))
    hidden_size: int = size(64, "width of every layer and of the memory", high=4096)
    last_action: bool = flag(True, "append the one-hot last action to the observation")
    agent_id: bool = flag(True, "append the one-hot agent id; needed where roles differ but observations do not")
    initialiser: str = choice("torch_like", "distribution of the initial weights", initialisers.NAMES)
    head: str = choice("shared", "last layer: one for all; one more for each agent; or made of group states", HEADS)
    group_width: int = size(32, "width of the group states (head=group_state)", high=4096)

    def plain(self) -> "AgentOptions":
        """The same without what only some methods' agents have; the agents of joint critics."""
        return replace(self, head="shared")


class _GroupState(nn.Module):
    """GoMARL's group states [.. G] of memories [.. H], which learn nothing from them."""

    options: AgentOptions

    @nn.compact
    def __call__(self, memory: jax.Array) -> jax.Array:
        width, scheme = self.options.group_width, self.options.initialiser
        hidden = nn.relu(initialisers.linear(width, memory.shape[-1], scheme, "first")(jax.lax.stop_gradient(memory)))
        return jnp.tanh(initialisers.linear(width, width, scheme, "second")(hidden))


class _Network(nn.Module):
    """The parameters and the maths: inputs [T R I], memory [H R] -> utilities [T R A], memory of all slots [T R H].

    Rows R are batch x agents, agents fastest.
    """

    options: AgentOptions
    n_agents: int
    n_actions: int
    headless: bool

    @nn.compact
    def __call__(self, inputs: jax.Array, hidden: jax.Array, keeps: jax.Array) -> tuple[jax.Array, jax.Array]:
        width, scheme = self.options.hidden_size, self.options.initialiser
        if self.options.network == "gru":
            both = gru.unroll(self._gru_params(width, inputs.shape[-1]), hidden, inputs, keeps)
            utilities, hiddens = (jnp.swapaxes(x, -1, -2) for x in both)
        else:
            features = nn.relu(initialisers.linear(width, inputs.shape[-1], scheme, "encoder")(inputs))
            hiddens = nn.relu(initialisers.linear(width, width, scheme, "body")(features))
            utilities = jnp.zeros((*hiddens.shape[:-1], 0))
            if self.options.head == "shared" and not self.headless:
                utilities = initialisers.linear(self.n_actions, width, scheme, "utilities")(hiddens)
        if self.options.head == "individual":
            utilities = self._individual(hiddens)
        elif self.options.head == "group_state":
            utilities = self._of_group_states(hiddens)
        return utilities, hiddens

    def _gru_params(self, width: int, fan_in: int) -> gru.GRUParams:
        encoder_kernel, encoder_bias = self._rules(fan_in)
        kernel, bias = self._rules(width)
        encoder_and_cell = {
            "encoder_kernel": self.param("encoder_kernel", encoder_kernel, (width, fan_in)),
            "encoder_bias": self.param("encoder_bias", encoder_bias, (width,)),
            "input_kernel": self.param("input_kernel", kernel, (3, width, width)),
            "input_bias": self.param("input_bias", bias, (3, width)),
            "recurrent_kernel": self.param("recurrent_kernel", kernel, (3, width, width)),
            "recurrent_bias": self.param("recurrent_bias", bias, (width,)),
        }
        if self.options.head == "shared" and not self.headless:
            return gru.GRUParams(**encoder_and_cell, **self._head())
        # The others come after the loop; a head of no outputs costs nothing inside it.
        return gru.GRUParams(**encoder_and_cell, head_kernel=jnp.zeros((0, width)), head_bias=jnp.zeros(0))

    def _rules(self, fan_in: int) -> tuple[Any, Any]:
        """Initialisers of kernels and of biases."""
        if self.options.initialiser == "orthogonal":
            return initialisers.orthogonal, nn.initializers.zeros
        return initialisers.bounded(fan_in), initialisers.bounded(fan_in)

    def _head(self) -> dict[str, jax.Array]:
        width = self.options.hidden_size
        kernel, bias = self._rules(width)
        return {
            "head_kernel": self.param("head_kernel", kernel, (self.n_actions, width)),
            "head_bias": self.param("head_bias", bias, (self.n_actions,)),
        }

    def _individual(self, hiddens: jax.Array) -> jax.Array:
        """[T R H] -> [T R A]; the shared head and an agent's own are one product, of the sum of their weights."""
        shared, width = self._head(), hiddens.shape[-1]
        kernel, bias = self._rules(width)
        kernels = shared["head_kernel"] + self.param("own_kernel", kernel, (self.n_agents, self.n_actions, width))
        biases = shared["head_bias"] + self.param("own_bias", bias, (self.n_agents, self.n_actions))
        utilities = jnp.einsum("rnh,nah->rna", hiddens.reshape(-1, self.n_agents, width), kernels) + biases
        return utilities.reshape(*hiddens.shape[:-1], self.n_actions)

    def _of_group_states(self, hiddens: jax.Array) -> jax.Array:
        """[T R H] -> [T R A]. The bilinear form is contracted with h first: a row of weights H A each is never made."""
        group = jax.lax.stop_gradient(_GroupState(self.options, name="group")(hiddens))
        width, of_group = hiddens.shape[-1], group.shape[-1]
        kernel, bias = self._rules(of_group)
        weights_kernel = self.param("head_weights_kernel", kernel, (of_group, width * self.n_actions))
        weights_bias = self.param("head_weights_bias", bias, (width * self.n_actions,))
        bias_kernel = self.param("head_bias_kernel", kernel, (of_group, self.n_actions))
        bias_bias = self.param("head_bias_bias", bias, (self.n_actions,))
        weights = jnp.concatenate([weights_kernel, weights_bias[None]]).reshape(of_group + 1, width, self.n_actions)
        read = hiddens @ jnp.swapaxes(weights, 0, 1).reshape(width, -1)
        read = read.reshape(*group.shape[:-1], of_group + 1, self.n_actions)
        return (group[..., None] * read[..., :-1, :]).sum(-2) + read[..., -1, :] + group @ bias_kernel + bias_bias


@dataclass(frozen=True)
class Agent:
    """The shared agent of a team of N agents with A actions each and O observation features."""

    n_agents: int
    n_actions: int
    observation_size: int
    options: AgentOptions = AgentOptions()
    headless: bool = False  # of head "shared": memory alone, for methods with last layers of their own

    @property
    def _network(self) -> _Network:
        return _Network(self.options, self.n_agents, self.n_actions, self.headless)

    @property
    def input_size(self) -> int:
        """O, plus A with the last action, plus N with the agent id."""
        extras = self.n_actions * self.options.last_action + self.n_agents * self.options.agent_id
        return self.observation_size + extras

    def init(self, key: chex.PRNGKey) -> Params:
        """Parameters."""
        rows = self.n_agents
        inputs = jnp.zeros((1, rows, self.input_size))
        return self._network.init(key, inputs, self.initial_memory(1), jnp.ones((1, rows)))

    def initial_memory(self, batch: int) -> jax.Array:
        """Memory before any slot, float [H R] with rows R = B N, agents fastest, as the GRU has it."""
        return jnp.zeros((self.options.hidden_size, batch * self.n_agents))

    def last_memory(self, memories: jax.Array) -> jax.Array:
        """The memory [H R] to go on from, of that after each slot [T B N H]; XLA cancels the transposition."""
        return memories[-1].reshape(-1, self.options.hidden_size).T

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
        if self.options.head != "group_state":
            return None
        states: Any = _GroupState(self.options).apply({"params": params["params"]["group"]}, memory)
        return states

    def unroll(self, params: Params, memory: jax.Array, view: View) -> tuple[jax.Array, jax.Array]:
        """Utilities of all actions over T slots.

        Args:
            memory: float [H R], before the first slot.
            view: leading axes [T B]; memory is cleared where `view.starts`.

        Returns:
            utilities float [T B N A] (without a head [T B N 0]), memory after each slot [T B N H].
        """
        slots, batch = view.starts.shape
        rows = batch * self.n_agents
        inputs = self.inputs(view).reshape(slots, rows, self.input_size)
        # 1 - starts for every row, as an exact product over [goes on, starts]. XLA stores products; repetitions
        # (and products over one term) it computes inside the cell's loops, which are then not vectorised on CPU.
        either = jnp.stack([1.0 - view.starts, view.starts], axis=-1).reshape(-1, 2)
        keeps = either @ jnp.eye(2, 1).repeat(self.n_agents, axis=1)
        unrolled: Any = self._network.apply(params, inputs, memory, keeps.reshape(slots, rows))
        utilities, hiddens = (x.reshape(slots, batch, self.n_agents, x.shape[-1]) for x in unrolled)
        return utilities, hiddens


def take(utilities: jax.Array, actions: jax.Array) -> jax.Array:
    """Utilities of given actions: [.. A], int [..] -> [..]. A one-hot sum: on CPU its gradient beats a scatter."""
    return (utilities * jax.nn.one_hot(actions, utilities.shape[-1])).sum(-1)
