"""Files that are written whole or not at all; what the disk refuses becomes an error of one line."""

import errno
import os
import re
import shutil
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from marlx_envs.options import UsageError

MOST_BYTES = 20_000_000  # of a TOML file: a payoff of a million numbers fits
MOST_PARTS = 32  # of a dotted key; tomllib takes quadratic time for one
_STRINGS = re.compile(  # and comments; what does not end takes the rest of its line, and tomllib says so
    r"""\"{3}(?:[^"\\]++|\\[\s\S]|"{1,2}(?!"))*+"{3,5}|'{3}(?:[^']++|'{1,2}(?!'))*+'{3,5}"""
    r"""|"(?:[^"\\\n]++|\\.)*+"|'[^'\n]*+'|["'\#].*+"""
)
_LONG_KEY = re.compile(r"(?<![\w-])[\w-]++" + rf"(?:[ \t]*+\.[ \t]*+[\w-]++){{{MOST_PARTS}}}")


class DiskError(UsageError):
    """The disk refused: full, read-only, not permitted, or something else in the way."""


@contextmanager
def disk(action: str, path: Path) -> Iterator[None]:
    """Turns an `OSError` inside into a `DiskError` that names the path."""
    try:
        yield
    except OSError as error:
        raise DiskError(f"cannot {action} {path}: {error.strerror or error}") from error


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Writes a file beside `path`, then renames it: a reader sees the old file or the new one, never a part.

    Raises:
        DiskError: nothing was changed.
    """
    with disk("write", path):
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(name, 0o666 & ~_umask())
            os.replace(name, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(name)
            raise


def sweep(folder: Path, names: Iterable[str]) -> None:
    """Removes what `write_whole` left of files of these names when it was killed. Nobody may be writing them now.

    Raises:
        DiskError: one cannot be removed.
    """
    ours = re.compile(rf"\.({'|'.join(map(re.escape, names))})\.[a-z0-9_]{{8}}")  # as mkstemp names them
    with disk("tidy", folder):
        for path in sorted(folder.iterdir()):
            if ours.fullmatch(path.name) and path.is_file():
                path.unlink()


def remove_folder(path: Path) -> None:
    """Removes a folder with all in it, to and from which the threads of a write that failed may still move files.

    Raises:
        OSError: something in it cannot be removed, or it is not there.
    """
    for pause in (0.1, 0.3, 1.0, 3.0, None):
        try:
            shutil.rmtree(path)
            break
        except OSError as error:
            moved = error.errno == errno.ENOTEMPTY or (error.errno == errno.ENOENT and path.exists())
            if not moved or pause is None:
                raise
            time.sleep(pause)


def write_toml(path: Path, values: Mapping[str, Any]) -> None:
    """Plain data as TOML, whole or not at all. Raises `DiskError`."""
    import tomli_w

    text = tomli_w.dumps(values)
    write_whole(path, lambda file: file.write(text.encode()))


def check_toml(name: str, values: Mapping[str, Any]) -> None:
    """Raises `UsageError` if a file of that name and content would be larger than `read_toml` reads."""
    import tomli_w

    size = len(tomli_w.dumps(values).encode())
    if size > MOST_BYTES:
        raise UsageError(
            f"{name} would have {size:,} bytes, and at most {MOST_BYTES:,} are read again; "
            "give a large array as a file, such as one of numpy.save"
        )


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file as plain data. Raises `UsageError` if it is missing, unreadable, too large or not TOML."""
    try:
        with disk("read", path), path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise UsageError(f"{path} is too large for a file of settings; at most {MOST_BYTES:,} bytes")
        text = content.decode()
        if _LONG_KEY.search(_STRINGS.sub("s", text)):  # outside strings only keys have more than one dot
            raise UsageError(f"{path} has a key of more than {MOST_PARTS} parts")
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"{path} is not TOML: {str(error)[:120]}") from error


def append_line(path: Path, line: str) -> None:
    """Adds one line to a text file. Raises `DiskError`."""
    with disk("write", path), path.open("a", encoding="utf-8") as file:
        file.write(" ".join(line.split()) + "\n")


def check_space(path: Path, needed: int) -> None:
    """Raises `DiskError` if the disk of `path` has fewer than `needed` bytes free."""
    with disk("use", path):
        free = shutil.disk_usage(path).free
    if free < needed:
        raise DiskError(f"the disk of {path} is full: the run needs about {_size(needed)}, {_size(free)} are free")


def _size(count: int) -> str:
    for factor, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if count >= factor:
            return f"{count / factor:.3g} {unit}"
    return f"{count / 1e3:.3g} kB"


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
