"""VDN: Q_tot = sum_i Q_i (Sunehag et al. 2018, eq. 3)."""

from dataclasses import dataclass

import chex
import jax
from marlx_envs.discovery import Entry

from marlx.mixers.base import Context, Mixer
from marlx.types import Params

Entry(name="vdn", summary="sum of the utilities", source="Sunehag et al. 2018", factory="VDN")


@dataclass(frozen=True)
class VDN(Mixer):
    """No parameters, no state."""

    def init(self, key: chex.PRNGKey) -> Params:
        """No parameters."""
        return {}

    def apply(
        self, params: Params, utilities: jax.Array, state: jax.Array, context: Context | None = None
    ) -> jax.Array:
        """Q_tot [..] = sum over agents of utilities [.. N]."""
        self.check_sizes(utilities)
        return utilities.sum(-1)
