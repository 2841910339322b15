"""Words of an experiment's command line, checked before anything is trained: types of arguments, and names."""

import re
import tempfile
from argparse import ArgumentTypeError
from collections.abc import Iterable, Sequence
from pathlib import Path

from marlx_envs.options import UsageError, shown, unknown

from marlx.host.commands.words import whole_number
from marlx.host.files import DiskError, disk

MOST = 2_000_000_000


def whole(word: str, least: int = 0) -> int:
    """A whole number, as 200000, 200_000 or 2e5."""
    if (found := whole_number(word, least, MOST)) is None:
        raise ArgumentTypeError(f"must be a whole number from {least} to {MOST}, not {shown(word)}")
    return found


def positive(word: str) -> int:
    """A whole number of at least 1."""
    return whole(word, 1)


def sizes(word: str) -> str:
    """Agents and actions of a game, as in 3x5."""
    agents, _, actions = word.partition("x")
    if not all(re.fullmatch(r"[1-9][0-9]?", part) and int(part) >= 2 for part in (agents, actions)):
        raise ArgumentTypeError(f"must be agents x actions, as 3x5, not {shown(word)}")
    return word


def folder(word: str) -> Path:
    """A folder to write to: it exists, or is made."""
    path = Path(word)
    try:
        with disk("write to", path):
            path.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=path).close()
    except DiskError as error:
        raise ArgumentTypeError(str(error)) from error
    return path


def stem(word: str) -> str:
    """The name of files, without what follows its dot."""
    if not re.fullmatch(r"[\w ,=-]{1,100}", word):
        raise ArgumentTypeError(f"must be the name of a file without its ending, not {shown(word)}")
    return word


def check_names(what: str, names: Sequence[str], valid: Iterable[str]) -> None:
    """Raises `UsageError` at a name that is not valid, which may be the last of several to train, or there twice."""
    offered = list(valid)
    for number, name in enumerate(names):
        if "=" in name:
            raise UsageError(f"{shown(name)} is no {what}; give section.name=value before the names")
        if name not in offered:
            raise unknown(what, name, offered)
        if name in names[:number]:
            raise UsageError(f"{what} {shown(name)} is named twice")
