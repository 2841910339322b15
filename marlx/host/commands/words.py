"""Words of a command line as values."""

from marlx_envs.options import LARGEST_SIZE, UsageError, shown


def whole(option: str, word: str, least: int = 0, most: int = LARGEST_SIZE) -> int:
    """The whole number after an option. Raises `UsageError`."""
    if not (word.isascii() and word.isdigit() and len(word) <= 20 and least <= int(word) <= most):
        raise UsageError(f"{option} must be a whole number from {least} to {most}, not {shown(word)}")
    return int(word)
