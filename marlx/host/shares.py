"""One run by several processes: each trains a share of the seeds and writes a part, an ordinary run directory.

Seeds never talk to each other, so processes need not either. On one host they are started here, one for each device,
and one that dies leaves the others alone. On several hosts JAX finds out which process this is (SLURM, Kubernetes, TPU
pods, Open MPI), and `marlx train --distributed` is started on each as usual there.
"""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marlx_envs.options import UsageError, shown

from marlx.engine.memory import PROCESSES
from marlx.host import directory, results, seed_ids
from marlx.host.ledger import result
from marlx.host.metrics import Recorder
from marlx.host.results import Run
from marlx.host.signals import SIGNALS

if TYPE_CHECKING:
    import pandas as pd


VISIBLE = "CUDA_VISIBLE_DEVICES"
DEVICES = Path("/dev")
PLUGINS = ("jax_cuda12_plugin", "jax_cuda13_plugin")  # of JAX, for its GPUs
_ASK = """
import json, sys
import jax
jax.distributed.initialize(**json.loads(sys.argv[1]))
print(jax.process_index(), jax.process_count())
"""


def split(ids: Sequence[int], index: int, count: int) -> list[int]:
    """Share `index` of `count`: consecutive seeds, sizes at most one apart. Raises `UsageError` if it is empty."""
    if len(ids) < count:
        raise UsageError(f"{count} processes need at least as many seeds, not {len(ids)}")
    return list(ids[len(ids) * index // count : len(ids) * (index + 1) // count])


def part(out: str | Path, index: int, count: int) -> Path:
    """Where share `index` of `count` is written."""
    return directory.locate(out) / f"part-{index}-of-{count}"


def parse(word: str) -> tuple[int, int]:
    """Number and count of a share such as "1/4". Raises `UsageError`."""
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", word)
    if not match or not int(match[1]) < int(match[2]):
        raise UsageError(f"--share must be K/N with K from 0 to N-1, not {shown(word)}")
    return int(match[1]), int(match[2])


def distributed(address: str | None) -> tuple[int, int]:
    """This process's number and how many there are, as JAX finds out.

    A child process asks and ends: this one stays apart from the others, so that one that dies ends nobody else.

    Args:
        address: "HOST:PORT,K/N" where nothing can be found out; None or "auto" asks the cluster.

    Raises:
        UsageError: there is no cluster that JAX knows, or the others do not answer.
    """
    known: dict[str, Any] = {}
    if address not in (None, "auto"):
        host, comma, place = str(address).partition(",")
        if not comma:
            raise UsageError(f"--distributed must be auto or HOST:PORT,K/N, not {shown(address)}")
        known["process_id"], known["num_processes"] = parse(place)
        known["coordinator_address"] = host
    asked = subprocess.run([sys.executable, "-c", _ASK, json.dumps(known)], capture_output=True, text=True, check=False)
    if asked.returncode:
        last = asked.stderr.strip().rpartition("\n")[2] or f"exit code {asked.returncode}"
        raise UsageError(f"no group of processes: {' '.join(last.split())[:160]}")
    index, count = asked.stdout.split()[-2:]
    return int(index), int(count)


def run_here(count: int, arguments: Sequence[str]) -> int:
    """Starts `count` processes of `marlx train` on this host, each with a share; the worst of their exit codes.

    The first shows its progress, all of them their errors. Signals are passed on, also that the terminal is gone; a
    process killed in a way that it cannot notice leaves them at work.

    Args:
        arguments: of `marlx train`, without --processes.
    """
    started: list[subprocess.Popen[bytes]] = []

    def forward(number: int, _: Any) -> None:
        for process in started:
            process.send_signal(signal.SIGTERM if number == signal.SIGHUP else number)

    before = {number: signal.signal(number, forward) for number in (*SIGNALS, signal.SIGHUP)}
    try:
        for index, own in enumerate(environments(count)):
            command = [sys.executable, "-m", "marlx", "train", *arguments, "--share", f"{index}/{count}"]
            shown_to = subprocess.DEVNULL if index else None
            # A group of its own: a terminal sends Ctrl-C to its whole group, and the second one would stop it at once.
            started.append(subprocess.Popen(command, env=os.environ | own, stdout=shown_to, process_group=0))
        codes = [process.wait() for process in started]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return max((code if code >= 0 else 128 - code) for code in codes)


def is_one_of_several() -> bool:
    """Whether this process was started by `run_here`."""
    return PROCESSES in os.environ


def environments(count: int) -> list[dict[str, str]]:
    """Environment variables of each of `count` processes: its GPU, and how many share this host.

    Where there are fewer GPUs than processes some share one and its memory; without any they share cores and memory.
    """
    devices = accelerators()
    found: list[dict[str, str]] = [{PROCESSES: str(count)} for _ in range(count)]
    for index, own in enumerate(found if devices else ()):
        # Named, so that a GPU that does not start is an error: JAX would go on with the CPU.
        own |= {VISIBLE: devices[index % len(devices)], "JAX_PLATFORMS": "cuda,cpu"}
        if count > len(devices):
            own["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{0.75 / -(-count // len(devices)):.2f}"
    return found


def accelerators() -> list[str]:
    """The GPUs that JAX would take here, as `CUDA_VISIBLE_DEVICES` names them; JAX is not asked, it would take them."""
    platforms = os.environ.get("JAX_PLATFORMS") or os.environ.get("JAX_PLATFORM_NAME") or "cuda"
    there = sorted(re.sub(r"\D", "", path.name) for path in DEVICES.glob("nvidia[0-9]*"))
    if platforms.split(",")[0] not in ("cuda", "gpu") or not there or not any(map(find_spec, PLUGINS)):
        return []
    mine = os.environ.get(VISIBLE)
    return there if mine is None else [word for word in mine.split(",") if word.strip()]


def usual_count(out: str | Path | None, seeds: int) -> int:
    """How many processes train a run of this host where nobody says: one for each GPU, so that none shares fate.

    What was begun goes on with as many as it had. Without `out` there is no directory to share: one process.

    Raises:
        UsageError: parts of different numbers of processes.
    """
    if out is None or directory.holds_run(directory.locate(out)):
        return 1
    counts = {count for _, _, count in _parts(directory.locate(out))}
    if len(counts) > 1:
        raise UsageError(f"{out} holds parts of runs of {' and '.join(map(str, sorted(counts)))} processes")
    return counts.pop() if counts else min(max(len(accelerators()), 1), seeds)


def _parts(place: Path) -> list[tuple[int, Path, int]]:
    """Parts of a run in a directory: number, path and how many there should be, in order."""
    with suppress(OSError):  # whoever reads or writes there next says what is wrong
        matches = [re.fullmatch(r"part-(\d{1,6})-of-(\d{1,6})", name) for name in os.listdir(place)]
        found = [(int(match[1]), place / match[0], int(match[2])) for match in matches if match]
        return sorted(each for each in found if directory.holds_run(each[1]))
    return []


def _result(parts: Sequence[Run]) -> dict[str, Any]:
    """The last evaluation over the seeds of all parts, of the metrics that all of them have."""
    import numpy as np

    last = [Recorder(run.path).last() for run in parts]
    names = [name for name in last[0] if all(name in of for of in last)]
    return result({name: np.concatenate([of[name] for of in last]) for name in names})


@dataclass(frozen=True)
class Joined(Run):
    """Parts as one run: seeds in the order of the parts."""

    parts: tuple[Run, ...] = ()

    def tidy(self) -> "pd.DataFrame":
        """Metrics of all parts."""
        import pandas as pd

        return pd.concat([run.tidy() for run in self.parts], ignore_index=True).astype({"name": "category"})

    @property
    def params(self) -> Any:
        """Parameters at the end, in the order of `lanes`."""
        return self._joined([run.params for run in self.parts])

    @property
    def best_params(self) -> Any:
        """Parameters of each seed's highest evaluation, in the order of `lanes`."""
        return self._joined([run.best_params for run in self.parts])

    def _joined(self, trees: Sequence[Any]) -> Any:
        """Trees [S ..] of the parts as one."""
        import jax
        import numpy as np

        points = len(self.lanes.points)

        def joined(*leaves: Any) -> Any:
            grids = [leaf.reshape(points, -1, *leaf.shape[1:]) for leaf in leaves]
            whole = np.concatenate(grids, axis=1)
            return whole.reshape(-1, *whole.shape[2:])

        return jax.tree.map(joined, *trees)


def load_run(path: str | Path) -> Run:
    """A run from its directory, or from the parts in it.

    Raises:
        UsageError: there is none, a part is missing, or the parts are not of one run.
    """
    place = directory.locate(path)
    found = _parts(place)
    if directory.holds_run(place) or not found:
        return results.load_run(path)
    parts = [results.load_run(path) for _, path, _ in found]
    names, count = [path.name for _, path, _ in found], found[0][2]
    missing = {part(place, index, count).name for index in range(count)} ^ set(names)
    if missing:
        raise UsageError(f"{place} holds parts of a run, but not as they should be: {', '.join(sorted(missing))}")
    first = parts[0]
    same = [(run.experiment, run.record["base_seed"], run.record.get("grid")) for run in parts]
    if any(one != same[0] for one in same):
        raise UsageError(f"{place} holds parts of different runs")
    record = {
        **first.record,
        "seeds": seed_ids.text([seed for run in parts for seed in run.seeds]),
        "status": "finished" if all(run.finished for run in parts) else "interrupted",
        "env_steps": sum(run.record.get("env_steps", 0) for run in parts),
        "train_seconds": max(run.record.get("train_seconds", 0.0) for run in parts),
        "steps_per_second": sum(run.record.get("steps_per_second", 0.0) for run in parts),
        "dead": [entry for run in parts for entry in run.record.get("dead", [])],
        "result": {} if first.record.get("grid") else _result(parts),
    }
    return Joined(place, first.experiment, record, tuple(parts))
