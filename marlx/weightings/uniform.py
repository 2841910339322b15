"""All errors count the same."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from marlx_envs.discovery import Entry

from marlx.weightings.base import Evidence, Weighting

Entry(name="uniform", summary="every error counts the same", source="Rashid et al. 2018", factory="Uniform")


@dataclass(frozen=True)
class Uniform(Weighting):
    """1 everywhere."""

    def weights(self, state: Any, evidence: Evidence) -> jax.Array:
        """Ones [..]."""
        return jnp.ones_like(evidence.target)
