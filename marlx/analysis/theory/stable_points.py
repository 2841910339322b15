"""Stable points of monotonic factorizations (MRVF, definition 1): joint actions at which the greedy one can rest.

What no gradient reaches (weights, masks, the behaviour that makes the data) is built from a joint action u~. If a table
of least loss then has the greedy joint action u~, it is a stable point: strong if every table of least loss has, weak
otherwise. Each function here gives the whole map, [G K K] for G games of K joint actions: whether the second can be
greedy when the first was; a table of least loss is taken as known, however a network may find it ("ideal").
Joint actions are numbered in row-major order.
"""

import itertools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from marlx.analysis.theory.lattice import Bools
from marlx.analysis.theory.least import least_by_greedy
from marlx.analysis.theory.plane import level, recognised
from marlx.analysis.theory.projection import twins

Floats = npt.NDArray[np.float64]


class StablePoints(NamedTuple):
    """The joint actions at which the greedy one can rest."""

    stable: Bools  # [G K]
    strong: Bools  # [G K]
    circles: Bools  # [G]: the greedy joint action can also change for ever, without ever being a stable one


def stable_points(greedy_map: Bools) -> StablePoints:
    """The fixed points of a map [G K K] (MRVF, definition 1)."""
    stable = np.diagonal(greedy_map, axis1=1, axis2=2)
    moving = ~stable
    for _ in range(stable.shape[1]):  # a joint action stays if one that stays can follow it
        moving &= (greedy_map & moving[:, None]).any(axis=2)
    return StablePoints(stable, stable & (greedy_map.sum(axis=2) == 1), np.asarray(moving.any(axis=1)))


def vdn(payoffs: Floats, data: Floats) -> Bools:
    """Sums of utilities: weighted least squares, whose greedy joint action is that of the sum."""
    shape = payoffs.shape[1:]
    cells = np.indices(shape).reshape(len(shape), -1)
    design = np.concatenate([np.eye(size)[own] for own, size in zip(cells, shape, strict=True)], axis=1)  # [K sum A]
    flat = payoffs.reshape(len(payoffs), -1)
    found = np.empty((*flat.shape, flat.shape[1]), bool)
    for index, row in enumerate(data.reshape(len(data), -1)):
        roots = np.sqrt(row)
        sums = (flat * roots) @ (design @ np.linalg.pinv(design * roots[:, None])).T
        found[:, index] = _highest(sums)
    return found


def qmix(payoffs: Floats, data: Floats, over: float = 1.0) -> Bools:
    """Monotonic tables; with `over` < 1 the ideal OW-QMIX, in which errors above the truth weigh that much.

    Args:
        payoffs: [G A_1 .. A_N]; data: [K A_1 .. A_N], the distribution of joint actions for each u~.
    """
    return _projected(payoffs, lambda index: data[index], over, same=bool((data == data[:1]).all()))


def ow_qmix(payoffs: Floats, data: Floats, alpha: float) -> Bools:
    """OW-QMIX (Rashid et al. 2020): the least of sum_u pi(u) w(u) (Q_mon - Q)^2, w = 1 where Q_mon < Q, else alpha.

    With alpha = 0 any table above Q would do; here that is the limit of small alpha.
    """
    return qmix(payoffs, data, max(alpha, 1e-9))


def cw_qmix(payoffs: Floats, data: Floats, alpha: float) -> Bools:
    """CW-QMIX (Rashid et al. 2020; MRVF, equation 3): w(u) = 1 if u = u~ or Q(u) > Q(u~), else alpha."""
    flat = payoffs.reshape(len(payoffs), -1)

    def weights(index: int) -> Floats:
        full = flat > flat[:, [index]]
        full[:, index] = True
        return np.where(full, 1.0, alpha).reshape(payoffs.shape) * data[index]

    return _projected(payoffs, weights)


def pow_qmix(payoffs: Floats, data: Floats, tolerance: float) -> Bools:
    """POW-QMIX (POW eq. 8, 9, theorem 2): weight 1 for what is recognised around u~, else 0: there a table is free."""
    full = recognised(payoffs, tolerance, data)
    return _projected(payoffs, lambda index: full[:, index] * data[index])


