"""Words of a command line as values."""

import re
from decimal import Decimal

from marlx_envs.options import LARGEST_SIZE, UsageError, shown


def whole(option: str, word: str, least: int = 0, most: int = LARGEST_SIZE) -> int:
    """The whole number after an option, as 2000000, 2_000_000 or 2e6. Raises `UsageError`."""
    if (found := whole_number(word, least, most)) is None:
        raise UsageError(f"{option} must be a whole number from {least} to {most}, not {shown(word)}")
    return found


def whole_number(word: str, least: int, most: int) -> int | None:
    """A word as a whole number within bounds; None if it is none."""
    if not re.fullmatch(r"[0-9]+(_[0-9]+)*(\.[0-9]+)?([eE][0-9]{1,2})?", word):
        return None
    value = Decimal(word)
    return int(value) if least <= value <= most and value == int(value) else None
