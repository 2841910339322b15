"""Unfinished runs whose seeds are not equally far: tables and pictures are of seeds that are, and say of how many."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from marlx_envs.options import UsageError

from marlx.host import drawing, joint_drawing
from marlx.host.abreast import STANDING, abreast
from marlx.host.cli import main
from marlx.host.files import write_toml
from marlx.host.results import load_run
from marlx.host.sweep import PLAN, read_sweep
from marlx.host.sweeping import show_results

from .test_reporting import data_of
from .written_runs import STEPS, unfinished, write_sweep


@pytest.mark.parametrize(
    "had, seeds, evaluations, words",
    [
        ((4, 2), [3, 4], 4, "2 of 5 seeds"),  # one chunk is through, one at work, one not begun
        ((4, 4, 1), [3, 4, 5, 6], 4, "4 of 5 seeds"),
        ((3,), [3, 4], 3, "2 of 5 seeds, 240 of 320 steps"),
        ((2, 3, 2), [3, 4, 5, 6, 7], 2, "160 of 320 steps"),  # as of shares side by side
        ((4, 4, 4), [3, 4, 5, 6, 7], 4, ""),  # stopped while it wrote the files of the end
    ],
)
def test_seeds_that_are_equally_far(
    had: Sequence[int], seeds: list[int], evaluations: int, words: str, tmp_path: Path
) -> None:
    run = unfinished(tmp_path / "run", had)
    found = abreast(run, run.metrics())
    assert found["seed"].tolist() == np.repeat(seeds, evaluations).tolist()
    assert found["env_steps"].tolist() == list(STEPS[:evaluations]) * len(seeds)
    assert found["standing"].unique().tolist() == [words]


def test_points_of_a_grid_are_by_themselves(tmp_path: Path) -> None:
    run = unfinished(tmp_path / "run", (4, 2), 3, "5,7", {"training.learning_rate": [0.1, 0.2, 0.3, 0.4]})
    found = abreast(run, run.metrics()).groupby("training.learning_rate")
    assert found["standing"].agg(list).to_dict() == {
        0.1: [""] * 8, 0.2: ["1 of 2 seeds"] * 4, 0.3: ["160 of 320 steps"] * 4,
    }  # fmt: skip


def test_a_finished_run_keeps_every_row(finished: Path) -> None:
    run = load_run(finished)
    assert abreast(run, run.metrics()).drop(columns="standing").equals(run.metrics())


def test_curves(tmp_path: Path) -> None:
    curve = drawing.curve(unfinished(tmp_path / "run", (4, 2)), "evaluation_return", "iql")
    np.testing.assert_array_equal(curve.mean, np.array([0, 1, 2, 3]) + 5.0)
    assert (curve.seeds, curve.note) == (2, "2 of 5 seeds")


def test_compare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    unfinished(Path("half"), (4, 2))
    unfinished(Path("grid"), (4, 2), 3, "5,7", {"training.learning_rate": [0.1, 0.2, 0.3, 0.4]})
    assert main(["compare", "half", "grid", "--json", "found.json"]) == 0
    output = capsys.readouterr().out
    assert "not finished: half, 2 of 5 seeds\n" in output
    assert "not finished: grid learning_rate=0.3, 160 of 320 steps\n" in output and "0.4" not in output
    half = next(line for line in output.splitlines() if line.startswith("│ half"))
    assert [cell.strip() for cell in half.split("│")[2:4]] == ["2", "mean 8 [3, 13]"]
    assert set(json.loads(Path("found.json").read_text())["matrix_game"]["matrix_game"]["half"]) == {"seed_3", "seed_4"}


def test_report(tmp_path: Path) -> None:
    unfinished(tmp_path / "run", (4, 2))
    assert main(["report", str(tmp_path / "run")]) == 0
    (curve,) = data_of(tmp_path / "run" / "report.html")["curves"]
    assert curve["standing"] == "2 of 5 seeds" and curve["steps"] == list(STEPS)
    assert curve["score"][0] == [8, 3, 13, 2, 0]


def test_pictures_of_what_was_recorded(tmp_path: Path) -> None:
    run = unfinished(tmp_path / "run", (4, 2))
    weights = joint_drawing._weights(run, "iql", None)
    assert weights.title == "iql\n2 of 5 seeds\nmeans over 2 seeds" and weights.shares.tolist() == [[5.0] * 4]
    assert joint_drawing._weights(run, "iql", 6).shares.tolist() == [[30.0] * 2]


def test_a_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Its picture says of how many seeds; in its table what has no value is the last."""
    monkeypatch.setenv("COLUMNS", "200")
    write_toml(tmp_path / PLAN, {"algorithm": ["vdn", "iql"], "environment": "matrix_game", "seeds": "3:8"})
    unfinished(tmp_path / "vdn-matrix_game", (4, 4), unit=np.nan)
    unfinished(tmp_path / "iql-matrix_game", (4, 2))
    show_results(read_sweep(tmp_path / PLAN), tmp_path)
    rows = [line.split("│") for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    assert [[cell.strip() for cell in row[1:4]] for row in rows] == [
        ["iql", "8 [3, 13]", "2 (2 of 5 seeds)"], ["vdn", "no finite value", "0 (4 of 5 seeds, 4 left out)"],
    ]  # fmt: skip
    drawn: dict[str, Any] = {}
    monkeypatch.setattr(drawing, "save_figure", lambda *_: None)
    monkeypatch.setattr(drawing, "curve_panels", lambda panels, *_: drawn.update(panels))
    assert main(["plot", str(tmp_path)]) == 0
    assert [curve.note for curve in drawn[""]] == ["4 of 5 seeds, no seed lasted", "2 of 5 seeds"]
    unfinished(tmp_path / "other" / "iql-matrix_game" / "part-0-of-2", (4,), 3, "3:6")
    plan = {"algorithm": "iql", "environment": "matrix_game", "seeds": "3:8"}
    write_toml(tmp_path / "other" / PLAN, plan)
    assert main(["plot", str(tmp_path / "other")]) == 0
    assert [curve.note for curve in drawn[""]] == ["3 of 5 seeds"]  # though no more were begun
    assert main(["report", str(tmp_path / "other")]) == 0
    assert data_of(tmp_path / "other" / "report.html")["curves"][0]["standing"] == "3 of 5 seeds"
    write_sweep(tmp_path / "rates", algorithm="vdn")
    drawn.clear()
    assert main(["plot", str(tmp_path / "rates")]) == 0
    assert [curve.label for curve in drawn[""]] == ["learning_rate 0.0001", "learning_rate 0.001"]
    for name in ("seed", "algorithm", "standing"):  # columns of the table, not metrics
        assert main(["plot", str(tmp_path), "--metric", name]) == 2


def test_a_method_without_a_metric_has_no_curve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One whose values are all not finite has one that says so."""
    write_toml(tmp_path / PLAN, {"algorithm": ["vdn", "iql"], "environment": "matrix_game", "seeds": "0:2"})
    table = pd.DataFrame(
        {
            "algorithm": ["vdn", "vdn", "iql", "iql"], "environment": "matrix_game", "seed": [0, 1, 0, 1],
            "env_steps": 10.0, "evaluation_return": [1.0, 2.0, 3.0, np.nan], "gap": [1.0, 1.0, np.nan, np.nan],
            STANDING: "",
        }
    )  # fmt: skip
    drawn: dict[str, Any] = {}
    monkeypatch.setattr(drawing, "results", lambda *_: table)
    monkeypatch.setattr(drawing, "save_figure", lambda *_: None)
    monkeypatch.setattr(drawing, "curve_panels", lambda panels, *_: drawn.update(panels))
    drawing.draw_sweep(tmp_path, None, "gap")
    assert [curve.label for curve in drawn[""]] == ["vdn"]
    table["gap"] = np.nan
    with pytest.raises(UsageError, match="gap has no finite value"):
        drawing.draw_sweep(tmp_path, None, "gap")
    table.loc[table["algorithm"] == "iql", "evaluation_return"] = np.nan
    drawing.draw_sweep(tmp_path, None, "evaluation_return")
    assert [curve.note for curve in drawn[""]] == ["", "no seed lasted"]


def test_a_sweep_without_evaluations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no evaluation_return to tell a method that has no such metric by."""
    write_toml(tmp_path / PLAN, {"algorithm": ["vdn", "iql"], "environment": "matrix_game", "seeds": "0:1"})
    table = pd.DataFrame(
        {
            "algorithm": ["vdn", "iql"], "environment": "matrix_game", "seed": 0, "env_steps": 10.0,
            "training_return": 1.0, "gap": [1.0, np.nan], STANDING: "",
        }
    )  # fmt: skip
    drawn: dict[str, Any] = {}
    monkeypatch.setattr(drawing, "results", lambda *_: table)
    monkeypatch.setattr(drawing, "save_figure", lambda *_: None)
    monkeypatch.setattr(drawing, "curve_panels", lambda panels, *words: drawn.update(panels, words=words))
    drawing.draw_sweep(tmp_path, None, "gap")
    assert [curve.label for curve in drawn[""]] == ["vdn"] and drawn["words"][-1] == "matrix_game\n1 seed"


def test_a_curve_is_of_the_seeds_that_last(tmp_path: Path) -> None:
    """Else it would jump where one dies."""
    run = unfinished(tmp_path / "run", (4, 4, 4))
    table = run.metrics().assign(**{STANDING: ""})
    table.loc[(table["seed"] == 7) & (table["env_steps"] > STEPS[1]), "evaluation_return"] = np.nan
    curve = drawing.curve_of(table, "evaluation_return", "iql")
    np.testing.assert_array_equal(curve.mean, 15.0 + np.arange(4))
    assert (curve.seeds, curve.note) == (4, "1 of 5 seeds left out")
    assert curve.each is not None and curve.each[:, 0].tolist() == [0, 10, 20, 30]
    table.loc[table["env_steps"] > STEPS[2], "evaluation_return"] = np.nan
    curve = drawing.curve_of(table, "evaluation_return", "iql")  # all of them, as long as all live
    np.testing.assert_array_equal(curve.mean, [20, 21, np.nan, np.nan])
    assert (curve.seeds, curve.note) == (5, "no seed lasted")
