"""Positions of a chunk of seeds as checkpoints, and back: when one is due, what it holds, how a run goes on from it.

The best is the one with the highest evaluation (interquartile mean over the seeds of a chunk) of those made right after
an evaluation. So that this is no matter of luck, an evaluation that beats all checkpoints of its chunk makes one more;
but no sooner than PAUSE seconds after the last of an evaluation, so that a run that gets better each time does not
spend its time on them. (Each seed's parameters of its own highest evaluation are kept apart, and exactly.)
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import jax
import numpy as np

from marlx.analysis.statistics import iqm
from marlx.engine.memory import tree_bytes
from marlx.engine.seeds import Fleet
from marlx.host import checkpoints
from marlx.host.checkpoints import Checkpoints, Saved
from marlx.host.loop import Position

SECONDS = 120.0  # between checkpoints, where no number of steps is given
PAUSE = 30.0  # seconds at least, from one checkpoint with an evaluation to one that is made because it is better
SMALL_REPLAY = 2**28  # bytes of all seeds of a chunk


class Keeper:
    """Keeps the checkpoints of one run.

    Args:
        every: iterations between checkpoints; None: by the clock.
        replay: whether it is saved too; None: where it is small.
        tell: hears of unfinished and damaged checkpoints, and of going on without a replay.
    """

    def __init__(self, path: Path, every: int | None, replay: bool | None, tell: Callable[[str], None]) -> None:
        self.every, self._path, self._replay, self._tell = every, path, replay, tell
        self._open: Checkpoints | None = None
        self._saved_at = self._scored_at = time.monotonic()
        self.seconds = 0.0  # that training waited for checkpoints, in this process

    def begin(self) -> None:
        """Starts the clock, and the import of orbax beside the first steps: it takes a second."""
        self._saved_at = self._scored_at = time.monotonic()
        threading.Thread(target=_import_orbax, daemon=True).start()

    def due(self, position: Position, chunk: int) -> bool:
        """Whether it is time for a checkpoint, or worth one. `chunk` is the first lane of the seeds at work."""
        now = time.monotonic()
        if now - self._saved_at >= SECONDS if self.every is None else position.iteration % self.every == 0:
            return True
        score = _score(position)
        if score is None or now - self._scored_at < PAUSE:
            return False
        return score > (self._open.highest(chunk) if self._open else -np.inf)

    def save(self, fleet: Fleet, position: Position, notes: Mapping[str, Any]) -> None:
        """Begins to save a position of the seated seeds, with notes of the run. Raises `DiskError`."""
        started, state, score = time.monotonic(), position.state, _score(position)
        if self._replay is False or (self._replay is None and tree_bytes(state.replay) > SMALL_REPLAY):
            state = state._replace(replay=None)
        count = len(fleet.seeds)
        arrays = {name: x[:count] for name, x in checkpoints.flatten(state).items()}
        how_far = {"count": count, "iteration": position.iteration, "recorded": position.recorded}
        notes = {**notes, **how_far, "busy": round(position.busy, 3)}
        self._checkpoints().save(notes, arrays, score, notes["firsts"][-1])
        self._saved_at = time.monotonic()
        if score is not None:
            self._scored_at = self._saved_at
        self.seconds += self._saved_at - started

    def restored(self, fleet: Fleet, saved: Saved, busy: float) -> Position:
        """The position of a checkpoint of the seated seeds."""
        shapes, rows = fleet.shapes, np.arange(len(fleet.seeds))
        iteration, recorded = saved.notes["iteration"], saved.notes["recorded"]
        if any(name.startswith("replay/") for name in saved.arrays):
            state = fleet.pad(checkpoints.restore(saved.arrays, shapes, rows))
            return Position(iteration, recorded, state, busy=busy)
        state = checkpoints.restore(saved.arrays, shapes._replace(replay=None), rows)
        self._tell(
            "the checkpoint has no replay: it is filled by fresh play, so the run is not the one it would have been"
        )
        empty = jax.tree.map(lambda x: np.zeros((len(rows), *x.shape[1:]), x.dtype), shapes.replay)
        state = fleet.refill(iteration, fleet.pad(state._replace(replay=empty)))
        return Position(iteration, recorded, state, busy=busy)

    def newest_first(self) -> Iterator[Saved]:
        """Whole checkpoints, the newest first."""
        return self._checkpoints().newest_first(self._tell)

    def forget(self, after: int) -> None:
        """Removes the checkpoints after number `after`. Raises `DiskError`."""
        self._checkpoints().forget(after)

    def forget_chunk(self, chunk: int) -> None:
        """Removes the checkpoints of the chunk with this first lane. Raises `DiskError`."""
        self._checkpoints().forget_chunk(chunk)

    def close(self) -> None:
        """Waits for a save that has begun. Raises `DiskError`."""
        if self._open:
            started, opened, self._open = time.monotonic(), self._open, None
            opened.close()
            self.seconds += time.monotonic() - started

    def _checkpoints(self) -> Checkpoints:
        if not self._open:
            for number in checkpoints.unfinished(self._path):
                self._tell(f"checkpoint {number} is unfinished and was passed over")
            self._open = Checkpoints(self._path)
        return self._open


def _score(position: Position) -> float | None:
    """The evaluation of a position, over seeds; None if it is of none."""
    returns = (position.record or {}).get("evaluation_return")
    return None if returns is None else float(iqm(returns))


def _import_orbax() -> None:
    with suppress(ImportError):
        import orbax.checkpoint  # noqa: F401
