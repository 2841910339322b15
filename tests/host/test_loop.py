"""The outer loop on a pretended fleet: records do not depend on chunks, and it goes on from any position."""

from typing import Any

import numpy as np
import pytest

from marlx.host.loop import Pace, Position, Record, advance

ENDS = (2, 7, 10)


class Fleet:
    """Two seeds whose state is the iteration and the sum of iteration numbers since the last record."""

    def __init__(self) -> None:
        self.chunks: list[int] = []

    def train(self, first: int, count: int, state: Any) -> Any:
        iteration, total = state
        assert iteration == first
        self.chunks.append(count)
        return first + count, total + sum(range(first, first + count))

    def record(self, index: int, state: Any) -> tuple[Any, Record]:
        iteration, total = state
        assert iteration == index
        return (iteration, 0), {"loss": np.full(2, total), "evaluation_return": np.full(2, 10.0 * index)}


def start(iteration: int = 0) -> Position:
    return Position(iteration, 0, (iteration, 0))


def records(positions: list[Position]) -> list[Record]:
    return [position.record for position in positions if position.record is not None]


@pytest.mark.parametrize("seconds", [0.0, 1e9])
def test_records_do_not_depend_on_chunks(seconds: float) -> None:
    found = records(list(advance(Fleet(), ENDS, start(), seconds)))
    assert [r["loss"][0] for r in found] == [0 + 1, 2 + 3 + 4 + 5 + 6, 7 + 8 + 9]
    assert [r["evaluation_return"][0] for r in found] == [20, 70, 100]


def test_chunks_grow_while_they_are_short() -> None:
    fleet = Fleet()
    list(advance(fleet, (100,), start(), seconds=1e9))
    assert fleet.chunks == [1, 4, 16, 64, 15]


def test_a_chunk_that_took_too_long_is_followed_by_a_shorter_one() -> None:
    pace = Pace(2.0)
    pace.measured(100, elapsed=20.0)
    assert pace.next(1000) == 4
    pace.measured(4, elapsed=0.4)
    assert pace.next(1000) == 16
    pace.measured(16, elapsed=8.0)
    assert pace.next(1000) == 4
    pace.measured(4, elapsed=0.0)
    assert pace.next(3) == 3


def test_any_position_can_be_gone_on_from() -> None:
    whole = list(advance(Fleet(), ENDS, start(), seconds=0.0))
    for cut, position in enumerate(whole):
        rest = list(advance(Fleet(), ENDS, position, seconds=0.0))
        assert len(rest) == len(whole) - cut - 1
        for first, second in zip(records(whole[cut + 1 :]), records(rest), strict=True):
            assert first.keys() == second.keys()
            assert all((first[name] == second[name]).all() for name in first)
