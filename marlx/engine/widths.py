"""The vmap width by a short measurement, for a program or a device that `seeds.choose_width` was not made from.

Every candidate is compiled, and trains for a moment in its learning phase with all devices at work. The choice depends
on the machine and the moment, and results at another width differ in their last bits: whoever needs them twice gives
the width that was recorded.
"""

import time
from typing import Any

import jax
from marlx_envs.options import UsageError

from marlx.engine.memory import is_exhaustion
from marlx.engine.seeds import WIDEST, Fleet, Phases, choose_layout

MEASURE = "measure"  # in place of a width
CANDIDATES = (1, 2, 8, 32, 128, 512, WIDEST)
SECONDS = 1.0  # of training behind a rate
SLACK = 1.03  # a wider group must be faster by more than the noise of a measurement


def rates(program: Phases, numbers: Any, seeds: int, warm_up: int) -> dict[int, float]:
    """Iterations per second of all seeds together, by width; none wider than is needed to hold them all.

    What is timed is one round, a group of seeds on each device; all seeds take as many as the layout has maps.

    Args:
        seeds: resident at a time.
        warm_up: iterations before the first update.

    Raises:
        UsageError: not even one seed on each device fits their memory.
    """
    found: dict[int, float] = {}
    devices = len(jax.local_devices())
    for width in CANDIDATES:
        try:
            fleet = Fleet(program, numbers, range(min(seeds, devices * width)), width=width)
            fleet.compile()
            rounds = rate(fleet, warm_up, SECONDS) / len(fleet.seeds)
        except (MemoryError, jax.errors.JaxRuntimeError) as error:
            if not is_exhaustion(error):
                raise
            if not found:
                raise UsageError("not even one seed fits the device's memory; lower training.buffer_size") from error
            break
        found[width] = rounds * seeds / choose_layout(seeds, devices, width).maps
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
