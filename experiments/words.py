"""Words of an experiment's command line, checked before anything is trained: types of arguments, and names."""

import tempfile
from argparse import ArgumentTypeError
from collections.abc import Iterable
from pathlib import Path

from marlx_envs.options import UsageError, shown, unknown

from marlx.host.files import disk


def whole(word: str, least: int = 0) -> int:
    """A whole number, as 200000 or 200_000."""
    digits = word.replace("_", "")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 10) or int(digits) < least:
        raise ArgumentTypeError(f"must be a whole number of at least {least}, not {shown(word)}")
    return int(digits)


def positive(word: str) -> int:
    """A whole number of at least 1."""
    return whole(word, 1)


def sizes(word: str) -> str:
    """Agents and actions of a game, as in 3x5."""
    agents, _, actions = word.partition("x")
    if not all(part.isascii() and part.isdigit() and 2 <= int(part) <= 99 for part in (agents, actions)):
        raise ArgumentTypeError(f"must be agents x actions, as 3x5, not {shown(word)}")
    return word


def folder(word: str) -> Path:
    """A folder to write to: it exists, or is made."""
    path = Path(word)
    try:
        with disk("write to", path):
            path.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=path).close()
    except UsageError as error:
        raise ArgumentTypeError(str(error)) from error
    return path


def check_names(what: str, names: Iterable[str], valid: Iterable[str]) -> None:
    """Raises `UsageError` at the first name that is not valid, as the last of several methods to train may be."""
    offered = list(valid)
    for name in names:
        if name not in offered:
            raise unknown(what, name, offered)
