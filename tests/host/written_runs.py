"""Runs and sweeps as they lie on disk, with metrics made up, so that nothing is trained."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w

import marlx
from marlx.host import directory, seed_ids
from marlx.host.lanes import Lanes
from marlx.host.metrics import Recorder
from marlx.host.results import FORMAT, Run, load_run, plain
from marlx.host.sweep import PLAN, read_sweep

from .conftest import SMALL

EVALUATIONS = 5
STEPS = (80, 160, 240, 320)  # of the evaluations of an unfinished run


def write_run(path: Path, lanes: Lanes, seed: int = 0, **more: Any) -> None:
    """A finished run whose returns grow from about `seed`; its first seed has died at the last evaluation.

    Args:
        more: fields of run.toml.
    """
    path.mkdir(parents=True)
    recorder, generator = Recorder(path), np.random.default_rng(seed)
    for k in range(EVALUATIONS):
        returns = seed + k + generator.normal(size=len(lanes))
        if k == EVALUATIONS - 1:
            returns[0] = np.nan
        steps = np.full(len(lanes), 1000 * (k + 1))
        record = {"evaluation_return": returns, "loss": 1 / (1 + returns**2), "updates": steps, "env_steps": steps}
        recorder.add(0, k, lanes.columns(), record)
    recorder.merge()
    experiment, last = lanes.experiment, 1000 * EVALUATIONS
    grid = {"grid": {name: list(values) for name, values in lanes.grid.items()}} if lanes.grid else {}
    record = {
        "format": FORMAT,
        "status": "finished",
        "seeds": f"0:{len(lanes.seeds)}",
        "base_seed": 0,
        "date": "2026-01-02T03:04:05+00:00",
        "env_steps": last * len(lanes),
        "train_seconds": 75.0,
        "versions": {"python": "3.11.9", "marlx": "0.1"},
        "hardware": {"cpu": "a processor", "cores": 2},
        "dead": [{"seed": lanes.seeds[0], **lanes.points[0], "env_steps": last, "cause": "loss"}],
        **grid,
        **more,
    }
    (path / directory.RECORD).write_text(tomli_w.dumps(record))
    (path / directory.EXPERIMENT).write_text(tomli_w.dumps(experiment.to_dict() | plain(experiment)))


def write_sweep(path: Path, **fields: Any) -> None:
    """VDN and QMIX at two learning rates, seven seeds each.

    Args:
        fields: of the sweep's file.
    """
    plan = {
        "algorithm": ["vdn", "qmix"],
        "environment": "matrix_game",
        "seeds": 7,
        "axes": {"training.learning_rate": [1e-4, 1e-3]},
        **fields,
    }
    path.mkdir(parents=True)
    (path / PLAN).write_text(tomli_w.dumps(plan))
    sweep = read_sweep(path / PLAN)
    for seed, cell in enumerate(sweep.cells):
        write_run(path / cell.name, Lanes(cell.experiment, sweep.seeds, cell.grid), seed)


def unfinished(
    path: Path, had: Sequence[int], size: int = 2, seeds: str = "3:8", grid: Any = None, unit: float = 1
) -> Run:
    """A run whose chunks of `size` lanes have had so many evaluations; a return is 10 lane + evaluation."""
    lanes = Lanes(marlx.configure("iql", "matrix_game", *SMALL), seed_ids.seed_ids(seeds), grid or {})
    write_run(path, lanes, seeds=seeds, status="interrupted", dead=[])
    (path / directory.METRICS).unlink()
    for chunk, count in enumerate(had):
        mine = slice(chunk * size, min((chunk + 1) * size, len(lanes)))
        for k in range(count):
            number = np.arange(len(lanes))[mine]
            values = {"evaluation_return": unit * (10.0 * number + k), "weight_share/00": 10.0 * number}
            Recorder(path).add(
                mine.start, k, lanes.columns(mine), {**values, "env_steps": np.full(len(number), STEPS[k])}
            )
    return load_run(path)
