"""What a method believes of every joint action at an episode's first step: the learned counterpart of a payoff.

Of games in which every action is available there.
"""

from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from marlx_envs.options import UsageError

from marlx.engine import beliefs
from marlx.program import Numbers, Program

MOST = 100_000  # joint actions


def learned_tables(program: Program, learner: Any, numbers: Numbers) -> dict[str, npt.NDArray[np.float32]]:
    """What a method believes of every joint action: "joint" (Q_tot), and with it "critic", "recognition", ..

    Args:
        learner: learner states of S seeds, leading axis [S].
        numbers: the traced numbers they were trained with.

    Returns:
        By name float [S A .. A], one axis for each agent.

    Raises:
        UsageError: more than 100,000 joint actions.
    """
    spec = program.environment.spec
    if spec.n_actions**spec.n_agents > MOST:
        raise UsageError(f"{spec.n_actions}^{spec.n_agents} joint actions are too many to list; at most {MOST:,}")
    found = _compiled(program)[0](learner, numbers)
    return {name: np.asarray(x).reshape(-1, *(spec.n_actions,) * spec.n_agents) for name, x in found.items()}


def greedy_actions(program: Program, learner: Any, numbers: Numbers) -> npt.NDArray[np.int32]:
    """The joint action that each seed's agents choose by their own utilities at the first step, int32 [S N]."""
    return np.asarray(_compiled(program)[1](learner, numbers))


@lru_cache(maxsize=8)
def _compiled(program: Program) -> tuple[Any, Any]:
    """Tables [S A^N] by name, and greedy actions [S N], of (learner states, numbers); compiled once for a program."""

    def tables(learner: Any, numbers: Numbers) -> dict[str, jax.Array]:
        return beliefs.joint_values(program.trainer(numbers).rollout, learner)

    def greedy(learner: Any, numbers: Numbers) -> jax.Array:
        return beliefs.greedy(program.trainer(numbers).rollout, learner)

    return jax.jit(jax.vmap(tables, (0, None))), jax.jit(jax.vmap(greedy, (0, None)))


def igm_gap(tables: npt.NDArray[np.floating], greedy: npt.NDArray[np.integer]) -> npt.NDArray[np.floating]:
    """What learned tables lose by greedy agents, [S]: `beliefs.igm_gap` where every action is available.

    Args:
        tables: [S A .. A], as of `learned_tables`; greedy: u-hat, int [S N], as of `greedy_actions`.
    """
    cells = tables.reshape(len(tables), -1)
    chosen = np.ravel_multi_index(tuple(greedy.T), tables.shape[1:])[:, None] == np.arange(cells.shape[-1])
    return np.asarray(beliefs.igm_gap(*map(jnp.asarray, (cells, chosen, np.ones_like(chosen)))))
