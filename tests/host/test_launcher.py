"""Cells as jobs of a queue: the queue is a SLURM of shell scripts, its jobs run here as submitit runs them there."""

import importlib.util
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from marlx_envs.options import UsageError

import marlx
from marlx.host import cli, launcher, sweep_processes
from marlx.host.metrics import Recorder
from marlx.host.results import load_run
from marlx.host.signals import REQUEUE
from marlx.host.sweep import Cell, Sweep, prepare, read_sweep

from .conftest import SMALL

# Its import resets the logging of the process, pytest's too, unless marlx.host.launcher imports it.
pytestmark = pytest.mark.skipif(importlib.util.find_spec("submitit") is None, reason="needs marlx[cluster]")

SCRIPTS = {
    "srun": "exit 0",
    "sbatch": 'echo >> "$FAKE/jobs"; echo "Submitted batch job $(wc -l < "$FAKE/jobs")"',
    "squeue": 'cat "$FAKE/queue"',
    "scontrol": 'echo "$@" >> "$FAKE/controlled"',
}


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Commands of SLURM on the path; `queue` in this folder is what squeue says."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    for name, line in SCRIPTS.items():
        (folder / name).write_text(f"#!/bin/sh\n{line}\n")
        (folder / name).chmod(0o755)
    (folder / "queue").touch()
    monkeypatch.setenv("FAKE", str(folder))
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    return folder


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    """A sweep of two cells, and of one as variant."""
    fixed = {name: int(value) for name, value in (word.split("=") for word in SMALL)}
    del fixed["agent.hidden_size"]
    values = {"algorithm": "iql", "environment": "matrix_game", "seeds": 2, "set": fixed}
    axes = {"axes": {"agent.hidden_size": [4, 5]}, "variants": {"one": {"axes": {"agent.hidden_size": [4]}}}}
    (tmp_path / "plan.toml").write_text(tomli_w.dumps(values | axes))
    return tmp_path / "plan.toml"


