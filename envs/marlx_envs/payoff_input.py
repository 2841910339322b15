"""Payoffs that a user brings: nested lists, arrays and .csv, .npy or .json files, read with suspicion.

Whatever is wrong with one is a `UsageError` of one line; nothing is unpickled and no size is trusted.
"""

import csv
import difflib
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np

from marlx_envs.options import UsageError, unknown
from marlx_envs.payoffs import MAX_ENTRIES, PAYOFFS, Payoff

MAX_BYTES = 16 * 2**20
MAX_AXES = 24  # two actions for each of more agents are past MAX_ENTRIES
SUFFIXES = (".csv", ".npy", ".json")
HERE = "environment.payoff"


def read_payoff(value: Any) -> Payoff:
    """A payoff from nested lists, an array or the name of a file.

    Returns:
        float32 [A_1 ... A_N], one axis per agent (or one more in front, which the caller knows of).

    Raises:
        UsageError: an unknown name; a file that is missing, too large, no file or of another kind; entries that
            are ragged, missing, too many, not numbers or not finite; fewer than two axes.
    """
    if isinstance(value, str | Path):
        tensor = _from_file(str(value))
        where = f"{HERE} file {_shown(str(value))}"
    else:
        tensor = numbers(value, HERE)
        where = HERE
    if tensor.ndim < 2:
        raise UsageError(f"{where} must have one axis for each of at least 2 agents, not {tensor.ndim}")
    return tensor


def numbers(value: Any, where: str) -> Payoff:
    """A finite float32 tensor from nested lists or an array. Raises `UsageError` naming `where`."""
    if isinstance(value, list | tuple | int | float):
        value = _from_lists(value, where)
    elif not hasattr(value, "__array__"):
        raise UsageError(f"{where} must be nested lists of numbers, not {type(value).__name__}")
    array = np.asarray(value)
    if array.dtype.kind not in "iuf":
        raise UsageError(f"{where} must hold numbers, not entries of type {array.dtype.name}")
    if array.ndim > MAX_AXES:
        raise UsageError(f"{where} has {array.ndim} axes, at most {MAX_AXES} are allowed")
    if array.size > MAX_ENTRIES:
        raise UsageError(f"{where} has {array.size} entries, at most {MAX_ENTRIES} are allowed")
    if array.size == 0:
        raise UsageError(f"{where} is empty; it needs a number for every joint action")
    with np.errstate(over="ignore", invalid="ignore"):
        tensor = array.astype(np.float32)
    if not np.isfinite(tensor).all():
        position = tuple(int(i) for i in np.argwhere(~np.isfinite(tensor))[0])
        raise UsageError(f"{where} must be finite in float32, but entry {list(position)} is {array[position]}")
    return tensor


