"""Options of configurable parts: dataclass fields with bounds, a one-line description and a kind.

A *number* is traced by compiled programs, so it can differ between seeds of one program and be an axis
of a sweep; a *size*, *flag*, *choice* or *text* is static and decides the shape of the program.
Nothing heavy is imported here: listings and error messages must be quick.
"""

import dataclasses
import difflib
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

T = TypeVar("T")
Kind = Literal["number", "size", "flag", "choice", "text", "data"]

LARGEST_SIZE = 2**31 - 1  # sizes and the counters that run up to them are int32

LARGEST_NUMBER = 3.4028234e38  # numbers become float32


class UsageError(ValueError):
    """A mistake of the user; its message is one line that names the mistake and the nearest valid choice."""


@dataclass(frozen=True)
class Option:
    """What a field accepts. `low` and `high` are inclusive bounds; `choices` the valid words of a choice."""

    kind: Kind
    doc: str
    low: float | None = None
    high: float | None = None
    choices: Collection[str] = ()


def _field(default: Any, option: Option) -> Any:
    return dataclasses.field(default=default, metadata={"option": option})


def number(default: float, doc: str, *, low: float | None = None, high: float | None = None) -> Any:
    """A traced real number."""
    return _field(float(default), Option("number", doc, low, high))


def size(default: int, doc: str, *, low: int = 1, high: int | None = None) -> Any:
    """A static whole number."""
    return _field(default, Option("size", doc, low, high))


def flag(default: bool, doc: str) -> Any:
    """A static switch."""
    return _field(default, Option("flag", doc))


def choice(default: str, doc: str, choices: Collection[str]) -> Any:
    """A static word out of a few; those of a registry may become more."""
    return _field(default, Option("choice", doc, choices=choices))


def text(default: str, doc: str) -> Any:
    """A static string that the part itself checks."""
    return _field(default, Option("text", doc))


def data(default: Any, doc: str) -> Any:
    """A name, a nested list or a file, which the part itself reads and checks."""
    return _field(default, Option("data", doc))


def options_of(part: Any) -> dict[str, Option]:
    """The options of a dataclass (or of an instance), in the order of declaration."""
    return {f.name: f.metadata["option"] for f in dataclasses.fields(part) if "option" in f.metadata}


def defaults_of(part: Any) -> dict[str, Any]:
    """The default of each option of a dataclass."""
    return {f.name: f.default for f in dataclasses.fields(part) if "option" in f.metadata}


def chosen(part: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the values that are options of `part`."""
    return {name: value for name, value in values.items() if name in options_of(part)}


def numbers_of(part: Any) -> dict[str, float]:
    """The traced numbers of an instance."""
    return {name: getattr(part, name) for name, option in options_of(part).items() if option.kind == "number"}


def shown(value: Any, limit: int = 80) -> str:
    """A value as it may stand in a message of one line: quoted, control characters escaped, long ones cut."""
    if isinstance(value, list | tuple) and len(value) > limit:
        return f"a {type(value).__name__} of {len(value)} entries"
    try:
        words = repr(value)
    except (ValueError, RecursionError):  # a whole number of thousands of digits; nesting without end
        return f"a {type(value).__name__} too large to show"
    words = " ".join(words.split())
    return words if len(words) <= limit else f"{words[: limit - 20]}...{words[-1]}"


def described(value: Any) -> str:
    """What a part has returned, for a message: an array, traced or not, as `float32 [11 32]`, else what it is."""
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return f"{value.dtype} [{' '.join(map(str, value.shape))}]"
    return shown(value) if value is None or isinstance(value, bool | int | float | str) else f"a {type(value).__name__}"


def needed(value: T | None, part: object, what: str) -> T:
    """A value that a part cannot do without. Raises `UsageError` where it is None."""
    if value is None:
        raise UsageError(f"{type(part).__name__} needs {what}, which is None")
    return value


def full_name(part: type) -> str:
    """A class with its module, so that it can be found."""
    return f"{part.__module__}.{part.__qualname__}"


def nearest(name: str, valid: Iterable[str]) -> str:
    """`; did you mean X?` for the closest valid name, whatever its case, else the list of all of them."""
    names = sorted(valid)
    folded = {known.casefold(): known for known in names}
    close = difflib.get_close_matches(name[:80].casefold(), folded, n=1, cutoff=0.6)
    if close:
        return f"; did you mean '{folded[close[0]]}'?"
    return f"; valid: {', '.join(names)}" if names else "; there is none"


def unknown(what: str, name: Any, valid: Iterable[str]) -> UsageError:
    """The error for a name that does not exist."""
    return UsageError(f"unknown {what} {shown(name)}{nearest(str(name), valid)}")


def checked(part: type, values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Values converted to the kinds of `part`'s options; raises `UsageError` naming `where.name`."""
    options = options_of(part)
    for name in values:
        if name not in options:
            raise unknown(f"field of [{where}]", name, options)
    return {name: check(options[name], value, f"{where}.{name}") for name, value in values.items()}


def check(option: Option, value: Any, name: str) -> Any:
    """One value converted to its option's kind. Raises `UsageError` on a wrong type or range."""
    if option.kind == "data":
        return value
    value = plain(value)
    if option.kind == "number":
        value = _finite(value, name)
    elif option.kind == "size":
        value = _whole(value, name)
    elif option.kind == "flag":
        if not isinstance(value, bool):
            raise UsageError(f"{name} must be true or false, not {shown(value)}")
    elif not isinstance(value, str):
        raise UsageError(f"{name} must be a word, not {shown(value)}")
    elif option.kind == "choice" and value not in option.choices:
        raise unknown(f"value of {name}", value, option.choices)
    if option.low is not None and value < option.low:
        raise UsageError(f"{name} must be at least {option.low:.10g}, not {shown(value)}")
    high = LARGEST_SIZE if option.kind == "size" and option.high is None else option.high
    if high is not None and value > high:
        raise UsageError(f"{name} must be at most {high:.10g}, not {shown(value)}")
    return value


def plain(value: Any) -> Any:
    """A scalar array of numpy or JAX as the Python number that it is; anything else, a traced one too, as it is."""
    if getattr(value, "shape", None) != ():
        return value
    try:
        return value.item()
    except (AttributeError, TypeError):
        return value


def _finite(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UsageError(f"{name} must be a number, not {shown(value)}")
    try:
        value = float(value)
    except OverflowError:
        value = math.inf
    if not math.isfinite(value):
        raise UsageError(f"{name} must be finite, not {value}")
    if abs(value) > LARGEST_NUMBER:
        raise UsageError(f"{name} must be finite in single precision, not {value}")
    return value


def _whole(value: Any, name: str) -> int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # 1e6 on a command line
    if isinstance(value, bool) or not isinstance(value, int):
        raise UsageError(f"{name} must be a whole number, not {shown(value)}")
    return value
