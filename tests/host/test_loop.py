"""The outer loop on a pretended fleet: records do not depend on chunks, and it goes on from any position."""

from typing import Any

import numpy as np
import pytest

from marlx.host.loop import Means, Pace, Position, Record, advance

ENDS = (2, 7, 10)


class Fleet:
    """Two seeds; iteration i has loss i, and seed s ends s + 1 episodes of return i in it, none in iteration 3."""

    def __init__(self) -> None:
        self.chunks: list[int] = []

    def train(self, first: int, count: int, state: Any) -> tuple[Any, Record]:
        assert state == first
        self.chunks.append(count)
        indices = np.arange(first, first + count)
        ended = np.where(indices == 3, 0, 1)[:, None] * [1, 2]
        with np.errstate(invalid="ignore"):
            returns = (ended * indices[:, None]).sum(0) / ended.sum(0)
        record = {
            "loss": np.full(2, indices.mean()),
            "training_return": returns,
            "episodes": self._episodes(first + count),
            "env_steps": np.full(2, 4 * (first + count)),
            "epsilon": np.full(2, 1 / (first + count)),
        }
        return first + count, record

    def evaluate(self, index: int, state: Any) -> Record:
        assert state == index
        return {"evaluation_return": np.full(2, 10.0 * index), "env_steps": np.full(2, 4 * index)}

    @staticmethod
    def _episodes(iterations: int) -> np.ndarray:
        return np.array([1, 2]) * (iterations - (iterations > 3))


def start(iteration: int = 0) -> Position:
    return Position(iteration, 0, iteration, Means(np.array([iteration, 2 * iteration])))


def records(positions: list[Position]) -> list[Record]:
    return [position.record for position in positions if position.record is not None]


@pytest.mark.parametrize("seconds", [0.0, 1e9])
def test_records_do_not_depend_on_chunks(seconds: float) -> None:
    found = records(list(advance(Fleet(), ENDS, start(), evaluates=True, seconds=seconds)))
    assert [r["loss"].tolist() for r in found] == [[0.5, 0.5], [4.0, 4.0], [8.0, 8.0]]
    assert [r["training_return"].tolist() for r in found] == [[0.5, 0.5], [4.25, 4.25], [8.0, 8.0]]
    assert [r["evaluation_return"][0] for r in found] == [20, 70, 100]
    assert [r["epsilon"][0] for r in found] == [1 / 2, 1 / 7, 1 / 10]


def test_chunks_grow_while_they_are_short() -> None:
    fleet = Fleet()
    list(advance(fleet, (100,), start(), evaluates=False, seconds=1e9))
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
    whole = list(advance(Fleet(), ENDS, start(), evaluates=True, seconds=0.0))
    for cut, position in enumerate(whole):
        rest = list(advance(Fleet(), ENDS, position, evaluates=True, seconds=0.0))
        assert len(rest) == len(whole) - cut - 1
        for first, second in zip(records(whole[cut + 1 :]), records(rest), strict=True):
            assert first.keys() == second.keys()
            assert all((first[name] == second[name]).all() for name in first)


def test_an_evaluation_right_after_the_warm_up_has_no_training_metrics() -> None:
    found = records(list(advance(Fleet(), ENDS, start(2), evaluates=True)))
    assert found[0].keys() == {"evaluation_return", "env_steps"}
    assert found[1]["training_return"].tolist() == [4.25, 4.25]


def test_without_evaluations_training_metrics_are_recorded() -> None:
    found = records(list(advance(Fleet(), (10,), start(), evaluates=False)))
    assert found[0]["loss"].tolist() == [4.5, 4.5]
    assert found[0]["env_steps"].tolist() == [40, 40]


def test_no_episode_is_nan() -> None:
    means = Means(np.array([0])).joined({"training_return": np.array([np.nan]), "episodes": np.array([0])}, 1)
    assert np.isnan(means.result()["training_return"])