def _from_lists(value: Any, where: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Nested lists as an array, level by level, so that depth and size are known before they cost anything."""
    level, shape = [value], list[int]()
    while isinstance(level[0], list | tuple):
        if any(not isinstance(entry, list | tuple) or len(entry) != len(level[0]) for entry in level):
            raise UsageError(f"{where} is ragged: all rows along axis {len(shape)} need {len(level[0])} entries")
        shape.append(len(level[0]))
        if shape[-1] == 0:
            raise UsageError(f"{where} is empty; it needs a number for every joint action")
        if len(shape) > MAX_AXES:
            raise UsageError(f"{where} is nested more than {MAX_AXES} deep")
        if len(level) * shape[-1] > MAX_ENTRIES:
            raise UsageError(f"{where} has more than the {MAX_ENTRIES} entries that are allowed")
        level = list(itertools.chain.from_iterable(level))
    if any(issubclass(kind, list | tuple) for kind in set(map(type, level))):
        raise UsageError(f"{where} is ragged: axis {len(shape) - 1} has both numbers and lists")
    for kind in set(map(type, level)):
        if kind is bool or not issubclass(kind, int | float | np.integer | np.floating):
            entry = next(entry for entry in level if type(entry) is kind)
            raise UsageError(f"{where} must hold numbers, not {_shown(entry)}")
    try:
        return np.array(level, np.float64).reshape(shape)
    except OverflowError:
        raise UsageError(f"{where} must be finite in float32; a whole number in it is too large") from None


def _from_file(name: str) -> Payoff:
    path = Path(name).expanduser() if name.startswith("~/") else Path(name)
    suffix = path.suffix.lower()
    where = f"{HERE} file {_shown(name)}"
    try:
        if name.lstrip().startswith("[") and not path.is_file():
            raise UsageError(f"{HERE} {_shown(name)} is no nested list of numbers; is a bracket or a comma missing?")
        if path.is_dir() and name:
            raise UsageError(f"{HERE} {_shown(name)} is a directory; name a {_either(SUFFIXES)} file in it")
        if not (suffix[1:].isalpha() or "/" in name or path.is_file()):
            raise unknown("payoff", _shown(name)[1:-1], PAYOFFS)
        if suffix not in SUFFIXES:
            raise UsageError(f"{where} must end in {_either(SUFFIXES)}")
        if not path.is_file():
            raise UsageError(f"{where} does not exist{_close_to(path)}")
        if path.stat().st_size > MAX_BYTES:
            raise UsageError(f"{where} is larger than the {MAX_BYTES // 2**20} MiB that are allowed")
        readers = {".csv": _csv, ".npy": _npy, ".json": _json}
        return numbers(readers[suffix](path, where), where)
    except OSError as error:
        raise UsageError(f"{where} cannot be read: {error.strerror or type(error).__name__}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{where} is not text in UTF-8") from error


def _csv(path: Path, where: str) -> list[list[float]]:
    rows: list[list[float]] = []
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file)
        try:
            for cells in filter(None, reader):
                rows.append([_cell(cell, where, reader.line_num) for cell in cells])
                if len(rows[-1]) != len(rows[0]):
                    at = f"line {reader.line_num} has {len(rows[-1])} entries"
                    raise UsageError(f"{where} is ragged: {at}, the first line {len(rows[0])}")
        except csv.Error as error:
            raise UsageError(f"{where} is not comma-separated text: {error}") from error
    return rows


def _cell(cell: str, where: str, line: int) -> float:
    try:
        return float(cell)
    except ValueError:
        raise UsageError(f"{where} must hold numbers, not {_shown(cell)} in line {line}") from None


def _npy(path: Path, where: str) -> np.ndarray[Any, Any]:
    try:
        with np.errstate(all="ignore"):
            # mapped, so that a header cannot claim more memory than the file has
            array = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError:
        raise
    except Exception as error:  # numpy's parser of headers raises many kinds, TokenError among them
        raise UsageError(f"{where} is not a .npy file of plain numbers (objects are refused)") from error
    if not isinstance(array, np.ndarray):
        array.close()
        raise UsageError(f"{where} is an archive of arrays; save a single one with numpy.save")
    return array


def _json(path: Path, where: str) -> Any:
    text = path.read_text(encoding="utf-8-sig")
    try:
        value = json.loads(text)
    except RecursionError:
        raise UsageError(f"{where} is nested more than {MAX_AXES} deep") from None
    except json.JSONDecodeError as error:
        raise UsageError(f"{where} is not JSON: {error.msg} in line {error.lineno}") from error
    except ValueError as error:  # a whole number of thousands of digits
        raise UsageError(f"{where} must be finite in float32; a whole number in it is too large") from error
    if not isinstance(value, list):
        raise UsageError(f"{where} must hold nested lists of numbers, not {type(value).__name__}")
    return value


def _close_to(path: Path) -> str:
    """`; did you mean X?` for the closest file beside a missing one, or the closest payoff by name."""
    beside = [p.name for p in itertools.islice(path.parent.glob("*"), 1000) if p.suffix in SUFFIXES]
    close = difflib.get_close_matches(path.name[:80], beside, n=1)
    if close:
        return f"; did you mean {_shown(str(path.with_name(close[0])))}?"
    close = difflib.get_close_matches(path.stem[:80], PAYOFFS, n=1)
    return f"; did you mean the payoff '{close[0]}'?" if close else ""


def _either(words: tuple[str, ...]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"


def _shown(value: Any) -> str:
    """A value as it may stand in a message of one line."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:60]}...{text[-1]}"
