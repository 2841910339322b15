"""The vmap width by a short measurement, for a program or a device that `seeds.choose_width` was not made from.

Every candidate is compiled, and trains for a moment in its learning phase with all devices at work. The choice depends
on the machine and the moment, and results at another width differ in their last bits: whoever needs them twice gives
the width that was recorded.
"""

import time
from typing import Any

import jax

from marlx.engine.memory import is_exhaustion
from marlx.engine.seeds import WIDEST, Fleet, Phases

MEASURE = "measure"  # in place of a width
CANDIDATES = (1, 2, 8, 32, 128, 512, WIDEST)
SECONDS = 1.0  # of training behind a rate
SLACK = 1.03  # a wider group must be faster by more than the noise of a measurement


def rates(program: Phases, numbers: Any, seeds: int, warm_up: int) -> dict[int, float]:
    """Iterations per second of all seeds together, by width; none wider than is needed to hold them all.

    Args:
        warm_up: iterations before the first update.
    """
    found: dict[int, float] = {}
    devices = len(jax.local_devices())
    for width in CANDIDATES:
        try:
            fleet = Fleet(program, numbers, range(min(seeds, devices * width)), width=width)
            fleet.compile()
            found[width] = rate(fleet, warm_up, SECONDS)
        except (MemoryError, jax.errors.JaxRuntimeError) as error:
            if not found or not is_exhaustion(error):
                raise
            break
        if devices * width >= seeds:
            break
    return found


def best(found: dict[int, float]) -> int:
    """The narrowest width about as fast as the fastest."""
    return min(width for width, rate in found.items() if rate * SLACK >= max(found.values()))


def rate(fleet: Fleet, warm_up: int, least: float) -> float:
    """Iterations of a seed per second, summed over a compiled fleet's seeds; `least` seconds or more of them."""
    first, count = warm_up + 1, 1
    state = fleet.train(0, first, fleet.init())
    while True:
        started = time.perf_counter()
        state = fleet.train(first, count, state)
        seconds = time.perf_counter() - started
        if seconds >= least:
            return len(fleet.seeds) * count / seconds
        first, count = first + count, 2 * count
