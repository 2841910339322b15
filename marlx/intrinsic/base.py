"""What every intrinsic reward is: r_int(s, u, s') >= 0 of the steps of a batch, from what was learnt of earlier ones.

    r = r_ext + beta r_int,   beta linear in environment steps

It is computed when a batch is drawn, with what is known and the beta of that moment; replay holds r_ext alone. So an
old step is worth less the more often it has been learnt from, and a method needs to know nothing of it: it is handed
batches with other rewards.
"""

import abc
from dataclasses import dataclass
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
from marlx_envs.options import number

from marlx.exploration import linear_schedule
from marlx.losses import masked_mean, over_devices
from marlx.types import Batch, Metrics, Progress


class Steps(NamedTuple):
    """What an intrinsic reward may look at; leading axes [T B] or any others."""

    state: jax.Array  # [.. D], s
    actions: jax.Array  # int32 [.. N], u
    next_state: jax.Array  # [.. D], s' where `continues`; elsewhere anything
    valid: jax.Array  # bool [..]
    continues: jax.Array  # bool [..], valid and not terminated


@dataclass(frozen=True)
class Intrinsic(abc.ABC):
    """A rule for N agents and D global-state features.

    `axis` is the mesh axis of devices that share a batch (None: no sharing); whatever is learnt is learnt from all.
    """

    n_agents: int
    state_size: int
    axis: str | None = None

    intrinsic_start: float = number(0.5, "beta, the factor of the intrinsic reward, at first", low=0)
    intrinsic_end: float = number(0.05, "beta after intrinsic_steps", low=0)
    intrinsic_steps: float = number(100_000, "environment steps of the linear schedule of beta", low=0)

    @abc.abstractmethod
    def init(self, key: chex.PRNGKey) -> Any:
        """What it remembers, before any batch."""

    @abc.abstractmethod
    def fit(self, state: Any, steps: Steps) -> tuple[Any, jax.Array, Metrics]:
        """Learns from a batch.

        Returns:
            What it then remembers, the same on all devices; rewards [..] of these steps, 0 where not valid; metrics,
            this device's share of means.
        """

    def coefficient(self, progress: Progress) -> jax.Array:
        """Beta, a scalar; "Beyond Monotonicity" has 0.5 to 0.05 over 100,000 steps."""
        return linear_schedule(self.intrinsic_start, self.intrinsic_end, self.intrinsic_steps, progress.env_steps)

    def reward(self, state: Any, batch: Batch, progress: Progress) -> tuple[Any, Batch, Metrics]:
        """What it remembers after a batch, the batch with rewards r_ext + beta r_int, and metrics over all devices.

        As "Beyond Monotonicity" has it: the bonus joins the team's reward before targets are computed.
        """
        # Rolled round, since nothing looks at what follows a last step that has no slot after it: it terminates.
        seen, actions, after = batch.of_steps((batch.view.state, batch.actions, jnp.roll(batch.view.state, -1, axis=0)))
        steps = Steps(seen, actions, after, batch.valid, batch.valid & ~batch.terminated)
        state, rewards, metrics = self.fit(state, steps)
        metrics = over_devices({"intrinsic_reward": masked_mean(rewards, batch.valid, self.axis), **metrics}, self.axis)
        beta = self.coefficient(progress)
        rewarded = batch._replace(rewards=batch.rewards + beta * rewards)
        return state, rewarded, {**metrics, "intrinsic_coefficient": beta}
