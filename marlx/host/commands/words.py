"""Words of a command line as values."""

from marlx_envs.options import UsageError, shown


def whole(option: str, word: str, least: int = 0) -> int:
    """The whole number after an option."""
    if not (word.isascii() and word.isdigit() and len(word) <= 10) or int(word) < least:
        raise UsageError(f"{option} must be a whole number of at least {least}, not {shown(word)}")
    return int(word)
