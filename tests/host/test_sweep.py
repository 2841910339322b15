"""Sweeps: one program for a grid of numbers, another one for a size; only what is missing is done."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from marlx_envs.options import UsageError

import marlx
from marlx.host import cli, launcher
from marlx.host.results import load_run
from marlx.host.sweep import read_sweep, results, states

from .conftest import SMALL

SET = dict(word.split("=") for word in SMALL)
PLAN: dict[str, Any] = {
    "algorithm": "iql",
    "environment": "matrix_game",
    "seeds": 2,
    "set": {name: int(value) for name, value in SET.items() if name != "agent.hidden_size"},
    "axes": {
        "training.learning_rate": {"from": 1e-4, "to": 1e-2, "count": 3, "scale": "log"},
        "agent.hidden_size": [4, 5],
        "training": {"gamma": [0.5]},
    },
}


# Its import resets the logging of the process, pytest's too, unless marlx.host.launcher imports it.
needs_submitit = pytest.mark.skipif(importlib.util.find_spec("submitit") is None, reason="needs marlx[cluster]")


def written(path: Path, plan: dict[str, Any]) -> Path:
    path.write_text(tomli_w.dumps(plan))
    return path


def refused(folder: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str) -> None:
    """These words after `marlx sweep FILE` end with code 2 and this message in one line."""
    file = written(folder / "plan.toml", PLAN)
    assert cli.main(["sweep", str(file), "--out", str(folder / "out"), *words]) == 2
    found = capsys.readouterr().err
    assert message in found and found.count("\n") == 1


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished sweep: sweep.toml of it lies beside its directory. Not to be changed."""
    folder = tmp_path_factory.mktemp("sweep")
    file = written(folder / "plan.toml", PLAN)
    assert cli.main(["sweep", str(file), "--out", str(folder / "out"), "--quiet"]) == 0
    return folder


def test_numbers_share_a_program_and_sizes_do_not(swept: Path) -> None:
    plan = read_sweep(swept / "plan.toml")
    assert [cell.name for cell in plan.cells] == ["iql-matrix_game-hidden_size=4", "iql-matrix_game-hidden_size=5"]
    assert {state.status for state in states(plan, swept / "out")} == {"finished"}
    table = results(plan, swept / "out")
    names = ["algorithm", "environment", "agent.hidden_size", "training.learning_rate", "training.gamma", "seed"]
    assert list(table.columns[:6]) == names
    assert len(table) == 2 * 3 * 2 * 4
    assert sorted(table["training.learning_rate"].unique()) == pytest.approx([1e-4, 1e-3, 1e-2])
    assert (swept / "out" / "results.parquet").is_file()


def test_what_is_done_is_not_done_again(swept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [swept / "out" / cell.name / "run.toml" for cell in read_sweep(swept / "plan.toml").cells]
    before = [file.read_bytes() for file in files]
    command = ["sweep", str(swept / "plan.toml"), "--out", str(swept / "out")]
    assert cli.main([*command, "--quiet"]) == 0
    assert [file.read_bytes() for file in files] == before
    capsys.readouterr()
    assert cli.main([*command, "--status"]) == 0
    assert capsys.readouterr().out.count("finished") == 2


def test_another_sweep_in_the_same_place_is_refused(
    swept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = written(tmp_path / "other.toml", {**PLAN, "seeds": 3})
    assert cli.main(["sweep", str(other), "--out", str(swept / "out")]) == 2
    assert "holds another sweep" in capsys.readouterr().err


def test_a_point_of_a_sweep_can_be_evaluated_and_drawn(swept: Path, tmp_path: Path) -> None:
    run = load_run(swept / "out" / "iql-matrix_game-hidden_size=4")
    last = run.metrics().groupby(["training.learning_rate", "training.gamma", "seed"], sort=False).last()
    assert run.evaluate()["evaluation_return"] == pytest.approx(last.evaluation_return.to_numpy())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"algorithm": "iqll"}, "did you mean 'iql'"),
        ({"algorithm": []}, "must be a name or a list of names"),
        ({"algorithm": ["iql", "iql"]}, "a name twice"),
        ({"seed": 3}, "unknown field of a sweep 'seed'; did you mean 'seeds'"),
        ({"seeds": 0}, "seeds must be at least 1"),
        ({"axes": {"training.gama": [1]}}, "did you mean 'gamma'"),
        ({"axes": {"trainin.gamma": [1]}}, "did you mean 'training'"),
        ({"axes": {"training.gamma": 3}}, "needs a list of values or a range"),
        ({"axes": {"training.gamma": [2.0]}}, "training.gamma must be"),
        ({"axes": {"training.gamma": {"from": 0}}}, "needs numbers from, to and count"),
        ({"axes": {"training.gamma": {"from": 0, "to": 1, "count": 3, "scale": "log"}}}, "above 0"),
        ({"axes": {"training.gamma": {"from": 0, "to": 1, "cout": 3}}}, "did you mean 'count'"),
        ({"axes": {"training.batch_size": [4]}}, "is in .set. and in .axes."),
        ({"axes": 3}, "must be a table"),
        ({"axes": {"trainin": {"gamma": [1]}}}, "unknown section of .axes. 'trainin'; did you mean 'training'"),
        ({"set": {"trainin": {"gamma": 1}}}, "unknown section of .set. 'trainin'; did you mean 'training'"),
        ({"title": 3}, "title must be a text, not 3"),
        ({"variants": 3}, "must be a table of tables"),  # whether one is asked for or not
        ({"variants": {"small": 3}}, ".variants.small. must be a table, not 3"),
        ({"variants": {"small": {"sead": 3}}}, "unknown field of .variants.small. 'sead'; did you mean 'seeds'"),
    ],
)
def test_a_mistake_in_a_sweep_is_one_line(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words) as error:
        read_sweep(written(tmp_path / "plan.toml", PLAN | change))
    assert "\n" not in str(error.value) and "plan.toml" in str(error.value)


