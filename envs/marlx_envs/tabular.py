"""One engine for every deterministic tabular team game (payoff tensors, two-step and k-step games).

A game is a frozen dataclass of options that derives from `TabularEnvironment` and builds its `tables`. The payoffs are
traced (`params["rewards"]`), so each seed of one program may play another payoff; transitions are constants.
"""

import abc
import dataclasses
import math
from functools import cached_property
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from marlx_envs.base import Environment, Params, Spec, Step
from marlx_envs.solver import optimal_value
from marlx_envs.tables import Tables

SOLVABLE = 2e7  # steps * states * joint actions up to which `spec` solves the game (a fraction of a second)


class TabularState(NamedTuple):
    """Where an episode is, in the smallest unsigned dtypes that hold K states and the episode limit."""

    current: jax.Array  # [], the state's number
    time: jax.Array  # [], environment steps done


class TabularEnvironment(Environment):
    """Runs `tables`. Observations, masks and transitions are looked up, so a packed state is the state itself."""

    @property
    @abc.abstractmethod
    def tables(self) -> Tables:
        """The game. Subclasses build it once, as a `functools.cached_property`."""

    @cached_property
    def spec(self) -> Spec:
        """Static sizes; the bounds of the return are exact, or None where solving the game would take long."""
        tables = self.tables
        solvable = tables.episode_limit * tables.n_entries <= SOLVABLE
        return Spec(
            n_agents=tables.n_agents,
            n_actions=tables.n_actions,
            observation_size=tables.observations.shape[-1],
            state_size=tables.states.shape[-1],
            episode_limit=tables.episode_limit,
            limit_is_terminal=tables.limit_is_terminal,
            optimum_known=tables.episode_limit == 1,
            uniform_actions=tables.available is None or bool((tables.available == tables.available[:, :1]).all()),
            return_max=optimal_value(tables) if solvable else None,
            return_min=_worst_value(tables) if solvable else None,
        )

    @property
    def params(self) -> Params:
        """`rewards`: float32 [K A ... A], or [1 A ... A] if every state pays the same."""
        return {"rewards": jnp.asarray(self.tables.rewards)}

    def reset(self, key: chex.PRNGKey, params: Params | None = None) -> TabularState:
        """The start state; nothing is random."""
        index = np.asarray(self.tables.start, np.min_scalar_type(self.tables.n_states - 1))
        time = np.asarray(0, np.min_scalar_type(self.tables.episode_limit))
        return TabularState(jnp.asarray(index), jnp.asarray(time))

    def step(self, key: chex.PRNGKey, state: TabularState, actions: jax.Array, params: Params | None = None) -> Step:
        """Looks up reward, end and next state of a joint action, int32 [N]; out of range counts as the nearest."""
        rewards = (self.params if params is None else params)["rewards"]
        joint = jnp.clip(actions.astype(jnp.int32), 0, self.tables.n_actions - 1)
        index = state.current.astype(jnp.int32)
        ended = _look_up(jnp.asarray(self.tables.terminal), index, joint)
        successor = _look_up(jnp.asarray(self.tables.transitions), index, joint)
        # the time stays at the limit, so that a step after the end cannot wrap its small dtype
        time = jnp.minimum(state.time.astype(jnp.int32) + 1, self.tables.episode_limit)
        at_limit = time >= self.tables.episode_limit
        terminated = ended | at_limit if self.tables.limit_is_terminal else ended
        after = TabularState(successor.astype(state.current.dtype), time.astype(state.time.dtype))
        return after, _look_up(rewards, index, joint), terminated, at_limit & ~terminated, {}

    def observe(self, state: TabularState, params: Params | None = None) -> jax.Array:
        """Observations, float32 [N O]."""
        observations = jnp.asarray(self.tables.observations)[state.current]
        return jnp.broadcast_to(observations, (self.tables.n_agents, observations.shape[-1]))

    def global_state(self, state: TabularState, params: Params | None = None) -> jax.Array:
        """Global state, float32 [D]."""
        return jnp.asarray(self.tables.states)[state.current]

    def available_actions(self, state: TabularState, params: Params | None = None) -> jax.Array:
        """Which actions are available, bool [N A]."""
        if self.tables.available is None:
            return jnp.ones((self.tables.n_agents, self.tables.n_actions), bool)
        return jnp.asarray(self.tables.available)[state.current]

    def is_optimal(self, state: TabularState, actions: jax.Array, params: Params | None = None) -> jax.Array:
        """Whether no joint action of this state pays more, bool []; in one-step games only."""
        rewards = (self.params if params is None else params)["rewards"]
        index = state.current.astype(jnp.int32)
        every = rewards[jnp.minimum(index, rewards.shape[0] - 1)]
        return _look_up(rewards, index, jnp.clip(actions, 0, self.tables.n_actions - 1)) >= every.max()


def _look_up(table: jax.Array, index: jax.Array, actions: jax.Array) -> jax.Array:
    """The entry [] of a table [K A ... A] at a state [] and a joint action [N]: one gather from the flat table.

    An axis of size 1 has stride 0: its index makes no difference.
    """
    strides = [0 if size == 1 else math.prod(table.shape[axis + 1 :]) for axis, size in enumerate(table.shape)]
    offset = index * strides[0] + jnp.sum(actions * jnp.array(strides[1:], jnp.int32))
    return table.reshape(-1)[offset]


def _worst_value(tables: Tables) -> float:
    """The least return of an episode: the best one of the game with opposite rewards."""
    return 0.0 - optimal_value(dataclasses.replace(tables, rewards=-tables.rewards))
