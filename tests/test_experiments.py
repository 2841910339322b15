"""The experiments' command lines: a mistake is one line, and found before anything is trained."""

import importlib
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import pytest
from marlx_envs.options import UsageError
from marlx_envs.risk_reward import draw_game

import marlx
from experiments import critic_fit, record, risk_reward, side_by_side, words
from experiments.record import RESULTS
from marlx.host.lanes import Lanes
from tests.host.written_runs import write_run

NAMES = (
    "critic_fit", "mrvf_rounds", "nm_qmix", "nm_slopes", "payoff", "payoff_suite", "predator_prey", "risk_reward",
    "smax",
)  # fmt: skip


def run(name: str, *arguments: str) -> None:
    importlib.import_module(f"experiments.{name}").main(arguments)


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever compiles or trains has gone too far."""
    from marlx.engine.seeds import Fleet
    from marlx.host import backend

    def fail(*_: object, **__: object) -> None:
        pytest.fail("it would have trained")

    monkeypatch.setattr(backend, "prepare", lambda *_: None)  # devices are there already
    monkeypatch.setattr(Fleet, "__init__", fail)
    monkeypatch.setattr(side_by_side, "train", fail)
    monkeypatch.setattr(critic_fit, "fit", fail)
    monkeypatch.setattr("marlx.train", fail, raising=False)


@pytest.mark.usefixtures("untrained")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("word", ["0", "-1", "few", "1.5"])
def test_a_number_that_is_none(name: str, word: str) -> None:
    option = "--games" if name == "critic_fit" else "--seeds"
    with pytest.raises(UsageError, match=f"{option}: must be a whole number from 1 to 2000000000, not '?{word}"):
        run(name, option, word)


@pytest.mark.usefixtures("untrained")
@pytest.mark.parametrize("name", [name for name in NAMES if name != "mrvf_rounds"])
def test_a_folder_that_is_a_file(name: str, tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    with pytest.raises(UsageError, match="--out: cannot write to .*taken: File exists"):
        run(name, "--out", str(tmp_path / "taken"))


@pytest.mark.usefixtures("untrained")
@pytest.mark.parametrize("name", ["payoff", "payoff_suite", "predator_prey", "risk_reward", "smax"])
def test_the_last_of_several_methods_is_checked_too(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown method 'qmx'; did you mean 'qmix'"):
        run(name, "--out", str(tmp_path), "--methods", "vdn", "qmx")


@pytest.mark.usefixtures("untrained")
@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("risk_reward", ("--settings", "3x5", "5by5"), "--settings: must be agents x actions, as 3x5, not '5by5'"),
        ("critic_fit", ("--settings", "1x5"), "--settings: must be agents x actions, as 3x5, not '1x5'"),
        ("critic_fit", ("--critics", "encodr"), "unknown joint value 'encodr'; did you mean 'encoder'"),
        ("critic_fit", ("--updates", "8"), "--updates must be a multiple of 16, not 8"),
        ("critic_fit", ("--settings", "9x99"), "9x99 has 913,517,247,483,640,899 joint actions; at most 1,000,000"),
        ("risk_reward", ("--name", "a/b"), "--name: must be the name of a file without its ending, not 'a/b'"),
        ("payoff", ("--name", "a.b"), "--name: must be the name of a file without its ending, not 'a.b'"),
        ("payoff_suite", ("--random", "0", "--payoffs"), "no payoff is left: give --payoffs names, or --random"),
        ("predator_prey", ("--penalties", "0", "nan"), "environment.miss_penalty must be"),
        ("smax", ("--scenarios", "3m", "2s3x"), "environment.scenario '2s3x'; did you mean '2s3z'"),
        ("smax", ("--methods", "vdn", "training.gamma=1"), "'training.gamma=1' is no method; give section.name=value"),
        ("payoff", ("--methods", "vdn", "vdn"), "method 'vdn' is named twice"),
        ("papers", ("pow_payoff", "mrvf_smac", "--variant", "without_state"), "pow_payoff.toml: .*without_state"),
        ("nm_qmix", ("--variants", "softmx"), "unknown variant 'softmx'; did you mean 'softmax'"),
        ("papers", ("pow_payoff", "pow_payof"), "unknown result 'pow_payof'; did you mean 'pow_payoff'"),
    ],
)
def test_other_words(name: str, arguments: tuple[str, ...], said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=said):
        run(name, "--out", str(tmp_path), *arguments)


@pytest.fixture
def copied(tmp_path: Path) -> tuple[str, ...]:
    """Words that go on with a copy of the recorded table."""
    for path in RESULTS.glob("risk_reward.*"):
        shutil.copy(path, tmp_path)
    return ("--settings", "3x5", "--steps", "60000", "--out", str(tmp_path))


@pytest.mark.usefixtures("untrained")
@pytest.mark.parametrize("words", ["--games 3", "--seeds 1", "--steps 90_000", "--games 20 training.gamma=1"])
def test_a_table_keeps_to_its_numbers(words: str, copied: tuple[str, ...]) -> None:
    measured = "has mrvf in 3x5 with 20 games, 2 seeds, 60,000 steps, not .*; give another --name"
    with pytest.raises(UsageError, match=measured):  # before the one that is missing is trained
        run("risk_reward", *copied, "--methods", "vdn", "mrvf", *words.split())


@pytest.mark.usefixtures("untrained")
def test_a_table_that_has_all_that_is_asked_stays_as_it_is(copied: tuple[str, ...], tmp_path: Path) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    run("risk_reward", *copied, "--methods", "mrvf")
    assert before == {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}


@pytest.mark.usefixtures("untrained")
def test_a_record_that_a_stop_left_behind_its_table_is_made(copied: tuple[str, ...], tmp_path: Path) -> None:
    written = tmp_path / "risk_reward.json"
    found = json.loads(written.read_text())["means"]
    written.write_text(json.dumps({"means": {"3x5, mrvf": found["3x5, mrvf"]}}))
    run("risk_reward", *copied, "--methods", "mrvf")
    assert json.loads(written.read_text())["means"] == found
    assert (tmp_path / "risk_reward_rounds.png").stat().st_size > 10_000


@pytest.mark.usefixtures("untrained")
@pytest.mark.parametrize(("content", "said"), [(b"PAR1", "is no table of parquet"), (None, "has no column 'asked'")])
def test_a_table_that_cannot_be_gone_on_with(content: bytes | None, said: str, copied: tuple[str, ...]) -> None:
    path = Path(copied[-1]) / "risk_reward.parquet"
    if content is None:
        pd.read_parquet(path).drop(columns="asked").to_parquet(path)
    else:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=f"risk_reward.parquet {said}.*give another --name"):
        run("risk_reward", *copied)


def test_who_is_stopped_keeps_what_was_measured(tmp_path: Path) -> None:
    path, kept = tmp_path / "found.json", tmp_path / "found.unfinished.json"
    with pytest.raises(KeyboardInterrupt), record.unfinished(path) as partial:
        partial.write_text("half")
        raise KeyboardInterrupt
    assert (kept.read_text(), path.exists()) == ("half", False)
    with record.unfinished(path) as partial:
        partial.write_text("whole")
    assert (path.read_text(), kept.exists()) == ("whole", False)


@pytest.mark.usefixtures("untrained")
def test_a_long_run_is_written_as_far_as_it_is(tmp_path: Path) -> None:
    experiment = marlx.configure("qmix", "predator_prey", "environment.miss_penalty=-5", "training.total_steps=90_000")
    write_run(tmp_path / "runs" / "qmix_-5", Lanes(experiment, [0, 1]), status="interrupted")
    asked = ("--methods", "qmix", "--penalties", "-5", "--seeds", "2", "--so-far", "--name", "mine")
    asked = (*asked, "--runs", str(tmp_path / "runs"), "--out", str(tmp_path))
    run("predator_prey", *asked, "--steps", "90_000")
    assert set(pd.read_parquet(tmp_path / "mine.parquet")["seed"]) == {0, 1}
    assert (tmp_path / "mine.png").stat().st_size > 10_000
    assert json.loads((tmp_path / "mine.json").read_text())["runs"]["qmix, p = -5"]["status"] == "interrupted"
    with pytest.raises(UsageError, match="qmix_-5 holds another run: training.total_steps is 90000 there, not 80000"):
        run("predator_prey", *asked, "--steps", "80_000")


def test_words_that_are_right(tmp_path: Path) -> None:
    assert words.positive("200_000") == 200_000
    assert words.whole("0") == 0
    assert words.sizes("5x8") == "5x8"
    assert words.stem("my table, 2") == "my table, 2"
    assert words.folder(str(tmp_path / "new" / "one")).is_dir()


@pytest.mark.parametrize(
    "critic", [pytest.param(name, marks=() if name == "features" else pytest.mark.slow) for name in critic_fit.CRITICS]
)
def test_a_joint_value_learns_a_small_game(critic: str) -> None:
    points = critic_fit.fit(critic, agents=2, actions=3, games=2, batch=32, updates=1600)
    assert [point["updates"] for point in points] == [100 * k for k in range(1, critic_fit.POINTS + 1)]
    first, *_, last = (point["error at agreements"] for point in points)
    assert last < 0.5 < 2.0 < first
    assert points[-1]["argmax is the optimum"] == 1.0


@pytest.mark.parametrize("width", [pytest.param(1, marks=pytest.mark.slow), 3])  # of 6 runs, on one device or on two
def test_a_game_among_others_is_the_game_alone(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(side_by_side, "cpu_width", lambda _: width)
    experiment = marlx.configure(
        "vdn", "risk_reward", "training.num_envs=4", "training.batch_size=8", "training.total_steps=64",
        "training.updates_per_iteration=1", "evaluation.interval=16", "evaluation.episodes=1",
    )  # fmt: skip
    games = jax.vmap(draw_game, (0, None, None))(jax.random.split(jax.random.key(0), 3), 3, 5)
    last = jax.tree.map(lambda x: x[2:], games)
    together, alone = (side_by_side.train(experiment, some, 2) for some in (games, last))
    assert together["loss"].shape[:2] == (3, 2) and np.isfinite(together["loss"][..., -1]).all()
    for name, found in alone.items():
        np.testing.assert_allclose(found[0], together[name][2], rtol=1e-5, atol=1e-6)


def test_a_seed_that_died_has_no_final_evaluation() -> None:
    table = pd.DataFrame({
        "seed": [1, 0, 0, 1], "env_steps": [10, 10, 20, 20], "evaluation_return": [3.0, 1.0, 2.0, np.nan],
    })  # fmt: skip
    np.testing.assert_array_equal(record.final(table, "seed")["evaluation_return"], [2.0, np.nan])


def test_risk_reward_leaves_dead_runs_out(capsys: pytest.CaptureFixture[str]) -> None:
    table = pd.read_parquet(RESULTS / "risk_reward_qtran.parquet")
    mine = table["game"].eq(table["game"].iloc[0]) & table["env_steps"].eq(table["env_steps"].max())
    poisoned = table.copy()
    poisoned.loc[mine, ["return", "normalised_return"]] = np.nan
    with_dead, _ = risk_reward.report(poisoned)
    assert f"{mine.sum()} of {len(table.groupby(['method', 'game', 'seed']))} runs died" in capsys.readouterr().out
    without, _ = risk_reward.report(table[table["game"] != table["game"].iloc[0]])
    assert with_dead == without


@pytest.mark.parametrize(
    "share, games, expected", [(0.0, 20, "[0%, 16%]"), (0.5, 20, "[30%, 70%]"), (1.0, 8, "[68%, 100%]")]
)
def test_interval_of_a_share(share: float, games: int, expected: str) -> None:
    """Wilson 1927; the numbers by hand."""
    assert risk_reward.interval(share, games) == expected


@pytest.mark.parametrize(
    "name, ends",
    [("predator_prey_cw_qmix", [""]), ("smax_3m_qmix", ["_win_rate", "_return"]), ("mrvf_smac-small", ["", "_rounds"])],
)
def test_recorded_tables_are_drawn_anew(name: str, ends: list[str], tmp_path: Path) -> None:
    run("redraw", name, "--out", str(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(f"{name}{end}.png" for end in ends)
    with pytest.raises(UsageError, match="payoff_suite is no table of predator_prey, smax, risk_reward or a sweep"):
        run("redraw", "payoff_suite", "--out", str(tmp_path))
