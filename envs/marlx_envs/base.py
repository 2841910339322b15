"""The protocol of every environment: pure functions on arrays of fixed shape, one team, no dict of agents.

Axis letters: N agents, A actions of one agent, O observation features, D features of the global state.
An environment object holds static sizes and the defaults of its numeric options; whatever may vary between
seeds of one compiled program is in `params`, the last argument of every function.
"""

import abc
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import chex
import jax
import jax.numpy as jnp

from marlx_envs.options import UsageError, numbers_of, shown

Params = dict[str, jax.Array]
State = Any  # a pytree of arrays; each environment has its own
Step = tuple[State, jax.Array, jax.Array, jax.Array, dict[str, jax.Array]]


@dataclass(frozen=True)
class Spec:
    """Static sizes and facts of an environment. Raises `UsageError` for a size that is no whole number above 0."""

    n_agents: int
    n_actions: int
    observation_size: int
    state_size: int
    episode_limit: int  # environment steps
    limit_is_terminal: bool  # True: the last step is `terminated`; False: it is `truncated` and bootstraps
    return_max: float | None  # best undiscounted return of an episode with the default params, where known
    return_min: float | None = None
    uniform_actions: bool = False  # True: all agents always have the same actions available; False: they may differ
    optimum_known: bool = False  # `is_optimal` tells
    can_be_won: bool = False  # `info["won"]` at an episode's last step tells whether the team has won
    metrics: tuple[str, ...] = ()  # keys of `info` worth a mean over episodes (its value at the last step)

    def __post_init__(self) -> None:
        """Here and not in `check`: an experiment reckons with the sizes before it plays."""
        for size in ("n_agents", "n_actions", "observation_size", "state_size", "episode_limit"):
            value = getattr(self, size)
            if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < 1:
                raise UsageError(f"the Spec's {size} must be a whole number of at least 1, not {shown(value)}")

    @property
    def bootstraps(self) -> bool:
        """Whether anything is ever bootstrapped from: not where an episode is one step that terminates."""
        return self.episode_limit > 1 or not self.limit_is_terminal


class Environment(abc.ABC):
    """One team in one environment. Subclasses are frozen dataclasses of options (`marlx_envs.options`)."""

    @classmethod
    def self_contained(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """Options that no longer lean on files: what a run records of them is enough to make the environment again."""
        return dict(options)

    @classmethod
    def named_values(cls) -> dict[str, tuple[str, ...]]:
        """Names that an option of kind `data` understands, for listings."""
        return {}

    @property
    @abc.abstractmethod
    def spec(self) -> Spec:
        """Static sizes."""

    @property
    def params(self) -> Params:
        """Default values of the traced options, float32 scalars unless a subclass adds arrays."""
        return {name: jnp.float32(value) for name, value in numbers_of(self).items()}

    @abc.abstractmethod
    def reset(self, key: chex.PRNGKey, params: Params | None = None) -> State:
        """The first state of an episode."""

    @abc.abstractmethod
    def step(self, key: chex.PRNGKey, state: State, actions: jax.Array, params: Params | None = None) -> Step:
        """One step without automatic reset.

        Args:
            actions: int32 [N]; an unavailable action is harmless.

        Returns:
            state, reward float32 [], terminated bool [], truncated bool [] (never both), info of scalars.
        """

    @abc.abstractmethod
    def observe(self, state: State, params: Params | None = None) -> jax.Array:
        """Observations, float32 [N O]."""

    @abc.abstractmethod
    def global_state(self, state: State, params: Params | None = None) -> jax.Array:
        """Global state, float32 [D]."""

    @abc.abstractmethod
    def available_actions(self, state: State, params: Params | None = None) -> jax.Array:
        """Which actions are available, bool [N A]; at least one for every agent in every reachable state."""

    def is_optimal(self, state: State, actions: jax.Array, params: Params | None = None) -> jax.Array:
        """Whether a joint action, int32 [N], is a best one, bool []; only where `spec.optimum_known`."""
        raise NotImplementedError(f"{type(self).__name__} does not know its optimum")

    def pack(self, state: State) -> Any:
        """The state in the smallest form from which observations, global state and masks can be recomputed."""
        return state

    def unpack(self, packed: Any) -> State:
        """A state that `observe`, `global_state` and `available_actions` accept, from its packed form."""
        return packed
