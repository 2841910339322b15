"""`train`: many seeds of an experiment from start to end, on disk. No input or output happens in compiled code."""

import sys
from collections.abc import Iterable
from dataclasses import fields, replace
from inspect import signature
from pathlib import Path
from typing import Any

from marlx_envs.options import UsageError, shown, unknown

from marlx.engine.widths import MEASURE
from marlx.experiment import Experiment, check_experiment
from marlx.host import backend, directory, limits, seed_ids
from marlx.host.files import check_toml
from marlx.host.job import Job, Settings
from marlx.host.lanes import Grid, Lanes
from marlx.host.provenance import code, rewritten
from marlx.host.results import Run, differences, in_words, load_run, recorded
from marlx.host.tracking import check_mode, check_tensorboard


def train(
    experiment: Experiment,
    seeds: int | str | Iterable[int] = 1024,
    out: str | Path | None = None,
    resume: bool = False,
    base_seed: int = 0,
    grid: Grid | None = None,
    cache: bool = True,
    **settings: Any,
) -> Run:
    """Trains every seed and writes a run directory.

    Args:
        seeds: how many (0 .. n-1), or their ids, or a text such as "64:128". A seed's result depends on its id and on
            `base_seed`, and on nothing else on one kind of device; at another width it differs in rounding.
        out: an empty or new directory; None takes the first free runs/ALGORITHM-ENVIRONMENT-1, -2, ...
        resume: a run in `out` that was stopped goes on from its last whole checkpoint, to the bit as if it had never
            been; a finished one is returned as it is; without one a new run begins.
        grid: "section.name" of traced numbers -> values, a list or an array [K]. Every seed trains at every point of
            their product, in one compiled program.
        cache: keep compiled programs in the user's cache directory.
        settings: `width`, `split_rows`, `chunk`, `largest_share`, `checkpoint_interval`, `checkpoint_replay`, `wandb`,
            `tensorboard`, `progress` as `marlx.host.job.Settings` has them.

    Returns:
        The run: `metrics()` is a table with a row for each seed (and point) and evaluation, `params` a pytree whose
        leaves have the leading axis [S], or [P * S] of the P points of a grid.

    Raises:
        UsageError: a mistake in the arguments, or a directory that cannot take the run.
        DiskError: the disk refused in mid-run; what was written before is whole.
        Interrupted: Ctrl-C, SIGTERM or SIGUSR1; a checkpoint was written.
    """
    check_experiment(experiment, "train")
    ids = seed_ids.seed_ids(seeds)
    seed_ids.check_base_seed(base_seed)
    how = _checked(settings)
    lanes = Lanes(experiment, ids, dict(grid or {}))
    existing = load_run(out) if out is not None and directory.holds_run(directory.locate(out)) else None
    if existing:
        if other := differences(existing, lanes, base_seed):
            advice = _to_go_on(existing, experiment, other) or ("" if resume else "; choose another --out")
            raise UsageError(f"{existing.path} holds another run: {in_words(other)}{advice}")
        if not resume:
            raise UsageError(
                f"{existing.path} holds this run already; go on with it by --resume, or choose another --out"
            )
        if existing.finished:
            existing.need(directory.METRICS, directory.PARAMETERS)
            if changed := rewritten(existing.record.get("code", {}), code(experiment)):
                told = f"{existing.path} was trained by other code of {changed}, and stays as it is"
                sys.stderr.write(f"marlx: {told}; choose another directory to train anew\n")
            return existing
    else:
        check_toml(directory.EXPERIMENT, recorded(experiment))
    shared = how.split_rows or (existing is not None and existing.shares_rows)
    backend.prepare(backend.cores() if shared else len(lanes), cache)
    if existing:
        with directory.held(existing.path):
            record = load_run(existing.path).record
            if record["status"] == "finished":  # by another process, just now
                return load_run(existing.path)
            limits.check(existing)
            return Run(existing.path, experiment, Job(existing.path, lanes, base_seed, how, record).run())
    kept = out is not None and directory.locate(out).is_dir()
    path = directory.claim(out, f"{experiment.algorithm_name}-{experiment.environment_name}", resume)
    with directory.held(path):
        job = None
        try:
            job = Job(path, lanes, base_seed, how)
            return Run(path, experiment, job.run())
        finally:
            if job is None or not job.began:
                directory.release(path, kept)


def _to_go_on(existing: Run, experiment: Experiment, other: Iterable[str]) -> str:
    """How a run becomes the one asked for, if more steps are all that is `other`."""
    total = experiment.training["total_steps"]
    if list(other) != ["training.total_steps"] or total <= existing.experiment.training["total_steps"]:
        return ""
    return f"; `marlx repeat {existing.path} --continue --steps {total} --out DIR` goes on from it"


def _checked(settings: dict[str, Any]) -> Settings:
    """Settings from their names. Raises `UsageError`."""
    known = {field.name for field in fields(Settings)}
    for name in settings:
        if name not in known:
            raise unknown("argument of marlx.train", name, known | signature(train).parameters.keys() - {"settings"})
    how = replace(Settings(), **settings)
    for name in ("width", "chunk", "largest_share", "checkpoint_interval"):
        value = getattr(how, name)
        if name == "width" and value == MEASURE and not how.split_rows:
            continue
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise UsageError(f"{name} must be a whole number of at least 1, not {shown(value)}")
    check_mode(how.wandb)
    check_tensorboard(how.tensorboard)
    return how
