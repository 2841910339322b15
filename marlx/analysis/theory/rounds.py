"""MRVF's rounds in the ideal case (paper MRVF, section 3.3): each projects what the one before left to gain."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from marlx.analysis.theory.lattice import Ints
from marlx.analysis.theory.stable_points import qmix, stable_points

Floats = npt.NDArray[np.float64]


class Rounds(NamedTuple):
    """What each round settles on, for G games."""

    greedy: Ints  # [R G]: number of the joint action that stands after each round; -1 if none ever settled
    value: Floats  # [R G]: its payoff; -inf if none ever settled
    improved: npt.NDArray[np.bool_]  # [R G]: whether the round was accepted; never again after one was not


def rounds(payoffs: npt.ArrayLike, data: npt.ArrayLike, count: int | None = None) -> Rounds:
    """Rounds of ideal projections (MRVF eq. 5 and 6): of Q first, then of max(Q - Q(u^{k-1}), 0).

    A round whose greedy joint action is no better than the one before is not accepted and is the last. Where a round
    may settle on several joint actions, the one of least payoff is taken, so that what is found is found for certain.
    Where it has no stable point, which exploration can cause, it is not accepted either.

    Args:
        payoffs: Q, [G A_1 .. A_N].
        data: [K A_1 .. A_N], the distribution of joint actions around each greedy one (see `theory.exploration`).
        count: R; None goes on until no game improves.
    """
    games = np.asarray(payoffs, np.float64)
    flat = games.reshape(len(games), -1)
    best, stands = np.full(len(games), -np.inf), np.full(len(games), -1)
    live = np.ones(len(games), bool)
    history: list[tuple[Ints, Floats, npt.NDArray[np.bool_]]] = []
    while (count is None or len(history) < count) and (live.any() or not history):
        floor = np.where(np.isfinite(best), best, flat.min(axis=1)).reshape(-1, *(1,) * (games.ndim - 1))
        target = np.maximum(games - floor, 0) if history else games
        stable = stable_points(qmix(target[live], np.asarray(data, np.float64))).stable
        reached = np.where(stable, flat[live], np.inf)
        found, value = stands.copy(), best.copy()
        found[live], value[live] = reached.argmin(axis=1), reached.min(axis=1)
        live = live & (value > best) & np.isfinite(value)
        stands, best = np.where(live, found, stands), np.where(live, value, best)
        history.append((stands, best, live))
    greedy, values, improved = (np.stack(part) for part in zip(*history, strict=True))
    return Rounds(greedy, values, improved)
