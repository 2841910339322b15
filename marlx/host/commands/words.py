"""Words of a command line as values."""

import re
from decimal import Decimal

from marlx_envs.options import LARGEST_SIZE, UsageError, shown


def whole(option: str, word: str, least: int = 0, most: int = LARGEST_SIZE) -> int:
    """The whole number after an option, as 2000000, 2_000_000 or 2e6. Raises `UsageError`."""
    if not (re.fullmatch("[0-9]+(_[0-9]+)*(e[0-9]{1,2})?", word) and least <= Decimal(word) <= most):
        raise UsageError(f"{option} must be a whole number from {least} to {most}, not {shown(word)}")
    return int(Decimal(word))
