"""A sweep by several processes of this host, each at work on a share of the seeds of one run."""

import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from marlx.host.processes import common_width, run_here
from marlx.host.sweep import PLAN, Cell, Sweep

MOST_NAMES = 4


def in_processes(plan: Sweep, cells: Sequence[Cell], out: Path, settings: Mapping[str, Any], count: int) -> int:
    """What is left of the cells by `count` processes at a time, each with a share of the seeds of one cell."""
    tasks = [(cell, share) for cell in cells for share in plan.left(cell, out, count)]
    if not tasks:
        return 0
    count = min(count, len(tasks))
    names = [f"{cell.name}, part {index + 1} of {of}" if of > 1 else cell.name for cell, (index, of) in tasks]
    commands = [_command(plan, cell, share, out, settings, count) for cell, share in tasks]
    codes = run_here(commands, count, lambda number: announce(number + 1, len(tasks), names[number], settings))
    missing = [f"{name} (exit code {code})" for name, code in zip(names, codes, strict=True) if code]
    if missing:
        more = f" and {len(missing) - MOST_NAMES} more" if len(missing) > MOST_NAMES else ""
        told = f"not done: {'; '.join(missing[:MOST_NAMES])}{more}; the same command goes on with the sweep"
        sys.stderr.write(f"marlx: {told}\n")
    return max(codes)


def _command(
    plan: Sweep, cell: Cell, share: tuple[int, int], out: Path, settings: Mapping[str, Any], count: int
) -> list[str]:
    """The words that train a share of a cell, when `count` processes are at work."""
    place = out.absolute()
    words = ["sweep", str(place / PLAN), f"--out={place}", f"--run={cell.name}", f"--share={share[0]}/{share[1]}"]
    if settings["width"] is not None:
        words += ["--width", str(settings["width"])]
    elif share[1] > 1:
        lanes = math.prod(map(len, cell.grid.values())) * -(-len(plan.seeds) // share[1])
        words += common_width(lanes, count)
    words += [] if settings["chunk"] is None else ["--chunk", str(settings["chunk"])]
    return words + ["--no-cache"] * (not settings["cache"]) + ["--quiet"] * (not settings["progress"])


def announce(number: int, count: int, name: str, settings: Mapping[str, Any]) -> None:
    """A line that says which run begins, unless progress is off."""
    if settings["progress"]:
        sys.stdout.write(f"run {number} of {count}: {name}\n")
        sys.stdout.flush()
