"""How methods differ: statistics of scores over tasks and seeds (Agarwal et al. 2021; Gorsane et al. 2022).

Scores are a mapping from task to the scores of its seeds, [S] each; tasks may have different numbers of them. Seeds
are drawn anew within each task (stratified bootstrap). Scores that are not finite are left out; `left_out` counts them.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from marlx.analysis.statistics import (
    ROUNDING,
    Floats,
    Interval,
    counts_of_draws,
    interval,
    iqm,
    over_seeds,
    resampled_iqm,
)

Scores = Mapping[str, npt.ArrayLike]


class Estimate(NamedTuple):
    """A statistic and the two ends of its percentile bootstrap interval."""

    value: Any
    low: Any
    high: Any


NOTHING = Estimate(float("nan"), float("nan"), float("nan"))  # where a task has no finite score


def aggregate(scores: Scores, confidence: float = 0.95, resamples: int = 2000, seed: int = 0) -> Interval:
    """The interquartile mean over all tasks and seeds, and its stratified interval."""
    values, tasks = _flat(scores)
    return interval(values, tasks, confidence, resamples, seed)


def shown(scores: Scores) -> Interval:
    """What tables show of scores: as `aggregate`, but of few seeds on any task the mean, the lowest and the highest."""
    return over_seeds(*_flat(scores))


def fewest(scores: Scores) -> int:
    """How many scores are finite on the task where the fewest are."""
    return min((_finite(x).size for x in scores.values()), default=0)


def left_out(scores: Scores) -> int:
    """How many scores are not finite: seeds that died or diverged."""
    return sum(int((~np.isfinite(np.asarray(x, np.float64))).sum()) for x in scores.values())


def difference(
    first: Scores, second: Scores, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Estimate:
    """By how much the interquartile mean of the first exceeds that of the second; seeds of the two are independent.

    What is no more than rounding is 0.
    """
    if not all(_finite(_flat(of)[0]).size for of in (first, second)):
        return NOTHING
    draws = [
        resampled_iqm(_finite(values)[:, None], tasks[np.isfinite(values)], resamples, seed + index)[:, 0]
        for index, (values, tasks) in enumerate((_flat(first), _flat(second)))
    ]
    value = iqm(_flat(first)[0]) - iqm(_flat(second)[0])
    found = (float(value), *_ends(draws[0] - draws[1], confidence))
    most = _rounding(*first.values(), *second.values())
    return Estimate(*(0.0 if abs(x) <= most else x for x in found))


def probability_of_improvement(
    first: Scores, second: Scores, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Estimate:
    """How likely a seed of the first has the higher score on a task drawn at random; ties (see `ties`) count one half.

    Raises:
        ValueError: the two do not have the same tasks.
    """
    if set(first) != set(second):
        raise ValueError("both methods need scores of the same tasks")
    generator = np.random.default_rng(seed)
    values, draws = [], []
    for task in first:
        x, y = _finite(first[task]), _finite(second[task])
        if not (x.size and y.size):
            return NOTHING
        ahead, most = x[:, None] - y, _rounding(x, y)
        wins = (ahead > most) + 0.5 * (np.abs(ahead) <= most)
        values.append(wins.mean())
        of_x, of_y = (counts_of_draws(generator, np.zeros(len(z), np.int64), resamples) for z in (x, y))
        draws.append(np.einsum("rx,xy,ry->r", of_x, wins, of_y, optimize=True) / wins.size)
    return Estimate(float(np.mean(values)), *_ends(np.mean(draws, axis=0), confidence))


def ties(first: Scores, second: Scores) -> float:
    """The share of pairs of seeds, as a mean over tasks, whose scores are equal but for rounding."""
    pairs = [(_finite(first[task]), _finite(second[task])) for task in first]
    return float(np.mean([(np.abs(x[:, None] - y) <= _rounding(x, y)).mean() for x, y in pairs]))


def performance_profile(
    scores: Scores, thresholds: npt.ArrayLike, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Estimate:
    """The share of seeds, as a mean over tasks, whose score exceeds each threshold.

    Args:
        thresholds: [K].

    Returns:
        Arrays [K].
    """
    generator = np.random.default_rng(seed)
    levels = np.asarray(thresholds, np.float64)
    if not all(_finite(x).size for x in scores.values()):
        return Estimate(*(np.full(levels.shape, np.nan),) * 3)
    values, draws = [], []
    for x in map(_finite, scores.values()):
        above = (x[:, None] > levels).astype(np.float64)  # [S K]
        values.append(above.mean(axis=0))
        draws.append(counts_of_draws(generator, np.zeros(len(x), np.int64), resamples) @ above / len(x))
    return Estimate(np.mean(values, axis=0), *_ends(np.mean(draws, axis=0), confidence))


def steps_to_reach(steps: npt.ArrayLike, returns: npt.ArrayLike, threshold: float) -> Floats:
    """Sample efficiency: environment steps at the first evaluation that reaches a threshold, [S]; inf if none does.

    Args:
        steps: of each evaluation, [K] or [S K].
        returns: [S K].
    """
    values = np.asarray(returns, np.float64)
    reached = values >= threshold
    when = np.broadcast_to(np.asarray(steps, np.float64), values.shape)
    first = np.take_along_axis(when, reached.argmax(axis=1)[:, None], axis=1)[:, 0]
    return np.where(reached.any(axis=1), first, np.inf)


def best_evaluation(returns: npt.ArrayLike) -> Floats:
    """The highest of each seed's evaluations, [S] of [S K]; NaN where none is finite.

    The absolute metric of Gorsane et al. (2022) plays fresh episodes, ten times as many, with the parameters of that
    evaluation; this is its score on the episodes by which it was chosen, so a little too high.
    """
    values = np.asarray(returns, np.float64)
    finite = np.where(np.isfinite(values), values, -np.inf).max(axis=1)
    return np.where(np.isfinite(finite), finite, np.nan)


def tied_tasks(scores: Mapping[str, Scores]) -> list[str]:
    """Tasks on which all scores of all methods are equal but for rounding: they tell nothing of the methods."""
    found = []
    for task in dict.fromkeys(task for of in scores.values() for task in of):
        every = np.concatenate([_finite(of[task]) for of in scores.values() if task in of])
        if every.size and np.ptp(every) <= _rounding(every):
            found.append(task)
    return found


def normalised(scores: Mapping[str, Scores]) -> dict[str, dict[str, Floats]]:
    """Scores of methods with each task's lowest score over all methods as 0 and its highest as 1."""
    tasks = {task for of in scores.values() for task in of}
    ends = {}
    for task in tasks:
        everything = np.concatenate([_finite(of[task]) for of in scores.values() if task in of])
        low, high = (everything.min(), everything.max()) if everything.size else (0.0, 1.0)
        ends[task] = (low, high - low if high > low else 1.0)
    return {
        method: {task: (np.asarray(x, np.float64) - ends[task][0]) / ends[task][1] for task, x in of.items()}
        for method, of in scores.items()
    }


def _flat(scores: Scores) -> tuple[Floats, npt.NDArray[np.int64]]:
    """All scores in a row, and the number of the task of each."""
    arrays = [np.asarray(x, np.float64).reshape(-1) for x in scores.values()]
    return np.concatenate(arrays), np.repeat(np.arange(len(arrays)), [len(x) for x in arrays])


def _finite(values: npt.ArrayLike) -> Floats:
    array = np.asarray(values, np.float64).reshape(-1)
    return array[np.isfinite(array)]


def _rounding(*values: npt.ArrayLike) -> float:
    """The largest difference that is none: a small share of the largest of the finite values."""
    return ROUNDING * max((float(np.abs(x).max()) for x in map(_finite, values) if x.size), default=0.0)


def _ends(draws: Floats, confidence: float) -> tuple[Any, Any]:
    tail = 100 * (1 - confidence) / 2
    low, high = np.percentile(draws, [tail, 100 - tail], axis=0)
    return low[()], high[()]
