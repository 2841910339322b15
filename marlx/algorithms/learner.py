"""What lies beneath any loss: agents over slots, acting by them, the gradient step, the target's sync, returns."""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from marlx import exploration
from marlx.agents import Agent
from marlx.intrinsic.base import Intrinsic
from marlx.losses import optimisers, over_devices, stepped, where_tree
from marlx.settings import Training
from marlx.types import Batch, Metrics, Params, Progress, View


class LearnerState(NamedTuple):
    """Everything a learner remembers."""

    params: Params  # by part: {"agent", "mixer"}, and what else a method has
    target: Params  # the copy that targets are computed with
    optimiser: Any
    synced_at: jax.Array  # episodes (or updates) at the last hard copy
    intrinsic: Any = ()  # what the intrinsic reward remembers
    weighting: Any = ()  # what the weighting learns
    variables: Any = ()  # what the mixer remembers


class Played(NamedTuple):
    """A pass of the agents over slots; leading axes [T+1 B]."""

    utilities: jax.Array  # [.. N A]
    memories: jax.Array  # [.. N H]
    group_state: jax.Array | None  # [.. N G], of agents that have them
    view: View


def play(agent: Agent, params: Params, view: View) -> Played:
    """The agents over all slots of a view [T B], from a cleared memory."""
    utilities, memories = agent.unroll(params, agent.initial_memory(view.starts.shape[1]), view)
    return Played(utilities, memories, agent.group_state(params, memories), view)


def act(
    agent: Agent,
    explorer: str,
    params: Params,
    memory: jax.Array,
    view: View,
    key: chex.PRNGKey,
    epsilon: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """One slot of exploring agents: memory [H R], view [E] -> memory, actions int32 [E N]."""
    utilities, memories = agent.unroll(params, memory, jax.tree.map(lambda x: x[None], view))
    return agent.last_memory(memories), exploration.EXPLORERS[explorer](key, utilities[0], view.available, epsilon)


def begin(params: Params, training: Training, intrinsic: Intrinsic | None, key: chex.PRNGKey) -> LearnerState:
    """A learner before its first update; the target starts as a copy. `key` is the intrinsic reward's."""
    remembered = intrinsic.init(key) if intrinsic else ()
    return LearnerState(params, params, optimisers(training).init(params), jnp.float32(0), remembered)


def rewarded(
    intrinsic: Intrinsic | None, state: LearnerState, batch: Batch, progress: Progress
) -> tuple[LearnerState, Batch, Metrics]:
    """The state and the batch with the rewards that a method learns from, and metrics of an intrinsic one."""
    if intrinsic is None:
        return state, batch, {}
    remembered, batch, metrics = intrinsic.reward(state.intrinsic, batch, progress)
    return state._replace(intrinsic=remembered), batch, metrics


def descend(
    loss: Callable[[Params], tuple[jax.Array, Any]], state: LearnerState, training: Training, axis: str | None
) -> tuple[LearnerState, Any]:
    """One gradient step on `state.params`.

    Args:
        loss: parameters -> this device's share of the loss, (its shares of metrics, anything else ..).

    Returns:
        The state with new parameters and optimiser; what the loss gave beside its value, metrics summed over devices.
    """
    shares, (metrics, *others) = jax.grad(loss, has_aux=True)(state.params)
    params, optimiser = stepped(optimisers(training), shares, state.optimiser, state.params, axis)
    return state._replace(params=params, optimiser=optimiser), (over_devices(metrics, axis), *others)


def sync(
    state: LearnerState, training: Training, progress: Progress, at_once: jax.Array | bool = False
) -> LearnerState:
    """The state with the target a copy of the parameters if that is due, or `at_once`."""
    now = progress.episodes if training.target_update_unit == "episodes" else progress.updates + 1
    due = (now - state.synced_at >= training.target_update_interval) | at_once
    target = where_tree(due, state.params, state.target)
    return state._replace(target=target, synced_at=jnp.where(due, now, state.synced_at))


def returns(
    function: Callable[..., jax.Array], batch: Batch, *values: jax.Array, **numbers: jax.Array | float
) -> jax.Array:
    """A function of `marlx.targets` over the rows of a batch and G values of each slot.

    Args:
        values: bootstrap values [T+1 B G], and what else the function takes between `terminated` and `valid`.
        numbers: its gamma and lambda_.

    Returns:
        Targets [T B G].
    """

    def trajectory(*arrays: jax.Array) -> jax.Array:
        return function(*arrays, **numbers)

    one = jax.vmap(trajectory, (None, None, *(1,) * len(values), None), 1)  # over G
    every = jax.vmap(one, (1, 1, *(1,) * len(values), 1), 1)  # over B
    return every(batch.rewards, batch.terminated, *values, batch.valid)
