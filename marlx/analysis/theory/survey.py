"""Which methods find the optimum in the ideal case: every method's stable points, for one game or thousands."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from marlx.analysis.theory import stable_points as of
from marlx.analysis.theory.exploration import EXPLORATIONS
from marlx.analysis.theory.rounds import rounds
from marlx.analysis.theory.stable_points import StablePoints, stable_points

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Setting:
    """What a method's stable points depend on beside the payoff."""

    epsilon: float = 1.0  # of the data; 1 is uniform
    exploration: str = "decentralised"  # or "centralised"
    alpha: float = 0.1  # weight of CW- and OW-QMIX
    tolerance: float = 0.05  # C of POW
    rounds: int = 3  # of MRVF

    def data(self, shape: tuple[int, ...]) -> Floats:
        """The distribution of joint actions around each of K greedy ones, [K A_1 .. A_N]."""
        return EXPLORATIONS[self.exploration](shape, self.epsilon)


class Verdict(IntEnum):
    """What the stable points of a method say of a game."""

    NEVER = 0  # no optimum is stable
    SOME = 1  # an optimum is stable, and so is something else: it depends on where training starts
    WEAK = 2  # only optima are stable, but none strongly, or the greedy joint action can change for ever
    ALWAYS = 3  # only optima are stable, one of them strongly, and nothing else can happen


Rule = Callable[[Floats, Floats, Setting], StablePoints]


def _mrvf(payoffs: Floats, data: Floats, setting: Setting) -> StablePoints:
    found = rounds(payoffs, data, setting.rounds).greedy[-1]
    marks = np.arange(payoffs[0].size) == found[:, None]
    return StablePoints(marks, marks, np.zeros(len(marks), bool))


METHODS: dict[str, Rule] = {
    "vdn": lambda payoffs, data, setting: stable_points(of.vdn(payoffs, data)),
    "qmix": lambda payoffs, data, setting: stable_points(of.qmix(payoffs, data)),
    "ow_qmix": lambda payoffs, data, setting: stable_points(of.ow_qmix(payoffs, data, setting.alpha)),
    "cw_qmix": lambda payoffs, data, setting: stable_points(of.cw_qmix(payoffs, data, setting.alpha)),
    "qplex": lambda payoffs, data, setting: stable_points(of.qplex(payoffs, data)),
    "resq": lambda payoffs, data, setting: stable_points(of.resq(payoffs, data)),
    "pow_qmix": lambda payoffs, data, setting: stable_points(of.pow_qmix(payoffs, data, setting.tolerance)),
    "mrvf": _mrvf,
}


def points(payoffs: npt.ArrayLike, setting: Setting, methods: Iterable[str] = METHODS) -> dict[str, StablePoints]:
    """The stable points of each method, marks [G K] by name.

    Args:
        payoffs: [G A_1 .. A_N].

    Raises:
        ValueError: a game too large to be listed.
    """
    games = np.asarray(payoffs, np.float64)
    data = setting.data(games.shape[1:])
    return {name: METHODS[name](games, data, setting) for name in methods}


def verdicts(payoffs: npt.ArrayLike, found: StablePoints) -> npt.NDArray[np.int8]:
    """A `Verdict` [G] for each game."""
    games = np.asarray(payoffs, np.float64)
    flat = games.reshape(len(games), -1)
    optimal = flat >= flat.max(axis=1, keepdims=True) - 1e-9 * np.abs(flat).max(axis=1, keepdims=True)
    hit, else_ = (found.stable & optimal).any(axis=1), (found.stable & ~optimal).any(axis=1)
    strong = (found.strong & optimal).any(axis=1)
    return np.select(
        [~hit, else_, ~strong | found.circles], [Verdict.NEVER, Verdict.SOME, Verdict.WEAK], Verdict.ALWAYS
    ).astype(np.int8)
