"""Cells of a sweep as jobs of a cluster's queue, by submitit; `local` is the same path on this machine.

A job that is preempted or runs out of time is queued again by submitit, as often as it takes, and goes on from its last
checkpoint.
"""

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from marlx_envs.options import UsageError, unknown

from marlx.host.extras import check_installed
from marlx.host.files import disk, read_toml, write_toml
from marlx.host.processes import accelerators
from marlx.host.signals import REQUEUE, Interrupted
from marlx.host.sweep import JOBS, PLAN, Cell, read_sweep
from marlx.host.sweep_processes import in_processes

LAUNCHERS = ("local", "slurm")
QUEUE = "queue.toml"
MINUTES = {"local": 60 * 24 * 365, "slurm": 60}  # of a job, where none are given; only a queue has a reason for a limit
MOST_TIMEOUTS = 1_000  # of a job; an end there must be, as one whose minutes do not suffice to compile never gets on


@dataclass(frozen=True)
class CellJob:
    """The work of one job: a cell of the sweep in a directory. Pickled by submitit."""

    out: str
    name: str
    settings: Mapping[str, Any]

    def __call__(self) -> None:
        """Trains what is left of the cell; where the job has several GPUs, in a process for each.

        Raises:
            ChildProcessError: some of those processes failed.
        """
        sweep = read_sweep(Path(self.out) / PLAN)
        cell = next(cell for cell in sweep.cells if cell.name == self.name)
        settings, gpus = {**self.settings, "progress": False}, len(accelerators())
        try:
            if gpus < 2:
                return sweep.run(cell, Path(self.out), **settings)
            code = in_processes(sweep, [cell], Path(self.out), settings, gpus)
        except Interrupted as stop:
            if stop.number == signal.SIGUSR2:
                _give_back()
            raise
        if code == REQUEUE:
            _give_back()
        if code:
            raise ChildProcessError(f"{self.name} is not done: exit code {code}")
        return None

    def checkpoint(self, *_: Any) -> Any:
        """What submitit queues again when the job is preempted: the same; it goes on from its checkpoint."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def _give_back() -> None:
    """After submitit's signal, when what there is was saved: the job is its again."""
    os.kill(os.getpid(), signal.SIGUSR2)
    time.sleep(60)


def check_launcher(launcher: str | None) -> None:
    """Raises `UsageError` on an unknown launcher, or one whose tools are missing."""
    if launcher is None:
        return
    if launcher not in LAUNCHERS:
        raise unknown("value of --launcher", launcher, LAUNCHERS)
    check_installed("submitit", "cluster", "--launcher")


def submit(
    out: Path, cells: Sequence[Cell], launcher: str, settings: Mapping[str, Any], resources: Mapping[str, Any]
) -> list[Any]:
    """Queues a job for each cell; returns submitit's jobs.

    Args:
        resources: parameters of submitit's executor, such as timeout_min, slurm_partition, gpus_per_node.

    Raises:
        UsageError: no queue there, or a parameter it does not know.
    """
    submitit = _submitit()
    place = out.absolute() / JOBS
    with disk("make the directory", place):
        place.mkdir(exist_ok=True)
        folder = tempfile.mkdtemp(dir=place)  # submitit unpickles what it finds, so nothing may lie there before
    with _refusals():
        executor = submitit.AutoExecutor(folder, launcher, **{f"{launcher}_max_num_timeout": MOST_TIMEOUTS})
        executor.update_parameters(name=f"marlx-{out.name}", **{"timeout_min": MINUTES[launcher], **resources})
        with executor.batch():
            jobs = [executor.submit(CellJob(str(out.absolute()), cell.name, dict(settings))) for cell in cells]
    mine = {cell.name: (launcher, str(job.job_id)) for cell, job in zip(cells, jobs, strict=True)}
    write_toml(out / JOBS / QUEUE, {name: list(entry) for name, entry in (_queue(out) | mine).items()})
    return jobs


def jobs(out: Path) -> dict[str, str]:
    """What became of the latest job of each cell, for cells that are not finished: "queued", "running" or "failed".

    A job that SLURM's queue has no more failed: an error, a kill, a cancellation. A local one failed if it left an
    error; of any other the run itself tells.

    Raises:
        UsageError: jobs were queued from here, and the queue does not answer.
    """
    entries = _queue(out)
    local = {name: number for name, (launcher, number) in entries.items() if launcher == "local"}
    queued = {number: name for name, (launcher, number) in entries.items() if launcher == "slurm"}
    found = {name: "failed" for name, number in local.items() if any((out / JOBS).glob(f"*/{number}_*_result.pkl"))}
    found |= dict.fromkeys(queued.values(), "failed")
    waiting = _waiting() if queued else {}
    return found | {queued[number]: word for number, word in waiting.items() if number in queued}


def resources(words: Sequence[str]) -> dict[str, Any]:
    """Parameters of submitit from name=value; values are numbers where they look like it. Raises `UsageError`."""
    found: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise UsageError(f"--resource needs name=value, not {word!r}")
        found[name] = int(value) if value.isdigit() else value
    return found


def _submitit() -> Any:
    """The module, kept from setting up the logging of this process (its jobs still do so for theirs)."""
    before = os.environ.get("SUBMITIT_LOG_LEVEL")
    os.environ["SUBMITIT_LOG_LEVEL"] = "NOCONFIG"
    try:
        import submitit
    finally:
        if before is None:
            del os.environ["SUBMITIT_LOG_LEVEL"]
        else:
            os.environ["SUBMITIT_LOG_LEVEL"] = before
    return submitit


def _queue(out: Path) -> dict[str, tuple[str, str]]:
    """Cell -> launcher and number of its latest job."""
    path = out / JOBS / QUEUE
    found = read_toml(path) if path.is_file() else {}
    return {
        name: (str(entry[0]), str(entry[1]))
        for name, entry in found.items()
        if isinstance(entry, list) and len(entry) == 2
    }


def _waiting() -> dict[str, str]:
    """Number of each job in SLURM's queue -> queued or running. Raises `UsageError`."""
    command = ["squeue", "--noheader", "--array", "--format=%i %t"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise UsageError(f"SLURM's queue does not answer: {' '.join(str(error).split())[:120]}") from error
    lines = [line.split() for line in found.stdout.splitlines()]
    return {line[0]: "queued" if line[-1] == "PD" else "running" for line in lines if line}


@contextmanager
def _refusals() -> Iterator[None]:
    """Turns what submitit raises into one line."""
    try:
        yield
    except NameError as error:  # a parameter that it does not know
        raise UsageError(f"submitit: {' '.join(str(error).split())[:160]}") from error
    except (RuntimeError, OSError) as error:
        raise UsageError(f"the queue refuses: {' '.join(str(error).split())[:160]}") from error
