"""Which greedy joint actions reach the least loss of a monotonic table, without fitting a table to every order.

`minimisers(losses_by_greedy(..))` says the same by looking at all orders. Here each order has a bound first: a table
that rises along all agents' orders rises along each of them, and the closest arrays that rise along one alone are
chains, found in closed form. For closed convex sets C1, C2, .. and y in all of them

    |x - y|^2 >= |x - P1 x|^2 + |P1 x - P2 P1 x|^2 + ..,

since y is seen from the projection P x at an angle of at least 90 degrees. An order is fitted only if its bound is
below the least loss so far, or equals it and its greedy joint action is not known to reach that: a few in a hundred.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from marlx.analysis.theory.lattice import Bools, Ints, Shape, orders, upper_sets
from marlx.analysis.theory.projection import (
    TIE,
    fit,
    isotonic,
    loss,
    losses_by_greedy,
    minimisers,
    scaled,
    stand_ins,
    twins,
)

Floats = npt.NDArray[np.float64]
_BLOCK = 2**17  # numbers of one array at a time
_MARGIN = 1e-9  # of a bound, in units of all weights together: arithmetic is inexact; games are scaled to 1
_FAINT = 1e-4  # an `over` that stands for the limit of 0
_LITTLE = 1e-14  # weight of what has none, so that every mean is one


def least_by_greedy(payoffs: npt.ArrayLike, weights: npt.ArrayLike, over: float = 1.0) -> Bools:
    """Which greedy joint actions reach the least loss, ties included, [G A_1 .. A_N].

    Args:
        payoffs: [G A_1 .. A_N]; `weights` and `over` as of `projection.losses_by_greedy`.

    Raises:
        ValueError: a game with too many orders or upper sets.
    """
    if over < _FAINT:  # ties are then told apart by what is lost in the bounds
        return minimisers(losses_by_greedy(payoffs, weights, over))
    games, data, shape, _ = scaled(payoffs, weights)
    kinds = twins(games, data, shape)
    cells, last = orders(shape, kinds)
    regression = isotonic(upper_sets(shape))

    def losses(pairs: tuple[Ints, Ints]) -> Floats:
        """Of pairs of an order and a game, [M]."""
        values, loads = (x[pairs[1][:, None], cells[pairs[0]]].T for x in (games, data))  # [C M]
        return loss(fit(values, loads, over, regression) - values, loads, over).sum(axis=0)

    def of_some(some: Ints) -> Bools:
        """The marks [g C] of some games; none at a joint action that ends no order."""
        step = max(1, _BLOCK // (games.shape[1] * len(some)))
        parts = (cells[start : start + step] for start in range(0, len(cells), step))
        bounds = np.concatenate([_bounds(games[some], data[some], part, over, shape) for part in parts])  # [P g]
        margin = _MARGIN * data[some].sum(axis=1)
        tie = TIE * np.maximum(losses((_worst(bounds, last), some)), 1e-30)  # as there: by the spread of the losses
        found, left = np.full((len(some), games.shape[1]), np.inf), np.ones(bounds.shape, bool)
        order, game = bounds.argmin(axis=0), np.arange(len(some))
        while order.size:
            np.minimum.at(found, (game, last[order]), losses((order, some[game])))
            left[order, game] = False
            best = found.min(axis=1)
            may_equal = (bounds <= best + margin) & ~(found <= (best + tie)[:, None])[:, last].T
            order, game = _next(bounds, left & ((bounds < best - margin) | may_equal), last)
        return found <= (best + tie)[:, None]

    size = max(1, _BLOCK // cells.size)
    blocks = [np.arange(start, min(start + size, len(games))) for start in range(0, len(games), size)]
    with ThreadPoolExecutor() as pool:  # numpy's loops over whole arrays run side by side
        marks = np.concatenate(list(pool.map(of_some, blocks)))
    return marks[:, stand_ins(kinds, shape)].reshape(-1, *shape)


def _next(bounds: Floats, wanted: Bools, last: Ints) -> tuple[Ints, Ints]:
    """For each game and last cell the order wanted [P G] of the lowest bound [P G], if any: pairs, int [M] both."""
    found = []
    for cell in np.unique(last):
        mine = np.flatnonzero(last == cell)
        game = np.flatnonzero(wanted[mine].any(axis=0))
        order = np.where(wanted[np.ix_(mine, game)], bounds[np.ix_(mine, game)], np.inf).argmin(axis=0)
        found.append((mine[order], game))
    orders, games = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return orders, games


def _worst(bounds: Floats, last: Ints) -> Ints:
    """For each game the best order of the joint action that is worst to be greedy, by bounds [P G]: int [G]."""
    lowest = np.stack([bounds[last == cell].min(axis=0) for cell in np.unique(last)])
    worst = np.unique(last)[lowest.argmax(axis=0)]
    return np.asarray(np.where(last[:, None] == worst, bounds, np.inf).argmin(axis=0))


def _bounds(games: Floats, data: Floats, cells: Ints, over: float, shape: Shape) -> Floats:
    """What the losses of games [G C] are at least, for each order of cells [P C]: [P G].

    With `over` < 1 the first projection is the optimistic one; beyond it the loss grows at least `over` times as fast
    as the square of the distance.
    """
    values, weights = (x[:, cells].transpose(2, 1, 0).reshape(*shape, -1) for x in (games, data))
    weights = np.maximum(weights, _LITTLE)
    nearest = fit(values, weights, over, lambda x, w: _rising(x, w, 0))
    found = loss(nearest - values, weights, over)
    for axis in range(1, len(shape)):
        before, nearest = nearest, _rising(nearest, weights, axis)
        found += over * loss(nearest - before, weights, 1.0)
    return found.reshape(-1, len(cells), len(games)).sum(axis=0)


def _rising(values: Floats, weights: Floats, axis: int) -> Floats:
    """The closest arrays that never fall along an axis: y_k = max over a <= k of min over b >= k of the mean of a .. b.

    Args:
        values, weights > 0: of any one shape.
    """
    values, weights = np.moveaxis(values, axis, 0), np.moveaxis(weights, axis, 0)
    loads, size = weights * values, len(values)
    found = np.full(values.shape, -np.inf)
    for first in range(size):
        totals, sizes = np.cumsum(loads[first:], axis=0), np.cumsum(weights[first:], axis=0)
        least = np.full(values.shape[1:], np.inf)
        for place in range(size - 1, first - 1, -1):
            np.minimum(least, totals[place - first] / sizes[place - first], out=least)
            np.maximum(found[place], least, out=found[place])
    return np.moveaxis(found, 0, axis)
