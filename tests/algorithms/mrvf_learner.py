"""A small MRVF, and parameters whose rounds differ, for tests of it."""

from typing import Any

import jax

import marlx
from marlx.agents import AgentOptions
from marlx.algorithms import mrvf
from marlx.algorithms.mrvf import MRVF
from marlx.settings import Training
from tests.algorithms.learning import SPEC

SMALL = {"round_width": 5, "embedding_width": 3, "value_width": 5, "feature_width": 3, "critic_state_width": 4}
SMALL |= {"mixing_width": 3, "hypernet_width": 4}


def learner(training: dict[str, Any] | None = None, **section: Any) -> MRVF:
    """The method by the fields of its section, small enough for differences."""
    values = {**marlx.ALGORITHMS["mrvf"].section_defaults(section), **SMALL, **section}
    return mrvf.make(SPEC, AgentOptions(hidden_size=4), values, Training(**{"td_lambda": 0.0, **(training or {})}))


def parameters(method: MRVF) -> tuple[Any, Any]:
    """Live ones, whose joint value differs enough between joint actions that rounds are accepted, and the target's."""
    live, other = (method.init(jax.random.key(seed)).params for seed in (167, 2))
    return jax.tree.map(lambda x: 3 * x, live), other
