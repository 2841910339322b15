"""Several processes, each with its share of the seeds, are one run: to the bit what one process gives."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import pytest
from marlx_envs.options import UsageError

import marlx
from marlx.host import processes, shares
from marlx.host.cli import main

from .conftest import SMALL

TRAIN = ["-m", "marlx", "train", "iql", "matrix_game", *SMALL, "--seeds", "5", "--width", "1", "--quiet"]


def _assert_equals_one_process(out: Path, alone: Path) -> None:
    joined = marlx.load_run(out)
    whole = marlx.train(marlx.configure("iql", "matrix_game", *SMALL), 5, alone, width=1, progress=False)
    assert joined.finished and joined.seeds == [0, 1, 2, 3, 4]
    pd.testing.assert_frame_equal(joined.metrics(), whole.metrics(), check_exact=True)
    both = [jax.tree.leaves((x.params, x.best_params)) for x in (joined, whole)]
    for a, b in zip(*both, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(*(run.evaluate()["evaluation_return"] for run in (joined, whole)))


def test_processes_of_a_group(tmp_path: Path) -> None:
    """Two real processes that find each other on the loopback address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "JAX_PLATFORMS": "cpu"}
    processes = [
        subprocess.Popen(
            [sys.executable, *TRAIN, "--out", str(tmp_path / "run"), "--distributed", f"{address},{index}/2"],
            env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for index in range(2)
    ]  # fmt: skip
    errors = [process.communicate(timeout=300)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    _assert_equals_one_process(tmp_path / "run", tmp_path / "alone")


@pytest.mark.slow
def test_processes_of_one_host_go_on_alone(tmp_path: Path) -> None:
    """One command starts them; the parts are runs of their own, so the same command goes on with what is missing."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, *TRAIN, "--out", str(tmp_path / "run"), "--processes", "2", "--resume"]
    begun = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while len(list((tmp_path / "run").glob("part-*/experiment.toml"))) < 2:
        assert begun.poll() is None, begun.stderr
        time.sleep(0.05)
    begun.send_signal(signal.SIGTERM)  # passed on: each of them saves and ends
    told = begun.communicate(timeout=300)[1]
    assert begun.returncode in (0, -signal.SIGTERM, 143), told  # but for 143: both were done already
    for _ in range(2):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, done.stderr
        assert "5 seeds" in done.stdout and done.stdout.count("evaluation return") == 1
    parts = sorted(path.name for path in (tmp_path / "run").iterdir())
    assert parts == ["part-0-of-2", "part-1-of-2"]
    _assert_equals_one_process(tmp_path / "run", tmp_path / "alone")
    for file in (tmp_path / "run" / "part-1-of-2").glob("*.toml"):
        file.unlink()
    with pytest.raises(UsageError, match="not as they should be: part-1-of-2"):
        marlx.load_run(tmp_path / "run")


def test_shares_cover_all_seeds_once() -> None:
    ids = list(range(3, 20))
    for count in (1, 2, 5, 17):
        found = [shares.split(ids, index, count) for index in range(count)]
        assert [seed for share in found for seed in share] == ids
        assert max(map(len, found)) - min(map(len, found)) <= 1


@pytest.mark.parametrize("word", ["", "1", "2/2", "-1/2", "1/0", "a/b", "1/2/3", "0.5/1"])
def test_a_share_that_is_none(word: str) -> None:
    with pytest.raises(UsageError, match="--share must be K/N"):
        shares.parse(word)


def test_more_processes_than_seeds() -> None:
    with pytest.raises(UsageError, match="3 processes need at least as many seeds, not 2"):
        shares.split([0, 1], 0, 3)


@pytest.mark.usefixtures("three_gpus")
def test_each_of_several_gpus_has_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless told otherwise; and what was begun goes on with as many as it had."""
    asked: list[list[list[str]]] = []

    def record(commands: list[list[str]], count: int) -> list[int]:
        assert len(commands) == count
        asked.append(commands)
        return [0] * (count - 1) + [3]

    monkeypatch.setattr(processes, "run_here", record)
    words = ["iql", "matrix_game", "--seeds", "10", "--out", str(tmp_path / "run")]
    assert main(["train", *words]) == main(["train", *words, "--processes", "2"]) == 3
    for commands, width in zip(asked, (4, 8), strict=True):  # for shares of 4 and 5 seeds
        count = len(commands)
        command = ["train", *words, "--width", str(width), "--share"]
        assert commands == [[*command, f"{index}/{count}"] for index in range(count)]
    assert [len(commands) for commands in asked] == [3, 2]
    assert main(["train", *words, "--chunk", "2"]) == 3  # a width of 4 would have seats for 4
    assert "--width" not in asked.pop()[0]
    assert main(["train", *words, "training.learnig_rate=1"]) == 2 and len(asked) == 2  # told once, before any starts
    assert shares.usual_count(tmp_path / "run", 2) == 2  # no more than there are seeds
    assert shares.usual_count(None, 8) == 1
    (tmp_path / "whole").mkdir()
    (tmp_path / "whole" / "experiment.toml").touch()
    assert shares.usual_count(tmp_path / "whole", 8) == 1
    parts = [shares.part(tmp_path / "parts", index, count) for index, count in ((0, 2), (1, 2), (0, 4))]
    for part in parts:
        part.mkdir(parents=True)
    assert shares.usual_count(tmp_path / "parts", 8) == 3  # nothing was begun in them
    for part in parts[:2]:
        (part / "experiment.toml").touch()
        assert shares.usual_count(tmp_path / "parts", 8) == 2
    (parts[2] / "experiment.toml").touch()
    with pytest.raises(UsageError, match="parts of runs of 2 and 4 processes"):
        shares.usual_count(tmp_path / "parts", 8)


def test_a_run_is_begun_in_one_number_of_shares(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else its parts would be trained for nothing: what was there before is what is read."""
    shutil.copytree(finished, tmp_path / "whole")
    shutil.copytree(finished, tmp_path / "parts" / "part-0-of-2")
    for place, words, message in [
        ("whole", ["--processes", "2"], "holds a run of one process, not of 2"),
        ("whole", ["--share", "0/2"], "holds a run of one process, not of 2"),
        ("parts", ["--processes", "3"], "holds parts of a run of 2 processes, not of 3"),
        ("parts", ["--share", "1/3"], "holds parts of a run of 2 processes, not of 3"),
        ("new", ["--share", "0/2", "--processes", "2"], "--processes does not go with --share"),
        ("new", ["--share", "0/2", "--distributed", "auto"], "--share does not go with --distributed"),
    ]:
        assert (
            main(["train", "iql", "matrix_game", *SMALL, "--seeds", "5", "--out", str(tmp_path / place), *words]) == 2
        )
        assert message in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.rglob("part-*")) == ["part-0-of-2"]


def test_parts_are_read_as_they_are(finished: Path, tmp_path: Path) -> None:
    """Not all of them: no run that is finished. Nothing is written where one is read."""
    first = tmp_path / "run" / "part-0-of-2"
    shutil.copytree(finished, first)
    found = shares.find_run(tmp_path / "run")
    assert found and not found.finished and found.record["result"] == {}
    shutil.copytree(finished, tmp_path / "run" / "part-1-of-2")
    record = tmp_path / "run" / "part-1-of-2" / "run.toml"
    record.write_text(record.read_text().replace('"0:2"', '"2:4"'))
    before = sorted(first.iterdir())
    assert shares.load_run(tmp_path / "run").record["result"]["evaluation_return"]["seeds"] == 4
    assert sorted(first.iterdir()) == before


def test_a_name_that_is_too_long_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "iql", "matrix_game", *SMALL, "--out", str(tmp_path / ("x" * 300))]) == 2
    assert capsys.readouterr().err.count("\n") == 1
