"""Interquartile means over seeds and their bootstrap intervals (Agarwal et al. 2021, "Deep RL at the edge of the
statistical precipice"). Plain numpy; the same call gives the same interval.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
ENOUGH = 5  # seeds; the bootstrap interval of fewer is no more than their range, and too often beside the true mean
ROUNDING = 1e-6  # of the scale of scores; what differs by less is equal
_BLOCK = 2**24  # resampled seeds held at a time


class Interval(NamedTuple):
    """An interquartile mean over seeds with a confidence interval; arrays [K], or scalars for values [S]."""

    iqm: Any  # of few seeds, see `over_seeds`, the plain mean, and the two ends the lowest and the highest
    low: Any
    high: Any
    used: Any  # seeds with a finite value
    left_out: Any  # seeds without one


def over_seeds(values: npt.ArrayLike, strata: npt.ArrayLike | None = None) -> Interval:
    """What tables and pictures show of seeds: as `interval`, but of few the mean, the lowest and the highest.

    Few are fewer than `ENOUGH` in any stratum.

    Args:
        values: [S] or [S K]; strata: labels [S], see `interval`.
    """
    columns = np.asarray(values, np.float64)
    if fewest(columns, strata) >= ENOUGH:
        return interval(columns, strata)
    finite = np.isfinite(columns)
    used = finite.sum(axis=0)
    some, known = used > 0, np.where(finite, columns, 0.0)
    mean = np.where(some, known.sum(axis=0) / np.maximum(used, 1), np.nan)
    low = np.where(some, np.where(finite, columns, np.inf).min(axis=0), np.nan)
    high = np.where(some, np.where(finite, columns, -np.inf).max(axis=0), np.nan)
    return Interval(*(x[()] for x in (mean, low, high, used, len(columns) - used)))


def fewest(values: npt.ArrayLike, strata: npt.ArrayLike | None = None) -> int:
    """How many seeds [S] or [S K] have a finite value, in the stratum that has the fewest."""
    columns = np.asarray(values, np.float64)
    sound = np.asarray(np.isfinite(columns.reshape(len(columns), -1)).any(axis=1))
    names = np.zeros(len(sound), np.int64) if strata is None else np.asarray(strata)
    return min((int(sound[names == name].sum()) for name in np.unique(names)), default=0)


def one_set(values: npt.ArrayLike) -> Floats:
    """Evaluations [S K] of the same seeds throughout, NaN for the others: those with a finite value at the last.

    A mean over whichever seeds live would jump where one dies. Where none lasts, all of them as long as all live.
    """
    columns = np.asarray(values, np.float64)
    finite = np.isfinite(columns)
    return np.where(finite[:, -1:] if finite[:, -1].any() else finite.all(axis=0), columns, np.nan)


def kind(seeds: int) -> str:
    """What `over_seeds` gives of so many seeds, for the head of a table."""
    return "IQM [95% interval]" if seeds >= ENOUGH else "one seed" if seeds == 1 else "mean [lowest, highest]"


def in_words(found: Interval, form: str = "{:.4g}") -> str:
    """A value with its two ends; of one seed the value alone."""
    if not np.isfinite(found.iqm):
        return "no finite value"
    value, low, high = (form.format(x) for x in found[:3])
    return value if found.used == 1 else f"{value} [{low}, {high}]"


def iqm(values: npt.ArrayLike) -> Any:
    """Interquartile mean over the leading axis: the mean without the lowest and the highest floor(S/4) values.

    NaN and infinite values are left out; the result is NaN where none is left.
    """
    columns = np.asarray(values, np.float64)
    means = np.array([_trimmed(_finite(column)) for column in columns.reshape(len(columns), -1).T])
    return means.reshape(columns.shape[1:])[()]


def interval(
    values: npt.ArrayLike,
    strata: npt.ArrayLike | None = None,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Interquartile mean over seeds with a percentile bootstrap interval.

    Args:
        values: [S] or [S K]; NaN and infinite values are left out, and counted.
        strata: labels [S]; seeds are drawn anew within each label (stratified bootstrap), such as one label for each
            task of a benchmark. None: one stratum.
        confidence: mass between the two ends.
        resamples: draws of the bootstrap.
        seed: of numpy's generator.
    """
    columns = np.asarray(values, np.float64)
    shape = columns.shape[1:]
    columns = columns.reshape(len(columns), -1)
    names = np.zeros(len(columns), np.int64) if strata is None else np.asarray(strata)
    labels = np.unique(names, return_inverse=True)[1]
    means = np.full((resamples, columns.shape[1]), np.nan)
    finite = np.isfinite(columns)
    patterns, members = np.unique(finite, axis=1, return_inverse=True)
    for index, pattern in enumerate(patterns.T):
        mine = np.flatnonzero(members.reshape(-1) == index)
        if pattern.any():
            means[:, mine] = resampled_iqm(columns[pattern][:, mine], labels[pattern], resamples, seed)
    tail = 100 * (1 - confidence) / 2
    low, high = np.percentile(means, [tail, 100 - tail], axis=0)
    used = finite.sum(axis=0)
    found = (iqm(columns), low, high, used, len(columns) - used)
    return Interval(*(np.reshape(x, shape)[()] for x in found))


def resampled_iqm(columns: Floats, labels: npt.NDArray[np.int64], resamples: int, seed: int) -> Floats:
    """Interquartile means [resamples K] of finite columns [S K] with the seeds drawn anew within each label.

    A draw is how often each seed occurs in it. On sorted values, its trimmed mean is a weighted sum whose weights
    follow from the counts alone, so that all columns share one product of matrices.
    """
    generator = np.random.default_rng(seed)
    order = np.argsort(columns, axis=0, kind="stable")
    ranked = np.take_along_axis(columns, order, axis=0)
    one_stratum = labels.min() == labels.max()
    block = max(1, _BLOCK // len(columns))
    found = []
    for start in range(0, resamples, block):
        counts = counts_of_draws(generator, labels, min(block, resamples - start))
        if one_stratum:  # seeds are exchangeable: counts by rank are distributed as counts by seed
            found.append(_weights(counts) @ ranked)
        else:
            products = [_weights(counts[:, order[:, k]]) @ ranked[:, k] for k in range(columns.shape[1])]
            found.append(np.stack(products, axis=1))
    return np.concatenate(found)


def counts_of_draws(generator: np.random.Generator, labels: npt.NDArray[np.int64], draws: int) -> npt.NDArray[np.int64]:
    """How often each seed is drawn [draws S], with replacement within its label."""
    counts = np.zeros((draws, len(labels)), np.int64)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        size = len(members)
        picks = generator.integers(0, size, (draws, size)) + size * np.arange(draws)[:, None]
        counts[:, members] = np.bincount(picks.reshape(-1), minlength=draws * size).reshape(draws, size)
    return counts


def _weights(counts: npt.NDArray[np.int64]) -> Floats:
    """Weight of each rank in the trimmed mean: the copies of it that lie between the quartiles, over all that do."""
    size = counts.shape[1]
    cut = size // 4
    ends = np.clip(np.cumsum(counts, axis=1), cut, size - cut)
    copies: Floats = np.diff(ends, axis=1, prepend=cut).astype(np.float64)
    return copies / (size - 2 * cut)


def _finite(column: Floats) -> Floats:
    return column[np.isfinite(column)]


def _trimmed(column: Floats) -> float:
    if not column.size:
        return float("nan")
    cut = column.size // 4
    return float(np.sort(column)[cut : column.size - cut].mean())
