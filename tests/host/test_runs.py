"""Whole runs, small ones: what lies on disk, and what a signal or a full disk leaves there."""

import errno
import os
import re
import shutil
import signal
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from marlx_envs.options import UsageError

import marlx
from marlx.engine import widths
from marlx.experiment import from_dict
from marlx.host import directory, job, parameters
from marlx.host.cli import main
from marlx.host.files import DiskError
from marlx.host.lanes import Lanes
from marlx.host.metrics import Recorder
from marlx.host.results import differences, in_words, plain
from marlx.host.signals import Interrupted

from .conftest import SMALL
from .written_runs import write_run

NAMES = b"environment_name = 'matrix_game'\n"
FILES = {"checkpoints", "events.log", "experiment.toml", "metrics.parquet", "parameters.npz", "run.toml"}


def experiment(*more: str) -> marlx.Experiment:
    return marlx.configure("iql", "matrix_game", *SMALL, *more)


def small(out: Path, *more: str, **options: Any) -> marlx.Run:
    return marlx.train(experiment(*more), **{"seeds": 2, "out": out, "progress": False, **options})


def test_a_run_holds_what_it_should(finished: Path) -> None:
    run = marlx.load_run(finished)
    assert {p.name for p in finished.iterdir()} == FILES
    assert run.finished and run.seeds == [0, 1]
    table = run.metrics()
    assert table.env_steps.tolist() == [80, 160, 240, 320] * 2
    assert table.seed.tolist() == [0] * 4 + [1] * 4
    assert table.columns[2] == "evaluation_return"
    assert {"loss", "training_return", "updates", "epsilon", "evaluation_length"} <= set(table.columns)
    assert not table.isna().any(axis=None)
    assert {"versions", "hardware", "layout", "compile_seconds", "date", "base_seed"} <= set(run.record)
    assert 0 < run.record["device_seconds"] <= run.record["train_seconds"]
    assert run.record["env_steps"] == 640
    assert "finished, 640 environment steps" in (finished / "events.log").read_text()


def test_experiment_toml_repeats_the_run(finished: Path) -> None:
    values = tomllib.loads((finished / "experiment.toml").read_text())
    assert (
        from_dict(values).to_dict()
        == from_dict(experiment().to_dict() | {"environment": values["environment"]}).to_dict()
    )
    assert not differences(marlx.load_run(finished), Lanes(experiment(), [0, 1]), 0)


def test_lists_as_payoffs_are_kept(tmp_path: Path) -> None:
    brought = experiment("environment.payoff=[[1, 2.5], [0, -1]]")
    lanes = Lanes(brought, [0, 1])
    work = job.Job(directory.claim(tmp_path / "run", "x"), lanes, 0, job.Settings())
    work.seating.seat()
    work.ledger.open(work.fleet, 1)
    run = marlx.load_run(tmp_path / "run")
    assert run.experiment.environment["payoff"] == [[1, 2.5], [0, -1]]
    assert not differences(run, lanes, 0)
    other = differences(run, Lanes(experiment(), [0, 1]), 0)
    assert other == {"environment.payoff": "[[1, 2.5], [0, -1]] there, not 'resq79'"}
    assert in_words(other) == "environment.payoff is [[1, 2.5], [0, -1]] there, not 'resq79'"


def test_a_run_outlives_its_payoff_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.csv").write_text("1,2\n3,4\n")
    brought = experiment("environment.payoff=mine.csv")
    Path("mine.csv").unlink()
    assert plain(brought)["environment"]["payoff"] == [[1, 2], [3, 4]]
    assert brought.make_environment().spec.return_max == 4


def test_parameters_repeat_the_last_evaluation(finished: Path) -> None:
    run = marlx.load_run(finished)
    last = run.metrics().groupby("seed").last()
    again = run.evaluate()
    np.testing.assert_array_equal(again["evaluation_return"], last.evaluation_return.to_numpy(np.float32))
    assert run.params["agent"]["params"]["utilities"]["bias"].shape == (2, 3)


def test_a_seed_does_not_depend_on_its_company(finished: Path, tmp_path: Path) -> None:
    tables = [run.metrics() for run in (marlx.load_run(finished), small(tmp_path / "run", seeds=[7, 1]))]
    here, there = (table[table.seed == 1].reset_index(drop=True) for table in tables)
    for name in ("evaluation_return", "training_return", "loss"):
        np.testing.assert_allclose(here[name], there[name], rtol=1e-6)
    assert tables[1].seed.tolist() == [1] * 4 + [7] * 4


def test_a_finished_run_is_returned_as_it_is(finished: Path) -> None:
    before = {p.name: p.read_bytes() for p in finished.iterdir() if p.is_file()}
    assert small(finished, resume=True).finished
    assert {p.name: p.read_bytes() for p in finished.iterdir() if p.is_file()} == before


