"""Exact ground truth for tabular games: backward induction, and facts about one payoff tensor.

Everything is numpy in float64, computed once on the host; nothing here is meant for compiled programs.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from marlx_envs.tables import Tables

Float64 = npt.NDArray[np.float64]
TIE = 1e-6  # rewards are float32: values closer than this, relative to their size, are the same


@dataclass(frozen=True, eq=False)
class Solution:
    """Optimal values of a tabular game with H = `episode_limit` steps.

    Attributes:
        values: V*, float64 [H+1 K]; `values[t, k]` is the best return from state k with t steps gone.
        q_values: Q*, float64 [H K A ... A]; -inf where an agent's action is not available.
        start: the first state.
    """

    values: Float64
    q_values: Float64
    start: int

    @property
    def value(self) -> float:
        """The best return of an episode."""
        return float(self.values[0, self.start])

    def optimal_actions(self, time: int = 0, state: int | None = None) -> npt.NDArray[np.int64]:
        """All optimal joint actions, int [M N], at a time and state (default: the first step)."""
        return optimal_joint_actions(self.q_values[time, self.start if state is None else state])


def solve(tables: Tables, discount: float = 1.0) -> Solution:
    """Q*, V* and optimal joint actions by backward induction over at most `episode_limit` steps.

    Nothing is won after the limit, whether it counts as termination or truncation. For other payoffs in the same game
    use `dataclasses.replace(tables, rewards=...)`. Memory and time grow as H * K * A^N.
    """
    q_values = list(_backward(tables, discount))[::-1]
    best = [_best(q) for q in q_values]
    return Solution(np.stack([*best, np.zeros(tables.n_states)]), np.stack(q_values), tables.start)


def optimal_value(tables: Tables, discount: float = 1.0) -> float:
    """The best return of an episode: `solve(...).value` without keeping the tables of every step."""
    first_step = deque(_backward(tables, discount), maxlen=1).pop()
    return float(_best(first_step)[tables.start])


def _backward(tables: Tables, discount: float) -> Iterator[Float64]:
    """Yields Q* [K A ... A] of the last step, then of the one before it, and so on to the first."""
    shape = (tables.n_states, *(tables.n_actions,) * tables.n_agents)
    rewards = np.broadcast_to(tables.rewards.astype(np.float64), shape)
    if tables.available is not None:
        for agent in range(tables.n_agents):
            axes = [tables.n_states, *(1,) * tables.n_agents]
            axes[1 + agent] = tables.n_actions
            rewards = np.where(tables.available[:, agent].reshape(axes), rewards, -np.inf)
    values = np.zeros(tables.n_states)
    for _ in range(tables.episode_limit):
        q = rewards + discount * np.where(tables.terminal, 0.0, values[tables.transitions])
        values = _best(q)
        yield q


def _best(q: Float64) -> Float64:
    best: Float64 = q.reshape(q.shape[0], -1).max(axis=1)
    return best


def optimal_joint_actions(payoff: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """All joint actions with the highest payoff, int [M N], of a tensor [A_1 ... A_N]."""
    tensor = np.asarray(payoff, np.float64)
    best = tensor.max()
    return np.argwhere(tensor >= best - TIE * max(1.0, abs(best)))


def means_under_uniform_partners(payoff: npt.ArrayLike) -> tuple[Float64, ...]:
    """Mean payoff of each own action if all others act uniformly: for each agent an array [A_i]."""
    tensor = np.asarray(payoff, np.float64)
    return tuple(np.moveaxis(tensor, i, 0).reshape(tensor.shape[i], -1).mean(axis=1) for i in range(tensor.ndim))


def is_symmetric(payoff: npt.ArrayLike) -> bool:
    """Whether exchanging any two agents leaves the payoff [A ... A] as it is."""
    tensor = np.asarray(payoff)
    return all(np.array_equal(tensor, tensor.swapaxes(i, i + 1)) for i in range(tensor.ndim - 1))


def is_monotonic(payoff: npt.ArrayLike) -> bool:
    """Whether each agent's actions can be ordered so that a later one is never worse, whatever the others do.

    Such a payoff [A_1 ... A_N] is what a monotonic mixer can represent (MRVF, Table 4).
    """
    tensor = np.asarray(payoff, np.float64)
    for agent in range(tensor.ndim):
        rows = np.moveaxis(tensor, agent, 0).reshape(tensor.shape[agent], -1)
        # if an order exists, sorting by the mean finds it
        if (np.diff(rows[np.argsort(rows.mean(axis=1), kind="stable")], axis=0) < 0).any():
            return False
    return True
