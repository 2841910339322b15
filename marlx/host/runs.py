"""`train`: many seeds of an experiment from start to end, on disk. No input or output happens in compiled code."""

import dataclasses
import datetime
import time
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from marlx_envs.options import UsageError, shown

from marlx.analysis.statistics import interval, iqm
from marlx.engine.seeds import ROWS, Fleet, spare_split
from marlx.experiment import Experiment
from marlx.host import backend, directory, parameters, provenance, seed_ids
from marlx.host.files import DiskError, check_space, write_toml
from marlx.host.loop import Position, Record, advance
from marlx.host.metrics import Recorder
from marlx.host.progress import Reporter
from marlx.host.results import FORMAT, Run, difference, load_run, plain
from marlx.host.signals import Interrupted, StopRequest
from marlx.host.tracking import Tracker, check_mode
from marlx.program import Program

if TYPE_CHECKING:
    from collections.abc import Mapping


def train(
    experiment: Experiment,
    seeds: int | str | Iterable[int] = 1024,
    out: str | Path | None = None,
    resume: bool = False,
    base_seed: int = 0,
    wandb: str | None = None,
    progress: bool = True,
    width: int | None = None,
    cache: bool = True,
    split_rows: bool = False,
) -> Run:
    """Trains every seed and writes a run directory.

    Args:
        seeds: how many (0 .. n-1), or their ids, or a text such as "64:128". A seed's result depends on its id and on
            `base_seed`; at another width it differs in rounding.
        out: an empty or new directory; None takes the first free runs/ALGORITHM-ENVIRONMENT-1, -2, ...
        resume: a finished run in `out` is returned as it is.
        wandb: "offline" or "online" logs means over seeds to Weights & Biases.
        progress: show progress on standard output.
        width: seeds computed together on a device; None chooses.
        cache: keep compiled programs in the user's cache directory.
        split_rows: with more devices than seeds, let them share the rows of each batch. Faster, and equal to a run
            without it up to the order of sums, so not to the bit.

    Raises:
        UsageError: a mistake in the arguments, or a directory that cannot take the run.
        DiskError: the disk refused in mid-run; what was written before is whole.
        Interrupted: Ctrl-C or SIGTERM; what there is was written.
    """
    ids = seed_ids.seed_ids(seeds)
    if isinstance(base_seed, bool) or not isinstance(base_seed, int) or not 0 <= base_seed <= seed_ids.LARGEST:
        raise UsageError(f"base_seed must be a whole number from 0 to {seed_ids.LARGEST}, not {shown(base_seed)}")
    if width is not None and width < 1:
        raise UsageError(f"width must be at least 1, not {width}")
    check_mode(wandb)
    if resume and out is not None and directory.holds_run(directory.locate(out)):
        return _resumed(load_run(out), experiment, ids, base_seed)
    backend.prepare(backend.cores() if split_rows else len(ids), cache)
    work = _Training(experiment, ids, base_seed, width, split_rows)
    work.keep_directory = out is not None and directory.locate(out).is_dir()
    path = directory.claim(out, f"{experiment.algorithm_name}-{experiment.environment_name}")
    return work.run(path, wandb, progress)


def _resumed(run: Run, experiment: Experiment, ids: list[int], base_seed: int) -> Run:
    """A finished run as it is. Raises `UsageError` if it is another one or not finished."""
    other = difference(run, experiment, ids, base_seed)
    if other:
        raise UsageError(f"{run.path} holds another run: {other}")
    if not run.finished:
        raise UsageError(f"{run.path} did not end and has no checkpoint to go on from; train anew in another --out")
    return run