@pytest.mark.parametrize(
    ("overrides", "options", "words"),
    [
        ((), {"resume": False}, "holds this run already; go on with it by --resume, or choose another --out"),
        ((), {"resume": False, "seeds": 3}, "holds another run: seeds is '0:2' there, not '0:3'; choose another --out"),
        ((), {"seeds": 3}, "seeds is '0:2' there, not '0:3'"),
        ((), {"base_seed": 1}, "base_seed is 0 there, not 1"),
        (("training.gamma=0.5",), {}, "training.gamma is 0.99 there, not 0.5"),
        (("training.total_steps=160",), {}, "training.total_steps is 320 there, not 160$"),
        (("training.total_steps=480", "training.gamma=0.5"), {}, "not 480; training.gamma is 0.99 there, not 0.5$"),
        (
            ("training.total_steps=480",),
            {},
            "not 480; `marlx repeat .*finished --continue --steps 480 --out DIR` goes on",
        ),
    ],
)
def test_another_run_is_left_alone(finished: Path, overrides: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        small(finished, *overrides, **{"resume": True, **options})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"base_seed": -1}, "base_seed must be a whole number"),
        ({"base_seed": 0.5}, "base_seed must be a whole number"),
        ({"wandb": "onlin"}, "did you mean 'online'"),
        ({"width": 0}, "width must be a whole number of at least 1, not 0"),
        ({"seeds": 0}, "seeds must be at least 1"),
    ],
)
def test_wrong_arguments_make_no_directory(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        small(tmp_path / "run", **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "name, told",
    [("progres", "'progres'; did you mean 'progress'?"), ("seed", "'seed'; did you mean 'seeds'?")],
)
def test_an_unknown_argument_is_told_with_the_nearest(name: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as error:
        marlx.train(marlx.configure("iql", "matrix_game"), out=tmp_path / "run", **{name: 1})
    assert str(error.value) == f"unknown argument of marlx.train {told}" and not (tmp_path / "run").exists()


@pytest.mark.parametrize("function, given", [("train", ("qmix", "matrix_game")), ("make_train", ("qmix",))])
def test_names_in_place_of_an_experiment(function: str, given: tuple[str, ...]) -> None:
    with pytest.raises(UsageError) as error:
        getattr(marlx, function)(*given)
    call = f'marlx.{function}(marlx.configure("qmix", "matrix_game"))'
    assert str(error.value) == f"marlx.{function} takes an experiment, as in {call}, not 'qmix'"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, 75)])
def test_a_signal_keeps_what_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, code: int
) -> None:
    add = Recorder.add

    def add_and_stop(self: Recorder, first: int, index: int, *more: Any) -> None:
        add(self, first, index, *more)
        if index == 1:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(Recorder, "add", add_and_stop)
    out = tmp_path / "run"
    with pytest.raises(Interrupted, match=r"2 of 4 evaluations and a checkpoint are in .*go on with") as error:
        small(out)
    assert error.value.exit_code == code
    assert "\n" not in str(error.value)
    run = marlx.load_run(out)
    assert run.record["status"] == "interrupted"
    assert run.metrics().env_steps.tolist() == [80, 160] * 2
    assert len(run.evaluate()["evaluation_return"]) == 2
    monkeypatch.undo()
    assert small(out, resume=True).finished
    assert marlx.load_run(out).metrics().env_steps.tolist() == [80, 160, 240, 320] * 2
    assert {p.name for p in out.iterdir()} == FILES


