"""run.toml as anyone may have left it: what has a wrong kind is told in one line, before anything reads it."""

import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from marlx_envs.options import UsageError

import marlx
from marlx.host import cli
from marlx.host.lanes import Lanes
from marlx.host.results import FORMAT

from .written_runs import write_run

RATE = "training.learning_rate"
DEAD = {"seed": 1, "env_steps": 80, "cause": "loss"}
REACHED = {"iqm": 1.0, "low": 0.0, "high": 2.0, "seeds": 2, "left_out": 0}
WRONG: list[tuple[str, Any, str]] = [
    ("seeds", 3, "seeds is 3"),
    ("seeds", "x", "seeds must be"),
    ("seeds", "0:99999999999", "at most 1000000 seeds"),
    ("status", 3, "status is 3"),
    ("status", "finishd", "status is 'finishd'"),
    ("base_seed", True, "base_seed is True"),
    ("base_seed", -1, "base_seed must be a whole number"),
    ("layout", 3, "layout is 3"),
    ("layout", {"width": "x"}, "layout is {'width': 'x'}"),
    ("layout", {"width": 0}, "layout.width is 0"),
    ("layout", {"split": 10**12}, "layout.split is 1000000000000"),
    ("layout", {"maps": True}, "layout is {'maps': True}"),
    ("versions", 3, "versions is 3"),
    ("versions", {"jax": 3}, "versions is {'jax': 3}"),
    ("dead", 3, "dead is 3"),
    ("dead", ["x"], "dead is \\['x'\\]"),
    ("dead", [{"seed": 3}], "a dead seed is {'seed': 3}"),
    ("dead", [DEAD | {"seed": "x"}], "a dead seed is"),
    ("dead", [DEAD | {"env_steps": 0.5}], "a dead seed is"),
    ("dead", [DEAD | {RATE: 0.1}], "a dead seed is"),
    ("grid", 3, "grid is 3"),
    ("grid", {RATE: 3}, "grid is"),
    ("grid", {RATE: "x"}, "grid is"),
    ("grid", {RATE: ["x"]}, "grid is"),
    ("grid", {RATE: [0.1, 0.1]}, "has a value twice"),
    ("grid", {RATE: []}, "needs a list of values"),
    ("grid", {"training.learning_rat": [0.1]}, "did you mean 'learning_rate'"),
    ("grid", {"training": {"learning_rate": [0.1]}}, "grid is"),
    ("grid", {"training": [0.1]}, "expected section.name=value"),
    ("result", 3, "result is 3"),
    ("result", {"evaluation_return": 3}, "result is"),
    ("result", {"evaluation_return": REACHED | {"iqm": "x"}}, "result is"),
    ("result", {"evaluation_return": {"iqm": 3.0}}, "result.evaluation_return is"),
    ("env_steps", "x", "env_steps is 'x'"),
    ("train_seconds", "x", "train_seconds is 'x'"),
    ("train_seconds", float("nan"), "train_seconds is nan"),
    ("compile_seconds", float("inf"), "compile_seconds is inf"),
    ("steps_per_second", -1.0, "steps_per_second is -1.0"),
]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that is finished. Not to be changed."""
    path = tmp_path_factory.mktemp("runs") / "run"
    layout = {"devices": 1, "maps": 1, "width": 2, "split": 1}
    write_run(path, Lanes(marlx.configure("vdn", "matrix_game"), range(2)), layout=layout, dead=[])
    return path


def changed(written: Path, path: Path, **fields: Any) -> Path:
    """A copy of the run with other fields in run.toml; None: without it."""
    shutil.copytree(written, path)
    record = tomllib.loads((path / "run.toml").read_text()) | fields
    left = {name: value for name, value in record.items() if value is not None}
    (path / "run.toml").write_text(tomli_w.dumps(left))
    return path


@pytest.mark.parametrize(("name", "value", "words"), WRONG)
def test_a_wrong_kind_is_one_line(written: Path, tmp_path: Path, name: str, value: Any, words: str) -> None:
    run = changed(written, tmp_path / "run", **{name: value})
    with pytest.raises(UsageError, match=words) as error:
        marlx.load_run(run)
    assert "\n" not in str(error.value) and "run.toml" in str(error.value)


@pytest.mark.parametrize("name", ["seeds", "status", "base_seed", "dead"])
def test_what_is_needed_is_missed(written: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=f"run.toml is damaged: it has no {name}"):
        marlx.load_run(changed(written, tmp_path / "run", **{name: None}))


@pytest.mark.parametrize("number", [*range(1, FORMAT), None, FORMAT + 1, "3", True])
def test_other_formats_are_refused_by_name(written: Path, tmp_path: Path, number: Any) -> None:
    words = f"has format {number!r}; this version of marlx reads format {FORMAT}"
    with pytest.raises(UsageError, match=words):
        marlx.load_run(changed(written, tmp_path / "run", format=number))


def test_what_is_sound_is_read(written: Path, tmp_path: Path) -> None:
    """Whole numbers stand for others, and results may have no finite seed."""
    fields: dict[str, Any] = {"train_seconds": 3, "result": {"evaluation_return": REACHED | {"iqm": float("nan")}}}
    fields |= {"grid": {RATE: [0.1, 1]}, "dead": [DEAD | {RATE: 1}]}
    run = marlx.load_run(changed(written, tmp_path / "run", **fields))
    assert len(run.lanes) == 4 and run.record["dead"][0][RATE] == 1


@pytest.mark.parametrize("words", ["evaluate RUN", "repeat RUN", "train vdn matrix_game --resume --seeds 2 --out RUN"])
@pytest.mark.parametrize(
    "fields", [{"layout": 3}, {"layout": {"width": "x"}}, {"versions": 3}, {"dead": 3}, {"grid": {RATE: ["x"]}}]
)
def test_commands_say_it_in_one_line(
    written: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: str, fields: dict[str, Any]
) -> None:
    run = changed(written, tmp_path / "run", **fields)
    assert cli.main([word.replace("RUN", str(run)) for word in words.split()]) == 2
    found = capsys.readouterr()
    assert found.out == "" and found.err.count("\n") == 1 and "run.toml is damaged" in found.err
