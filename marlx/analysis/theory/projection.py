"""The ideal monotonic projection (MRVF, appendix B.2): the closest table that some QMIX could represent.

A table is monotonic if the actions of each agent can be put in a strict order along which it never falls. For a given
order the closest one, in weighted squares, is an isotonic regression on a grid, found exactly by taking off, again and
again, the upper set of the highest weighted mean. The ideal projection is the best over all orders: exact, up to
rounding, for the games that are small enough to list them (3x3: 36 orders of 20 upper sets; 6x6 only if most actions
are alike). The greedy joint action of a table is the last one of every order.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from marlx.analysis.theory.lattice import Bools, Ints, Shape, UpperSets, orders, upper_sets

Floats = npt.NDArray[np.float64]
Regression = Callable[[Floats, Floats], Floats]  # values and weights [.. M] -> the closest arrays of some form, [.. M]
TIE = 1e-11  # losses closer than this, relative to the scale of a game, are the same
_BLOCK = 2**19  # numbers of one array at a time
_NUDGE = 1e-10  # an error of the size of rounding is none; games are scaled to 1


class Projection(NamedTuple):
    """The closest monotonic table of one game."""

    table: Floats  # [A_1 .. A_N]
    loss: float
    greedy: tuple[int, ...]


def losses_by_greedy(payoffs: npt.ArrayLike, weights: npt.ArrayLike, over: float = 1.0) -> Floats:
    """The least loss of a monotonic table with each joint action as the greedy one.

    The loss is sum_u w(u) (Q_mon(u) - Q(u))^2 (MRVF, equation 10); with uniform data w = 1/|U|. Monotonic is meant in
    strict orders: equation 11 as it is printed holds for any table if all utilities are equal.

    Args:
        payoffs: Q, [G A_1 .. A_N].
        weights: w >= 0, broadcast against `payoffs`. Where they are 0 a table is free: then, of many closest ones, any
            is meant.
        over: further factor of the weight where Q_mon exceeds Q; less than 1 is the optimistic weighting of OW-QMIX.

    Returns:
        [G A_1 .. A_N].

    Raises:
        ValueError: a game with too many orders or upper sets.
    """
    games, data, shape, scale = scaled(payoffs, weights)
    kinds = twins(games, data, shape)
    cells, last = orders(shape, kinds)
    found = np.full(games.shape, np.inf)
    sets = upper_sets(shape)
    blocks = _blocks(len(cells), len(games), len(sets.member))

    def of_block(block: tuple[slice, Ints]) -> Floats:
        index, places = block
        return _losses(games[index], data[index], cells[places], over, sets)  # [P G]

    with ThreadPoolExecutor() as pool:  # numpy's loops over whole arrays run side by side
        for (index, places), losses in zip(blocks, pool.map(of_block, blocks), strict=True):
            np.minimum.at(found[index].T, last[places], losses)
    return (scale**2 * found[:, stand_ins(kinds, shape)]).reshape(-1, *shape)


def minimisers(losses: Floats) -> Bools:
    """Which greedy joint actions reach the least loss, ties included; of `losses_by_greedy`, same shape."""
    flat = losses.reshape(len(losses), -1)
    best = flat.min(axis=1, keepdims=True)
    spread = np.where(np.isfinite(flat), flat, 0).max(axis=1, keepdims=True)
    return (flat <= best + TIE * np.maximum(spread, 1e-30)).reshape(losses.shape)


def project(
    payoff: npt.ArrayLike, weights: npt.ArrayLike, greedy: tuple[int, ...] | None = None, over: float = 1.0
) -> Projection:
    """The closest monotonic table of one game (MRVF, equation 12); of several, that of the first order.

    Args:
        payoff: Q, [A_1 .. A_N]; `weights` and `over` as of `losses_by_greedy`.
        greedy: the table must have this greedy joint action; None: any.

    Raises:
        ValueError: a game with too many orders or upper sets.
    """
    games, data, shape, scale = scaled(np.asarray(payoff)[None], np.asarray(weights)[None])
    kinds = twins(games, data, shape)
    if greedy is not None:
        kinds = [[-1 if a == own else of for a, of in enumerate(kind)] for own, kind in zip(greedy, kinds, strict=True)]
    cells, last = orders(shape, kinds)
    if greedy is not None:
        cells = cells[last == np.ravel_multi_index(greedy, shape)]
    sets = upper_sets(shape)
    blocks = [places for _, places in _blocks(len(cells), 1, len(sets.member))]
    losses = np.concatenate([_losses(games, data, cells[places], over, sets)[:, 0] for places in blocks])
    order = cells[np.flatnonzero(losses <= losses.min() + TIE * max(losses.max(), 1e-30))[0]]
    table = np.empty(len(order))
    table[order] = fit(games[:, order].T, data[:, order].T, over, isotonic(sets))[:, 0]
    table = np.asarray(payoff, np.float64).mean() + scale[0] * table
    last_action = tuple(int(i) for i in np.unravel_index(order[-1], shape))
    return Projection(table.reshape(shape), float(scale[0, 0] ** 2 * losses.min()), last_action)


def _losses(games: Floats, data: Floats, cells: Ints, over: float, sets: UpperSets) -> Floats:
    """Least losses [P G] of games [G C] for each order of cells [P C]."""
    values = games[:, cells].transpose(2, 1, 0).reshape(cells.shape[1], -1)  # [C P G]
    weights = data[:, cells].transpose(2, 1, 0).reshape(values.shape)
    table = fit(values, weights, over, isotonic(sets))
    return loss(table - values, weights, over).sum(axis=0).reshape(len(cells), -1)


def loss(error: Floats, weights: Floats, over: float) -> Floats:
    """The loss of every error, same shape."""
    scale: Floats = np.where(error > 0, over * weights, weights)
    return scale * error**2


def fit(values: Floats, weights: Floats, over: float, regression: Regression) -> Floats:
    """What a regression finds for values [.. M], also where errors above a value weigh `over` times as much.

    With `over` < 1 each step is a regression under the weights of the step before (Newton's method on a convex loss of
    quadratic pieces): it has ended when the weights stay as they are.
    """
    table = regression(values, weights)
    if over == 1:
        return table
    moving = np.arange(values.shape[-1])
    for _ in range(100):
        truth = values[..., moving]
        before = table[..., moving] > truth + _NUDGE
        table[..., moving] = regression(truth, np.where(before, over, 1.0) * weights[..., moving])
        changed = (table[..., moving] > truth + _NUDGE) != before
        moving = moving[changed.reshape(-1, len(moving)).any(axis=0)]
        if not moving.size:
            return table
    raise ArithmeticError("the optimistic projection did not settle")


def isotonic(sets: UpperSets) -> Regression:
    """Weighted isotonic regression of tables [C M] in ordered coordinates."""
    return lambda values, weights: _table(_levels(values, weights, sets), sets)


def _levels(values: Floats, weights: Floats, sets: UpperSets) -> Floats:
    """Weighted isotonic regressions of values [C M]: from the top, the upper set of the highest mean, then beyond it.

    Returns:
        Levels [U M]: the mean of what an upper set adds where it was chosen, else NaN.
    """
    sums, sizes = sets.member @ (weights * values), sets.member @ weights  # [U M]
    levels = np.full(sums.shape, np.nan)
    current = np.zeros(values.shape[1], np.int64)
    for held in range(len(sums) - 1):  # from small to large: each is met once
        here = np.flatnonzero(current == held)
        larger = np.flatnonzero(sets.above[held])
        size = sizes[np.ix_(larger, here)] - sizes[held, here]
        total = sums[np.ix_(larger, here)] - sums[held, here]
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.where(size > 0, total / size, -np.inf)
        best = mean.max(axis=0)
        chosen = (np.arange(len(larger), dtype=np.int32)[:, None] * (mean == best)).max(axis=0)  # of equals the largest
        data = best > -np.inf  # what is left may have no weight: then it is free
        levels[larger[chosen], here] = np.where(data, best, values.min(axis=0)[here])
        current[here] = larger[chosen]
    return levels


def _table(levels: Floats, sets: UpperSets) -> Floats:
    """Tables [C M] from levels [U M]: a cell has the level of the smallest chosen set that holds it."""
    table = np.empty((sets.member.shape[1], levels.shape[1]))
    for member, level in zip(sets.member[:0:-1], levels[:0:-1], strict=True):
        here = np.flatnonzero(~np.isnan(level))
        table[np.ix_(member, here)] = level[here]
    return table


def scaled(payoffs: npt.ArrayLike, weights: npt.ArrayLike) -> tuple[Floats, Floats, Shape, Floats]:
    """Games [G C] with mean 0 and entries within 1, weights [G C], the shape of a game, and the scale [G 1]."""
    games = np.asarray(payoffs, np.float64)
    data = np.broadcast_to(np.asarray(weights, np.float64), games.shape)
    flat = games.reshape(len(games), -1)
    centred = flat - flat.mean(axis=1, keepdims=True)
    scale = np.abs(centred).max(axis=1, keepdims=True)
    scale = np.where(scale > 0, scale, 1.0)
    return centred / scale, data.reshape(len(games), -1), games.shape[1:], scale


def twins(games: Floats, data: Floats, shape: Shape) -> list[list[int]]:
    """For each agent the class of each action: the first one that is the same in every game [G C] and weight [G C]."""
    both = np.stack([games, data]).reshape(2, len(games), *shape)
    found = []
    for agent, size in enumerate(shape):
        slices = np.moveaxis(both, 2 + agent, 0).reshape(size, -1)
        found.append([next(b for b in range(a + 1) if np.array_equal(slices[a], slices[b])) for a in range(size)])
    return found


def stand_ins(kinds: list[list[int]], shape: Shape) -> Ints:
    """For each joint action the one whose actions are the last of their classes: only those end an order, [C]."""
    last = [[max(b for b, other in enumerate(kind) if other == of) for of in kind] for kind in kinds]
    return np.ravel_multi_index(np.ix_(*last), shape).reshape(-1)


def _blocks(n_orders: int, n_games: int, n_sets: int) -> list[tuple[slice, Ints]]:
    """Pairs of games and orders to be computed at once, so that arrays stay in the cache."""
    games = max(1, min(n_games, _BLOCK // n_sets))
    at_once = max(1, _BLOCK // (n_sets * games))
    return [
        (slice(start, start + games), np.arange(first, min(first + at_once, n_orders)))
        for start in range(0, n_games, games)
        for first in range(0, n_orders, at_once)
    ]