def resq(payoffs: Floats, data: Floats) -> Bools:
    """ResQ (MRVF, equations 24 and 25): Q_mon + w_r Q_r with Q_r <= 0 and w_r = 0 at u~ only. Holds for any data.

    The loss can always be 0. It is so for a monotonic table that equals Q at u~ and is nowhere below Q; and one of
    these with a given greedy joint action exists if Q(u~) is the largest among the joint actions that have to lie below
    u~: those which differ from it only in agents for which u~ has the greedy action, hence the highest place.
    """
    shape = payoffs.shape[1:]
    cells = np.indices(shape).reshape(len(shape), -1)  # [N K]
    same = cells[:, :, None] == cells[:, None, :]  # [N K K]
    found = np.zeros((len(payoffs), same.shape[1], same.shape[2]), bool)
    for pattern in itertools.product((False, True), repeat=len(shape)):
        free = tuple(1 + agent for agent in range(len(shape)) if pattern[agent])
        largest = payoffs.max(axis=free, keepdims=True) if free else payoffs
        zero = (payoffs >= largest - _slack(payoffs)).reshape(len(payoffs), -1)
        agrees = (same == np.array(pattern)[:, None, None]).all(axis=0)
        found |= zero[:, :, None] & agrees
    return found


def qplex(payoffs: Floats, data: Floats) -> Bools:
    """QPLEX with the gradients of MRVF's equations 28 and 29, tabular weights: the joint actions at which it rests.

    By first-order conditions alone every joint action is a resting point. One from which a single agent can move to a
    value above the level m is only marginally so: before its weight has fallen to 0 that agent's utility has risen.
    It does not count here (`theory.qplex` simulates). The map has marks on its diagonal only.
    """
    flat = payoffs.reshape(len(payoffs), -1)
    largest = np.full(flat.shape, -np.inf)
    for axis in range(1, payoffs.ndim):
        moved = payoffs.max(axis=axis, keepdims=True)
        largest = np.maximum(largest, np.broadcast_to(moved, payoffs.shape).reshape(flat.shape))
    rests = largest <= np.maximum(level(payoffs, data), flat) + _slack(payoffs).reshape(-1, 1)
    return rests[:, :, None] & np.eye(flat.shape[1], dtype=bool)


def _projected(payoffs: Floats, weights: Callable[[int], Floats], over: float = 1.0, same: bool = False) -> Bools:
    """The map of the ideal projection under weights [G A ..] or [A ..] for each u~; `same`: one for all.

    Weights have to follow from the payoffs and u~ alone, so that actions which no game tells apart can stand in for
    each other.
    """
    shape = payoffs.shape[1:]
    flat = payoffs.reshape(len(payoffs), -1)
    kinds = twins(flat, flat, shape)
    rows: list[Bools] = []
    for index, actions in enumerate(np.ndindex(shape)):
        alike = tuple(of[action] for action, of in zip(actions, kinds, strict=True))
        if same and rows:
            rows.append(rows[0])
        elif alike == actions:
            rows.append(least_by_greedy(payoffs, weights(index), over))
        else:  # the row of its twins, with the names of actions exchanged
            row = rows[np.ravel_multi_index(alike, shape)]
            swaps = [
                _exchanged(size, *pair) for size, pair in zip(shape, zip(actions, alike, strict=True), strict=True)
            ]
            rows.append(row[np.ix_(range(len(row)), *swaps)])
    return np.stack(rows, axis=1).reshape(len(payoffs), len(rows), len(rows))


def _exchanged(size: int, one: int, other: int) -> list[int]:
    return [other if a == one else one if a == other else a for a in range(size)]


def _highest(tables: Floats) -> Bools:
    slack = 1e-9 * np.maximum(np.abs(tables).max(axis=1, keepdims=True), 1e-30)
    return tables >= tables.max(axis=1, keepdims=True) - slack


def _slack(payoffs: Floats) -> Floats:
    """Differences that are rounding, [G 1 .. 1]."""
    axes = tuple(range(1, payoffs.ndim))
    return 1e-9 * np.maximum(np.abs(payoffs).max(axis=axes, keepdims=True), 1e-30)
