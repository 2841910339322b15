"""What every mixer is: Q_tot = f(s, Q_1..Q_N), parameters apart from the functions, any leading axes.

A mixer is a frozen dataclass of options made with the sizes of a team, so that it can be used alone:
`mixer = QMIX(n_agents=2, state_size=4); params = mixer.init(key); mixer.apply(params, utilities, state)`.
"""

import abc
from dataclasses import dataclass
from typing import NamedTuple

import chex
import jax

from marlx.types import Params


class Context(NamedTuple):
    """What some mixers need beside the utilities taken and the state; the leading axes are theirs."""

    greedy_utilities: jax.Array  # [.. N], max over available actions
    actions: jax.Array  # int32 [.. N]
    memory: jax.Array  # [.. N H], the agents' hidden states
    observation: jax.Array  # [.. N O]


@dataclass(frozen=True)
class Mixer(abc.ABC):
    """A mixer for N agents and D global-state features."""

    n_agents: int
    state_size: int

    @abc.abstractmethod
    def init(self, key: chex.PRNGKey) -> Params:
        """Parameters (an empty dict where there are none)."""

    @abc.abstractmethod
    def apply(
        self, params: Params, utilities: jax.Array, state: jax.Array, context: Context | None = None
    ) -> jax.Array:
        """Joint values: utilities [.. N], state [.. D] -> [..]."""
