"""The joint values of QTRAN (Son et al. 2019): Q_jt(s, u), its counterfactual form F_i of QTRAN-alt, and V(s).

Both see what the agents remember, h_i, and what they do. A pass reads h and s once for any number of joint actions:
the first layer of h_i || onehot(u_i) is a product with h_i plus the row of a table that u_i picks.
"""

import abc
from dataclasses import dataclass
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
from marlx_envs.options import choice, size

from marlx.agents import take
from marlx.critics.base import OfMemories
from marlx.initialisers import linear
from marlx.types import Params

ARCHITECTURES = ("encoder", "concatenated_actions")


@dataclass(frozen=True)
class StateValue:
    """V(s), for what utilities cannot know of the state (QTRAN eq. 5)."""

    state_size: int
    width: int
    layers: int

    def init(self, key: chex.PRNGKey) -> Params:
        """Parameters."""
        return self._network.init(key, jnp.zeros((1, self.state_size)))

    def apply(self, params: Params, state: jax.Array) -> jax.Array:
        """V [..] from state [.. D]."""
        values: Any = self._network.apply(params, state.reshape(-1, self.state_size))
        return values.reshape(state.shape[:-1])

    @property
    def _network(self) -> nn.Module:
        return _StateValue(self.width, self.layers)


@dataclass(frozen=True)
class JointNet(OfMemories):
    """A joint value as G estimates of Q_jt(s, u), one or one from each agent's point of view, from tables [.. K]."""

    joint_width: int = size(64, "width of the hidden layers of the joint value and of V", high=4096)
    joint_layers: int = size(2, "hidden layers of the joint value and of V; 3 is pymarl's big network", high=8)

    @staticmethod
    @abc.abstractmethod
    def taken(table: jax.Array, actions: jax.Array) -> jax.Array:
        """Q_jt(s, u) [.. G] from the table of u and u itself [.. N]."""


@dataclass(frozen=True)
class JointValue(JointNet):
    """Q_jt(s, u) = MLP(s || sum_i g(h_i || onehot(u_i))), or MLP(s || onehot(u_1) || .. || onehot(u_N)); G = 1.

    g is two affine layers of width H + A with a relu between. Source: the networks of pymarl's QTRAN-base.
    """

    joint_arch: str = choice(
        "encoder", "what the joint value sees: encoded memories and actions, or actions alone", ARCHITECTURES
    )

    @property
    def _network(self) -> nn.Module:
        sizes = (self.n_actions, self.joint_width, self.joint_layers)
        return _JointValue(*sizes) if self.joint_arch == "encoder" else _JointValueOfActions(*sizes)

    @staticmethod
    def taken(table: jax.Array, actions: jax.Array) -> jax.Array:
        """The table itself, [.. 1]."""
        return table


@dataclass(frozen=True)
class Counterfactual(JointNet):
    """F_i(s, u_-i, .) = MLP(s || k2(h_i) + 1/N sum_(j != i) k1(h_j || onehot(u_j))); G = N, tables [.. N A].

    F_i(a) stands for Q_jt with agent i switched to a. Source: the authors' QTRAN-alt (QTRAN section 4.2); it is not
    written there, and so chosen here, that k1 and k2 are two layers wide H + A, as in base, and that F_i sees s.
    """

    @property
    def _network(self) -> nn.Module:
        return _Counterfactual(self.n_actions, self.joint_width, self.joint_layers)

    @staticmethod
    def taken(table: jax.Array, actions: jax.Array) -> jax.Array:
        """F_i(u_i) [.. N]."""
        return take(table, actions)


class _Head(nn.Module):
    """What follows a first layer: pre-activations [R W] -> [R out]."""

    layers: int
    out: int

    @nn.compact
    def __call__(self, hidden: jax.Array) -> jax.Array:
        width = hidden.shape[-1]
        for _ in range(self.layers - 1):
            hidden = linear(width, width)(nn.relu(hidden))
        return linear(self.out, width)(nn.relu(hidden))


