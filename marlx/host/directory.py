"""A run directory: what lies in it, and how a run gets one of its own.

    experiment.toml   what the run is, resolved        run.toml        seeds, versions, hardware, how far it came
    metrics.parquet   tidy; while training, `metrics/` holds one part for each chunk of seeds and evaluation
    parameters.npz    of the end, leading axis [S]; while training, `parameters/` holds one part for each chunk of seeds
    checkpoints/      what going on needs               events.log      one line for each thing that happened

Each of these is written whole or not at all, but for the log, which grows by lines. experiment.toml is the last file of
the first ones: with it the directory holds a run. A process at work holds a lock on events.log.
"""

import datetime
import errno
import fcntl
import itertools
import os
import re
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from marlx_envs.options import UsageError, shown

from marlx.host.files import DiskError, append_line, disk, remove_folder

EXPERIMENT = "experiment.toml"
RECORD = "run.toml"
METRICS = "metrics.parquet"
PARTS = "metrics"
PARAMETERS = "parameters.npz"
PARAMETER_PARTS = "parameters"
CHECKPOINTS = "checkpoints"
EVENTS = "events.log"
EXPORTED = "exported"
TRACKED = ("wandb", "tensorboard")
_WRITTEN = (EXPERIMENT, RECORD, METRICS, PARTS, PARAMETERS, PARAMETER_PARTS, CHECKPOINTS, EVENTS, *TRACKED)


def locate(out: str | Path, what: str = "a directory") -> Path:
    """A path from what the user gave; `what` it will be. Raises `UsageError` if it cannot be one, or is closed."""
    if not str(out).strip() or "\0" in str(out):
        raise UsageError(f"{what} needs a name, not {shown(str(out))}")
    path = Path(out)
    with suppress(RuntimeError):  # no home directory
        path = path.expanduser()
    try:
        os.stat(path / EXPERIMENT)
    except OSError as error:  # what is not there may still be made; a name too long, or a closed folder, may not
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            raise DiskError(f"cannot use {shown(str(out))}: {error.strerror}") from error
    return path


def file_place(out: str | Path, what: str, endings: Sequence[str]) -> Path:
    """Where a file may be written; `what` it is, as "a picture". To be asked before the work that fills it.

    Raises:
        UsageError: another ending than one of these, or a directory.
        DiskError: its directory is not there, or closed.
    """
    path = locate(out, what)
    if path.suffix.lower() not in endings:
        *others, last = endings
        valid = f"{', '.join(others)} or {last}" if others else last
        raise UsageError(f"{what} must end in {valid}, not {shown(path.name)}")
    if os.path.isdir(path):
        raise UsageError(f"{path} is a directory; name a file in it")
    with disk("write", path):
        tempfile.TemporaryFile(dir=path.parent).close()
    return path


def holds_run(path: Path) -> bool:
    """Whether a run was started here."""
    return os.path.exists(path / EXPERIMENT)


def claim(out: str | Path | None, name: str, resume: bool = False) -> Path:
    """An empty directory for a new run; `out=None` takes the first free runs/NAME-1, runs/NAME-2, ...

    Args:
        resume: one in which a run was stopped before it was one will do.

    Raises:
        UsageError: there is a file of that name, or the directory holds a run or anything else.
        DiskError: it cannot be made or written to.
    """
    if out is None:
        return _numbered(name)
    path = locate(out)
    check_free(path, "run", resume)
    with disk("make the directory", path):
        path.mkdir(parents=True, exist_ok=True)
    return path


def check_free(path: Path, what: str, resume: bool = False) -> None:
    """Raises `UsageError` if a path is a file, or a directory with something in it; `what` it is for."""
    if not os.path.isdir(path):  # unlike Path's, these never raise
        if os.path.exists(path):
            raise UsageError(f"{path} is a file; a {what} needs a directory")
        return
    with disk("read", path):
        found = next((entry for entry in path.iterdir() if not (resume and _is_leftover(entry.name))), None)
    if holds_run(path):
        raise UsageError(f"{path} holds a run; choose another --out")
    if found is not None:
        raise UsageError(f"{path} is not empty (it has {shown(found.name)}); choose another --out")


def refuse_links(path: Path, names: Iterable[str]) -> None:
    """Raises `UsageError` if one of the names in a directory is a link: what goes there would be written elsewhere."""
    for name in names:
        if os.path.islink(path / name):
            raise UsageError(f"{path / name} is a link; what a run writes or removes must lie in its own directory")


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Inside, no other process is at work in a run directory; the system lets go of it if this process dies.

    Raises:
        UsageError: another one is, or something in it is a link to another place.
        DiskError: the directory cannot be written to.
    """
    _refuse_links_of_a_run(path)
    with disk("write", path / EVENTS):
        file = (path / EVENTS).open("a")
    with file:
        for patience in (0.2, 0.2, 0.2, 0.0):  # someone may only be looking whether it is held
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not patience:
                    raise UsageError(
                        f"another process is at work in {path}; wait for it, or choose another --out"
                    ) from None
                time.sleep(patience)
            except OSError:  # a file system without locks
                break
        yield


def is_held(path: Path) -> bool:
    """Whether a process is at work in a run directory."""
    with suppress(OSError), (path / EVENTS).open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def release(path: Path, keep: bool) -> None:
    """Empties a claimed directory in which nothing was trained, and removes it unless it was there before (`keep`)."""
    with suppress(OSError):
        for name in (EXPERIMENT, RECORD, EVENTS):
            (path / name).unlink(missing_ok=True)
        for name in (PARTS, PARAMETER_PARTS, CHECKPOINTS, *TRACKED):
            with suppress(OSError):
                remove_folder(path / name)
        if not keep:
            path.rmdir()


def note(path: Path, line: str) -> None:
    """Adds a line with the time to a run's events.log. Raises `DiskError`."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    append_line(path / EVENTS, f"{now} {line}")


def _refuse_links_of_a_run(path: Path) -> None:
    """The directory itself may be a link, unless it is a share's: that one came with the directory of all shares."""
    if re.fullmatch(r"part-\d+-of-\d+", path.name):
        refuse_links(path.parent, [path.name])
    refuse_links(path, _WRITTEN)
    for folder, folders, files in os.walk(path / CHECKPOINTS):  # orbax removes what it finds there
        refuse_links(Path(folder), [*folders, *files])


def _is_leftover(name: str) -> bool:
    """Whether a file was written by a run before it was one."""
    return name in (RECORD, EVENTS) or name.startswith((f".{RECORD}.", f".{EXPERIMENT}."))


def _numbered(name: str) -> Path:
    for number in itertools.count(1):
        path = Path("runs") / f"{name}-{number}"
        with disk("make the directory", path):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                path.mkdir()
            except FileExistsError:
                continue
        return path
    raise AssertionError
