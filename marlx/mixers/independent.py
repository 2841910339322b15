"""No mixing: every agent learns its own value from the team reward (IQL; Tan 1993)."""

from dataclasses import dataclass
from typing import ClassVar

import chex
import jax
from marlx_envs.discovery import Entry

from marlx.mixers.base import Context, Mixer
from marlx.types import Params

Entry(name="independent", summary="no mixing, one target for each agent", source="Tan 1993", factory="Independent")


@dataclass(frozen=True)
class Independent(Mixer):
    """The values stay apart: [.. N] -> [.. N]; the learner then has one target and one error for each agent."""

    keeps_apart: ClassVar[bool] = True

    def init(self, key: chex.PRNGKey) -> Params:
        """No parameters."""
        return {}

    def apply(
        self, params: Params, utilities: jax.Array, state: jax.Array, context: Context | None = None
    ) -> jax.Array:
        """Utilities [.. N] as they are."""
        self.check_sizes(utilities)
        return utilities