class _StateValue(nn.Module):
    """State [R D] -> [R 1]."""

    width: int
    layers: int

    @nn.compact
    def __call__(self, state: jax.Array) -> jax.Array:
        return _Head(self.layers, 1)(linear(self.width, state.shape[-1])(state))


class _Encoder(nn.Module):
    """The first layer of g(h_i || onehot(u_i)): memory [R N H], joint actions [R N] .. -> relu [R N H+A] for each."""

    n_actions: int

    @nn.compact
    def __call__(self, memory: jax.Array, actions: tuple[jax.Array, ...]) -> list[jax.Array]:
        rows, n, h = memory.shape
        width = h + self.n_actions
        remembered = linear(width, width, name="memory")(memory.reshape(rows * n, h))
        row = linear(width, width, name="action", bias=False)
        picked = (row(jax.nn.one_hot(u.reshape(-1), self.n_actions)) for u in actions)
        return [nn.relu(remembered + x).reshape(rows, n, width) for x in picked]


class _JointValue(nn.Module):
    """The joint value of pymarl: memory [R N H], state [R D], joint actions [R N] .. -> [R 1] for each."""

    n_actions: int
    width: int
    layers: int

    @nn.compact
    def __call__(self, memory: jax.Array, state: jax.Array, *actions: jax.Array) -> list[jax.Array]:
        n, encoded = memory.shape[1], memory.shape[-1] + self.n_actions
        fan_in = state.shape[-1] + encoded
        of_state = linear(self.width, fan_in, name="state")(state)
        second, first = linear(encoded, encoded, name="encoder"), linear(self.width, fan_in, name="encoded", bias=False)
        head = _Head(self.layers, 1, name="head")
        each = _Encoder(self.n_actions, name="first")(memory, actions)
        # The second layer is affine: of the mean over agents it is the mean, at 1/N of the work.
        return [head(of_state + first(n * second(x.mean(1)))) for x in each]


class _JointValueOfActions(nn.Module):
    """The joint value of states and actions alone; arguments as for `_JointValue`."""

    n_actions: int
    width: int
    layers: int

    @nn.compact
    def __call__(self, memory: jax.Array, state: jax.Array, *actions: jax.Array) -> list[jax.Array]:
        fan_in = state.shape[-1] + memory.shape[1] * self.n_actions
        of_state = linear(self.width, fan_in, name="state")(state)
        first = linear(self.width, fan_in, name="actions", bias=False)
        head = _Head(self.layers, 1, name="head")
        return [head(of_state + first(jax.nn.one_hot(u, self.n_actions).reshape(len(u), -1))) for u in actions]


class _Counterfactual(nn.Module):
    """F_i: memory [R N H], state [R D], joint actions [R N] .. -> [R N A] for each."""

    n_actions: int
    width: int
    layers: int

    @nn.compact
    def __call__(self, memory: jax.Array, state: jax.Array, *actions: jax.Array) -> list[jax.Array]:
        rows, n, h = memory.shape
        encoded = h + self.n_actions
        fan_in = state.shape[-1] + encoded
        of_state = linear(self.width, fan_in, name="state")(state)[:, None]
        own = nn.relu(linear(encoded, h, name="own_first")(memory.reshape(rows * n, h)))
        own = linear(encoded, encoded, name="own")(own).reshape(rows, n, encoded)
        second, first = linear(encoded, encoded, name="encoder"), linear(self.width, fan_in, name="encoded", bias=False)
        head = _Head(self.layers, self.n_actions, name="head")

        def table(hidden: jax.Array) -> jax.Array:
            known = second(hidden.reshape(rows * n, encoded)).reshape(rows, n, encoded)
            seen = own + known.mean(1, keepdims=True) - known / n
            pre = of_state + first(seen.reshape(rows * n, encoded)).reshape(rows, n, self.width)
            return head(pre.reshape(rows * n, self.width)).reshape(rows, n, self.n_actions)

        return [table(x) for x in _Encoder(self.n_actions, name="first")(memory, actions)]
