"""One process at work on one run directory: chunks of seeds one after another, each from its start to its end.

Everything that a later step depends on is in a checkpoint; going on from one gives the numbers of a run that was never
stopped, to the bit.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from marlx_envs.options import UsageError

from marlx.analysis.statistics import iqm
from marlx.engine import widths
from marlx.engine.memory import is_exhaustion
from marlx.engine.seeds import ROWS, Fleet, on_cpu, spare_split
from marlx.host import backend, directory, metrics, parameters, seed_ids
from marlx.host.checkpoints import Saved
from marlx.host.files import DiskError, sweep
from marlx.host.keeper import Keeper
from marlx.host.lanes import Lanes
from marlx.host.ledger import Ledger
from marlx.host.loop import Position, advance
from marlx.host.metrics import Recorder
from marlx.host.progress import Reporter
from marlx.host.seating import Seating
from marlx.host.signals import Interrupted, StopRequest
from marlx.host.tracking import Tracker, trackers
from marlx.program import Program

MANY_ROWS = 10_000  # of an update, from which on sharing it between cores pays


@dataclass(frozen=True)
class Settings:
    """How a run is computed and kept. Nothing here changes a result, but `width` and `split_rows` its last bits."""

    width: int | str | None = None  # seeds computed together on a device; None chooses, "measure" tries
    split_rows: bool = False  # spare devices share the batches of a seed
    chunk: int | None = None  # seeds resident at a time; None: as many as fit memory
    largest_share: int | None = None  # seeds, where this is one of several processes: all choose their width by it
    checkpoint_interval: int | None = None  # environment steps of a seed; None: by the clock
    checkpoint_replay: bool | None = None  # None: where it is small
    wandb: str | None = None
    tensorboard: bool = False
    progress: bool = True


class Job:
    """The work on one run, in a directory that this process holds.

    Args:
        record: what run.toml says of a run that is gone on with; None: a new one.
    """

    began = 0.0
    seconds_before = 0.0  # that earlier processes trained

    def __init__(
        self, path: Path, lanes: Lanes, base_seed: int, settings: Settings, record: Mapping[str, Any] | None = None
    ) -> None:
        self.path, self.lanes, self.base_seed, self.settings = path, lanes, base_seed, settings
        experiment, layout = lanes.experiment, dict((record or {}).get("layout", {}))
        split = 1
        if settings.split_rows:
            split = spare_split(len(lanes), jax.local_device_count(), experiment.training["batch_size"])
        self.split: int = layout.get("split", split)
        if self.split > jax.local_device_count():
            raise UsageError(f"the run was begun with {self.split} devices for each seed; here are fewer")
        self.program = Program(experiment, ROWS if self.split > 1 else None)
        self.plan = self.program.plan
        self.ledger = Ledger(path, lanes, base_seed, record)
        self.report = Reporter(self._steps(self.plan.iterations), len(lanes), settings.progress)
        given = settings.width if isinstance(settings.width, int) else None
        self.seating = Seating(self.program, lanes, base_seed, self.split, settings.chunk)
        self.seating.choose(layout.get("width") or given, settings.largest_share or len(lanes))
        self.firsts: list[int] = []  # first lanes of the chunks so far
        self.steps_before = self.env_steps = 0  # of all seeds of earlier chunks; and with this chunk's
        self.busy = 0.0  # seconds in compiled code
        self.compiling = 0.0  # seconds of this process
        self.halved = False  # memory ran out, and a smaller chunk begins
        interval = settings.checkpoint_interval
        every = -(-interval // self.plan.steps_per_iteration) if interval else None
        self.keeper = Keeper(path, every, settings.checkpoint_replay, self._tell)
        self.trackers: list[Tracker] = []

    @property
    def fleet(self) -> Fleet:
        """The lanes at work."""
        return self.seating.fleet

    def run(self) -> dict[str, Any]:
        """From the held directory to the end of the run; returns its record.

        Raises:
            Interrupted, DiskError, UsageError: what there is was written.
        """
        try:
            sweep(self.path, (directory.EXPERIMENT, directory.RECORD, directory.METRICS, directory.PARAMETERS))
            with StopRequest() as self.stop:
                if not self.ledger.new and (self.path / directory.METRICS).exists():
                    return self._end()  # it was stopped while it wrote the files of the end
                if self.ledger.new and self.settings.width == widths.MEASURE:
                    self.seating.choose(self._measured(), len(self.lanes))
                saved = None if self.ledger.new else self._found()
                if saved:
                    self.seating.size = max(self.seating.size, saved.notes["count"])  # a saved chunk stays whole
                self.seating.seat()
                self.ledger.open(self.fleet, len(self.plan.evaluations))
                config = {**self.lanes.experiment.to_dict(), "seeds": len(self.lanes)}
                self.trackers = trackers(self.settings.wandb, self.settings.tensorboard, self.path, config)
                self._train(self._start(saved))
                self._end()
        except BaseException:
            with suppress(DiskError):
                self.keeper.close()  # a save that has begun is finished
            for tracker in self.trackers:
                tracker.finish(1)
            raise
        for tracker in self.trackers:
            tracker.finish(0)
        return self.ledger.record

    def _measured(self) -> int:
        """The width by trial; what was measured is recorded."""
        found = widths.rates(self.program, self.lanes.experiment.numbers(), self.seating.size, self.plan.warm_up)
        chosen = widths.best(found)
        each = self.plan.steps_per_iteration
        self.ledger.record["width_steps_per_second"] = {str(width): round(each * x) for width, x in found.items()}
        told = ", ".join(f"{width}: {each * x:,.0f}" for width, x in found.items())
        self.report.say(f"measured steps/s by width: {told}; taken: {chosen}")
        return chosen

    def _found(self) -> Saved | None:
        """The newest whole checkpoint; what was written after it is removed, it will be written again.

        Raises:
            UsageError: results from before it are damaged or missing.
        """
        ledger, recorder = self.ledger, Recorder(self.path)
        if ledger.changed:
            self._tell(f"other versions than before, so numbers may differ in their last bits: {ledger.changed}")
        if ledger.rewritten:
            self._tell(f"other code of {ledger.rewritten} than before: what follows is not what it would have been")
        trouble = None
        for saved in self.keeper.newest_first():
            notes = saved.notes
            try:
                recorder.keep(notes["firsts"], len(self.plan.evaluations), notes["recorded"])
                parameters.keep(self.path, notes["firsts"][:-1])
            except DiskError:
                raise
            except UsageError as error:
                trouble = trouble or error
                continue  # an older one may need less
            self.keeper.forget(saved.number)
            self._recall(notes)
            self._tell(f"going on from checkpoint {saved.number}, {self._steps(notes['iteration']):,} steps of a seed")
            return saved
        if trouble:
            raise trouble
        recorder.keep([0], len(self.plan.evaluations), 0)
        parameters.keep(self.path, [])
        ledger.record |= {"dead": [], "train_seconds": 0.0}
        self._tell("there is no whole checkpoint, so training begins anew")
        return None

    def _recall(self, notes: Mapping[str, Any]) -> None:
        """What a checkpoint says of the run so far."""
        self.ledger.record |= {"dead": notes["dead"], "train_seconds": notes["seconds"]}
        self.firsts, self.steps_before, self.busy = notes["firsts"], notes["steps_before"], notes.get("busy", 0.0)

    def _end(self) -> dict[str, Any]:
        """The files of the end, and the record.

        Until all exist, what they are made of stays, or can be made again from the last checkpoint. Once there are
        metrics the parameters are whole, and of their parts some may be gone.
        """
        recorder = Recorder(self.path)
        if not self.began:  # the process that trained was stopped in here
            self.began = time.monotonic()
            for saved in self.keeper.newest_first():
                self._recall(saved.notes)
                break
            self.seconds_before = self.ledger.record["train_seconds"]
        if not (self.path / directory.METRICS).exists():
            parameters.merge(self.path)
        last = metrics.last(self.path)
        self.env_steps = int(np.sum(last["env_steps"], dtype=np.int64))
        recorder.merge()
        parameters.tidy(self.path)
        self.keeper.close()
        self._conclude("finished", last)
        return self.ledger.record

    def _start(self, saved: Saved | None) -> Saved | None:
        """Compiles before any training; returns the checkpoint to go on from, none if its lanes no longer fit."""
        used, size = self.fleet.mesh.size, self.seating.size
        at_a_time = f", {size} at a time" if size < len(self.lanes) else ""
        self.report.say(f"{self.path}: {self.ledger.name}{at_a_time} on {used} {_devices(used)}")
        saved = self._compile(self.firsts[-1] if saved else 0, saved)
        for line in self._advice():
            self.report.say(line)
        if self.stop.number is not None:
            what = "nothing was written" if self.ledger.new else "nothing was lost"
            raise Interrupted(f"stopped before training began; {what}", self.stop.number)
        return saved

    def _compile(self, first: int, saved: Saved | None = None) -> Saved | None:
        """Compiles the program of the lanes from `first` on; returns the checkpoint if it still fits them."""
        before = self.compiling
        while True:
            size = self.seating.size
            try:
                self.compiling += self.seating.compile(whole=saved is not None)
                break
            except (MemoryError, jax.errors.JaxRuntimeError) as error:
                if not is_exhaustion(error):
                    raise
            saved = None
            self._halve(first)
        if self.seating.size < size:
            self._tell(f"the compiled program asks for more memory than is free; {self._at_a_time()}")
        self.ledger.record["compile_seconds"] = round(self.compiling, 3)
        self.ledger.lay_out(self.fleet)
        self._tell(f"compiled in {self.compiling - before:.1f} s")
        return saved

    def _advice(self) -> Iterator[str]:
        """What would make better use of this machine for so few seeds."""
        if not on_cpu():
            return
        width, batch_size = self.seating.width, self.lanes.experiment.training["batch_size"]
        idle = self.split == 1 and spare_split(len(self.lanes), backend.cores(), batch_size) > 1
        if len(self.lanes) < width:
            yield f"a group of {width} seeds is computed; --width 1 does without padding, equal up to rounding"
        elif idle and self.program.rows >= MANY_ROWS:
            yield "cores are idle; --split-rows lets them share each seed's batches, equal up to rounding"

    def _train(self, saved: Saved | None) -> None:
        """All chunks that are left."""
        self.keeper.begin()
        self.recorder = Recorder(self.path)
        self.began = time.monotonic()
        self.seconds_before = self.ledger.record["train_seconds"]
        first = self.firsts[-1] if self.firsts else 0
        with self.report:
            while first < len(self.lanes):
                try:
                    self._train_chunk(first, saved)
                except (MemoryError, jax.errors.JaxRuntimeError) as error:
                    if not is_exhaustion(error):
                        raise
                else:
                    first += len(self.fleet.seeds)
                    self.steps_before, saved = self.env_steps, None
                    continue
                saved = None  # and the error is gone, which held the states of the seeds
                self._halve(first)
                self._compile(first)

    def _train_chunk(self, first: int, saved: Saved | None) -> None:
        """Lanes from `first` on, from their start or a checkpoint to their end. Raises `Interrupted`."""
        count = saved.notes["count"] if saved else min(self.seating.size, len(self.lanes) - first)
        self.seating.take(first, count)
        self.firsts = [*(start for start in self.firsts if start < first), first]
        if saved:
            start = self.keeper.restored(self.fleet, saved, self.busy)
        else:
            started = time.perf_counter()
            state = self.fleet.init()
            start = Position(0, 0, state, busy=self.busy + time.perf_counter() - started)
        position = start  # it may be the end already
        self.env_steps = self._count(position)
        try:
            if self.halved:
                self._save(start)  # the checkpoints of the larger chunk are gone
                self.halved = False
            for position in advance(self.fleet, self.plan.evaluations, start, every=self.keeper.every):
                if position.record is not None:
                    self._evaluated(first, position)
                self.busy = position.busy
                self.env_steps = self._count(position)
                self.report.update(first, count, self._steps(position.iteration), self.env_steps)
                if position.iteration == self.plan.iterations or self.stop.number is not None:
                    break
                if self.keeper.due(position, first):
                    self._save(position)
            kept = (position.state.learner.params, *(position.state.best or ()))
            parameters.save_part(self.path, first, *self.fleet.cut(kept))
            self._save(position)
            if position.iteration < self.plan.iterations:
                self.keeper.close()
                self._conclude("interrupted", {})
        except DiskError:
            with suppress(DiskError, UsageError):  # what still fits is kept
                self._conclude("interrupted", {})
            raise
        if position.iteration < self.plan.iterations:
            raise Interrupted(self._farewell(first, position), self.stop.number or 0)

    def _evaluated(self, first: int, position: Position) -> None:
        """One evaluation of a chunk: on disk, and as interquartile means over seeds to whoever listens."""
        record = dict(position.record or {})
        steps, causes = record.pop("fault_step"), record.pop("fault_cause")
        columns = self.lanes.columns(slice(first, first + len(self.fleet.seeds)))
        self.recorder.add(first, position.recorded - 1, columns, record)
        for line in self.ledger.bury(columns, steps, causes):
            self._tell(line)
        names = [name for name in ("evaluation_return", "training_return") if name in record]
        means = {name: float(iqm(record[name])) for name in (record if self.trackers else names)}
        env_steps = float(np.mean(record["env_steps"]))
        self.report.evaluated(names[0], means[names[0]])
        self.ledger.note(f"evaluation at {env_steps:,.0f} steps: {names[0]} {means[names[0]]:.6g}")
        several = len(self.fleet.seeds) < len(self.lanes)  # their steps begin again, so each has curves of its own
        group = f"chunk_{len(self.firsts)}/" if several else ""
        for tracker in self.trackers:
            tracker.log({**{group + name: mean for name, mean in means.items()}, "env_steps": env_steps})

    def _count(self, position: Position) -> int:
        """Environment steps of all seeds so far."""
        return self.steps_before + int(np.sum(self.fleet.cut(position.state.env_steps), dtype=np.int64))

    def _save(self, position: Position) -> None:
        """Begins to save a position, with what the run has come to. Raises `DiskError`."""
        notes = {
            "firsts": self.firsts,
            "steps_before": self.steps_before,
            "seconds": self._seconds(),
            "dead": self.ledger.record["dead"],
        }
        self.keeper.save(self.fleet, position, notes)

    def _halve(self, first: int) -> None:
        """Half as many seats, not yet compiled, and the chunk at work from its beginning.

        Raises:
            UsageError: there are no fewer.
        """
        self.seating.halve()
        if self.firsts:  # else nothing has been written yet
            self.firsts = [*(start for start in self.firsts if start < first), first]
            Recorder(self.path).keep(self.firsts, len(self.plan.evaluations), 0)
            self.keeper.forget_chunk(first)
            self.ledger.forget(self.lanes.columns(slice(first, None)))
            self.halved = True
        self._tell(f"the device's memory ran out; {self._at_a_time()}")

    def _at_a_time(self) -> str:
        return f"going on with {seed_ids.counted(self.seating.size)} at a time"

    def _conclude(self, status: str, last: Mapping[str, Any]) -> None:
        seconds = {"device_seconds": self.busy, "checkpoint_seconds": self.keeper.seconds}
        self.ledger.record |= {name: round(value, 3) for name, value in seconds.items()}
        self.ledger.conclude(status, self._seconds(), self.env_steps, last)

    def _farewell(self, first: int, position: Position) -> str:
        done = f"{self._steps(position.iteration):,} of {self._steps(self.plan.iterations):,} steps"
        count, every = len(self.fleet.seeds), len(self.lanes)
        many = f" of seeds {first + 1:,} to {first + count:,} of {every:,}" if count < every else ""
        return (
            f"stopped after {done}{many}; {position.recorded} of {len(self.plan.evaluations)} evaluations and a "
            f"checkpoint are in {self.path}; go on with the same command and --resume, or by "
            f"`marlx repeat {self.path} --continue --out {self.path}`"
        )

    def _seconds(self) -> float:
        """Seconds of training so far, earlier processes' too."""
        return round(self.seconds_before + time.monotonic() - self.began, 3)

    def _steps(self, iterations: int) -> int:
        return iterations * self.plan.steps_per_iteration

    def _tell(self, line: str) -> None:
        self.report.say(line)
        self.ledger.note(line)


def _devices(count: int) -> str:
    platform = jax.local_devices()[0].platform
    name = {"cpu": "CPU", "gpu": "GPU", "tpu": "TPU"}.get(platform, platform)
    return f"{name} device{'s' if count > 1 else ''}"