@pytest.mark.parametrize("more", [(), ("--status",)])
def test_a_place_that_holds_no_sweep(more: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, other, run = written(tmp_path / "plan.toml", PLAN), tmp_path / "other", tmp_path / "run"
    for place, name in ((other, "thesis.tex"), (run, "experiment.toml")):
        place.mkdir()
        (place / name).touch()
    for out, words in (
        (file, "is a file; a sweep needs a directory"),
        (other, "(it has 'thesis.tex'); choose another"),
        (run, "holds a run, not a sweep"),
    ):
        assert cli.main(["sweep", str(file), "--out", str(out), *more]) == 2
        assert words in capsys.readouterr().err
    assert [path.name for path in other.iterdir()] == ["thesis.tex"]


def test_huge_and_missing_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "huge.toml").write_bytes(b"#" * 21_000_000)
    (tmp_path / "deep.toml").write_text("axes = " + "[" * 100_000)
    for name, words in (("huge", "too large"), ("deep", "is not TOML"), ("none", "cannot read")):
        with pytest.raises(UsageError, match=words):
            read_sweep(tmp_path / f"{name}.toml")


@needs_submitit
def test_the_local_queue_trains_the_cells(
    swept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Jobs in processes of their own reach what one process reaches."""
    plan = PLAN | {"axes": {"training.learning_rate": [1e-3]}, "set": PLAN["set"] | {"agent.hidden_size": 4}}
    file = written(tmp_path / "plan.toml", plan)
    assert cli.main(["sweep", str(file), "--out", str(tmp_path / "out"), "--launcher", "local"]) == 0
    sweep = read_sweep(file)
    assert [state.status for state in states(sweep, tmp_path / "out")] == ["finished"]
    here = marlx.train(sweep.cells[0].experiment, 2, tmp_path / "here", grid=sweep.cells[0].grid, progress=False)
    there = load_run(tmp_path / "out" / sweep.cells[0].name)
    assert there.metrics().equals(here.metrics())
    assert launcher._queue(tmp_path / "out").keys() == {sweep.cells[0].name}


@needs_submitit
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--launcher", "slrm"], "did you mean 'slurm'"),
        (["--launcher", "local", "--resource", "x"], "needs name=value"),
        (["--launcher", "local", "--resource", "gpu=1"], "submitit"),
    ],
)
def test_a_mistake_about_jobs_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    refused(tmp_path, capsys, words, message)


def test_a_sweep_is_drawn_in_panels(swept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plot", str(swept / "out"), "--out", str(tmp_path / "x.svg")]) == 0
    drawn = (tmp_path / "x.svg").read_text()
    assert drawn.startswith("<?xml") and len(drawn) > 10_000
    assert cli.main(["plot", str(swept / "out" / "iql-matrix_game-hidden_size=4")]) == 2
    assert "draw the sweep that it is part of" in capsys.readouterr().err
    assert cli.main(["plot", str(swept / "out"), "--metric", "evaluation_retur"]) == 2
    assert "did you mean 'evaluation_return'" in capsys.readouterr().err
