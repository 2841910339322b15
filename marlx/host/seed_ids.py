"""Seed ids as shell and files write them: "64" is 0 .. 63, "64:128" is 64 .. 127, and "3,7,64:128" is a list."""

import operator
from collections import Counter
from collections.abc import Iterable, Sequence

from marlx_envs.options import UsageError, shown

LARGEST = 2**32 - 1  # ids are folded into keys as uint32
MOST = 1_000_000


def seed_ids(seeds: "int | str | Iterable[int]") -> list[int]:
    """Ids from a number of seeds (0 .. n-1), a text as above, or the ids themselves.

    Raises:
        UsageError: no seed, too many, one twice, or not whole numbers from 0 to 2**32 - 1.
    """
    ranges = _ranges(seeds)
    count = sum(max(0, part.stop - part.start) for part in ranges)  # a range too long has no len
    if count == 0:
        none = "be at least 1, not 0" if seeds in (0, "0") else f"name at least one, not {shown(seeds)}"
        raise UsageError(f"seeds must {none}")
    if count > MOST:
        raise UsageError(f"a run has at most {MOST} seeds, not {count}; spread them over runs as in --seeds 0:1000000")
    ids = [seed for part in ranges for seed in part]
    if min(ids) < 0 or max(ids) > LARGEST:
        raise UsageError(f"a seed id must be from 0 to {LARGEST}, not {min(ids) if min(ids) < 0 else max(ids)}")
    if len(set(ids)) < count:
        twice = next(seed for seed, times in Counter(ids).items() if times > 1)
        raise UsageError(f"seed id {twice} is named twice")
    return ids


def check_base_seed(base_seed: object) -> None:
    """Raises `UsageError` unless it is a whole number that keys can be made of."""
    if isinstance(base_seed, bool) or not isinstance(base_seed, int) or not 0 <= base_seed <= LARGEST:
        raise UsageError(f"base_seed must be a whole number from 0 to {LARGEST}, not {shown(base_seed)}")


def text(ids: Sequence[int]) -> str:
    """The short form of a list of ids; `seed_ids` reads it."""
    parts: list[list[int]] = []
    for seed in ids:
        if parts and seed == parts[-1][1]:
            parts[-1][1] += 1
        else:
            parts.append([seed, seed + 1])
    return ",".join(f"{first}:{end}" for first, end in parts)


def counted(count: int) -> str:
    """How many, in words: 1 seed, 2 seeds."""
    return f"{count} seed{'s' * (count != 1)}"


def _ranges(seeds: "int | str | Iterable[int]") -> list[range]:
    if isinstance(seeds, str):
        return _parsed(seeds)
    try:
        count = operator.index(seeds)  # type: ignore[arg-type]
    except TypeError:
        try:
            return [range(i, i + 1) for i in map(operator.index, seeds)]  # type: ignore[arg-type]
        except TypeError:
            raise UsageError(f"seeds must be a number of seeds or their ids, not {shown(seeds)}") from None
    if count < 0 or isinstance(seeds, bool):
        raise UsageError(f"seeds must be at least 1, not {shown(seeds)}")
    return [range(count)]


def _parsed(words: str) -> list[range]:
    found = []
    for word in words.split(","):
        first, colon, end = word.strip().partition(":")
        try:
            if not all(
                part.isascii() and part.lstrip("-").isdigit() and len(part) <= 12 for part in (first, end) if part
            ):
                raise ValueError
            found.append(range(int(first), int(end)) if colon else range(int(first), int(first) + 1))
        except ValueError:
            raise UsageError(
                f"seeds must be a whole number, a range such as 64:128 or a list of these, not {shown(words)}"
            ) from None
    if len(found) == 1 and ":" not in words:
        return _ranges(found[0].start)
    return found
