"""The joint value of MRVF: Q_jt(tau, u) from features of each agent and its action, without a constraint.

    f_i = relu(F(h_i)[u_i]);    Q_jt = w relu(W (f_1 || .. || f_N) + b + net(s)) + c

A pass reads memory and state once for any number of joint actions. The widths of f_i and the layers of the state are
the paper's (appendix E); its Figure 10, which wires them, is missing, and so the rest is chosen here.
"""

from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from marlx_envs.options import choice, flag, size

from marlx.critics.base import OfMemories
from marlx.initialisers import linear

EMBEDDINGS = ("features", "index")


@dataclass(frozen=True)
class FeatureValue(OfMemories):
    """Q_jt of N agents with memories h_i of its own (not those that choose actions).

    [CHOICE] "features": f_i is a row of an affine layer H -> A F of the memory, picked by the action. "index": a layer
    of h_i || onehot(u_i), which is less work but learns later to tell joint actions apart: of 8 seeds in MRVF's table,
    2 still ended at (C,C) after 60,000 steps, and none after 30,000 with features.
    """

    critic_embedding: str = choice(
        "features", "how the joint value sees an action: features of the memory that it picks, or its index", EMBEDDINGS
    )
    value_width: int = size(128, "width of the joint value's layer over all agents", high=4096)
    feature_width: int = size(64, "features F of each agent and its action in the joint value", high=4096)
    critic_monotone: bool = flag(
        False, "make the joint value monotone in the features of agents and actions, as a mixer is in utilities"
    )
    critic_sees_state: bool = flag(True, "give the joint value the state; the paper does not in two easy SMAC maps")
    critic_state_width: int = size(64, "width of the three layers of the state in the joint value", high=4096)

    @property
    def _network(self) -> "_Network":
        return _Network(self)


def _absolute(x: jax.Array, kernel: jax.Array, *how: Any, **more: Any) -> jax.Array:
    """The product of a layer, with the absolute values of its weights."""
    return jax.lax.dot_general(x, jnp.abs(kernel), *how, **more)


class _Network(nn.Module):
    """Memory [R N H], state [R D], joint actions [R N] .. -> [R] for each."""

    options: FeatureValue

    @nn.compact
    def __call__(self, memory: jax.Array, state: jax.Array, *actions: jax.Array) -> list[jax.Array]:
        o = self.options
        fan_in = o.n_agents * o.feature_width + o.critic_state_width * o.critic_sees_state
        product = _absolute if o.critic_monotone else None
        first = linear(o.value_width, fan_in, name="first", product=product)
        out = linear(1, o.value_width, name="out", product=product)
        of_state = self._of_state(state, fan_in) if o.critic_sees_state else 0.0
        features = self._features(memory)
        return [out(nn.relu(first(features(u).reshape(len(u), -1)) + of_state))[:, 0] for u in actions]

    def _of_state(self, state: jax.Array, fan_in: int) -> jax.Array:
        """[R D] -> [R value_width]: two layers, and the state's share of the third, which is the agents' first."""
        width = self.options.critic_state_width
        hidden = nn.relu(linear(width, state.shape[-1], name="state_1")(state))
        hidden = nn.relu(linear(width, width, name="state_2")(hidden))
        return linear(self.options.value_width, fan_in, name="state_3", bias=False)(hidden)

    def _features(self, memory: jax.Array) -> Any:
        """A function of joint actions [R N] -> f [R N F]."""
        o, (rows, n, h) = self.options, memory.shape
        flat = memory.reshape(rows * n, h)
        if o.critic_embedding == "index":
            fan_in = h + o.n_actions
            remembered = linear(o.feature_width, fan_in, name="memory")(flat)
            row = linear(o.feature_width, fan_in, name="action", bias=False)
            return lambda u: nn.relu(remembered + row(jax.nn.one_hot(u.reshape(-1), o.n_actions)))
        table = linear(o.n_actions * o.feature_width, h, name="table")(flat).reshape(rows, n, o.n_actions, -1)
        return lambda u: nn.relu((table * jax.nn.one_hot(u, o.n_actions)[..., None]).sum(-2))
