"""Regret-minimising weights: ReMIX and QPro, one theorem of which the first adds a buffer of recent rows.

    E = 1[Q_tot <= y] (y - Q_tot) exp(Q-hat* - Q_tot) G d/mu,      w = E mapped to [w_low, w_high] over the batch
    (ReMIX, theorem 1, eq. 4; QPro, theorem 1)

with y the joint critic's target and G = sum_j (1 - pi_j(u_j)) / f'_j - 1. On-policiness d/mu is not estimated: rows
drawn from the latest ones stand for it. Each factor can be left out; the condition Q_tot <= y then stays.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from marlx_envs.discovery import Entry
from marlx_envs.options import choice, flag, needed, number, size

from marlx.agents import take
from marlx.losses import masked_mean
from marlx.types import UNIFORM, Metrics, Sampling
from marlx.weightings.base import Evidence, Weighting

Entry(name="remix", summary="by regret", source="paper ReMIX, theorem 1 and algorithm 1", factory="ReMIX")

_LOWEST = float(np.finfo(np.float32).min)


def gap(joint_value: jax.Array, target: jax.Array) -> jax.Array:
    """Value gap max(y - Q_tot, 0) (ReMIX eq. 4): underestimated steps count more the farther off they are; all [..]."""
    return jnp.maximum(target - joint_value, 0)


def exponential(critic_value: jax.Array, joint_value: jax.Array, limit: jax.Array | float = 5.0) -> jax.Array:
    """exp(Q-hat* - Q_tot), all [..] (ReMIX eq. 4).

    The exponent is clipped to +-limit; the paper does not say how it stays finite.
    """
    return jnp.exp(jnp.clip(critic_value - joint_value, -limit, limit))


def policy(
    utilities: jax.Array,
    available: jax.Array,
    actions: jax.Array,
    slopes: jax.Array,
    slope_floor: jax.Array | float = 1e-3,
) -> jax.Array:
    """Gradient and policy factor G = sum_j (1 - pi_j(u_j)) / f'_j - 1, pi_j the softmax over available actions.

    ReMIX eq. 4; f'_j is its lemma 1, whose printed form holds if all hidden units of the mixer have one slope.

    Args:
        utilities [.. N A], available bool [.. N A], actions int [.. N].
        slopes: f'_j = dQ_tot/dq_j >= 0 at the actions taken, [.. N]; no smaller than slope_floor here.

    Returns:
        G [..], negative where policies are near-deterministic or slopes large.
    """
    # Not -inf, so that a slot without any available action stays finite.
    probabilities = take(jax.nn.softmax(jnp.where(available, utilities, _LOWEST)), actions)
    return ((1 - probabilities) / jnp.maximum(slopes, slope_floor)).sum(-1) - 1


def regret(
    joint_value: jax.Array,
    target: jax.Array,
    gap: jax.Array | float = 1.0,
    exponential: jax.Array | float = 1.0,
    policy: jax.Array | float = 1.0,
    on_policy: jax.Array | float = 1.0,
) -> jax.Array:
    """E, the product of the factors where Q_tot <= y, else 0 (ReMIX, theorem 1, eq. 4; QPro, theorem 1).

    A negative G counts as 0, since weights are not negative.

    Args:
        joint_value, target: [..]; the factors: [..] from the functions of these names, 1 where left out.

    Returns:
        E [..] >= 0.
    """
    return jnp.where(joint_value <= target, gap * exponential * jnp.maximum(policy, 0) * on_policy, 0)


def rescale(
    regrets: jax.Array,
    valid: jax.Array,
    low: jax.Array | float = 0.1,
    high: jax.Array | float = 1.0,
    axis: str | None = None,
) -> jax.Array:
    """Min-max over the valid steps of a batch: the least E gets `low`, the greatest `high` (Z* of ReMIX eq. 4).

    Where all E are equal no step stands out: all get `high`, or `low` if that E is 0, as an E of 0 always does.

    Args:
        regrets [..] >= 0, valid bool [..]; axis: mesh axis of the devices that share the batch.

    Returns:
        Weights [..]; those of steps that are not valid mean nothing, but stay within bounds.
    """
    least = jnp.where(valid, regrets, jnp.inf).min()
    greatest = jnp.where(valid, regrets, -jnp.inf).max()
    if axis is not None:
        least, greatest = jax.lax.pmin(least, axis), jax.lax.pmax(greatest, axis)
    spread = greatest > least
    share = jnp.where(spread, (regrets - least) / jnp.where(spread, greatest - least, 1), regrets > 0)
    return low + (high - low) * jnp.clip(share, 0, 1)


@dataclass(frozen=True)
class ReMIX(Weighting):
    """E of the critic's value and of the mixer's true slopes, mapped to a range over the batch."""

    weight_low: float = number(0.1, "weight of the least regret; paper ReMIX also tried 0.5 and 0.8", low=0, high=1)
    weight_high: float = number(1, "weight of the greatest regret", low=1)
    rescale: str = choice(
        "minmax", "how regrets become weights: min-max over the batch, or each cut to the range", ("minmax", "clip")
    )
    gap_factor: bool = flag(True, "factor y - Q_tot; without it the condition Q_tot <= y stays")
    exponential_factor: bool = flag(True, "factor exp(Q-hat* - Q_tot)")
    policy_factor: bool = flag(True, "factor G of policies and slopes of the mixer")
    recent_factor: bool = flag(True, "on-policiness: part of each batch is drawn from the latest rows")
    critic_copy: str = choice(
        "live",
        "the joint critic of the exponent: the live one, or the copy that targets are made of",
        ("live", "target"),
    )
    exponent_limit: float = number(5, "the exponent is clipped to plus and minus this", low=0, high=60)
    slope_floor: float = number(1e-3, "least slope dQ_tot/dq that G divides by", low=1e-6)
    recent_rows: int = size(256, "latest rows of the buffer that recent rows are drawn from")
    recent_percent: int = size(50, "percent of each batch drawn from them, rounded down to rows", low=0, high=100)

    needs_critic: ClassVar[bool] = True
    needs_slopes: ClassVar[bool] = True

    def fit(self, state: Any, evidence: Evidence) -> tuple[Any, Metrics]:
        """Learns nothing; reports the shares of steps whose exponent is clipped, and whose G is not positive."""
        shares: Metrics = {}
        if self.exponential_factor:
            shares["clipped_exponents"] = jnp.abs(self._critic(evidence) - evidence.joint_value) > self.exponent_limit
        if self.policy_factor:
            shares["vanished_policy_factors"] = self._policy(evidence) <= 0
        return state, {
            name: masked_mean(share.astype(jnp.float32), evidence.valid, self.axis) for name, share in shares.items()
        }

    def weights(self, state: Any, evidence: Evidence) -> jax.Array:
        """The steps' E, mapped to [weight_low, weight_high]."""
        e = evidence
        regrets = regret(
            e.joint_value,
            e.target,
            gap(e.joint_value, e.target) if self.gap_factor else 1.0,
            exponential(self._critic(e), e.joint_value, self.exponent_limit) if self.exponential_factor else 1.0,
            self._policy(e) if self.policy_factor else 1.0,
        )
        if self.rescale == "clip":
            return jnp.clip(regrets, self.weight_low, self.weight_high)
        return rescale(regrets, e.valid, self.weight_low, self.weight_high, self.axis)

    def _critic(self, e: Evidence) -> jax.Array:
        """Q-hat*(s, u) [..]. [CHOICE] Of which copy the paper does not say."""
        if self.critic_copy == "live":
            return needed(e.critic_value, self, "evidence.critic_value")
        return needed(e.critic_target, self, "evidence.critic_target")

    def _policy(self, e: Evidence) -> jax.Array:
        slopes = needed(e.slopes, self, "evidence.slopes")
        return policy(e.utilities, e.available, e.actions, slopes, self.slope_floor)

    def sampling(self, batch_size: int) -> Sampling:
        """`recent_percent` of the batch out of the latest `recent_rows` rows: d/mu of ReMIX (eq. 4, section 4.3)."""
        recent = batch_size * self.recent_percent // 100 if self.recent_factor else 0
        return Sampling(recent, self.recent_rows) if recent else UNIFORM
