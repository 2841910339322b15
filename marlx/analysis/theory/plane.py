"""The level on which a bounded joint value settles: QPLEX (MRVF, appendix D) and POW's recognition (its lemmas).

Both have the form Q_tot(u) = m - (something >= 0 that may differ for every u), equal to m at the greedy joint action.
With tabular parts the best fit is Q_tot(u) = min(m, Q(u)) elsewhere, and m is the mean of Q at the greedy joint action
and of all Q above m.
"""

import numpy as np
import numpy.typing as npt

from marlx.analysis.theory.lattice import Bools

Floats = npt.NDArray[np.float64]


def level(payoffs: npt.ArrayLike, data: npt.ArrayLike | None = None) -> Floats:
    """m [G K] of games [G A_1 .. A_N], for each of the K joint actions as the greedy one (POW, lemmas 1 to 3).

    Args:
        data: distributions [K A_1 .. A_N], a row for each greedy joint action; None: uniform.
    """
    games = np.asarray(payoffs, np.float64)
    games = games.reshape(len(games), -1)
    cells = games.shape[1]
    weights = np.ones((cells, cells)) if data is None else np.asarray(data, np.float64).reshape(cells, cells)
    order = np.argsort(-games, axis=1)
    found = np.empty_like(games)
    for greedy in range(cells):
        others = np.where(order == greedy, 0.0, weights[greedy][order])
        total = weights[greedy, greedy] * games[:, [greedy]] + np.cumsum(
            others * np.take_along_axis(games, order, 1), 1
        )
        means = total / (weights[greedy, greedy] + np.cumsum(others, axis=1))
        found[:, greedy] = np.maximum(means.max(axis=1), games[:, greedy])  # it rises as long as larger ones are added
    return found


def bounded_table(payoff: npt.ArrayLike, greedy: tuple[int, ...]) -> Floats:
    """The settled table min(m, Q(u)), and m at the greedy joint action, of one game [A_1 .. A_N], uniform data."""
    game = np.asarray(payoff, np.float64)
    m = level(game[None])[0, np.ravel_multi_index(greedy, game.shape)]
    table = np.minimum(m, game)
    table[greedy] = m
    return table


def recognised(payoffs: npt.ArrayLike, tolerance: float, data: npt.ArrayLike | None = None) -> Bools:
    """POW's potentially optimal joint actions A_r = {u : Q_r(u) > Q_r(u-hat) - C} for each u-hat, [G K A_1 .. A_N].

    The paper's equation 8 has >=.

    Args:
        payoffs: games [G A_1 .. A_N]; `data` as of `level`.
        tolerance: C > 0.
    """
    games = np.asarray(payoffs, np.float64)
    flat = games.reshape(len(games), -1)
    found = flat[:, None] > level(games, data)[:, :, None] - tolerance
    return (found | np.eye(flat.shape[1], dtype=bool)).reshape(len(games), -1, *games.shape[1:])
