"""Any cooperative environment of jaxmarl 0.2.0 with discrete actions; jaxmarl is imported only when one is made.

jaxmarl's own `step` begins a new episode by itself and returns its first observation; this adapter steps with
`step_env`, so that last observations are kept, and counts the steps of an episode itself.
"""

import importlib
import io
import sys
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from typing import Any, NamedTuple
from unittest.mock import patch

import chex
import jax
import jax.numpy as jnp
import numpy as np

from marlx_envs.base import Environment, Params, Spec, Step
from marlx_envs.discovery import Entry
from marlx_envs.options import UsageError, choice, data, flag, shown, size, text, unknown

Entry(
    name="jaxmarl",
    summary="Any cooperative environment of jaxmarl with discrete actions",
    source="JaxMARL",
    factory="JaxMarl",
)

VERSION = "0.2.0"


def check_version() -> None:
    """Raises `UsageError` if jaxmarl is missing, or another version than the adapters are written for."""
    try:
        found = metadata.version("jaxmarl")
    except metadata.PackageNotFoundError:
        raise UsageError(f"jaxmarl is not installed: pip install '.[smax]' (jaxmarl=={VERSION})") from None
    if found != VERSION:
        raise UsageError(f"jaxmarl {found} is installed, but {VERSION} is needed: pip install jaxmarl=={VERSION}")


def load(module: str = "jaxmarl") -> Any:
    """A module of jaxmarl, without the lines it prints.

    Raises:
        UsageError: as `check_version` does, or something that jaxmarl needs cannot be imported.
    """
    check_version()
    quiet = io.StringIO()
    # Part of jaxmarl puts `sys.__stdout__` in place of whatever stdout and stderr were when it is imported.
    with redirect_stdout(quiet), redirect_stderr(quiet), patch.object(sys, "__stdout__", quiet):
        try:
            return importlib.import_module(module)
        except ImportError as error:
            raise UsageError(f"jaxmarl {VERSION} cannot be imported: {' '.join(str(error).split())[:200]}") from error


class JaxMarlState(NamedTuple):
    """In a packed one `inner` and `time` are None."""

    inner: Any  # jaxmarl's state
    observations: jax.Array  # float32 [N O]
    available: jax.Array  # bool [N A]
    world: jax.Array | None  # float32 [D], where jaxmarl has a global state
    time: Any  # int32 [], environment steps done


