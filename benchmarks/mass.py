"""Masses of seeds, all resident: rates, memory and the share of the hardware, from one seed up to what fits.

Seeds/s counts whole runs: the seeds that would have trained all their steps, evaluations apart. Where the time goes:
`playing` is the share of an iteration's time that the same seeds take for one without updates (a rollout and its rows
in the replay); the rest is updates. What a step costs is counted (`benchmarks.costs`), once for one seed; held against
it are a product and a copy that were timed on the same devices just before.
"""

import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax

import marlx
from benchmarks.common import BATTLE, GAME, REFERENCE, Cell, Table
from benchmarks.costs import Cost, best, cost
from marlx.engine.memory import free_memory, is_exhaustion
from marlx.engine.seeds import Fleet, choose_width, on_cpu
from marlx.engine.widths import rate
from marlx.host.seating import FULL
from marlx.program import Program

WORKS = (("QMIX, 3x3 game", GAME), ("QMIX, predator-prey", REFERENCE), ("QMIX, SMAX 2s3z", BATTLE))
FACTOR = 4  # from one number of seeds to the next
COLUMNS = (
    "work", "seeds", "devices x maps x width", "seeds/s", "steps/s", "MB", "times one seed", "playing, %",
    "GFLOP/s", "% of a product's", "GB/s", "% of a copy's",
)  # fmt: skip


def run(*, quick: bool) -> list[Table]:
    """QMIX on a small, a middling and a large environment; by ten minutes each, compilation included."""
    return [table(WORKS[:1], 20.0, 0.05, most=16)] if quick else [table(WORKS, 600.0, 1.0)]


def table(works: Sequence[tuple[str, tuple[str, ...]]], limit: float, least: float, most: int = 2**24) -> Table:
    """A row for each number of seeds, until memory or time is spent.

    Args:
        works: label, and words of `marlx.configure`.
        limit: seconds for each work; no number of seeds is begun that would take it beyond them.
        least: seconds of a measurement.
        most: seeds.
    """
    rows = []
    for label, words in works:
        for row in _rows(words, limit, least, most):
            rows.append((label, *row))
            print(*rows[-1], flush=True)  # it takes minutes
    return Table(f"Masses of seeds, all resident; up to {limit:,.0f} s for each work", COLUMNS, rows)


def _rows(words: tuple[str, ...], limit: float, least: float, most: int) -> Iterator[tuple[Cell, ...]]:
    """The rows of one work, without its label."""
    experiment = marlx.configure(*words)
    program, numbers = Program(experiment), experiment.numbers()
    each = iteration_cost(program)
    count, alone, started = 1, 0.0, time.perf_counter()
    scale: dict[int, Cost] = {}  # what so many devices do at best
    while count <= most:
        begun = time.perf_counter()
        try:
            fleet = _fleet(program, numbers, count)
            if fleet is None:
                break
            layout, used = fleet.layout, list(fleet.mesh.devices.flat)
            if len(used) not in scale:
                scale[len(used)] = best(used, 3)
            compiled = time.perf_counter()
            trained, played = rate(fleet, program.plan.warm_up, least), _play_rate(fleet, program.plan.warm_up, least)
        except (MemoryError, jax.errors.JaxRuntimeError) as error:
            if not is_exhaustion(error):
                raise
            break
        alone = alone or trained
        shape, reach = f"{layout.devices} x {layout.maps} x {layout.width}", scale[len(used)]
        flops, moved = each.flops * trained, each.bytes * trained
        yield (
            count, shape, trained / program.plan.iterations, trained * program.plan.steps_per_iteration,
            fleet.bytes / 1e6, trained / alone, 100 * trained / played,
            flops / 1e9, 100 * flops / reach.flops, moved / 1e9, 100 * moved / reach.bytes,
        )  # fmt: skip
        del fleet
        now = time.perf_counter()
        count *= FACTOR
        if now - started + (compiled - begun) + FACTOR * (now - compiled) > limit:
            return
    if count <= most:
        yield (count, "does not fit", *[""] * (len(COLUMNS) - 3))


def _fleet(program: Program, numbers: Any, count: int) -> Fleet | None:
    """So many seeds, compiled; on an accelerator narrower where they do not fit. None: they never do.

    What fits is by the compiler's account. One seed is as it is alone, without padding.
    """
    width = 1 if count == 1 else choose_width(program.rows, count)
    while True:
        fleet = Fleet(program, numbers, range(count), width=width)
        fleet.compile()
        if fleet.bytes <= FULL * free_memory(fleet.mesh.devices.flat):
            return fleet
        if width == 1 or on_cpu():
            return None
        width //= 2


def iteration_cost(program: Program) -> Cost:
    """What one iteration of one seed costs in the learning phase, its play and its updates."""
    numbers, updates = program.experiment.numbers(), program.experiment.training["updates_per_iteration"]
    state = jax.eval_shape(program.init, jax.random.key(0), numbers)
    return cost(program.train, 0, 1, state, numbers, rounds=(1, updates))


def _play_rate(fleet: Fleet, warm_up: int, least: float) -> float:
    """Iterations of a seed per second without updates, summed over the seeds; `least` seconds or more of them.

    Those before the end of the warm-up are, and so are numbers below 0.
    """
    count, state = 1, fleet.init()
    while True:
        started = time.perf_counter()
        state = fleet.train(warm_up - count, count, state)
        taken = time.perf_counter() - started
        if taken >= least and count > 1:
            return len(fleet.seeds) * count / taken
        count *= 2