def test_a_signal_while_compiling_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def compile_and_stop(self: Any) -> float:
        os.kill(os.getpid(), signal.SIGINT)
        return 0.0

    monkeypatch.setattr(job.Fleet, "compile", compile_and_stop)
    with pytest.raises(Interrupted, match="nothing was written"):
        small(tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_a_disk_that_fills_up_loses_nothing_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add, sync = Recorder.add, os.fsync

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def add_until_full(self: Recorder, first: int, index: int, *more: Any) -> None:
        if index == 2:
            monkeypatch.setattr(os, "fsync", full)
        add(self, first, index, *more)

    monkeypatch.setattr(Recorder, "add", add_until_full)
    with pytest.raises(DiskError, match=r"cannot write .*metrics.*No space left on device"):
        small(tmp_path / "run")
    monkeypatch.setattr(os, "fsync", sync)
    assert marlx.load_run(tmp_path / "run").metrics().env_steps.tolist() == [80, 160] * 2


def test_a_disk_that_is_full_from_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=100))
    with pytest.raises(DiskError, match="is full: the run needs about"):
        small(tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_without_evaluations_there_is_one_record(tmp_path: Path) -> None:
    run = small(tmp_path / "run", "evaluation.interval=0")
    table = run.metrics()
    assert table.env_steps.tolist() == [320, 320]
    assert "evaluation_return" not in table and "training_return" in table


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("run.toml", b"format = 99\n", "has format 99; this version of marlx reads format 5"),
        ("run.toml", b"format = 5\n", "run.toml is damaged: it has no seeds"),
        ("run.toml", b"format = ", "run.toml is not TOML"),
        ("experiment.toml", b"algorithm_name = 'iqll'\n" + NAMES, "did you mean 'iql'"),
        ("experiment.toml", b"algorithm_name = 'iql'\n" + NAMES + b"agent = 3\n", "must be a table of fields"),
        ("metrics.parquet", b"PAR1", "metrics.parquet is damaged"),
        ("parameters.npz", b"PK\x03\x04", "parameters.npz is damaged"),
    ],
)
def test_damage_is_one_line(finished: Path, tmp_path: Path, name: str, content: bytes, words: str) -> None:
    shutil.copytree(finished, tmp_path / "run")
    (tmp_path / "run" / name).write_bytes(content)

    def read() -> None:
        run = marlx.load_run(tmp_path / "run")
        assert run.params
        run.metrics()

    with pytest.raises(UsageError, match=words) as error:
        read()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["metrics.parquet", "parameters.npz"])
def test_a_finished_run_without_a_file_is_told(finished: Path, tmp_path: Path, name: str) -> None:
    """Not an empty table; nor is there anything that --resume could go on with."""
    shutil.copytree(finished, tmp_path / "run")
    (tmp_path / "run" / name).unlink()
    run = marlx.load_run(tmp_path / "run")
    with pytest.raises(UsageError, match=f"{name} is missing"):
        _ = run.metrics() if name == "metrics.parquet" else run.params
    with pytest.raises(UsageError, match=f"{name} is missing"):
        marlx.train(run.experiment, seeds=2, out=tmp_path / "run", resume=True)


def test_parameters_of_another_composition_are_refused(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "run")
    arrays = dict(np.load(finished / "parameters.npz"))
    np.savez(tmp_path / "run" / "parameters.npz", **{name: x[:1] for name, x in arrays.items()})
    with pytest.raises(UsageError, match="do not fit the experiment"):
        assert marlx.load_run(tmp_path / "run").params
    (tmp_path / "run" / "parameters.npz").unlink()
    with pytest.raises(UsageError, match="parameters.npz is missing, though"):
        assert marlx.load_run(tmp_path / "run").params


def test_runs_that_are_not_there(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"finishd is not there; did you mean .*finished"):
        marlx.load_run(finished.with_name("finishd"))
    with pytest.raises(UsageError, match="not there$"):  # no run beside it has a name like that
        marlx.load_run(finished.with_name("z"))
    with pytest.raises(UsageError, match="holds no run$"):
        marlx.load_run(tmp_path)
    with pytest.raises(UsageError, match=f"is no run, but holds some; did you mean {re.escape(str(finished.parent))}"):
        marlx.load_run(finished.parent)
    with pytest.raises(UsageError, match="is no directory"):
        marlx.load_run(finished / "run.toml")


def test_a_measured_width_is_recorded_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(widths, "CANDIDATES", (1, 2))
    monkeypatch.setattr(widths, "SECONDS", 0.0)
    monkeypatch.setattr(widths, "best", lambda found: 2 if len(found) == 2 and min(found.values()) > 0 else 1)
    run = small(tmp_path / "run", seeds=3, width="measure")
    assert run.record["layout"]["width"] == 2 and set(run.record["width_steps_per_second"]) == {"1", "2"}
    given = small(tmp_path / "given", seeds=3, width=2)
    assert run.metrics().equals(given.metrics())
    with pytest.raises(UsageError, match="width must be a whole number of at least 1, not 'measure'"):
        small(tmp_path / "split", width="measure", split_rows=True)


def test_the_narrowest_of_equally_fast_widths_is_best() -> None:
    assert widths.best({1: 98.0, 4: 100.0, 16: 99.0}) == 1
    assert widths.best({1: 80.0, 4: 99.0, 16: 100.0, 64: 50.0}) == 4
    assert widths.best({1: 1.0}) == 1


