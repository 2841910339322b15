"""What run.toml and events.log say of a run: what it is, how it is computed, how far it came, which seeds died."""

import dataclasses
import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from marlx_envs.discovery import users_modules

from marlx.analysis.statistics import interval
from marlx.engine.memory import tree_bytes
from marlx.engine.seeds import Fleet
from marlx.guard import CAUSES
from marlx.host import directory, provenance, seed_ids
from marlx.host.files import check_space, write_toml
from marlx.host.lanes import Lanes
from marlx.host.metrics import Array
from marlx.host.results import FORMAT, recorded


class Ledger:
    """The record of one run directory.

    Args:
        record: what run.toml says of a run that is gone on with; None: a new one.
    """

    def __init__(self, path: Path, lanes: Lanes, base_seed: int, record: Mapping[str, Any] | None = None) -> None:
        self.path, self.lanes, self.new = path, lanes, record is None
        self.record: dict[str, Any] = {
            "format": FORMAT,
            "seeds": seed_ids.text(lanes.seeds),
            "base_seed": base_seed,
            **({"grid": {name: list(values) for name, values in lanes.grid.items()}} if lanes.grid else {}),
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "train_seconds": 0.0,
            "dead": [],
            **(record or {}),
            "status": "running",
            "result": {},
            "versions": provenance.versions(),
            "code": provenance.code(lanes.experiment),
            **({"modules": modules} if (modules := users_modules()) else {}),
            "hardware": provenance.hardware(),
        }
        self.changed = _difference(dict((record or {}).get("versions", {})), self.record["versions"])
        self.rewritten = provenance.rewritten((record or {}).get("code", {}), self.record["code"])

    @property
    def name(self) -> str:
        """Method, environment and seeds in words."""
        experiment, points = self.lanes.experiment, len(self.lanes.points)
        grid = f" at each of {points} points" if points > 1 else ""
        seeds = seed_ids.counted(len(self.lanes.seeds))
        return f"{experiment.algorithm_name} on {experiment.environment_name}, {seeds}{grid}"

    def open(self, fleet: Fleet, evaluations: int) -> None:
        """Writes all that is known, and can fail, before any time is spent; experiment.toml makes it a run.

        Raises:
            DiskError: the disk refuses, or has too little space.
        """
        self.lay_out(fleet)
        experiment = self.lanes.experiment
        if self.new:
            write_toml(self.path / directory.EXPERIMENT, recorded(experiment))
        each = tree_bytes((fleet.shapes.learner.params, fleet.shapes.best)) // fleet.layout.padded
        check_space(self.path, (2 * each + 200 * evaluations) * len(self.lanes))
        self.note(self.name)

    def lay_out(self, fleet: Fleet) -> None:
        """Writes how seeds lie on the devices. Raises `DiskError`."""
        self.record["layout"] = dataclasses.asdict(fleet.layout)
        self.write()

    def forget(self, columns: Mapping[str, Array]) -> None:
        """Takes back that some seeds went wrong, before they are trained anew."""
        lanes = set(zip(*(x.tolist() for x in columns.values()), strict=True))
        self.record["dead"] = [x for x in self.record["dead"] if tuple(x[name] for name in columns) not in lanes]

    def bury(self, columns: Mapping[str, Array], steps: Array, causes: Array) -> list[str]:
        """Notes the seeds that went wrong since the last evaluation; returns a line for each."""
        known = [{name: entry[name] for name in columns} for entry in self.record["dead"]]
        lines = []
        for i in np.flatnonzero(causes):
            place = {name: values[i].item() for name, values in columns.items()}
            if place not in known:
                cause, step = CAUSES[int(causes[i])], int(steps[i])
                self.record["dead"].append({**place, "env_steps": step, "cause": cause})
                where = ", ".join(f"{name} {value:g}" for name, value in place.items())
                lines.append(f"{where} stopped learning at {step:,} steps: its {cause} is not finite")
        return lines

    def conclude(self, status: str, seconds: float, env_steps: int, last: Mapping[str, Array]) -> None:
        """How far the run came; `last` is the last evaluation of every lane, empty where some have not come so far."""
        self.record |= {
            "status": status,
            "train_seconds": round(seconds, 3),
            "env_steps": env_steps,  # over all seeds
            "steps_per_second": round(env_steps / max(seconds, 1e-9), 1),
            "result": {} if self.lanes.grid else result(last),
        }
        self.write()
        self.note(f"{status}, {env_steps:,} environment steps of all seeds together")

    def write(self) -> None:
        """Writes run.toml. Raises `DiskError`."""
        write_toml(self.path / directory.RECORD, self.record)

    def note(self, line: str) -> None:
        """Adds a line to events.log. Raises `DiskError`."""
        directory.note(self.path, line)


def result(last: Mapping[str, Array]) -> dict[str, Any]:
    """The last evaluation over seeds: interquartile mean and 95% interval of each return and rate."""
    found = {}
    for name, values in last.items():
        if name.startswith("evaluation_") or name == "training_return":
            mean, low, high, used, left_out = interval(values)
            found[name] = {"iqm": float(mean), "low": float(low), "high": float(high)}
            found[name] |= {"seeds": int(used), "left_out": int(left_out)}
    return found


def _difference(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """The versions that are others than before, in words; empty if there are none."""
    names = [name for name in before if before[name] != now.get(name)]
    return ", ".join(f"{name} {now.get(name, 'missing')} (was {before[name]})" for name in names)
