"""What every weighting is: w(s, u) >= 0 for the squared error of the joint value, from evidence without gradient.

A weighting may learn something of its own first (POW's recognition network): `fit`, called once for each batch.
"""

import abc
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import chex
import jax

from marlx.types import UNIFORM, Metrics, Progress, Sampling


class Evidence(NamedTuple):
    """What is known of the steps of a batch; every array is detached, leading axes [T B] or any others."""

    joint_value: jax.Array  # [..], Q_tot(s, u)
    target: jax.Array  # [..], y
    actions: jax.Array  # int32 [.. N], u
    greedy: jax.Array  # int32 [.. N], the live greedy joint action
    utilities: jax.Array  # [.. N A], live
    available: jax.Array  # bool [.. N A]
    state: jax.Array  # [.. D]
    valid: jax.Array  # bool [..]
    progress: Progress
    slopes: jax.Array | None = None  # [.. N], dQ_tot/dq_i at the actions taken; if `needs_slopes`
    critic_value: jax.Array | None = None  # [..], the live joint critic at u; if `needs_critic`
    critic_target: jax.Array | None = None  # [..], the target's joint critic at u; if `needs_critic`
    critic_greedy: jax.Array | None = None  # [..], the same at the greedy action; if `needs_critic`
    optimal: jax.Array | None = None  # bool [..], u is a best joint action; in environments that know


@dataclass(frozen=True)
class Weighting(abc.ABC):
    """A rule for weights of N agents with A actions each and D global-state features.

    `axis` is the mesh axis of devices that share a batch (None: no sharing); statistics of a batch are taken over it.
    """

    n_agents: int
    n_actions: int
    state_size: int
    axis: str | None = None

    needs_critic: ClassVar[bool] = False
    needs_slopes: ClassVar[bool] = False
    needs_optimum: ClassVar[bool] = False

    def init(self, key: chex.PRNGKey) -> Any:
        """What the weighting learns and remembers, before any update."""
        return ()

    def fit(self, state: Any, evidence: Evidence) -> tuple[Any, Metrics]:
        """Learns from a batch, before its weights are asked for; metrics are this device's share of means."""
        return state, {}

    @abc.abstractmethod
    def weights(self, state: Any, evidence: Evidence) -> jax.Array:
        """Weights [..]."""

    def joint_values(self, state: Any, evidence: Evidence) -> dict[str, jax.Array]:
        """What the weighting believes of joint actions, by name, each [..]; for reports."""
        return {}

    def sampling(self, batch_size: int) -> Sampling:
        """How its batches are drawn."""
        return UNIFORM
