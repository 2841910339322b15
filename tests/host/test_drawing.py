"""`marlx plot`: kinds of pictures, and their formats by suffix."""

import itertools
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from marlx_envs.options import UsageError

import marlx
from marlx.host import joint_drawing
from marlx.host.cli import main
from marlx.host.lanes import Lanes
from marlx.host.metrics import Recorder
from marlx.host.results import Run, load_run

from .written_runs import write_run

NAMES = ["".join(joint) for joint in itertools.product("ABC", repeat=2)]
GREEDY = {0: 0, 1: 0, 2: 8}  # of seeds 0, 1, 2


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of POW-QMIX with tables and weights at two evaluations of three seeds. Not to be changed."""
    path = tmp_path_factory.mktemp("recording") / "run"
    lanes = Lanes(marlx.configure("pow_qmix", "matrix_game"), range(3))
    write_run(path, lanes)
    (path / "metrics.parquet").unlink()
    recorder = Recorder(path)
    for k in range(2):
        record = {"env_steps": np.full(3, 100 * (k + 1)), "evaluation_return": np.zeros(3)}
        for u, name in enumerate(NAMES):
            for table in ("joint", "recognition", "critic"):
                record[f"table_{table}/{name}"] = np.arange(3.0) + u + k
            record[f"greedy/{name}"] = np.array([float(GREEDY[seed] == u) for seed in range(3)])
            record[f"data_share/{name}"] = np.array([0.5, 0.5, 0.5]) * (u < 2)
            record[f"weight_mass/{name}"] = np.array([0.5, 0.5, 0.2]) * (u == 0)
        for w in range(20):
            record[f"weight_share/{5 * w:02d}"] = np.full(3, 0.5) * (w in (0, 19))
        recorder.add(0, k, lanes.columns(), record)
    recorder.merge()
    return path


@pytest.mark.parametrize("suffix, start", [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF"), ("PDF", b"%PDF")])
def test_the_suffix_says_the_format(suffix: str, start: bytes, recording: Path, tmp_path: Path) -> None:
    assert main(["plot", str(recording), "--out", str(tmp_path / f"x.{suffix}")]) == 0
    assert (tmp_path / f"x.{suffix}").read_bytes().startswith(start)


@pytest.mark.parametrize("kind", ["tables", "stages", "weights"])
def test_kinds(kind: str, recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plot", str(recording), "--kind", kind, "--seed", "2", "--out", str(tmp_path / "x.svg")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'x.svg'}\n"
    assert (tmp_path / "x.svg").stat().st_size > 10_000


def test_tables_are_means_with_the_greedy_cell_of_most_seeds(recording: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = {}

    def keep(tables: object, payoff: object, shares: object = None, *, greedy: object = None, **words: str) -> None:
        drawn.update(tables=tables, shares=shares, greedy=greedy, **words)

    monkeypatch.setattr(joint_drawing, "payoff_tables", keep)
    run = load_run(recording)
    joint_drawing._tables([run], ["pow_qmix"], None)
    assert [title.partition("  ")[2] for title in drawn["tables"]] == [r"$Q_{tot}$", r"$Q_r$", r"$\hat{Q}^*$"]
    first = next(iter(drawn["tables"]))
    np.testing.assert_array_equal(drawn["tables"][first], np.arange(9.0).reshape(3, 3) + 2)
    assert drawn["greedy"][first] == [0, 0] and drawn["shares"][first] == pytest.approx(2 / 3)
    assert (drawn["what"], drawn["frame"]) == ("means over 3 seeds", "greedy joint action of most seeds")
    joint_drawing._tables([run], ["pow_qmix"], 2)
    assert drawn["greedy"][first] == [2, 2] and drawn["shares"] == {} and drawn["what"] == "seed 2"
    assert drawn["frame"] == "greedy joint action"
    np.testing.assert_array_equal(drawn["tables"][first], np.arange(9.0).reshape(3, 3) + 3)


def test_seeds_that_died_are_in_no_mean(recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor in the evaluations before: one table is of the seeds that the next is of."""
    shutil.copytree(recording, tmp_path / "run")
    file = tmp_path / "run" / "metrics.parquet"
    table = pd.read_parquet(file)
    table.loc[(table["seed"] == 2) & (table["env_steps"] == 200), "value"] = np.nan
    table.to_parquet(file, index=False)
    run = load_run(tmp_path / "run")
    found = joint_drawing._recorded(run, None)
    assert found["table_joint/AA"].tolist() == [0.5, 1.5]
    assert joint_drawing._whose(found, None)[0] == "means over 2 seeds, 1 left out"
    assert joint_drawing._recorded(run, 2)["table_joint/AA"].iloc[0] == 2
    drawn: dict[str, str] = {}
    monkeypatch.setattr(joint_drawing, "payoff_tables", lambda *_, what, frame, greedy: drawn.update(what=what))
    joint_drawing._tables([run, load_run(recording)], ["one", "all"], None)
    assert drawn["what"] == "one: means over 2 seeds, 1 left out\nall: means over 3 seeds"
    table["value"] = np.where(table["env_steps"] == 200, np.nan, table["value"])
    table.to_parquet(file, index=False)
    with pytest.raises(UsageError, match="that is to be drawn has finite values"):
        joint_drawing._recorded(load_run(tmp_path / "run"), None)


def test_weights_of_joint_actions_are_per_step_with_that_action(recording: Path) -> None:
    found = joint_drawing._weights(load_run(recording), "pow", None)
    np.testing.assert_array_equal(found.edges, [0, 100, 200])
    np.testing.assert_allclose(found.shares[:, 0], [0.5] + [0] * 18 + [0.5])
    assert found.joint is not None
    best = list(found.names).index("AA  8")
    assert best == 0  # the payoff's order
    np.testing.assert_allclose(found.joint[best], 1.2 / 1.5)
    rest = dict(zip(found.names, found.joint[:, 0], strict=True))
    assert rest["AB  -12"] == 0 and np.isnan(rest["CC  7.9"])  # in the data without weight; not in the data


@pytest.mark.parametrize(
    "words, message",
    [
        (("--kind", "table"), "unknown kind of picture 'table'; did you mean 'tables'?"),
        (("--kind", "tables"), "has no tables; train it with evaluation.record_tables=true"),
        (("--kind", "weights"), "has no weights; train it with training.record_weights=true"),
        (("--kind", "weights", "--seed", "7"), "has no seed 7; it has 0:2"),
        (("--kind", "weights", "--metric", "loss"), "--metric is of curves, not of weights"),
        (("--seed", "0"), "curves show all seeds"),
        (("--kind", "tables", "--out", "x.gif"), "a picture must end in .png, .pdf or .svg, not 'x.gif'"),
    ],
)
def test_mistakes_are_one_line(
    words: tuple[str, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "run", Lanes(marlx.configure("vdn", "matrix_game"), range(2)))
    assert main(["plot", str(tmp_path / "run"), *words]) == 2
    errors = capsys.readouterr().err
    assert message in errors and errors.count("\n") == 1


def test_other_games_have_no_table_to_draw(tmp_path: Path) -> None:
    run = Run(tmp_path, marlx.configure("vdn", "two_step_game"), {"seeds": "0:1"})
    assert joint_drawing._payoff_or_none(run) is None
