"""The experiments' command lines: a mistake is one line, and found before anything is trained."""

import importlib
from pathlib import Path

import jax
import numpy as np
import pytest
from marlx_envs.options import UsageError
from marlx_envs.risk_reward import draw_game

import marlx
from experiments import side_by_side, words
from experiments.record import RESULTS
from marlx.host import cli

NAMES = (
    "critic_fit", "mrvf_rounds", "nm_qmix", "nm_slopes", "payoff", "payoff_suite", "predator_prey", "risk_reward",
    "smax",
)  # fmt: skip


def run(name: str, *arguments: str) -> None:
    importlib.import_module(f"experiments.{name}").main(arguments)


@pytest.fixture(autouse=True)
def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever asks for devices has gone too far."""
    from marlx.host import backend

    monkeypatch.setattr(backend, "prepare", lambda *_: pytest.fail("it would have trained"))
    monkeypatch.setattr("marlx.train", lambda *_, **__: pytest.fail("it would have trained"), raising=False)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("word", ["0", "-1", "few", "1.5"])
def test_a_number_that_is_none(name: str, word: str) -> None:
    option = "--games" if name == "critic_fit" else "--seeds"
    with pytest.raises(UsageError, match=f"{option}: must be a whole number of at least 1, not '?{word}"):
        run(name, option, word)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "mrvf_rounds"])
def test_a_folder_that_is_a_file(name: str, tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    with pytest.raises(UsageError, match="--out: cannot write to .*taken: File exists"):
        run(name, "--out", str(tmp_path / "taken"))


@pytest.mark.parametrize("name", ["payoff", "payoff_suite", "predator_prey", "risk_reward", "smax"])
def test_the_last_of_several_methods_is_checked_too(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown method 'qmx'; did you mean 'qmix'"):
        run(name, "--out", str(tmp_path), "--methods", "vdn", "qmx")


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("risk_reward", ("--settings", "3x5", "5by5"), "--settings: must be agents x actions, as 3x5, not '5by5'"),
        ("critic_fit", ("--settings", "1x5"), "--settings: must be agents x actions, as 3x5, not '1x5'"),
        ("critic_fit", ("--critics", "encodr"), "unknown joint value 'encodr'; did you mean 'encoder'"),
        ("nm_qmix", ("--variants", "softmx"), "unknown variant 'softmx'; did you mean 'softmax'"),
        ("papers", ("pow_payoff", "pow_payof"), "unknown result 'pow_payof'; did you mean 'pow_payoff'"),
    ],
)
def test_other_words(name: str, arguments: tuple[str, ...], said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=said):
        run(name, "--out", str(tmp_path), *arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--games", "3"),
        ("--seeds", "1"),
        ("--steps", "90_000"),
        ("training.gamma=1",),
    ],
)
def test_a_table_keeps_to_its_numbers(arguments: tuple[str, ...]) -> None:
    measured = "has mrvf in 3x5 with 20 games, 2 seeds, 60,000 steps, not .*; give another --name"
    with pytest.raises(UsageError, match=measured):
        run("risk_reward", "--settings", "3x5", "--methods", "mrvf", "--steps", "60000", *arguments)


def test_a_table_that_has_all_that_is_asked_stays_as_it_is() -> None:
    before = {path.name: path.stat().st_mtime_ns for path in RESULTS.glob("risk_reward*")}
    run("risk_reward", "--settings", "3x5", "--methods", "mrvf", "--steps", "60000")
    assert before == {path.name: path.stat().st_mtime_ns for path in RESULTS.glob("risk_reward*")}


def test_words_that_are_right(tmp_path: Path) -> None:
    assert words.positive("200_000") == 200_000
    assert words.whole("0") == 0
    assert words.sizes("5x8") == "5x8"
    assert words.folder(str(tmp_path / "new" / "one")).is_dir()


@pytest.mark.parametrize("error", [OSError(28, "No space left on device", "a.png"), PermissionError(13, "no", "a.png")])
def test_a_disk_that_refuses_a_library_is_one_line(error: OSError, capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> None:
        raise error

    assert cli.guarded(work) == 2
    assert capsys.readouterr().err == f"marlx: cannot write a.png: {error.strerror}\n"


def test_other_faults_of_the_system_stay_faults() -> None:
    def work() -> None:
        raise FileNotFoundError(2, "No such file or directory", "a")

    with pytest.raises(FileNotFoundError):
        cli.guarded(work)


@pytest.mark.parametrize("width", [1, 2])
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