@dataclass(frozen=True)
class JaxMarl(Environment):
    """The environment `jaxmarl.make(name, **arguments)`.

    Agents that see or can do less than others have zeros and unavailable actions at the end. The global state is
    jaxmarl's where it has one, else the observations side by side.
    """

    name: str = text("MPE_simple_spread_v3", "in jaxmarl's registry")
    arguments: Any = data((), "keyword arguments of the environment, as {num_agents = 5}")
    reward: str = choice("mean", "of the agents' rewards: their mean or their sum", ("mean", "sum"))
    episode_limit: int = size(0, "environment steps; 0 takes the environment's own `max_steps`", low=0)
    limit_is_terminal: bool = flag(True, "the time limit terminates the episode instead of truncating it")

    @cached_property
    def inner(self) -> Any:
        """The environment of jaxmarl."""
        package = load()
        if self.name not in package.registered_envs:
            raise unknown("value of environment.name", self.name, package.registered_envs)
        arguments = self.arguments or {}
        if not isinstance(arguments, Mapping):
            raise UsageError(f"environment.arguments must be a table, not {shown(arguments)}")
        try:
            with jax.ensure_compile_time_eval():
                made = package.make(self.name, **arguments)
        except Exception as error:  # of whatever kind jaxmarl's constructors raise
            words = " ".join(str(error).split())
            raise UsageError(f"jaxmarl cannot make {self.name} with {shown(arguments)}: {words}") from None
        if not all(isinstance(agent, str) for agent in made.agents):
            raise UsageError(f"environment.name {self.name} has no agents with names")
        if not all(hasattr(made.action_space(agent), "n") for agent in made.agents):
            raise UsageError(f"environment.name {self.name} has actions that are not discrete")
        return made

    @cached_property
    def limit(self) -> int:
        """Environment steps of an episode."""
        limit = self.episode_limit or getattr(self.inner, "max_steps", 0)
        if not limit:
            raise UsageError(f"environment.episode_limit must be given: {self.name} has no limit of its own")
        return int(limit)

    @cached_property
    def n_actions(self) -> list[int]:
        """Actions of each agent."""
        return [int(self.inner.action_space(agent).n) for agent in self.inner.agents]

    @cached_property
    def spec(self) -> Spec:
        """Sizes, from the shapes of a first state."""
        counts = self.n_actions
        first = jax.eval_shape(self.reset, jax.random.key(0))
        return Spec(
            n_agents=len(counts),
            n_actions=max(counts),
            observation_size=first.observations.shape[1],
            state_size=first.observations.size if first.world is None else first.world.size,
            episode_limit=self.limit,
            limit_is_terminal=self.limit_is_terminal,
            return_max=None,
        )

    def reset(self, key: chex.PRNGKey, params: Params | None = None) -> JaxMarlState:
        """The first state of an episode."""
        observations, inner = self.inner.reset(key)
        return self._state(inner, observations, jnp.int32(0))

    def step(self, key: chex.PRNGKey, state: JaxMarlState, actions: jax.Array, params: Params | None = None) -> Step:
        """One step of `step_env`. An action that an agent does not have is its first."""
        exists = (actions >= 0) & (actions < np.array(self.n_actions))
        chosen = jnp.where(exists, actions, 0)
        by_agent = {agent: chosen[i] for i, agent in enumerate(self.inner.agents)}
        observations, inner, rewards, dones, _ = self.inner.step_env(key, state.inner, by_agent)
        inner = jax.tree.map(lambda new, old: jnp.asarray(new, jnp.result_type(old)), inner, state.inner)
        every = jnp.stack([jnp.asarray(rewards[agent], jnp.float32) for agent in self.inner.agents])
        after = self._state(inner, observations, state.time + 1)
        late, ended = after.time >= self.limit, jnp.asarray(dones["__all__"], bool).reshape(())
        # An environment that ends by its own clock ends at the limit, and cannot say that it was the clock.
        terminated = ended | late if self.limit_is_terminal else ended & ~late
        reward = every.mean() if self.reward == "mean" else every.sum()
        return after, reward, terminated, late & ~terminated, {}

    def _state(self, inner: Any, observations: Mapping[str, Any], time: jax.Array) -> JaxMarlState:
        agents = self.inner.agents
        rows = [jnp.asarray(observations[agent], jnp.float32).reshape(-1) for agent in agents]
        width = max(row.size for row in rows)
        world = observations.get("world_state")
        return JaxMarlState(
            inner=jax.tree.map(jnp.asarray, inner),
            observations=jnp.stack([jnp.pad(row, (0, width - row.size)) for row in rows]),
            available=self._available(inner),
            world=None if world is None else jnp.asarray(world, jnp.float32).reshape(-1),
            time=time,
        )

    def _available(self, inner: Any) -> jax.Array:
        exists = np.arange(max(self.n_actions)) < np.array(self.n_actions)[:, None]
        try:
            masks = self.inner.get_avail_actions(inner)
        except NotImplementedError:
            return jnp.asarray(exists)
        rows = [jnp.asarray(masks[agent], bool) for agent in self.inner.agents]
        found = jnp.stack([jnp.pad(row, (0, exists.shape[1] - row.size)) for row in rows])
        return found | (~found.any(-1, keepdims=True) & (np.arange(exists.shape[1]) == 0))

    def observe(self, state: JaxMarlState, params: Params | None = None) -> jax.Array:
        """Float32 [N O]."""
        return state.observations

    def global_state(self, state: JaxMarlState, params: Params | None = None) -> jax.Array:
        """Float32 [D]."""
        return state.observations.reshape(-1) if state.world is None else state.world

    def available_actions(self, state: JaxMarlState, params: Params | None = None) -> jax.Array:
        """Bool [N A]."""
        return state.available

    def pack(self, state: JaxMarlState) -> JaxMarlState:
        """What is seen: not every environment of jaxmarl can tell it from its state."""
        return state._replace(inner=None, time=None)
