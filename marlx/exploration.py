"""Behaviour policies over available actions, and the schedule of epsilon.

Epsilon-greedy samplers draw one uniform number for each decision, which is all the randomness they need. The same
policies as `distrax` distributions are in `policy`, for probabilities, entropies and tests.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import chex
import jax
import jax.numpy as jnp

if TYPE_CHECKING:
    import distrax

    from marlx.settings import Training

Explorer = Callable[[chex.PRNGKey, jax.Array, jax.Array, jax.Array], jax.Array]


def linear_schedule(
    start: jax.Array | float, end: jax.Array | float, steps: jax.Array | float, now: jax.Array | float
) -> jax.Array:
    """From `start` at 0 to `end` at `steps`, then flat. With 0 steps it is `end` at once."""
    fraction = jnp.where(jnp.asarray(steps) > 0, jnp.clip(now / jnp.maximum(steps, 1e-9), 0, 1), 1)
    return start + (end - start) * fraction


def epsilon_at(training: "Training", env_steps: jax.Array | float) -> jax.Array:
    """Epsilon of the data that a seed collects after so many environment steps."""
    return linear_schedule(training.epsilon_start, training.epsilon_end, training.epsilon_steps, env_steps)


def greedy(utilities: jax.Array, available: jax.Array) -> jax.Array:
    """First best available action: utilities [.. A], available bool [.. A] -> int32 [..]."""
    return jnp.argmax(jnp.where(available, utilities, -jnp.inf), axis=-1).astype(jnp.int32)


def uniform_available(uniform: jax.Array, available: jax.Array) -> jax.Array:
    """An available action from a number in [0, 1): uniform [..], available [.. A] -> int32 [..]."""
    count = available.sum(-1)
    rank = jnp.minimum((uniform * count).astype(jnp.int32), count - 1)
    return jnp.argmax(jnp.cumsum(available, -1) > rank[..., None], axis=-1).astype(jnp.int32)


def _explore_below(epsilon: jax.Array, uniform: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Whether to explore, and a fresh uniform number given that: u < eps, and then u / eps is uniform again,
    in steps of 2^-23 / eps.
    """
    return uniform < epsilon, uniform / jnp.maximum(epsilon, 1e-9)


def decentralised(key: chex.PRNGKey, utilities: jax.Array, available: jax.Array, epsilon: jax.Array) -> jax.Array:
    """Each agent by itself: with probability epsilon uniform over its available actions, else greedy (MRVF eq. 2).

    Args:
        utilities: float [.. N A]; available: bool [.. N A]; epsilon: scalar.

    Returns:
        Actions, int32 [.. N].
    """
    explores, fresh = _explore_below(epsilon, jax.random.uniform(key, utilities.shape[:-1]))
    return jnp.where(explores, uniform_available(fresh, available), greedy(utilities, available))


def centralised(key: chex.PRNGKey, utilities: jax.Array, available: jax.Array, epsilon: jax.Array) -> jax.Array:
    """One draw for the team: with probability epsilon every agent is uniform, else all are greedy (MRVF eq. 8).

    Shapes as in `decentralised`. The greedy joint action has probability 1 - epsilon + epsilon / |U|.
    """
    team_key, agent_key = jax.random.split(key)
    explores = jax.random.uniform(team_key, utilities.shape[:-2]) < epsilon
    uniform = jax.random.uniform(agent_key, utilities.shape[:-1])
    return jnp.where(explores[..., None], uniform_available(uniform, available), greedy(utilities, available))


def softmax(key: chex.PRNGKey, utilities: jax.Array, available: jax.Array, epsilon: jax.Array) -> jax.Array:
    """Each agent by itself: u_i with probability in proportion to exp(Q_i(u_i) / epsilon), epsilon = 0 being greedy.

    Shapes as in `decentralised`. [CHOICE] The value of epsilon's schedule is the temperature, in units of utilities.
    """
    return greedy(utilities + epsilon * jax.random.gumbel(key, utilities.shape), available)  # the Gumbel-max trick


EXPLORERS: dict[str, Explorer] = {"decentralised": decentralised, "centralised": centralised, "softmax": softmax}


def policy(
    utilities: jax.Array, available: jax.Array, epsilon: jax.Array | float, explorer: str = "decentralised"
) -> "distrax.Categorical":
    """Each agent's marginal policy under one of `EXPLORERS`, as a distribution over A actions.

    Under epsilon-greedy it is the same for both forms.
    """
    import distrax  # heavy, and only probabilities need it

    best = jax.nn.one_hot(greedy(utilities, available), utilities.shape[-1])
    if explorer == "softmax":
        scaled = jnp.where(available, utilities, -jnp.inf) / jnp.maximum(epsilon, 1e-9)
        return distrax.Categorical(probs=jnp.where(jnp.asarray(epsilon) > 0, jax.nn.softmax(scaled), best))
    uniform = available / available.sum(-1, keepdims=True)
    return distrax.Categorical(probs=epsilon * uniform + (1 - epsilon) * best)
