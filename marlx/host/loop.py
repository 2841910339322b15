"""The outer loop as a stream of positions: after each chunk of iterations, and after each evaluation.

A position is all that going on needs; the caller logs, saves or stops between two of them.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Record = dict[str, npt.NDArray[Any]]  # metric -> values [S]

_COUNTERS = ("env_steps", "episodes", "updates", "epsilon")  # levels, not means: the latest value counts


class Trains(Protocol):
    """What the loop asks of a fleet of seeds (`marlx.engine.seeds.Fleet`)."""

    def train(self, first: int, count: int, state: Any) -> tuple[Any, Record]: ...

    def evaluate(self, index: int, state: Any) -> Record: ...


@dataclass(frozen=True)
class Means:
    """Means of training metrics since the last evaluation, joined from those of chunks.

    `training_return` is a mean over episodes, so chunks weigh by the episodes that ended in them; the others are means
    over iterations.
    """

    episodes: npt.NDArray[Any]  # [S], at the end of the last chunk
    latest: Record = field(default_factory=dict)
    sums: Mapping[str, tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]] = field(default_factory=dict)

    def joined(self, metrics: Record, count: int) -> "Means":
        """With a chunk of `count` iterations added."""
        sums = dict(self.sums)
        for name in metrics.keys() - set(_COUNTERS):
            values = np.asarray(metrics[name], np.float64)
            weight = np.full(values.shape, float(count))
            if name == "training_return":
                weight = np.where(np.isnan(values), 0.0, metrics["episodes"] - self.episodes)
                values = np.nan_to_num(values)
            total, weights = sums.get(name, (0.0, 0.0))
            sums[name] = (total + weight * values, weights + weight)
        latest = {name: metrics[name] for name in _COUNTERS if name in metrics}
        return Means(metrics["episodes"], latest, sums)

    def result(self) -> Record:
        """The means, float64 [S]; NaN where no episode ended."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return {**self.latest, **{name: total / weights for name, (total, weights) in sorted(self.sums.items())}}


@dataclass(frozen=True)
class Position:
    """How far a run has come."""

    iteration: int
    recorded: int  # evaluations recorded so far
    state: Any  # of all seeds, on the devices; consumed by the next chunk
    means: Means
    record: Record | None = None  # the evaluation that was just made


class Pace:
    """Lengths of chunks that take about `seconds`, from the time that iterations have taken so far."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._count = seconds, 1

    def next(self, remaining: int) -> int:
        """Iterations of the next chunk."""
        return min(self._count, remaining)

    def measured(self, count: int, elapsed: float) -> None:
        """`count` iterations took `elapsed` seconds; chunks grow at most fourfold at a time."""
        wanted = int(self._seconds * count / max(elapsed, 1e-9))
        self._count = max(1, min(wanted, 4 * self._count))


def advance(
    fleet: Trains, ends: tuple[int, ...], position: Position, *, evaluates: bool, seconds: float = 2.0
) -> Iterator[Position]:
    """Trains from a position to the last of `ends`, the iterations after which there is a record.

    Args:
        evaluates: records hold greedy episodes, not only training metrics.
        seconds: of a chunk, about; results do not depend on it.

    Yields:
        A position after each chunk. At an end its `record` is set.
    """
    pace = Pace(seconds)
    for end in ends[position.recorded :]:
        while position.iteration < end:
            count = pace.next(end - position.iteration)
            started = time.perf_counter()
            state, metrics = fleet.train(position.iteration, count, position.state)
            pace.measured(count, time.perf_counter() - started)
            means = position.means.joined(metrics, count)
            position = Position(position.iteration + count, position.recorded, state, means)
            if position.iteration < end:
                yield position
        record = position.means.result()
        if evaluates:
            record |= fleet.evaluate(end, position.state)
        position = Position(end, position.recorded + 1, position.state, Means(position.means.episodes), record)
        yield position
        position = replace(position, record=None)
