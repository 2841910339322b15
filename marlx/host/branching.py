"""A new run that goes on where another one's checkpoint has some of its seeds: fewer, longer, or on other devices."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from marlx_envs.options import UsageError

from marlx.experiment import Experiment
from marlx.host import directory, limits, metrics, provenance, seed_ids
from marlx.host.checkpoints import Checkpoints, Saved
from marlx.host.files import check_space, write_toml
from marlx.host.lanes import Lanes
from marlx.host.results import Run, recorded


def branch(source: Run, seeds: Sequence[int], out: str | Path | None, steps: int | None = None) -> Path:
    """Writes a run directory that `train(..., resume=True)` goes on with; returns its path.

    It holds what the newest whole checkpoint of `source` has of these seeds, and their evaluations before it. On the
    same kind of device the seeds then become what they would have become in `source`, to the bit.

    Args:
        seeds: ids, of the chunk that `source` was at work on, or was last.
        out: as for `train`; a run that is there already is left as it is.
        steps: environment steps of a seed in all, more than `source` has; the seeds then become what they would have
            become in a run of so many. None: as many.

    Raises:
        UsageError: the checkpoint does not hold these seeds, or there is none.
        DiskError: a directory cannot be read or written.
    """
    if out is not None and directory.holds_run(directory.locate(out)):
        return directory.locate(out)
    experiment = longer(source, steps)
    if source.finished and steps is None:
        raise UsageError(f"{source.path} is finished; there is nothing to go on with but more steps, by --steps")
    if not directory.holds_run(source.path):
        raise UsageError(f"{source.path} was trained by several processes, and each has its checkpoints: name one part")
    limits.check(source)
    lanes = Lanes(experiment, seeds, source.lanes.grid)
    with directory.held(source.path):
        saved = _newest(source, experiment)
        rows = _rows(source, lanes, saved)
        kept = out is not None and directory.locate(out).is_dir()
        path = directory.claim(out, f"{experiment.algorithm_name}-{experiment.environment_name}")
        try:
            with directory.held(path):
                _write(path, source, lanes, saved, rows)
        except BaseException:
            directory.release(path, kept)
            raise
    return path


def longer(source: Run, steps: int | None) -> Experiment:
    """The experiment of a run, with more environment steps of a seed if that is asked for. Raises `UsageError`."""
    if steps is None:
        return source.experiment
    before = source.experiment.training["total_steps"]
    if steps <= before:
        raise UsageError(f"--steps must be more than the {before:,} of {source.path}, not {steps:,}")
    return source.experiment.replace({"training.total_steps": steps})


def _newest(source: Run, experiment: Experiment) -> Saved:
    """The newest whole checkpoint that a run of `experiment` would have too.

    The evaluation at the end of a run is one more than a longer run has there, unless it is at a multiple of the
    interval: then what came before it is gone on from.
    """
    told: list[str] = []
    uneven = False
    checkpoints = Checkpoints(source.path)
    before, after = map(_evaluations, (source.experiment, experiment))
    try:
        for saved in checkpoints.newest_first(told.append):
            recorded = saved.notes["recorded"]
            if before[:recorded] == after[:recorded]:
                return saved
            uneven = True
    finally:
        checkpoints.close()
    if uneven:
        raise UsageError(
            f"{source.path} has checkpoints of its end alone, where a run of more steps has no evaluation: its "
            "training.total_steps is no multiple of evaluation.interval"
        )
    raise UsageError(f"{source.path} has no whole checkpoint to go on from{'; ' * bool(told)}{'; '.join(told)}")


def _evaluations(experiment: Experiment) -> tuple[int, ...]:
    """The iterations after which a run has an evaluation."""
    return experiment.plan(experiment.make_environment().spec).evaluations


def _rows(source: Run, lanes: Lanes, saved: Saved) -> npt.NDArray[np.int64]:
    """Where the arrays of a checkpoint have each of these lanes."""
    first, place = saved.notes["firsts"][-1], {seed: i for i, seed in enumerate(source.seeds)}
    unknown = [seed for seed in lanes.seeds if seed not in place]
    if unknown:
        raise UsageError(f"{source.path} has no seed {unknown[0]}; it has {seed_ids.text(source.seeds)}")
    points = range(len(lanes.points))
    rows = np.array([point * len(place) + place[seed] - first for point in points for seed in lanes.seeds])
    elsewhere = np.flatnonzero((rows < 0) | (rows >= saved.notes["count"]))
    if elsewhere.size:
        there = source.lanes.ids(slice(first, first + saved.notes["count"]))
        point = lanes.points[elsewhere[0] // len(lanes.seeds)]
        at = f" at {', '.join(f'{name}={value:g}' for name, value in point.items())}" if point else ""
        raise UsageError(
            f"the newest checkpoint of {source.path} does not hold seed {lanes.ids()[elsewhere[0]]}{at}; the chunk of "
            f"seeds at work was {seed_ids.text(there)}"
        )
    return rows


def _write(path: Path, source: Run, lanes: Lanes, saved: Saved, rows: npt.NDArray[np.int64]) -> None:
    """The files of the new run; experiment.toml, which makes it one, is the last."""
    arrays = {name: array[rows] for name, array in saved.arrays.items()}
    known = sum(array.nbytes for name, array in arrays.items() if not name.startswith("replay/"))  # which is compressed
    check_space(path, known)
    notes, columns = saved.notes, lanes.columns()
    mine = [dict(zip(columns, lane, strict=True)) for lane in zip(*(x.tolist() for x in columns.values()), strict=True)]
    dead = [entry for entry in notes["dead"] if {name: entry[name] for name in columns} in mine]
    env_steps = saved.arrays["env_steps"]
    share = env_steps[rows].sum(dtype=int) / max(1, notes["steps_before"] + env_steps.sum(dtype=int))
    times: dict[str, Any] = {name: round(share * notes[name], 3) for name in ("seconds", "busy") if name in notes}
    fresh = {"firsts": [0], "count": len(rows), "steps_before": 0, **times, "dead": dead}
    chunk = notes["firsts"][-1], notes["count"]
    every = len(_evaluations(source.experiment))
    past = metrics.of_chunk(source.path, len(source.lanes), every, *chunk, notes["recorded"])
    metrics.Recorder(path).take(past, notes["count"], rows)
    checkpoints = Checkpoints(path)
    try:
        checkpoints.save({**notes, **fresh}, arrays)
    finally:
        checkpoints.close()
    same = source.record["hardware"]["platform"] == provenance.hardware()["platform"]
    layout = ["layout"] if same else []  # else another width suits
    names = ("format", "base_seed", "grid", "versions", "code", *layout)
    record: dict[str, Any] = {name: source.record[name] for name in names if name in source.record}
    record |= {
        "seeds": seed_ids.text(lanes.seeds),
        "status": "interrupted",
        "dead": dead,
        "branch_of": str(source.path),
    }
    write_toml(path / directory.RECORD, record)
    write_toml(path / directory.EXPERIMENT, recorded(lanes.experiment))
