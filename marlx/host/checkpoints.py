"""Checkpoints of a run: the whole state of the seeds at work, saved by orbax beside the training.

A checkpoint is whole when orbax has committed it, and it is believed only when the digest of what was read equals the
one that was saved with it. What a kill left behind has no commit and is passed over.
"""

import errno
import hashlib
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from marlx_envs.options import UsageError

from marlx.host.directory import CHECKPOINTS
from marlx.host.files import DiskError, remove_folder
from marlx.host.parameters import place_name

UNFINISHED = ".orbax-checkpoint-tmp"  # in the name of a folder until it is committed
PATIENCE = int(threading.TIMEOUT_MAX) // 2  # orbax's own, by a wall clock that may jump by decades in a save
KEEP = 2  # the latest ones; the best by evaluation stays beside them
Arrays = dict[str, npt.NDArray[Any]]  # place in the tree -> values [S ..]


class Saved(NamedTuple):
    """One checkpoint."""

    number: int
    notes: dict[str, Any]  # plain data: how far the run had come
    arrays: Arrays


class Checkpoints:
    """The checkpoints of one run directory. Saving copies what it is given and goes on in the background.

    The latest two stay, and the best of the chunk of seeds that the latest is of: evaluations of other seeds say
    nothing about these.
    """

    def __init__(self, directory: Path) -> None:
        from orbax import checkpoint as orbax

        _silence()
        self._orbax, self._folder = orbax, directory / CHECKPOINTS
        with _disk("make", self._folder):
            for path in _unfinished(self._folder):
                remove_folder(path)
            options = orbax.CheckpointManagerOptions(
                save_root_metadata=False,
                async_options=orbax.AsyncOptions(timeout_secs=PATIENCE),
            )
            self._manager = orbax.CheckpointManager(self._folder.absolute(), options=options)
        steps = self._manager.all_steps()
        self._marks = {step: mark for step in steps if (mark := self._mark(step))}
        self._next = max(steps, default=-1) + 1

    def highest(self, chunk: int) -> float:
        """The best score of a chunk's checkpoints; -inf if none has one."""
        return max((score for where, score in self._marks.values() if where == chunk), default=-np.inf)

    def save(self, notes: Mapping[str, Any], arrays: Arrays, score: float | None = None, chunk: int = 0) -> None:
        """Begins to save; waits first for the one before.

        Args:
            score: the evaluation of these very arrays, if there was one; the chunk's highest is kept.
            chunk: of seeds, by its first lane.

        Raises:
            DiskError: this one, or the one before, could not be written.
        """
        self.wait()
        kept = {name: array for name, array in arrays.items() if array.size}
        notes = {**notes, "score": score, "chunk": chunk}
        content = {"notes": notes, "names": list(kept), "digest": digest(notes, kept)}
        with _disk("save in", self._folder):
            args = self._orbax.args
            together = args.Composite(state=args.PyTreeSave(kept), position=args.JsonSave(content))
            self._manager.save(self._next, args=together, force=True)
        self._marks[self._next] = _marked(notes)
        self._next += 1

    def wait(self) -> None:
        """Returns when the last save is on disk; older checkpoints are then removed. Raises `DiskError`."""
        with _disk("save in", self._folder):
            self._manager.wait_until_finished()
            steps = sorted(self._manager.all_steps())
            best = self._best()
            for step in steps[:-KEEP]:
                if step != best:
                    self._manager.delete(step)
                    self._marks.pop(step, None)

    def close(self) -> None:
        """Waits, and lets go of the threads. Raises `DiskError`."""
        try:
            self.wait()
        except BaseException:
            with suppress(Exception):  # which says no more than the first
                self._manager.close()
            _settle(self._folder)
            raise
        with _disk("close", self._folder):
            self._manager.close()

    def newest_first(self, told: Callable[[str], None]) -> Iterator[Saved]:
        """Whole checkpoints, the newest first; `told` hears of every one that is damaged."""
        for number in sorted(self._manager.all_steps(), reverse=True):
            try:
                saved = self._read(number)
            except Exception as error:  # whatever orbax makes of broken files
                told(f"checkpoint {number} is damaged and was passed over: {' '.join(str(error).split())[:120]}")
                continue
            yield saved

    def forget(self, after: int) -> None:
        """Removes the checkpoints after number `after`: the run goes on from there. Raises `DiskError`."""
        self._remove(lambda number: number > after)

    def forget_chunk(self, chunk: int) -> None:
        """Removes the checkpoints of a chunk of seeds, which begins anew, and unreadable ones. Raises `DiskError`."""
        self._remove(lambda number: self._marks.get(number, (chunk,))[0] == chunk)

    def _remove(self, unwanted: Callable[[int], bool]) -> None:
        with _disk("tidy", self._folder):
            self._manager.wait_until_finished()
            for number in filter(unwanted, self._manager.all_steps()):
                self._manager.delete(number)
                self._marks.pop(number, None)

    def _best(self) -> int | None:
        """Number of the highest score of the newest chunk, of equal ones the last; None if there is no score."""
        chunk = self._marks[max(self._marks)][0] if self._marks else None
        scored = [(score, step) for step, (where, score) in self._marks.items() if where == chunk and score > -np.inf]
        return max(scored)[1] if scored else None

    def _mark(self, number: int) -> tuple[int, float] | None:
        """Chunk and score of a checkpoint; None if it cannot be read."""
        try:
            return _marked(self._content(number)["notes"])
        except Exception:  # whatever orbax makes of broken files; `newest_first` tells
            return None

    def _content(self, number: int) -> dict[str, Any]:
        args = self._orbax.args
        return self._manager.restore(number, args=args.Composite(position=args.JsonRestore())).position

    def _read(self, number: int) -> Saved:
        args, kind = self._orbax.args, self._orbax.RestoreArgs(restore_type=np.ndarray)
        content = self._content(number)
        names = content["names"]
        asked = args.PyTreeRestore(item=dict.fromkeys(names, 0), restore_args=dict.fromkeys(names, kind))
        arrays = dict(self._manager.restore(number, args=args.Composite(state=asked)).state)
        if content["digest"] != digest(content["notes"], arrays):
            raise ValueError("its content is not what was saved")
        return Saved(number, content["notes"], arrays)