@pytest.mark.parametrize(
    ("seeds", "more", "settings", "words"),
    [
        (1, (), {}, "--width 1"),
        (2, (), {}, ""),
        (1, ("training.batch_size=512", "training.buffer_size=512"), {"width": 1}, ""),
        (1, ("training.rollout_steps=64", "training.batch_size=128", "training.buffer_size=128"), {}, "--split-rows"),
        (2, ("training.rollout_steps=64", "training.batch_size=128", "training.buffer_size=128"), {}, ""),
    ],
)
def test_few_seeds_are_told_of_idle_cores(
    seeds: int, more: tuple[str, ...], settings: Any, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job.backend, "cores", lambda: 2)
    lanes = Lanes(experiment("training.total_steps=100_000", *more), list(range(seeds)))
    work = job.Job(directory.claim(tmp_path / "run", "x"), lanes, 0, job.Settings(**settings))
    lines = list(work._advice())
    assert len(lines) == bool(words) and words in "".join(lines)


def test_the_absolute_metric_is_of_the_best_parameters(finished: Path, tmp_path: Path) -> None:
    """A payoff pays the same in every episode, so what is played anew is the highest evaluation."""
    run = marlx.load_run(finished)
    highest = run.metrics().groupby("seed").evaluation_return.max()
    np.testing.assert_array_equal(run.evaluate(parameters="best")["evaluation_return"], highest.astype(np.float32))
    assert run.episodes("best") == 10 * run.episodes() == 20
    with pytest.raises(UsageError, match="did you mean 'best'"):
        run.evaluate(parameters="bst")
    shutil.copytree(finished, tmp_path / "run")
    arrays = dict(np.load(finished / "parameters.npz"))
    own = {name: x for name, x in arrays.items() if not name.startswith("best/")}
    assert {*(f"best/{name}" for name in own), "best/score"} == set(arrays) - set(own)
    np.savez(tmp_path / "run" / "parameters.npz", **own)
    with pytest.raises(UsageError, match="holds no best parameters"):
        assert marlx.load_run(tmp_path / "run").best_params


def test_seeds_without_a_finite_evaluation_have_no_best_parameters(tmp_path: Path) -> None:
    params = {"w": np.ones((3, 2), np.float32), "n": np.ones(3, np.int32)}
    shapes = {"w": np.zeros(2, np.float32), "n": np.zeros((), np.int32)}
    parameters.save_part(tmp_path, 0, params, params, np.array([1.0, -np.inf, 0.0]))
    found = parameters.load(tmp_path, shapes, 3, best=True)
    np.testing.assert_array_equal(np.isnan(found["w"]), [[False] * 2, [True] * 2, [False] * 2])
    assert np.isfinite(parameters.load(tmp_path, shapes, 3)["w"]).all()
    parameters.save_part(tmp_path, 0, params, params, np.full(3, -np.inf))
    with pytest.raises(UsageError, match="holds no best parameters"):
        parameters.load(tmp_path, shapes, 3, best=True)


def test_what_is_not_finite_is_not_evaluated(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "run")
    arrays = dict(np.load(finished / "parameters.npz"))
    name = next(name for name in arrays if not name.startswith("best"))
    arrays[name][1] = np.nan
    np.savez(tmp_path / "run" / "parameters.npz", **arrays)
    found = marlx.load_run(tmp_path / "run").evaluate()["evaluation_return"]
    assert np.isfinite(found[0]) and np.isnan(found[1])


def test_a_width_is_charged_for_its_padding(monkeypatch: pytest.MonkeyPatch) -> None:
    """On 2 devices 5 seeds are 3 rounds at width 1, 2 rounds at width 2 and 1 round at width 8."""
    monkeypatch.setattr(widths, "Fleet", lambda program, numbers, seeds, width: _Timed(seeds))
    monkeypatch.setattr(widths.jax, "local_devices", lambda: [0, 1])
    monkeypatch.setattr(widths, "rate", lambda fleet, warm_up, least: 10.0 * len(fleet.seeds))  # ten rounds a second
    assert widths.rates(None, None, 5, 0) == {1: 10 * 5 / 3, 2: 10 * 5 / 2, 8: 10 * 5 / 1}  # type: ignore[arg-type]


class _Timed:
    def __init__(self, seeds: range) -> None:
        self.seeds = seeds

    def compile(self) -> None:
        """Nothing is compiled."""


@pytest.mark.parametrize("split, asked", [(1, 1), (4, 16)])
def test_a_run_whose_devices_share_rows_has_all_cores_again(
    split: int, asked: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--split-rows need not be said again; devices are settled before the program is made."""
    write_run(tmp_path / "run", Lanes(experiment(), [0]), layout={"split": split})
    settled: list[int] = []

    def prepare(seeds: int, cache: bool = True) -> None:
        settled.append(seeds)
        raise Interrupted("far enough", 0)

    monkeypatch.setattr("marlx.host.backend.prepare", prepare)
    monkeypatch.setattr("marlx.host.backend.cores", lambda: 16)
    main(["train", "iql", "matrix_game", *SMALL, "--seeds", "1", "--out", str(tmp_path / "run"), "--resume"])
    assert settled == [asked]