@pytest.fixture
def handlers() -> Iterator[None]:
    """Puts back what a job of submitit sets."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGCONT, signal.SIGUSR2)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def cells(plan: Path, out: Path) -> tuple[Sweep, Cell]:
    """The sweep in its directory, and its first cell."""
    sweep = read_sweep(plan)
    prepare(sweep, out)
    return sweep, sweep.cells[0]


def words(plan: Path, out: Path, capsys: pytest.CaptureFixture[str], *more: str) -> list[str]:
    """The states that --status shows."""
    capsys.readouterr()
    assert cli.main(["sweep", str(plan), "--out", str(out), "--status", *more]) == 0
    return [line.split("│")[2].strip() for line in capsys.readouterr().out.splitlines() if line.startswith("│")]


def killed(*_: Any) -> None:
    raise RuntimeError("killed")


def test_what_the_queue_says_of_a_cell(slurm: Path, plan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = plan.parent / "out"
    command = ["sweep", str(plan), "--out", str(out), "--launcher", "slurm"]
    assert cli.main(command) == 0
    assert "2 jobs queued" in capsys.readouterr().out
    (slurm / "queue").write_text("1_0 PD\n1_1 R\n12_0 R\n")
    assert words(plan, out, capsys) == ["queued", "running"]
    assert cli.main(command) == 0
    assert "0 jobs queued" in capsys.readouterr().out

    (slurm / "queue").write_text("1_0 PD\n")
    assert words(plan, out, capsys) == ["queued", "failed"]
    assert cli.main(command) == 0
    assert "1 jobs queued" in capsys.readouterr().out
    (slurm / "queue").write_text("1_0 PD\n2 PD\n")
    assert words(plan, out, capsys) == ["queued", "queued"]

    (slurm / "queue").unlink()
    with pytest.raises(UsageError, match="SLURM's queue does not answer"):
        launcher.jobs(out)


def test_a_job_that_is_asked_to_leave_is_queued_again_and_goes_on(
    slurm: Path, plan: Path, monkeypatch: pytest.MonkeyPatch, handlers: None
) -> None:
    """One of a minute, so that submitit takes the signal for the end of its time, and has one timeout less to spend."""
    out = plan.parent / "out"
    sweep, cell = cells(plan, out)
    (job,) = launcher.submit(out, [cell], "slurm", {"chunk": 1}, {"timeout_min": 1})
    from submitit.core.submission import process_job
    from submitit.helpers import DelayedSubmission

    monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")
    monkeypatch.setenv("SLURM_JOB_ID", job.job_id)
    add = Recorder.add

    def add_and_ask(self: Recorder, *arguments: Any) -> None:
        add(self, *arguments)
        os.kill(os.getpid(), signal.SIGTERM)  # where a job is preempted this one comes first
        os.kill(os.getpid(), signal.SIGUSR2)

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(Recorder, "add", add_and_ask)
        process_job(job.paths.folder)
    assert (slurm / "controlled").read_text() == f"requeue {job.job_id}\n"
    assert load_run(out / cell.name).record["status"] == "interrupted"
    left = DelayedSubmission.load(job.paths.submitted_pickle)._timeout_countdown
    assert left == launcher.MOST_TIMEOUTS - 1 >= 100

    process_job(job.paths.folder)
    assert job.paths.result_pickle.exists() and len((slurm / "controlled").read_text().splitlines()) == 1
    there = load_run(out / cell.name)
    assert there.finished and "going on from checkpoint" in (there.path / "events.log").read_text()
    here = marlx.train(cell.experiment, sweep.seeds, plan.parent / "here", chunk=1, progress=False)
    assert there.metrics().equals(here.metrics())


def test_a_job_with_two_gpus_has_two_processes(
    slurm: Path, plan: Path, monkeypatch: pytest.MonkeyPatch, handlers: None
) -> None:
    """Each trains a share of the seeds; the job is queued again if they were asked to leave, and fails if one does."""
    out = plan.parent / "out"
    sweep, cell = cells(plan, out)
    monkeypatch.setattr(launcher, "accelerators", lambda: ["0", "1"])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    job = launcher.CellJob(str(out), cell.name, {"chunk": None, "width": None, "cache": True})
    for code in (REQUEUE, 2):
        asked: list[int] = []
        with monkeypatch.context() as patch, pytest.raises(ChildProcessError, match=f"not done: exit code {code}"):
            patch.setattr(sweep_processes, "run_here", lambda *_, code=code: [code, 0])
            patch.setattr(launcher, "_give_back", lambda asked=asked: asked.append(1))
            job()
        assert len(asked) == (code == REQUEUE)
    job()
    assert {path.name for path in (out / cell.name).iterdir()} == {"part-0-of-2", "part-1-of-2"}
    here = marlx.train(cell.experiment, sweep.seeds, plan.parent / "here", progress=False)
    assert marlx.load_run(out / cell.name).metrics().equals(here.metrics())


def test_what_is_queued_again_is_the_same_job() -> None:
    launcher._submitit()
    job = launcher.CellJob("runs/a", "iql", {"chunk": 3})
    again = job.checkpoint()
    assert again.function == job and not again.args and not again.kwargs


def test_a_cell_that_was_killed_failed(
    plan: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without any queue; the same command trains it, and one that a signal stopped is no failure."""
    out = plan.parent / "out"
    command = ["sweep", str(plan), "--out", str(out), "--quiet", "--variant", "one"]
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="killed"):
        patch.setattr(Recorder, "add", killed)
        cli.main(command)
    assert words(plan, out, capsys, "--variant", "one") == ["failed"]
    add = Recorder.add

    def add_and_stop(self: Recorder, *arguments: Any) -> None:
        add(self, *arguments)
        os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "add", add_and_stop)
        assert cli.main(command) == 143
    assert words(plan, out, capsys, "--variant", "one") == ["stopped"]
    assert cli.main(command) == 0
    assert words(plan, out, capsys, "--variant", "one") == ["finished"]


def test_a_local_job_that_ends_with_an_error_failed(plan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = plan.parent / "out"
    _, cell = cells(plan, out)
    (out / cell.name).mkdir()
    (out / cell.name / "something").touch()  # so the job finds no place for its run
    assert cli.main(["sweep", str(plan), "--out", str(out), "--launcher", "local", "--quiet"]) == 1
    assert "failed; see" in capsys.readouterr().err
    assert words(plan, out, capsys) == ["failed", "missing"]
