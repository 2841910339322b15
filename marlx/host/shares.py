"""One run by several processes: each trains a share of the seeds and writes a part, an ordinary run directory.

Seeds never talk to each other, so processes need not either. On one host `marlx.host.processes` starts them. On several
hosts JAX finds out which process this is (SLURM, Kubernetes, TPU pods, Open MPI), and `marlx train --distributed` is
started on each as usual there.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marlx_envs.options import UsageError, shown

from marlx.host import directory, metrics, processes, results, seed_ids
from marlx.host.ledger import result
from marlx.host.results import Run

if TYPE_CHECKING:
    import pandas as pd


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


def places(out: str | Path, ids: Sequence[int], count: int) -> list[tuple[list[int], Path]]:
    """Seeds and directory of each of `count` shares; of one (or none) all seeds and the directory of the run itself."""
    if count < 2:
        return [(list(ids), directory.locate(out))]
    return [(split(ids, index, count), part(out, index, count)) for index in range(count)]


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


def usual_count(out: str | Path | None, seeds: int) -> int:
    """How many processes train a run of this host where nobody says: one for each GPU, so that none shares fate.

    What was begun goes on with as many as it had. Without `out` there is no directory to share: one process.

    Raises:
        UsageError: parts of different numbers of processes.
    """
    if out is None:
        return 1
    return begun(out) or min(max(len(processes.accelerators()), 1), seeds)


def begun(out: str | Path) -> int:
    """How many processes have trained or train what there is of a run; 0: there is nothing.

    Raises:
        UsageError: parts of different numbers of processes.
    """
    place = directory.locate(out)
    if directory.holds_run(place):
        return 1
    counts = {count for _, path, count in _parts(place) if directory.holds_run(path) or directory.is_held(path)}
    if len(counts) > 1:
        raise UsageError(f"{out} holds parts of runs of {' and '.join(map(str, sorted(counts)))} processes")
    return max(counts, default=0)


def check_count(out: str | Path, count: int) -> None:
    """Raises `UsageError` if what there is of a run was not begun in `count` shares."""
    before = begun(out)
    if before not in (0, count):
        what = "a run of one process" if before == 1 else f"parts of a run of {before} processes"
        raise UsageError(f"{out} holds {what}, not of {count}; choose another --out")


def _parts(place: Path) -> list[tuple[int, Path, int]]:
    """Places of parts of a run in a directory: number, path and how many there should be, in order."""
    with suppress(OSError):  # whoever reads or writes there next says what is wrong
        matches = [re.fullmatch(r"part-(\d{1,6})-of-(\d{1,6})", name) for name in os.listdir(place)]
        return sorted((int(match[1]), place / match[0], int(match[2])) for match in matches if match)
    return []


def _begun_parts(place: Path) -> list[tuple[int, Path, int]]:
    """Those of them that hold one."""
    return [each for each in _parts(place) if directory.holds_run(each[1])]


def _result(parts: Sequence[Run]) -> dict[str, Any]:
    """The last evaluation over the seeds of all parts, of the metrics that all of them have."""
    import numpy as np

    last = [metrics.last(run.path) for run in parts]
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
    found = _begun_parts(place)
    if directory.holds_run(place) or not found:
        return results.load_run(path)
    names, count = [path.name for _, path, _ in found], found[0][2]
    missing = {part(place, index, count).name for index in range(count)} ^ set(names)
    if missing:
        raise UsageError(f"{place} holds parts of a run, but not as they should be: {', '.join(sorted(missing))}")
    return _joined(place, [results.load_run(path) for _, path, _ in found], count)


def find_run(path: str | Path) -> Run | None:
    """A run as far as it was begun, perhaps not in all its parts; None if it was not.

    Raises:
        UsageError: the parts are not of one run.
    """
    place = directory.locate(path)
    if not begun(place):
        return None
    if directory.holds_run(place):
        return results.load_run(place)
    found = _begun_parts(place)
    return _joined(place, [results.load_run(path) for _, path, _ in found], found[0][2]) if found else None


def _joined(place: Path, parts: Sequence[Run], count: int) -> Joined:
    """Parts as one run, which has `count`. Raises `UsageError` if they are not of one."""
    first, finished = parts[0], len(parts) == count and all(run.finished for run in parts)
    same = [(run.experiment, run.record["base_seed"], run.record.get("grid")) for run in parts]
    if any(one != same[0] for one in same):
        raise UsageError(f"{place} holds parts of different runs")
    record = {
        **first.record,
        "seeds": seed_ids.text([seed for run in parts for seed in run.seeds]),
        "status": "finished" if finished else "interrupted",
        "env_steps": sum(run.record.get("env_steps", 0) for run in parts),
        "train_seconds": max(run.record.get("train_seconds", 0.0) for run in parts),
        "steps_per_second": sum(run.record.get("steps_per_second", 0.0) for run in parts),
        "dead": [entry for run in parts for entry in run.record.get("dead", [])],
        "result": _result(parts) if finished and not first.record.get("grid") else {},
    }
    return Joined(place, first.experiment, record, tuple(parts))
