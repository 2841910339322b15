"""`marlx compare` on copies of one small run whose metrics were changed."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

import marlx
from marlx.analysis.scores import Estimate
from marlx.host.cli import main
from marlx.host.comparing import _against, _profiles, verdict
from marlx.host.lanes import Lanes
from marlx.host.metrics import Recorder

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
    assert "│ mean 6.929 [6.857, 7] │ 6.857, 7 │ 5 too few seeds │ 100% │" in " ".join(high.split())
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
    "low, high, seeds, dead, expected",
    [
        (0.1, 0.5, 5, 0, "clear"), (-0.5, -0.1, 8, 0, "clear"), (-0.1, 0.5, 8, 0, "not clear"),
        (0.1, 0.5, 4, 0, "too few seeds"), (np.nan, np.nan, 0, 3, ""), (0.0, 0.0, 8, 0, "not clear"),
        (0.1, 0.5, 8, 1, "not judged: 1 seed left out"), (0.1, 0.5, 5, 3, "not judged: 3 seeds left out"),
    ],
)  # fmt: skip
def test_which_differences_are_clear(low: float, high: float, seeds: int, dead: int, expected: str) -> None:
    assert verdict(Estimate((low + high) / 2, low, high), seeds, dead) == expected


def table_of(output: str) -> dict[str, list[str]]:
    """The cells of each row by its first."""
    rows = [line for line in output.splitlines() if line.startswith(("│", "┃"))]
    cells = [[" ".join(cell.split()) for cell in row.replace("┃", "│").split("│")[1:-1]] for row in rows]
    return {first: rest for first, *rest in cells}


def many(name: str, returns: npt.ArrayLike, evaluations: int = 2) -> Path:
    """A run of a seed for each return."""
    values = np.asarray(returns, float)
    lanes = Lanes(marlx.configure("iql", "matrix_game"), range(len(values)))
    write_run(Path(name), lanes)
    (Path(name) / "metrics.parquet").unlink()
    recorder = Recorder(Path(name))
    for k in range(evaluations):
        steps = np.full(len(values), 1000 * (k + 1))
        recorder.add(0, k, lanes.columns(), {"evaluation_return": values, "env_steps": steps})
    recorder.merge()
    return Path(name)


def test_seeds_that_died_are_held_against_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    """One that diverges where it does badly would win by what is left of it."""
    many("low", np.linspace(1, 2, 8)), many("dead", [7, 7, 7, 7, 8, *[np.nan] * 3])
    many("high", np.linspace(6, 7, 8))
    assert main(("compare", "low", "dead", "high")) == 0
    output = capsys.readouterr().out
    rows = table_of(output)
    assert rows["dead"][3].endswith("] not judged: 3 seeds left out") and rows["high"][3].endswith("] clear")
    assert "they may have been the bad ones" in output
    assert main(("compare", "low", "high")) == 0
    assert "bad ones" not in capsys.readouterr().out


def test_what_hides_in_the_middle_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """Two of eight seeds that fail are not in an interquartile mean; ties and rounding are no wins."""
    many("all", [7.9] * 8), many("most", [7.9000002] * 6 + [0, 0])
    assert main(("compare", "all", "most")) == 0
    rows = table_of(capsys.readouterr().out)
    assert rows[""][1:5] == ["IQM", "lowest, highest seed", "minus all", "above all, ties half"]
    assert rows["most"][2] == "0, 7.9" and rows["most"][3].endswith("not clear")
    assert rows["most"][4].startswith("38% [") and rows["most"][4].endswith("%], 75% ties")  # 37.5


def test_runs_of_other_lengths_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    many("short", range(5)), many("long", range(5), evaluations=4), many("same", range(5))
    assert main(("compare", "short", "long")) == 0
    assert "in evaluations and last environment step: short 2 to 2,000, long 4 to 4,000\n" in capsys.readouterr().out
    assert main(("compare", "short", "same")) == 0
    assert "runs differ" not in capsys.readouterr().out


def test_tasks_that_tell_nothing_are_left_out(copy: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    for payoff, level in (("resq79", 1.0), ("son3", 0.0)):
        copy(f"iql-{payoff}", lambda seeds: np.full(len(seeds), 7.9), resq79=payoff)
        other = 7.9000002 + level
        copy(f"vdn-{payoff}", lambda seeds, other=other: np.full(len(seeds), other), resq79=payoff, iql="vdn")
    assert main(("compare", "iql-resq79", "vdn-resq79", "iql-son3", "vdn-son3")) == 0
    output = capsys.readouterr().out
    assert "left out, as all scores are equal there: matrix_game payoff=son3\n" in output and "1 task, " in output
    rows = table_of(output)
    assert rows["iql"][:2] == ["2", "mean 0 [0, 0]"] and rows["vdn"][:2] == ["2", "mean 1 [1, 1]"]
    shutil.rmtree("vdn-resq79")
    copy("vdn-resq79", lambda seeds: np.full(len(seeds), 7.9), iql="vdn")
    assert main(("compare", "iql-resq79", "vdn-resq79", "iql-son3", "vdn-son3")) == 0
    output = capsys.readouterr().out
    assert output.endswith("all scores are equal on every task: there is nothing to compare or to draw\n")


def test_a_task_on_which_no_seed_lasted(copy: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    for payoff, level in (("resq79", 1.0), ("son3", np.nan)):
        copy(f"iql-{payoff}", lambda seeds: seeds * 1.0, resq79=payoff)
        copy(f"vdn-{payoff}", lambda seeds, level=level: 2 * level + seeds, resq79=payoff, iql="vdn")
    assert main(("compare", "iql-resq79", "vdn-resq79", "iql-son3", "vdn-son3")) == 0
    output = capsys.readouterr().out
    assert "nan" not in output and "not judged: 2 seeds left out" in table_of(output)["vdn"][3]


def test_the_json_says_what_its_absolute_metrics_are(capsys: pytest.CaptureFixture[str]) -> None:
    many("run", range(5))
    assert main(("compare", "run", "--json", "found.json")) == 0
    assert (
        "found.json: its absolute_metrics are the best evaluation of each seed; --absolute" in capsys.readouterr().out
    )


@pytest.mark.parametrize(
    "returns, thresholds, title",
    [
        ([1, 2, 2, 3, 5], [0.8, 1, 2, 3, 5, 5.2], "5 seeds each, bands: 95% intervals"),
        ([2, 2, 2, 2, 2], [1.9, 2, 2.1], "5 seeds each, bands: 95% intervals"),
        ([1, 3], [0.9, 1, 3, 3.1], "2 seeds each"),
    ],
)
def test_profiles_begin_with_every_seed(returns: list[float], thresholds: list[float], title: str) -> None:
    axes = _profiles({"iql": {"": [*returns, np.nan]}}, "return").axes[0]
    assert axes.get_legend_handles_labels()[1] == ["iql, 1 left out"]
    (line,) = axes.lines
    assert line.get_drawstyle() == "steps-post" and axes.get_title(loc="left") == title
    np.testing.assert_allclose(np.asarray(line.get_xdata(), float), np.array(thresholds))
    heights = np.asarray(line.get_ydata())
    assert heights[0] == 100 and heights[-1] == 0


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
    assert "│ 6 " in vdn and "│ 1 too few seeds" in vdn


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
    assert [cell[3] for cell in cells] == ["mean 0.6 [0.1, 1.1]", "mean 1.5 [1, 2]"]
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
            rows[name] = [*cells[:2], *cells[5:]]
    assert rows["none"] == ["0 (2 left out)", "no finite value", "not reached by most (0% of seeds)", "no finite value"]
    assert rows["low"] == ["2", "mean 2.5 [1, 4]", "not reached by most (50% of seeds)", "mean 2.5 [1, 4]"]
    assert rows["died"] == ["1 (1 left out)", "4", "80", "4"]


def test_less_of_a_loss_is_not_worse(copy: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("one", "other"):
        copy(name, lambda seeds: seeds * 1.0)
    assert main(("compare", "one", "other", "--metric", "loss")) == 0
    output = capsys.readouterr().out
    assert "above one" in output and "best" not in output
    assert main(("compare", "one", "./one")) == 2
    assert "a run is named twice: one, one" in capsys.readouterr().err


def test_points_that_are_close_are_two(capsys: pytest.CaptureFixture[str]) -> None:
    grid = {"training.learning_rate": [0.0, 1e-9]}
    write_run(Path("grid"), Lanes(marlx.configure("iql", "matrix_game"), range(3), grid))
    table = marlx.load_run("grid").metrics()
    last = table[table["env_steps"] == 5000].groupby("training.learning_rate")["evaluation_return"]
    assert main(("compare", "grid")) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("│ iql")]
    assert [line.split("│")[3].split()[1] for line in lines] == [f"{x:.4g}" for x in last.mean()]


def test_few_seeds_beside_many_are_told_by_the_plain_means_of_both() -> None:
    """Not a mean less an interquartile mean, which is not the difference of anything."""
    many, few = {"": [0.0] * 7 + [10.0]}, {"": [0.0, 0.0, 0.0, 10.0]}
    assert _against(few, many)[0] == "1.25 too few seeds"
