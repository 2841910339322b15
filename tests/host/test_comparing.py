"""`marlx compare` on copies of one small run whose metrics were changed."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import marlx
from marlx.analysis.scores import Estimate
from marlx.host.cli import main
from marlx.host.comparing import verdict
from marlx.host.lanes import Lanes

from .written_runs import write_run


@pytest.fixture(autouse=True)
def wide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def copy(finished: Path) -> Callable[..., Path]:
    """A copy of the run with other returns in each evaluation; `change` gets the seed of each row."""

    def make(name: str, change: Callable[[np.ndarray], np.ndarray], **words: str) -> Path:
        shutil.copytree(finished, name)
        table = marlx.load_run(name).tidy()
        mine = table["name"] == "evaluation_return"
        table.loc[mine, "value"] = change(table.loc[mine, "seed"].to_numpy())
        table.to_parquet(Path(name) / "metrics.parquet")
        text = (Path(name) / "experiment.toml").read_text()
        for old, new in words.items():
            assert old in text
            text = text.replace(old, new)
        (Path(name) / "experiment.toml").write_text(text)
        return Path(name)

    return make


def test_one_task(copy: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    copy("low", lambda seeds: np.linspace(1, 2, len(seeds)))
    copy("high", lambda seeds: np.linspace(6, 7, len(seeds)))
    copy("dead", lambda seeds: np.where(seeds == 0, np.nan, 1.5))
    assert main(("compare", "low", "high", "dead", "--json", "found.json")) == 0
    output = capsys.readouterr().out
    high = next(line for line in output.splitlines() if line.startswith("│ high"))
    assert "] too few seeds" in high and "100% [100%, 100%]" in high
    dead = next(line for line in output.splitlines() if line.startswith("│ dead"))
    assert "1 (1 left out)" in dead and "not reached by most (0% of seeds)" in dead
    found = json.loads(Path("found.json").read_text())["matrix_game"]["matrix_game"]
    assert set(found) == {"low", "high", "dead"}
    assert set(found["high"]) == {"seed_0", "seed_1"} and set(found["dead"]) == {"seed_1"}
    steps = found["high"]["seed_1"]
    table = marlx.load_run("high").metrics()
    mine = table[table["seed"] == 1].sort_values("env_steps")
    assert [steps[f"step_{k}"]["step_count"] for k in range(1, len(mine) + 1)] == mine["env_steps"].tolist()
    assert steps["step_1"]["evaluation_return"] == [pytest.approx(mine["evaluation_return"].iloc[0])]
    assert steps["absolute_metrics"]["evaluation_return"] == [pytest.approx(7)]


def test_the_absolute_metric(copy: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    """What is played decides, not what the runs recorded; a seed that died still has no score."""
    copy("low", lambda seeds: np.linspace(1, 2, len(seeds)))
    copy("dead", lambda seeds: np.where(seeds == 0, np.nan, 1.5))
    assert main(("compare", "low", "dead", "--absolute", "--json", "found.json")) == 0
    output = capsys.readouterr().out
    assert "best parameters of each seed in fresh episodes" in output and "1 (1 left out)" in output
    played = marlx.load_run("low").evaluate(parameters="best")["evaluation_return"]
    found = json.loads(Path("found.json").read_text())["matrix_game"]["matrix_game"]
    for name, seeds in (("low", (0, 1)), ("dead", (1,))):
        for seed in seeds:
            absolute = found[name][f"seed_{seed}"]["absolute_metrics"]["evaluation_return"]
            assert absolute == [pytest.approx(float(played[seed]))]
    assert main(("compare", "low", "--absolute", "--metric", "loss")) == 2
    assert "unknown metric of an evaluation 'loss'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "low, high, seeds, expected",
    [
        (0.1, 0.5, 5, "clear"), (-0.5, -0.1, 8, "clear"), (-0.1, 0.5, 8, "not clear"), (0.1, 0.5, 4, "too few seeds"),
        (np.nan, np.nan, 0, ""),
    ],
)  # fmt: skip
def test_which_differences_are_clear(low: float, high: float, seeds: int, expected: str) -> None:
    assert verdict(Estimate((low + high) / 2, low, high), seeds) == expected


def test_several_tasks(copy: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    for name, payoff, level in (("a", "resq79", 1.0), ("b", "son3", 100.0)):
        copy(f"iql-{name}", lambda seeds, level=level: level * np.linspace(0, 1, len(seeds)), resq79=payoff)
        copy(f"vdn-{name}", lambda seeds, level=level: level * np.linspace(1, 2, len(seeds)), resq79=payoff, iql="vdn")
    assert main(("compare", "iql-a", "vdn-a", "iql-b", "vdn-b", "--profile", "profile.png")) == 0
    assert Path("profile.png").read_bytes().startswith(b"\x89PNG")
    output = capsys.readouterr().out
    assert "2 tasks, scores from 0" in output and "matrix_game payoff=son3" in output
    assert next(line for line in output.splitlines() if line.startswith("│ iql")).count("│ 4 ") == 1
    assert main(("compare", "iql-a", "vdn-a", "iql-b")) == 2
    assert "vdn has 0 of matrix_game payoff=son3" in capsys.readouterr().err
    assert main(("compare", "iql-a", "--profile", "profile.bmp")) == 2
    assert "must end in .png, .pdf or .svg" in capsys.readouterr().err
    assert main(("compare", "iql-a", "--metric", "los")) == 2
    assert "did you mean 'loss'?" in capsys.readouterr().err


def test_seeds_are_counted_on_each_task(copy: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    """Few of each stay few, on however many tasks: drawn anew within each they hardly differ."""
    for payoff in ("resq79", "son3", "climb"):
        copy(f"iql-{payoff}", lambda seeds: np.zeros(len(seeds)), resq79=payoff)
        copy(f"vdn-{payoff}", lambda seeds: np.ones(len(seeds)), resq79=payoff, iql="vdn")
    assert main(("compare", *map(str, sorted(Path().iterdir())))) == 0
    vdn = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("│ vdn"))
    assert "│ 6 " in vdn and "1 [1, 1] too few seeds" in vdn


def test_points_of_a_grid(copy: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    path = copy("grid", lambda seeds: seeds * 1.0)
    table = pd.read_parquet(path / "metrics.parquet")
    rates = [0.001, 0.01]
    both = [table.assign(**{"training.learning_rate": rate, "value": table["value"] + 100 * rate}) for rate in rates]
    pd.concat(both).to_parquet(path / "metrics.parquet", index=False)
    record = (path / "run.toml").read_text()
    (path / "run.toml").write_text(f'{record}\n[grid]\n"training.learning_rate" = {rates}\n')
    assert main(("compare", "grid")) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("│ iql")]
    cells = [[cell.strip() for cell in line.split("│")] for line in lines]
    assert [cell[1] for cell in cells] == ["iql learning_rate=0.001", "iql learning_rate=0.01"]
    assert [cell[3].split()[0] for cell in cells] == ["0.6", "1.5"]
    assert main(("export", "grid")) == 2
    assert "is a grid over training.learning_rate" in capsys.readouterr().err


def test_seeds_that_died_are_in_no_column(copy: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    """Wherever the run that has none is named, and however high the seed had come."""
    copy("low", lambda seeds: np.where(seeds == 0, 1.0, 4.0))
    copy("none", lambda seeds: np.full(len(seeds), np.nan))
    path = copy("died", lambda seeds: np.full(len(seeds), 4.0)) / "metrics.parquet"
    table = pd.read_parquet(path)
    mine = (table["name"] == "evaluation_return") & (table["seed"] == 0)
    table.loc[mine, "value"] = [8.0, 8.0, 8.0, np.nan]
    table.to_parquet(path)
    assert main(("compare", "none", "low", "died")) == 0
    rows = {}
    for line in capsys.readouterr().out.splitlines():
        if line.startswith("│"):
            name, *cells = (cell.strip() for cell in line.split("│")[1:-1])
            rows[name] = [*cells[:2], *cells[4:]]
    assert rows["none"] == ["0 (2 left out)", "no finite value", "not reached by most (0% of seeds)", "no finite value"]
    assert rows["low"] == ["2", "2.5 [1, 4]", "not reached by most (50% of seeds)", "2.5 [1, 4]"]
    assert rows["died"] == ["1 (1 left out)", "4 [4, 4]", "80", "4 [4, 4]"]


def test_less_of_a_loss_is_not_worse(copy: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("one", "other"):
        copy(name, lambda seeds: seeds * 1.0)
    assert main(("compare", "one", "other", "--metric", "loss")) == 0
    output = capsys.readouterr().out
    assert "above one" in output and "beats" not in output and "best" not in output
    assert main(("compare", "one", "./one")) == 2
    assert "a run is named twice: one, one" in capsys.readouterr().err


def test_points_that_are_close_are_two(capsys: pytest.CaptureFixture[str]) -> None:
    grid = {"training.learning_rate": [0.0, 1e-9]}
    write_run(Path("grid"), Lanes(marlx.configure("iql", "matrix_game"), range(3), grid))
    table = marlx.load_run("grid").metrics()
    last = table[table["env_steps"] == 5000].groupby("training.learning_rate")["evaluation_return"]
    assert main(("compare", "grid")) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("│ iql")]
    assert [line.split("│")[3].split()[0] for line in lines] == [f"{x:.4g}" for x in last.mean()]
