"""A sweep by several processes of this host: each trains a share of the seeds of a run, or a run of few seeds."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import marlx
from marlx.host import cli, sweep_processes
from marlx.host.sweep import RESULTS, read_sweep, states

from .test_sweep import PLAN, refused, written

NAMES = ["iql-matrix_game-hidden_size=4", "iql-matrix_game-hidden_size=5"]
Commands = list[list[str]]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, Commands]]:
    """What `marlx sweep` would have started: how many at a time, and their words. Each of them fails."""
    found: list[tuple[int, Commands]] = []

    def record(commands: Commands, count: int, begins: Any) -> list[int]:
        found.append((count, commands))
        return [1] * len(commands)

    monkeypatch.setattr(sweep_processes, "run_here", record)
    return found


def finish(plan: Path, out: Path, index: int, count: int) -> None:
    """Trains a share of every run of a sweep, as a process of its own would."""
    assert cli.main(["sweep", str(plan), "--out", str(out), "--quiet", "--share", f"{index}/{count}"]) == 0


def test_processes_give_what_one_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Shares of 1 and 2 seeds at 2 points: the same file of results, to the byte."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    axes = {"training.learning_rate": [1e-3, 1e-2], "training.gamma": [0.5, 0.9]}
    plan = PLAN | {"seeds": 3, "axes": axes, "set": PLAN["set"] | {"agent.hidden_size": 4}}
    file = written(tmp_path / "plan.toml", plan)
    alone, several = ["sweep", str(file), "--out", str(tmp_path / "alone"), "--quiet"], ["--processes", "2"]
    assert cli.main(alone) == 0
    told = capfd.readouterr().out.replace("alone", "several")
    out = tmp_path / "several"
    command = ["sweep", str(file), "--out", str(out), "--quiet", *several]
    assert cli.main(command) == 0
    assert capfd.readouterr().out == told
    assert {path.name for path in (out / "iql-matrix_game").iterdir()} == {"part-0-of-2", "part-1-of-2"}
    assert (out / RESULTS).read_bytes() == (tmp_path / "alone" / RESULTS).read_bytes()
    both = [marlx.load_run(folder / "iql-matrix_game") for folder in (tmp_path / "alone", out)]
    assert both[1].finished and both[1].record["grid"] == axes and both[1].seeds == [0, 1, 2]
    monkeypatch.setattr(sweep_processes, "run_here", None)  # nothing is left to do
    assert cli.main(command) == cli.main(["report", str(out)]) == 0


@pytest.mark.usefixtures("three_gpus")
def test_each_gpu_has_a_process_with_a_share_of_each_run(
    tmp_path: Path, asked: list[tuple[int, Commands]], capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = written(tmp_path / "plan.toml", PLAN | {"seeds": 7}), tmp_path / "out"
    assert cli.main(["sweep", str(file), "--out", str(out), "--quiet", "--chunk", "5"]) == 1
    ((count, commands),) = asked
    words = ["sweep", str(out / "sweep.toml"), f"--out={out}"]
    rest = ["--width", "16", "--chunk", "5", "--quiet"]  # 3 points of 3 seeds of 7
    shares = [[*words, f"--run={name}", f"--share={index}/3", *rest] for name in NAMES for index in range(3)]
    assert (count, commands) == (3, shares)
    told = capsys.readouterr().err
    assert f"not done: {NAMES[0]}, part 1 of 3 (exit code 1); " in told and "and 2 more; the same command" in told
    assert told.count("\n") == 1 and not (out / RESULTS).exists()


@pytest.mark.usefixtures("three_gpus")
@pytest.mark.parametrize(
    ("seeds", "words", "count", "shares", "width"),
    [
        (1, [], 2, ["0/1", "0/1"], None),  # of one seed: both runs side by side, one with two GPUs
        (1, ["--run", NAMES[1]], 1, ["0/1"], None),  # with all three
        (2, ["--run", NAMES[1]], 2, ["0/2", "1/2"], "4"),  # 3 points of a seed
        (2, ["--processes", "2", "--width", "1"], 2, ["0/2", "1/2"] * 2, "1"),
    ],
)
def test_few_seeds_leave_no_gpu_idle(
    tmp_path: Path, asked: list[tuple[int, Commands]], seeds: int, words: list[str], count: int, shares: list[str],
    width: str | None,
) -> None:  # fmt: skip
    file = written(tmp_path / "plan.toml", PLAN | {"seeds": seeds})
    assert cli.main(["sweep", str(file), "--out", str(tmp_path / "out"), "--quiet", *words]) == 1
    assert asked[0][0] == count
    assert [command[4] for command in asked[0][1]] == [f"--share={share}" for share in shares]
    assert {command[command.index("--width") + 1] if "--width" in command else None for command in asked[0][1]} == {
        width
    }


def test_only_what_is_missing_is_done(
    tmp_path: Path, asked: list[tuple[int, Commands]], capsys: pytest.CaptureFixture[str]
) -> None:
    """Parts that were begun go on as so many, whoever goes on with them."""
    file, out = written(tmp_path / "plan.toml", PLAN), tmp_path / "out"
    finish(file, out, 1, 2)
    plan = read_sweep(file)
    assert [(state.status, state.share, state.dead) for state in states(plan, out)] == [("stopped", 0.5, 0)] * 2
    assert len(pd.read_parquet(out / RESULTS)) == 2 * 3 * 4  # of one of two seeds
    command = ["sweep", str(file), "--out", str(out)]
    assert cli.main([*command, "--processes", "3"]) == 1  # more at work than each run has parts
    ((count, commands),) = asked
    assert count == 2 and [words[3:5] for words in commands] == [[f"--run={name}", "--share=0/2"] for name in NAMES]
    asked.clear()
    assert cli.main([*command, "--quiet", "--run", NAMES[0]]) == 0  # in this process
    assert {path.name for path in (out / NAMES[0]).iterdir()} == {"part-0-of-2", "part-1-of-2"} and not asked
    assert [state.status for state in states(plan, out)] == ["finished", "stopped"]
    assert len(pd.read_parquet(out / RESULTS)) == 3 * 3 * 4
    capsys.readouterr()
    assert cli.main([*command, "--status", "--run", NAMES[1]]) == 0
    assert "50%" in capsys.readouterr().out
    for index in range(3):
        (out / NAMES[1] / f"part-{index}-of-3").mkdir()
        (out / NAMES[1] / f"part-{index}-of-3" / "experiment.toml").touch()
    assert cli.main(command) == 2
    assert f"{NAMES[1]} is damaged; move it away" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--share", "2/2"], "--share must be K/N"),
        (["--share", "0/3"], "3 processes need at least as many seeds, not 2"),
        (["--share", "0/2", "--processes", "2"], "--share does not go with --processes"),
        (["--resource", "timeout_min=9"], "--resource timeout_min=9 is of a job, and needs --launcher"),
        (["--processes", "0"], "--processes must be a whole number from 1 to"),
        (["--width", "two"], "--width must be a whole number"),
        (["--run", "iql-matrix_game-hidden_siz=4"], "did you mean 'iql-matrix_game-hidden_size=4'"),
    ],
)
def test_a_mistake_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    refused(tmp_path, capsys, words, message)


@pytest.mark.slow
def test_a_stopped_sweep_goes_on(tmp_path: Path) -> None:
    """SIGTERM in mid-run: every process saves and ends, nothing more begins; the same command ends the sweep."""
    file = written(tmp_path / "plan.toml", PLAN | {"set": PLAN["set"] | {"training.total_steps": 40_000}})
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "marlx", "sweep", str(file), "--out", str(tmp_path / "out"), "--processes", "2"]
    begun = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while len(list((tmp_path / "out").glob("*/part-*/metrics/*"))) < 2:
        assert begun.poll() is None
        time.sleep(0.05)
    begun.send_signal(signal.SIGTERM)
    told = begun.communicate(timeout=300)[1]
    assert begun.returncode == 143 and "the same command goes on with the sweep" in told
    found = [state.status for state in states(read_sweep(file), tmp_path / "out")]
    assert found == ["stopped", "missing"], told
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert [state.status for state in states(read_sweep(file), tmp_path / "out")] == ["finished", "finished"]
    assert cli.main(["sweep", str(file), "--out", str(tmp_path / "alone"), "--quiet"]) == 0
    assert (tmp_path / "out" / RESULTS).read_bytes() == (tmp_path / "alone" / RESULTS).read_bytes()