def unfinished(directory: Path) -> list[str]:
    """Names of the checkpoints that a kill left without a commit; opening `Checkpoints` removes them."""
    with _disk("read", directory / CHECKPOINTS):
        return sorted(path.name.partition(".")[0] for path in _unfinished(directory / CHECKPOINTS))


def digest(notes: Mapping[str, Any], arrays: Arrays) -> str:
    """A fingerprint of the content, the order of names aside."""
    found = hashlib.blake2b(json.dumps(notes, sort_keys=True).encode(), digest_size=16)
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        found.update(f"{name} {array.dtype} {array.shape}".encode())
        found.update(array.reshape(-1).view(np.uint8).data)
    return found.hexdigest()


def flatten(tree: Any) -> Arrays:
    """A state on the host as arrays by their place; keys of random streams as their words. Always copies."""
    return {place_name(path): np.array(_words(leaf)) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def restore(arrays: Arrays, shapes: Any, rows: Any) -> Any:
    """The inverse of `flatten`, for some of the seeds.

    Args:
        shapes: the tree to fill, leaves with `shape` [S ..] and `dtype`.
        rows: which seeds, an index of the leading axis.

    Raises:
        UsageError: the arrays belong to another experiment or another version.
    """

    def leaf(path: Any, shape: Any) -> Any:
        plain = jax.eval_shape(jax.random.key_data, shape) if _is_key(shape) else shape
        empty = np.zeros((1, *plain.shape[1:]), plain.dtype)
        place = place_name(path)
        array = (
            arrays.get(place) if empty.size else np.repeat(empty, max(rows) + 1, axis=0)
        )  # none of no numbers is saved
        if array is None or array.shape[1:] != empty.shape[1:] or array.dtype != empty.dtype:
            raise UsageError(f"the checkpoint does not fit the experiment: {place} is missing or has another shape")
        return jax.random.wrap_key_data(jnp.asarray(array[rows])) if _is_key(shape) else array[rows]

    return jax.tree_util.tree_map_with_path(leaf, shapes)


def _unfinished(folder: Path) -> list[Path]:
    return list(folder.glob(f"*{UNFINISHED}*"))


def _settle(folder: Path) -> None:
    """Waits, seconds at most, until the threads of a failed save put nothing more into a folder; orbax does not."""
    before = None
    for _ in range(20):
        if (found := list(os.walk(folder))) == before:
            break
        before = found
        time.sleep(0.2)


def _marked(notes: Mapping[str, Any]) -> tuple[int, float]:
    """Chunk and score as notes have them; -inf for no score, or none that is a number."""
    score = notes["score"]
    return notes["chunk"], score if score is not None and np.isfinite(score) else -np.inf


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _words(leaf: Any) -> Any:
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf


@cache
def _silence() -> None:
    """Keeps orbax and tensorstore from printing what is raised here again, as the one line of a `DiskError`.

    orbax logs its errors with their tracebacks; a write of tensorstore that fails after another one has ended the event
    loop reports to a loop that is closed, from a thread of its own, by way of `sys.unraisablehook`, or is logged by
    asyncio when its task is forgotten.
    """
    logging.getLogger("absl").setLevel(logging.CRITICAL)
    logging.getLogger("asyncio").addFilter(lambda told: "/orbax/checkpoint/" not in told.getMessage())
    show = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            show(unraisable)

    sys.unraisablehook = hook


@contextmanager
def _disk(action: str, path: Path) -> Iterator[None]:
    """Turns what orbax raises on a disk that refuses into a `DiskError`."""
    try:
        yield
    except (OSError, ValueError, RuntimeError) as error:
        words, full = " ".join(str(error).split()), os.strerror(errno.ENOSPC)  # tensorstore says it after long paths
        raise DiskError(f"cannot {action} {path}: {full if full in words else words[:160]}") from error
