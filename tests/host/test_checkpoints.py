"""Which checkpoints there are, what they hold, and when one is due."""

import itertools
import logging
import os
import shutil
import threading
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from marlx.host import checkpoints, files, job, keeper
from marlx.host.checkpoints import Checkpoints
from marlx.host.loop import Position
from marlx.program import Program

from .resuming import experiment, run, stopped

FAMILIES = ("gomarl", "mrvf", "nm_qmix", "pow_qmix", "qtran", "remix")


def test_the_last_ones_and_the_best_are_kept(tmp_path: Path) -> None:
    opened = Checkpoints(tmp_path)
    for number, score in enumerate([0.0, 5.0, 2.0, None, 1.0, 1.0]):
        opened.save({"it": number}, {"x": np.full((2, 3), number, np.float32), "no": np.zeros((2, 0))}, score)
    opened.close()
    again = Checkpoints(tmp_path)
    found = list(again.newest_first(pytest.fail))
    assert [saved.number for saved in found] == [5, 4, 1]
    assert (found[2].arrays["x"] == 1).all() and found[2].notes == {"it": 1, "score": 5.0, "chunk": 0}
    again.save({}, {"x": np.zeros(1)}, 4.0)  # what is best is known to the next process
    again.close()
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["1", "5", "6"]


def test_evaluations_of_other_seeds_are_no_rivals(tmp_path: Path) -> None:
    """The best of the chunk at work stays, though a chunk before it was better; the next process knows it too."""
    opened = Checkpoints(tmp_path)
    for chunk, score in ((0, 9.0), (0, 8.0), (4, 1.0), (4, 2.0), (4, None), (4, 1.5)):
        opened.save({}, {"x": np.zeros(1)}, score, chunk)
    assert (opened.highest(0), opened.highest(4), opened.highest(8)) == (-np.inf, 2.0, -np.inf)
    opened.close()
    again = Checkpoints(tmp_path)
    assert again.highest(4) == 2.0
    again.save({}, {"x": np.zeros(1)}, None, 4)
    again.close()
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["3", "5", "6"]


def returns_of(values: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """The evaluations of a run, or of each of its chunks, are these."""
    record = job.Fleet.record
    left: list[float] = []

    def told(self: Any, *arguments: Any) -> Any:
        left.extend(() if left else values)
        state, found = record(self, *arguments)
        return state, {**found, "evaluation_return": np.full_like(found["evaluation_return"], left.pop(0))}

    monkeypatch.setattr(job.Fleet, "record", told)


@pytest.mark.parametrize("pause", [0.0, 1e9])
def test_the_best_evaluation_is_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pause: float) -> None:
    """By the clock nothing is due in so short a run: what is there beside its end was saved for its evaluation."""
    returns_of([1.0, 5.0, 2.0, 3.0], monkeypatch)
    monkeypatch.setattr(keeper, "PAUSE", pause)
    monkeypatch.setattr(keeper, "SECONDS", 1e9)
    run(tmp_path / "run", chunk=2, width=1, checkpoint_interval=None)
    kept = [saved.notes for saved in Checkpoints(tmp_path / "run").newest_first(pytest.fail)]
    found = [(notes["chunk"], notes["iteration"], notes["score"]) for notes in kept]
    assert found == ([(2, 80, 3.0), (2, 40, 5.0)] if pause == 0 else [(2, 80, 3.0), (0, 80, 3.0)])


