"""A joint critic: an agent network of its own whose values of the actions taken enter an unconstrained mixer.

As Q-hat* (WQMIX, Rashid et al. 2020, section 6.2.1) it bootstraps; as -|.| it is ResQ's residual Q_r <= 0 (Shen et al.
2022, section 4). It is trained together with what it serves, and has a target copy with it.
"""

from dataclasses import dataclass

import chex
import jax
import jax.numpy as jnp

from marlx.agents import Agent, take
from marlx.mixers.feed_forward import FeedForward
from marlx.types import Params, View


@dataclass(frozen=True)
class JointCritic:
    """Q(s, u) over trajectories. `use` runs its agents once; `at` then reads any joint actions."""

    agent: Agent
    mixer: FeedForward

    def init(self, key: chex.PRNGKey) -> Params:
        """Parameters {"agent", "mixer"}."""
        agent_key, mixer_key = jax.random.split(key)
        return {"agent": self.agent.init(agent_key), "mixer": self.mixer.init(mixer_key)}

    def use(self, params: Params, view: View) -> jax.Array:
        """Values of all single actions, [T B N A], from a cleared memory; view [T B]."""
        memory = self.agent.initial_memory(view.starts.shape[1])
        return self.agent.unroll(params["agent"], memory, view)[0]

    def at(self, params: Params, values: jax.Array, state: jax.Array, actions: jax.Array) -> jax.Array:
        """Joint values [..] of joint actions [.. N] in states [.. D], from values [.. N A]."""
        return self.mixer.apply(params["mixer"], take(values, actions), state)


def residual(raw: jax.Array) -> jax.Array:
    """ResQ's constrained residual Q_r = -|raw| <= 0, [..]."""
    return -jnp.abs(raw)


def beside_greedy(actions: jax.Array, greedy: jax.Array) -> jax.Array:
    """ResQ's mask w_r (MRVF eq. 4 and 25): 0 at the greedy joint action, else 1; int [.. N] both -> [..]."""
    return 1.0 - (actions == greedy).all(-1)
