"""The table at the end of `marlx train`: which seeds died, and how many the statistics leave out."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import marlx
from marlx.host.lanes import Lanes
from marlx.host.summary import show_evaluation, show_run

from .written_runs import write_run

TIMES = {"compile_seconds": 3.0, "steps_per_second": 100.0}
RATES = {"training.learning_rate": [1e-3, 1e-2]}
REACHED = {"evaluation_return": {"iqm": 4.0, "low": 3.0, "high": 5.0, "seeds": 5, "left_out": 2}}


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")  # no line is broken


def shown(path: Path, capsys: pytest.CaptureFixture[str], grid: Any = None, **more: Any) -> str:
    lanes = Lanes(marlx.configure("vdn", "matrix_game"), range(7), grid or {})
    write_run(path / "run", lanes, **{**TIMES, **more})
    show_run(marlx.load_run(path / "run"))
    return " ".join(capsys.readouterr().out.replace("│", " ").split())


def test_dead_seeds_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dead = [{"seed": 3, "env_steps": 12_000, "cause": "loss"}, {"seed": 5, "env_steps": 80, "cause": "gradient"}]
    found = shown(tmp_path, capsys, dead=dead)
    assert "dead seed 3 loss not finite at 12,000 steps" in found
    assert "dead seed 5 gradient not finite at 80 steps" in found
    assert "more" not in found


def test_dead_seeds_of_a_grid_have_their_point(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dead = [{"seed": 3, "training.learning_rate": 1e-2, "env_steps": 80, "cause": "parameters"}]
    found = shown(tmp_path, capsys, RATES, dead=dead)
    assert "dead seed 3, training.learning_rate 0.01 parameters not finite at 80 steps" in found


def test_many_dead_seeds_are_cut_short(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dead = [
        {"seed": seed, "training.learning_rate": rate, "env_steps": 80, "cause": "loss"}
        for rate in RATES["training.learning_rate"]
        for seed in range(7)
    ]
    found = shown(tmp_path, capsys, RATES, dead=dead)
    assert found.count("dead seed ") == 10 and "and 4 more" in found


def test_training_fails_where_every_seed_died(tmp_path: Path) -> None:
    lanes = Lanes(marlx.configure("vdn", "matrix_game"), range(2), RATES)
    points = [(seed, rate) for rate in RATES["training.learning_rate"] for seed in range(2)]
    dead = [{"seed": x, "training.learning_rate": rate, "env_steps": 80, "cause": "loss"} for x, rate in points]
    for number, code in ((4, 1), (3, 0), (0, 0)):
        write_run(tmp_path / str(number), lanes, **TIMES, dead=dead[:number])
        assert show_run(marlx.load_run(tmp_path / str(number))) == code


def test_without_dead_seeds_there_is_no_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "dead seed" not in shown(tmp_path, capsys, dead=[])


def test_what_the_statistics_leave_out_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = shown(tmp_path, capsys, result=REACHED)
    assert "evaluation return, IQM [95% interval] 4 [3, 5], 2 of 7 seeds without a finite value" in found


def test_nothing_is_said_where_nothing_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = {name: {**of, "seeds": 7, "left_out": 0} for name, of in REACHED.items()}
    assert "without a finite value" not in shown(tmp_path, capsys, result=whole)


def test_few_seeds_are_their_mean_and_range(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever the record says: an interquartile mean leaves two of four out."""
    for count, kind in ((5, "mean [lowest, highest]"), (2, "one seed")):
        path = tmp_path / str(count)
        reached = {"evaluation_return": {"iqm": 9.0, "low": 9.0, "high": 9.0, "seeds": count - 1, "left_out": 1}}
        write_run(path, Lanes(marlx.configure("vdn", "matrix_game"), range(count)), result=reached)
        run = marlx.load_run(path)
        table = run.metrics()
        last = table.loc[table["env_steps"] == table["env_steps"].max(), "evaluation_return"].dropna()
        show_run(run)
        words = f"{last.mean():.4g} [{last.min():.4g}, {last.max():.4g}]" if count > 2 else f"{last.mean():.4g}"
        found = " ".join(capsys.readouterr().out.replace("│", " ").split())
        assert f"evaluation return, {kind} {words}, 1 of {count} seeds without a finite value" in found
        show_evaluation(run, {"evaluation_return": np.arange(count) * 2.0}, 5, "final")
        found = " ".join(capsys.readouterr().out.replace("│", " ").split())
        assert (
            f"return, {kind} {'5 [2, 8]' if count > 2 else '2'}, 1 of" in found and "lowest, highest seed" not in found
        )


def test_a_record_may_tell_of_what_is_not_stored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rate = {"evaluation_win_rate": {"iqm": 1.0, "low": 1.0, "high": 1.0, "seeds": 1, "left_out": 0}}
    found = shown(tmp_path, capsys, result=rate)
    assert "no finite value, 7 of 7 seeds" in found


def test_episodes_of_a_grid_are_by_point_without_the_dead(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lanes = Lanes(marlx.configure("vdn", "matrix_game"), range(7), RATES)
    dead = [{"seed": 3, "training.learning_rate": 1e-2, "env_steps": 80, "cause": "loss"}]
    write_run(tmp_path / "run", lanes, dead=dead)
    values = np.arange(14.0) * (np.arange(14) != 10)  # of the dead seed the lowest
    show_evaluation(marlx.load_run(tmp_path / "run"), {"evaluation_return": values}, 5, "best")
    printed = " ".join(capsys.readouterr().out.replace("│", " ").split())
    first, second = printed.split("5 greedy episodes of each of 7 seeds, best parameters, training.learning_rate ")[1:]
    assert first.startswith("0.001 ") and second.startswith("0.01 ")
    assert "return, IQM [95% interval] 3 [" in first and "lowest, highest seed 0, 6" in first and "dead" not in first
    assert "return, IQM [95% interval] 10 [" in second and "1 of 7 seeds without a finite value" in second
    assert "lowest, highest seed 7, 13" in second and "dead seed 3, training.learning_rate 0.01 loss not" in second