def test_when_a_checkpoint_is_due(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By steps or by the clock that never runs backwards; and after an evaluation that is better, but not too often."""
    now = 1000.0
    monkeypatch.setattr(keeper.time, "monotonic", lambda: now)

    def at(iteration: int, score: float | None = None) -> Position:
        record = None if score is None else {"evaluation_return": np.full(3, score)}
        return Position(iteration, 0, None, record)

    by_steps, by_clock = (keeper.Keeper(tmp_path, every, None, pytest.fail) for every in (10, None))
    assert by_steps.due(at(20), 0) and not by_steps.due(at(25), 0) and not by_clock.due(at(20), 0)
    monkeypatch.setattr(keeper.time, "time", lambda: 1e12)  # the wall clock jumps: nobody looks at it
    now += keeper.PAUSE - 1
    assert not by_clock.due(at(20, 1.0), 0) and not by_steps.due(at(25, 1.0), 0)
    now += 1
    assert by_clock.due(at(20, 1.0), 0) and by_steps.due(at(25, 1.0), 0)
    assert not by_clock.due(at(20, np.nan), 0) and not by_clock.due(at(20), 0)
    now += keeper.SECONDS - keeper.PAUSE
    assert by_clock.due(at(20), 0) and not by_steps.due(at(25), 0)


@pytest.mark.parametrize("asked, there", [(None, False), (True, True), (False, False)])
def test_a_large_replay_is_saved_on_demand_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: bool | None, there: bool
) -> None:
    monkeypatch.setattr(keeper, "SMALL_REPLAY", 0)  # none is small
    stopped(tmp_path / "run", monkeypatch, checkpoint_replay=asked)
    saved = next(Checkpoints(tmp_path / "run").newest_first(pytest.fail))
    assert any(name.startswith("replay/") for name in saved.arrays) == there
    assert any(name.startswith("learner/") for name in saved.arrays)


def test_what_a_failed_save_still_writes_is_no_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that was full: the save has failed, and for a moment its threads put files into its folder."""
    left = tmp_path / "checkpoints" / f"0{checkpoints.UNFINISHED}"
    left.mkdir(parents=True)
    remove, late, pauses = shutil.rmtree, iter(["one", "another"]), []

    def outrun(path: Any, *more: Any, **options: Any) -> None:
        """What rmtree meets when a file comes in between the last that it removes and the folder itself."""
        remove(path, *more, **options)
        for name in late if Path(path) == left else ():
            left.mkdir()
            (left / name).touch()
            left.rmdir()

    with monkeypatch.context() as patch:
        patch.setattr(files.shutil, "rmtree", outrun)
        patch.setattr(files.time, "sleep", pauses.append)
        opened = Checkpoints(tmp_path)
    assert pauses == [0.1, 0.3]
    opened.save({"count": 1}, {"x": np.arange(3.0)})
    opened.close()
    (saved,) = Checkpoints(tmp_path).newest_first(pytest.fail)
    assert saved.number == 0 and saved.arrays["x"].tolist() == [0, 1, 2]


def test_a_close_that_fails_waits_until_nothing_more_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads of a save that failed still put files there; then, and when it is interrupted, they are let go of."""
    opened, late, closed = Checkpoints(tmp_path), iter(["one", "two"]), []

    def refuse() -> None:
        raise KeyboardInterrupt

    def meanwhile(_: float) -> None:
        for name in itertools.islice(late, 1):
            (tmp_path / "checkpoints" / name).touch()

    close = opened._manager.close
    monkeypatch.setattr(opened, "wait", refuse)
    monkeypatch.setattr(opened._manager, "close", lambda: closed.append(close()))
    monkeypatch.setattr(checkpoints.time, "sleep", meanwhile)
    with pytest.raises(KeyboardInterrupt):
        opened.close()
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {"one", "two"} and closed == [None]


def test_the_tasks_of_a_failed_save_are_not_logged_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Those of other programs are."""
    Checkpoints(tmp_path).close()
    for place in ("site-packages/orbax/checkpoint/type_handlers.py", "own.py"):
        logging.getLogger("asyncio").error("Task exception was never retrieved\nfuture: defined at %s:114", place)
    assert [told.getMessage().endswith("own.py:114") for told in caplog.records] == [True]


def test_saving_goes_on_in_the_background(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`save` returns before the commit, which what happens to the arrays meanwhile does not reach; `wait` waits."""
    begun, allowed, waited = (threading.Event() for _ in range(3))
    put = os.rename

    def held_back(*paths: Any, **options: Any) -> None:
        if checkpoints.UNFINISHED in str(paths[0]):
            begun.set()
            assert allowed.wait(60)
        put(*paths, **options)

    monkeypatch.setattr(os, "rename", held_back)
    opened, array = Checkpoints(tmp_path), np.ones(3)
    opened.save({}, {"x": array})
    assert begun.wait(60) and not list((tmp_path / "checkpoints").glob("[0-9]"))
    waiter = threading.Thread(target=lambda: (opened.wait(), waited.set()))
    waiter.start()
    assert not waited.wait(0.3)
    allowed.set()
    waiter.join(60)
    assert waited.is_set() and [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["0"]
    opened.close()


@pytest.mark.parametrize("algorithm", FAMILIES)
def test_a_checkpoint_holds_the_whole_state_of_every_family(tmp_path: Path, algorithm: str) -> None:
    """What is read is what was saved, leaf by leaf; going on is a function of that and of nothing else."""
    program, numbers = Program(experiment(algorithm)), experiment(algorithm).numbers()
    keys = jax.random.split(jax.random.key(0), 2)
    state = jax.jit(jax.vmap(program.init, (0, None)))(keys, numbers)
    opened = Checkpoints(tmp_path)
    opened.save({}, checkpoints.flatten(state))
    opened.close()
    saved = next(Checkpoints(tmp_path).newest_first(pytest.fail))
    again = checkpoints.restore(saved.arrays, jax.eval_shape(lambda: state), np.arange(2))
    assert jax.tree.structure(again) == jax.tree.structure(state)
    for one, other in zip(checkpoints.flatten(state).items(), checkpoints.flatten(again).items(), strict=True):
        assert one[0] == other[0] and one[1].dtype == other[1].dtype
        np.testing.assert_array_equal(one[1], other[1])
