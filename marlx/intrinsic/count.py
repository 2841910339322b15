"""Count bonus r_int = 1 / sqrt(n(s, u)) for games of few states: an ablation of the predicted novelty.

n is how often the learner has been shown the joint action in the state, these steps included, since rewards are
computed when batches are drawn. States and joint actions are told apart by a hash of their bits [CHOICE].
"""

from dataclasses import dataclass
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
from marlx_envs.discovery import Entry
from marlx_envs.options import size

from marlx.intrinsic.base import Intrinsic, Steps
from marlx.losses import over_devices
from marlx.types import Metrics

Entry(
    name="count",
    summary="1 / sqrt(n) of a state and joint action; for games of few states",
    source="Strehl and Littman 2008 (MBIE-EB)",
    factory="Count",
)


class Counts(NamedTuple):
    """What is counted."""

    cells: jax.Array  # int32 [K]
    salts: jax.Array  # uint32 [D+N], one for each word that is hashed


@dataclass(frozen=True)
class Count(Intrinsic):
    """Counts in a table of fixed size; cells that two keys share count both."""

    count_cells: int = size(4096, "cells of the table of counts", high=2**24)

    def init(self, key: chex.PRNGKey) -> Counts:
        """Nothing counted."""
        salts = jax.random.bits(key, (self.state_size + self.n_agents,), jnp.uint32)
        return Counts(jnp.zeros(self.count_cells, jnp.int32), salts)

    def fit(self, state: Counts, steps: Steps) -> tuple[Counts, jax.Array, Metrics]:
        """Counts a batch, then rewards it."""
        cells = self.cell(state, steps.state, steps.actions)
        met = jnp.zeros_like(state.cells).at[cells].add(steps.valid)
        counts = state._replace(cells=state.cells + over_devices(met, self.axis))
        rewards = jnp.where(steps.valid, 1 / jnp.sqrt(jnp.maximum(counts.cells[cells], 1)), 0)
        return counts, rewards, {}

    def cell(self, state: Counts, seen: jax.Array, actions: jax.Array) -> jax.Array:
        """The cell of states [.. D] and joint actions int [.. N], int32 [..]."""
        bits = jax.lax.bitcast_convert_type(seen + 0.0, jnp.uint32)  # -0 + 0 = 0: one zero
        words = jnp.concatenate([bits, actions.astype(jnp.uint32)], axis=-1)
        return (_scramble(words ^ state.salts).sum(-1, dtype=jnp.uint32) % self.count_cells).astype(jnp.int32)


def _scramble(words: jax.Array) -> jax.Array:
    """Every bit of a uint32 made to depend on all of them (the finaliser of MurmurHash3)."""
    words = (words ^ (words >> 16)) * jnp.uint32(0x85EBCA6B)
    words = (words ^ (words >> 13)) * jnp.uint32(0xC2B2AE35)
    return words ^ (words >> 16)
