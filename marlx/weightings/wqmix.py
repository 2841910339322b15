"""The weights of WQMIX (Rashid et al. 2020): centrally weighted, optimistically weighted, and the ideal of the former.

Each gives alpha to the steps that it holds to be of little worth, and 1 to the others.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from marlx_envs.discovery import Entry
from marlx_envs.options import needed, number

from marlx.weightings.base import Evidence, Weighting

Entry(name="cw", summary="centrally weighted", source="Rashid et al. 2020, eq. 8 and algorithm 1", factory="CW")
Entry(name="ow", summary="optimistically weighted", source="Rashid et al. 2020, eq. 7", factory="OW")
Entry(
    name="ideal_cw",
    summary="1 at a best joint action alone, where the environment knows it",
    source="Rashid et al. 2020, eq. 8",
    factory="IdealCW",
)


def ow(joint_value: jax.Array, target: jax.Array, alpha: jax.Array | float = 0.1) -> jax.Array:
    """Optimistic weighting (WQMIX eq. 7; ReMIX eq. 2): 1 where Q_tot(s, u) < y, else alpha; all [..]."""
    return jnp.where(joint_value < target, 1.0, alpha)


def cw(
    actions: jax.Array, greedy: jax.Array, target: jax.Array, critic_greedy: jax.Array, alpha: jax.Array | float = 0.1
) -> jax.Array:
    """Central weighting (WQMIX algorithm 1; MRVF eq. 3): 1 where u is greedy or y > Q-hat*(s, greedy), else alpha.

    Args:
        actions, greedy: int [.. N]; target: y [..]; critic_greedy: [..], of the target's critic.

    Returns:
        Weights [..].
    """
    return jnp.where((actions == greedy).all(-1) | (target > critic_greedy), 1.0, alpha)


def ideal_cw(optimal: jax.Array, alpha: jax.Array | float = 0.1) -> jax.Array:
    """Ideal central weighting (WQMIX eq. 8): 1 where u is a best joint action, else alpha; bool [..] -> [..]."""
    return jnp.where(optimal, 1.0, alpha)


@dataclass(frozen=True)
class _Weighted(Weighting):
    alpha: float = number(0.1, "weight of the errors that count less", low=0, high=1)

    needs_critic: ClassVar[bool] = True


@dataclass(frozen=True)
class OW(_Weighted):
    """`ow` of Q_tot and the critic's target."""

    def weights(self, state: Any, evidence: Evidence) -> jax.Array:
        return ow(evidence.joint_value, evidence.target, self.alpha)


@dataclass(frozen=True)
class CW(_Weighted):
    """`cw` with the live greedy action and the target's critic."""

    def weights(self, state: Any, evidence: Evidence) -> jax.Array:
        critic_greedy = needed(evidence.critic_greedy, self, "evidence.critic_greedy")
        return cw(evidence.actions, evidence.greedy, evidence.target, critic_greedy, self.alpha)


@dataclass(frozen=True)
class IdealCW(_Weighted):
    """`ideal_cw` of a game whose best joint actions are known."""

    needs_optimum: ClassVar[bool] = True

    def weights(self, state: Any, evidence: Evidence) -> jax.Array:
        return ideal_cw(needed(evidence.optimal, self, "evidence.optimal"), self.alpha)
