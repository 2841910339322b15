"""Payoff tensors by name: the published two-agent matrices and the n-agent rules.

`PAYOFFS` maps a name to a function whose parameters are the options that the payoff takes (`MatrixGame`'s fields).
Rows belong to agent 0, columns to agent 1. Every payoff is float32 [A ... A], one axis per agent.
"""

import inspect
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from marlx_envs.options import UsageError

Payoff = npt.NDArray[np.float32]
MAX_ENTRIES = 10_000_000  # joint actions, times steps where payoffs differ by step


def son_n(n_agents: int, n_actions: int) -> Payoff:
    """8 if all pick action 0, -12 if some but not all do, else 0; `son3` (Son et al. 2019) for n agents."""
    return k_of_n(n_agents, n_actions, needed=n_agents, win=8.0, lose=-12.0)


def resq_n(n_agents: int, n_actions: int) -> Payoff:
    """`son_n` with 7.9 where all pick the last action: `resq79` (POW, Fig. 2, after ResQ) for n agents."""
    payoff = son_n(n_agents, n_actions)
    payoff[(-1,) * n_agents] = 7.9
    return payoff


def climb_n(n_agents: int, diagonal: Sequence[float], miss: float) -> Payoff:
    """`diagonal[j]` if all agents pick action j, else `miss`."""
    payoff = _filled(n_agents, len(diagonal), miss)
    for action, value in enumerate(diagonal):
        payoff[(action,) * n_agents] = value
    return payoff


def k_of_n(n_agents: int, n_actions: int, needed: int, win: float, lose: float) -> Payoff:
    """`win` if at least `needed` agents pick action 0, `lose` if fewer but at least one do, else 0.

    With two agents, `needed` = 2 and 6 actions it is one encounter of predator-prey (MRVF eq. 32, POW Table 7).
    Raises `UsageError` if more agents are needed than there are.
    """
    if needed > n_agents:
        raise UsageError(f"environment.needed must be at most the {n_agents} agents, not {needed}")
    payoff = _filled(n_agents, n_actions, 0.0)
    count = np.zeros(payoff.shape, np.int8)
    for agent in range(n_agents):
        count[(slice(None),) * agent + (0,)] += 1
    payoff[count > 0] = lose
    payoff[count >= needed] = win
    return payoff


def coord_n(n_actions: int) -> Payoff:
    """Two agents are paid 1 for the same action: the identity matrix (PyMARL2)."""
    return np.eye(n_actions, dtype=np.float32)


def qplex_w(w: float) -> Payoff:
    """QPLEX's first matrix game; its optimum is w at (0, 0) if w > 10."""
    return np.array([[w, 0, 10], [0, 10, 10], [10, 10, 10]], np.float32)


def _filled(n_agents: int, n_actions: int, value: float) -> Payoff:
    if n_actions**n_agents > MAX_ENTRIES:
        raise UsageError(
            f"environment.payoff would have {n_actions}^{n_agents} entries, at most {MAX_ENTRIES} are allowed; "
            "choose fewer agents or actions"
        )
    return np.full((n_actions,) * n_agents, value, np.float32)


def _matrix(*rows: tuple[float, ...]) -> Callable[[], Payoff]:
    return lambda: np.array(rows, np.float32)


PAYOFFS: dict[str, Callable[..., Payoff]] = {
    "son3": _matrix((8, -12, -12), (-12, 0, 0), (-12, 0, 0)),  # Son et al. 2019, QTRAN
    "resq79": _matrix((8, -12, -12), (-12, 0, 0), (-12, 0, 7.9)),  # POW, Fig. 2, after ResQ
    "qplex6": _matrix((8, -12, -12), (-12, 6, 0), (-12, 0, 6)),  # QPLEX, game 3
    "qplex_w": qplex_w,
    "mrvf5": _matrix((8, -12, -12), (-12, 3, 0), (-12, 0, 5)),  # MRVF, Tables 2 and 5 to 7
    "mrvf8": _matrix((8, 0, 0), (0, 3, 0), (0, 0, 5)),  # MRVF, Table 8
    "mrvf4a": _matrix((9, 8, 7), (6, 5, 4), (3, 2, 1)),  # MRVF, Table 4: monotonic
    # the paper prints the middle row as 3 2 1, which is not monotonic; here 4a with rows (0,2,1) and columns (1,0,2)
    "mrvf4b": _matrix((8, 9, 7), (2, 3, 1), (5, 6, 4)),
    "mrvf4c": _matrix((9, 0, 0), (0, 5, 0), (0, 0, 0)),
    "mrvf4d": _matrix((9, -9, -9), (-9, 5, 0), (-9, 0, 0)),
    "mrvf11": _matrix((2.2, 1.1, 1.1, -0.9), (1.1, 2, 1, -1), (1.1, 1, 2, -1), (-0.9, -1, -1, -2)),  # "focus fire"
    "pm2_soft": _matrix((12, -0.1, -0.1), (-0.1, 0, 0), (-0.1, 0, 0)),  # PyMARL2, as it stands
    "pm2_hard": _matrix((12, -12, -12), (-12, 0, 0), (-12, 0, 0)),  # PyMARL2, alternatives in a comment
    "pm2_third": _matrix((12, 0, 10), (0, 0, 10), (10, 10, 10)),
    "game_a": _matrix((12, -12, -12), (-12, 0, 0), (-12, 0, 0)),  # Beyond Monotonicity, the same as pm2_hard
    "game_b": _matrix((12, 0, 10), (0, 0, 10), (10, 10, 10)),  # Beyond Monotonicity, the same as pm2_third
    "climb": _matrix((11, -30, 0), (-30, 7, 0), (0, 6, 5)),  # matrax (the transpose of the common printing)
    **{f"penalty_{k}": _matrix((-k, 0, 10), (0, 2, 0), (10, 0, -k)) for k in (0, 25, 50, 75, 100)},  # matrax
    "coord_n": coord_n,
    "son_n": son_n,
    "resq_n": resq_n,
    "climb_n": climb_n,
    "k_of_n": k_of_n,
}


def options_taken(payoff: str) -> tuple[str, ...]:
    """The options that a named payoff takes, in order."""
    return tuple(inspect.signature(PAYOFFS[payoff]).parameters)
