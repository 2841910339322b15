"""What every mixer is: Q_tot = f(s, Q_1..Q_N), parameters apart from the functions, any leading axes.

A mixer is a frozen dataclass of options made with the sizes of a team, so that it can be used alone:
`mixer = QMIX(n_agents=2, state_size=4); params = mixer.init(key); mixer.apply(params, utilities, state)`.
Sizes that a mixer declares beside the two of `Mixer` are asked for too: n_actions by QPLEX, observation_size by Qatten
and NA2Q, memory_size by NA2Q and GoMARL, group_width by GoMARL. These four, and SHAQ, read a `Context` as well.
"""

import abc
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import chex
import jax
import jax.numpy as jnp
from marlx_envs.options import UsageError

from marlx.types import Metrics, Params, Progress


class Context(NamedTuple):
    """What some mixers need beside the utilities taken and the state; the leading axes are theirs.

    Nothing here is detached: a mixer stops what its method stops.
    """

    greedy_utilities: jax.Array  # [.. N], max over available actions
    actions: jax.Array  # int32 [.. N]
    memory: jax.Array  # [.. N H], the agents' hidden states
    observation: jax.Array  # [.. N O]
    group_state: jax.Array | None = None  # [.. N G], of agents with head "group_state"
    variables: Any = ()  # of the mixer, see `Mixer.variables`; no leading axes
    key: chex.PRNGKey | None = None  # for mixers that draw noise; without one they use means
    valid: jax.Array | None = None  # bool [..], slots that count in statistics of a batch; None: all of them


@dataclass(frozen=True)
class Mixer(abc.ABC):
    """A mixer for N agents and D global-state features."""

    n_agents: int
    state_size: int

    agent_head: ClassVar[str | None] = None  # the option `head` that its agents must have; None: any
    keeps_apart: ClassVar[bool] = False  # True: no joint value but one for each agent, [.. N]

    @property
    def is_monotone(self) -> bool:
        """Whether Q_tot never falls when a utility rises, so that greedy agents are jointly greedy (IGM)."""
        return True

    @abc.abstractmethod
    def init(self, key: chex.PRNGKey) -> Params:
        """Parameters (an empty dict where there are none)."""

    @abc.abstractmethod
    def apply(
        self, params: Params, utilities: jax.Array, state: jax.Array, context: Context | None = None
    ) -> jax.Array:
        """Joint values: utilities [.. N], state [.. D] -> [..]."""

    def bootstrap(
        self, params: Params, utilities: jax.Array, state: jax.Array, context: Context | None = None
    ) -> jax.Array:
        """Values [..] of greedy joint actions, which targets bootstrap from: those of `apply`, unless it has others.

        The actions are greedy for the live agents, and the utilities the target's, whose own greedy ones may be others.
        """
        return self.apply(params, utilities, state, context)

    def check_sizes(self, utilities: jax.Array, state: jax.Array | None = None) -> None:
        """Raises `UsageError` unless utilities are [.. N] and the state, where it is read, [.. D]."""
        for name, array, size in (("utilities", utilities, self.n_agents), ("state", state, self.state_size)):
            if array is not None and array.shape[-1:] != (size,):
                given = " ".join(map(str, array.shape))
                raise UsageError(f"{name} of this {type(self).__name__} must be [.. {size}], not [{given}]")

    def auxiliary(self, params: Params, context: Context, progress: Progress) -> tuple[jax.Array, Metrics]:
        """Losses [..] of the mixer's own, which the learner adds as a masked mean, and their parts for the record."""
        return jnp.zeros(context.actions.shape[:-1]), {}

    def constrain(self, params: Params) -> Params:
        """Parameters mapped into their range after a gradient step."""
        return params

    def variables(self) -> Any:
        """The first value of what a mixer remembers beside its parameters; the target has the same."""
        return ()

    def adapt(
        self, params: Params, context: Context, progress: Progress, key: chex.PRNGKey
    ) -> tuple[Params, Any, jax.Array]:
        """Parameters and `context.variables` after an update, and whether they changed (the target then follows)."""
        return params, context.variables, jnp.zeros((), bool)
