"""One run by several processes: each trains a share of the seeds and writes a part, an ordinary run directory.

Seeds never talk to each other, so processes need not either. On one host they are started here, one for each device,
and one that dies leaves the others alone. On several hosts JAX finds out which process this is (SLURM, Kubernetes, TPU
pods, Open MPI), and `marlx train --distributed` is started on each as usual there.
"""

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marlx_envs.options import UsageError, shown

from marlx.host import directory, results, seed_ids
from marlx.host.results import Run

if TYPE_CHECKING:
    import pandas as pd


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
    """This process's number and how many there are, as JAX finds out; starts JAX.

    Args:
        address: "HOST:PORT,K/N" where nothing can be found out; None or "auto" asks the cluster.

    Raises:
        UsageError: there is no cluster that JAX knows, or the others do not answer.
    """
    import jax

    known: dict[str, Any] = {}
    if address not in (None, "auto"):
        host, _, place = str(address).partition(",")
        known["process_id"], known["num_processes"] = parse(place)
        known["coordinator_address"] = host
    try:
        jax.distributed.initialize(**known)
    except (ValueError, RuntimeError) as error:
        raise UsageError(f"no group of processes: {' '.join(str(error).split())[:160]}") from error
    return jax.process_index(), jax.process_count()


def run_here(count: int, arguments: Sequence[str], devices: str | None) -> int:
    """Starts `count` processes of `marlx train` on this host, each with a share; the worst of their exit codes.

    Args:
        arguments: of `marlx train`, without --processes.
        devices: the environment variable that shows a process its device, such as CUDA_VISIBLE_DEVICES; None: all.
    """
    started = []
    for index in range(count):
        environment = os.environ | ({devices: str(index)} if devices else {})
        command = [sys.executable, "-m", "marlx", "train", *arguments, "--share", f"{index}/{count}"]
        started.append(subprocess.Popen(command, env=environment))
    codes = []
    for process in started:
        while True:
            try:
                codes.append(process.wait())
                break
            except KeyboardInterrupt:  # the processes have it too; they save and end
                continue
    return max((code if code >= 0 else 128 - code) for code in codes)


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
        import jax
        import numpy as np

        points = len(self.lanes.points)

        def joined(*leaves: Any) -> Any:
            grids = [leaf.reshape(points, -1, *leaf.shape[1:]) for leaf in leaves]
            whole = np.concatenate(grids, axis=1)
            return whole.reshape(-1, *whole.shape[2:])

        return jax.tree.map(joined, *(run.params for run in self.parts))


def load_run(path: str | Path) -> Run:
    """A run from its directory, or from the parts in it.

    Raises:
        UsageError: there is none, a part is missing, or the parts are not of one run.
    """
    place = directory.locate(path)
    found = sorted(place.glob("part-*-of-*/experiment.toml"), key=lambda file: int(file.parent.name.split("-")[1]))
    if directory.holds_run(place) or not found:
        return results.load_run(path)
    parts = [results.load_run(file.parent) for file in found]
    names = [file.parent.name for file in found]
    count = int(names[0].split("-")[3])
    missing = {part(place, index, count).name for index in range(count)} ^ set(names)
    if missing:
        raise UsageError(f"{place} holds parts of a run, but not as they should be: {', '.join(sorted(missing))}")
    first = parts[0]
    if any(run.experiment != first.experiment or run.record["base_seed"] != first.record["base_seed"] for run in parts):
        raise UsageError(f"{place} holds parts of different runs")
    record = {
        **first.record,
        "seeds": seed_ids.text([seed for run in parts for seed in run.seeds]),
        "status": "finished" if all(run.finished for run in parts) else "interrupted",
        "dead": [entry for run in parts for entry in run.record["dead"]],
        "result": {},
    }
    return Joined(place, first.experiment, record, tuple(parts))