class _Training:
    """One process at work on one run directory."""

    path: Path
    keep_directory = False  # it was there before the run

    def __init__(
        self, experiment: Experiment, ids: list[int], base_seed: int, width: int | None, split_rows: bool
    ) -> None:
        self.experiment, self.ids = experiment, ids
        batch_size = experiment.training["batch_size"]
        split = spare_split(len(ids), jax.local_device_count(), batch_size) if split_rows else 1
        self.program = Program(experiment, ROWS if split > 1 else None)
        self.plan = self.program.plan
        self.fleet = Fleet(self.program, experiment.numbers(), ids, base_seed, width, split)
        layout = self.fleet.layout
        self.record: dict[str, Any] = {
            "format": FORMAT,
            "status": "running",
            "seeds": seed_ids.text(ids),
            "base_seed": base_seed,
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "layout": dataclasses.asdict(layout),
            "versions": provenance.versions(),
            "hardware": provenance.hardware(),
            "result": {},
        }

    def run(self, path: Path, wandb: str | None, progress: bool) -> Run:
        """From the claimed directory to the finished run."""
        self.path = path
        tracker = None
        started = False
        report = Reporter(self.plan.iterations * self.plan.steps_per_iteration, progress)
        try:
            with StopRequest() as stop:
                self._write_head()
                config = {**self.experiment.to_dict(), "seeds": len(self.ids)}
                tracker = Tracker(wandb, self.path, config) if wandb else None
                self._compile(report, stop)
                started = True
                self._train(report, stop, tracker)
        except BaseException:
            if tracker:
                tracker.finish(1)
            raise
        finally:
            if not started:
                directory.release(self.path, self.keep_directory)
        if tracker:
            tracker.finish(0)
        return Run(self.path, self.experiment, self.record)

    def _write_head(self) -> None:
        """Everything that can be known, and can fail, before any time is spent."""
        write_toml(self.path / directory.EXPERIMENT, self.experiment.to_dict() | plain(self.experiment))
        self._write_record()
        shapes = jax.eval_shape(self.fleet.init)
        numbers = 2 * sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(shapes.learner.params))
        check_space(self.path, numbers + 200 * len(self.ids) * len(self.plan.evaluations))
        self._note(f"{self.experiment.algorithm_name} on {self.experiment.environment_name}, {len(self.ids)} seeds")

    def _compile(self, report: Reporter, stop: StopRequest) -> None:
        used = self.fleet.mesh.size
        names = f"{self.experiment.algorithm_name} on {self.experiment.environment_name}"
        report.say(f"{self.path}: {names}, {len(self.ids)} seeds on {used} {_devices(used)}")
        seconds = round(self.fleet.compile(), 3)
        self.record["compile_seconds"] = seconds
        self._write_record()
        self._note(f"compiled in {seconds:.1f} s")
        report.say(f"compiled in {seconds:.1f} s")
        if stop.number is not None:
            raise Interrupted("stopped before training began; nothing was written", stop.number)

    def _train(self, report: Reporter, stop: StopRequest, tracker: Tracker | None) -> None:
        """The loop; leaves `record` with the status finished or interrupted."""
        recorder = Recorder(self.path, self.ids)
        began = time.monotonic()
        position = start = self._start()
        try:
            with report:
                for position in advance(self.fleet, self.plan.evaluations, start):
                    if position.record is not None:
                        recorder.add(position.recorded - 1, position.record)
                        self._tell(position.record, report, tracker)
                    report.update(position.iteration * self.plan.steps_per_iteration, self._steps(position))
                    if stop.number is not None and position.iteration < self.plan.iterations:
                        break
        except DiskError:
            for keep in (self._save, partial(self._conclude, seconds=time.monotonic() - began)):
                with suppress(DiskError):  # what still fits is kept
                    keep(position)
            raise
        self._save(position)
        recorder.merge()
        self._conclude(position, time.monotonic() - began)
        if stop.number is not None and position.iteration < self.plan.iterations:
            raise Interrupted(self._farewell(), stop.number)

    def _save(self, position: Position) -> None:
        parameters.save(self.path, self.fleet.cut(position.state.learner.params))

    def _start(self) -> Position:
        """The first position: all seeds before their first step."""
        return Position(0, 0, self.fleet.init())

    def _steps(self, position: Position) -> int:
        """Environment steps so far, over all seeds."""
        return int(np.sum(self.fleet.cut(position.state.env_steps), dtype=np.int64))

    def _tell(self, record: Record, report: Reporter, tracker: Tracker | None) -> None:
        """One evaluation, as interquartile means over seeds, to whoever listens."""
        names = [name for name in ("evaluation_return", "training_return") if name in record]
        means = {name: float(iqm(record[name])) for name in (record if tracker else names)}
        report.evaluated(names[0], means[names[0]])
        self._note(f"evaluation at {int(np.mean(record['env_steps'])):,} steps: {names[0]} {means[names[0]]:.6g}")
        if tracker:
            means["env_steps"] = float(np.mean(record["env_steps"]))
            tracker.log(means)

    def _conclude(self, position: Position, seconds: float) -> None:
        finished = position.iteration == self.plan.iterations
        steps = self._steps(position)
        self.record["status"] = "finished" if finished else "interrupted"
        self.record["iterations"] = position.iteration
        self.record["evaluations"] = position.recorded
        self.record["train_seconds"] = round(seconds, 3)
        self.record["env_steps"] = steps  # over all seeds
        self.record["steps_per_second"] = round(steps / max(seconds, 1e-9), 1)
        if position.record is not None:
            self.record["result"] = _result(position.record)
        self._write_record()
        self._note(f"{self.record['status']} after {position.iteration} of {self.plan.iterations} iterations")

    def _farewell(self) -> str:
        steps = self.record["iterations"] * self.plan.steps_per_iteration
        return (
            f"stopped after {steps:,} of {self.plan.iterations * self.plan.steps_per_iteration:,} steps; "
            f"{self.record['evaluations']} of {len(self.plan.evaluations)} evaluations and the parameters so far "
            f"are in {self.path}; go on with `marlx evaluate {self.path}`, or train anew in another --out"
        )

    def _write_record(self) -> None:
        write_toml(self.path / directory.RECORD, self.record)

    def _note(self, line: str) -> None:
        directory.note(self.path, line)


def _result(record: "Mapping[str, Any]") -> dict[str, Any]:
    """The last evaluation over seeds: interquartile mean and 95% interval of each return and rate."""
    found = {}
    for name in record:
        if name.startswith("evaluation_") or name == "training_return":
            mean, low, high, used, left_out = interval(record[name])
            found[name] = {"iqm": float(mean), "low": float(low), "high": float(high)}
            found[name] |= {"seeds": int(used), "left_out": int(left_out)}
    return found


def _devices(count: int) -> str:
    platform = jax.local_devices()[0].platform
    name = {"cpu": "CPU", "gpu": "GPU", "tpu": "TPU"}.get(platform, platform)
    return f"{name} device{'s' if count > 1 else ''}"
