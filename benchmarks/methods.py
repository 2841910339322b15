"""What a method costs: its environment steps/s against QMIX's, the two measured in turn on the reference work."""

import statistics
import time
from collections.abc import Callable

import marlx
from benchmarks.common import REFERENCE, Table
from marlx.engine.seeds import Fleet
from marlx.program import Program

Words = tuple[str, ...]  # a method, and what is other than by default

ENVIRONMENT = REFERENCE[1]
VARIANTS = (("mrvf", "algorithm.rounds=2"), ("pow_qmix", "algorithm.recognition_parts=1"))
WORK = "predator-prey, one seed, one update of 32 rows a 1,600 steps"


def run(*, quick: bool) -> list[Table]:
    """Every registered method that can play predator-prey, and some variants; one seed."""
    methods: list[Words] = [*((name,) for name in marlx.ALGORITHMS), *VARIANTS]
    return [costs("Cost of a method", REFERENCE[:1], methods, *((1, 1) if quick else (4, 7)))]


def costs(title: str, baseline: Words, methods: list[Words], iterations: int, rounds: int) -> Table:
    """Methods against a baseline: chunks of so many iterations of the two in turn, so many times; medians."""
    reference, per_chunk, _ = _learning(baseline, iterations)
    rows = []
    for words in methods:
        try:
            chunk, _, compile_seconds = _learning(words, iterations)
        except marlx.UsageError:  # needs an environment that knows its optimum
            continue
        pairs = [(_seconds(reference), _seconds(chunk)) for _ in range(rounds)]
        times = [statistics.median(column) for column in zip(*pairs, strict=True)]
        ratio = statistics.median(mine / base for base, mine in pairs)
        rows.append((" ".join(words), per_chunk / times[1], per_chunk / times[0], ratio, compile_seconds))
    name = " ".join(baseline)
    columns = ("method", "steps/s", f"{name} steps/s beside it", f"time against {name}", "compile s")
    return Table(f"{title}: {WORK}", columns, rows)


def _learning(words: Words, iterations: int) -> tuple[Callable[[], None], int, float]:
    """Something that trains a chunk of a method past its warm-up; the chunk's steps; compile seconds."""
    experiment = marlx.configure(words[0], ENVIRONMENT, *REFERENCE[2:], *words[1:])
    program = Program(experiment)
    fleet = Fleet(program, experiment.numbers(), range(1))
    compile_seconds = fleet.compile()
    first = program.plan.warm_up + 1  # the first update of a method may be another than those after it
    state = fleet.train(0, first, fleet.init())

    def chunk() -> None:
        nonlocal state, first
        state = fleet.train(first, iterations, state)
        first += iterations

    chunk()
    return chunk, iterations * program.plan.steps_per_iteration, compile_seconds


def _seconds(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
