"""The outer loop as a stream of positions: after each chunk of iterations, and after each evaluation.

A position is all that going on needs; the caller logs, saves or stops between two of them.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy.typing as npt

Record = dict[str, npt.NDArray[Any]]  # metric -> values [S]


class Trains(Protocol):
    """What the loop asks of a fleet of seeds (`marlx.engine.seeds.Fleet`)."""

    def train(self, first: int, count: int, state: Any) -> Any: ...

    def record(self, index: int, state: Any) -> tuple[Any, Record]: ...


@dataclass(frozen=True)
class Position:
    """How far a run has come."""

    iteration: int
    recorded: int  # records so far
    state: Any  # of all seeds, on the devices; consumed by the next chunk
    record: Record | None = None  # the one that was just made
    busy: float = 0.0  # seconds spent in the fleet so far


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
    fleet: Trains, ends: tuple[int, ...], position: Position, seconds: float = 2.0, every: int | None = None
) -> Iterator[Position]:
    """Trains from a position to the last of `ends`, the iterations after which there is a record.

    Args:
        seconds: of a chunk, about; results do not depend on it.
        every: there is a position after each multiple of so many iterations.

    Yields:
        A position after each chunk. At an end its `record` is set.
    """
    pace = Pace(seconds)
    for end in ends[position.recorded :]:
        while position.iteration < end:
            remaining = end - position.iteration
            count = pace.next(min(remaining, every - position.iteration % every) if every else remaining)
            started = time.perf_counter()
            state = fleet.train(position.iteration, count, position.state)
            elapsed = time.perf_counter() - started
            pace.measured(count, elapsed)
            position = Position(position.iteration + count, position.recorded, state, busy=position.busy + elapsed)
            if position.iteration < end:
                yield position
        started = time.perf_counter()
        state, record = fleet.record(end, position.state)
        busy = position.busy + time.perf_counter() - started
        position = Position(end, position.recorded + 1, state, record, busy)
        yield position
        position = replace(position, record=None)
