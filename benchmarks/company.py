"""Seeds together against one alone, method by method: nobody should pay for company."""

from collections.abc import Sequence

import marlx
from benchmarks.common import BATTLE, Table
from marlx.algorithms import ALGORITHMS
from marlx.engine.seeds import Fleet
from marlx.engine.widths import rate
from marlx.program import Program

GAME = ("matrix_game", "training.total_steps=1_000_000")
SEQUENTIAL = ("two_step_game", "k_step_game", "repeated_game", "two_state_game")
AGREE = ("risk_reward", "training.updates_per_iteration=1")
LARGE = [
    ("qmix", *AGREE),
    ("mrvf", *AGREE, "algorithm.share_rounds=true"),
    ("vdn", "predator_prey"),
    ("qmix", "predator_prey"),
    ("pow_qmix", "predator_prey"),
    BATTLE,
]


def run(*, quick: bool) -> list[Table]:
    """Every method on the 3x3 game, QMIX on the sequential games, and some methods on the larger environments."""
    if quick:
        return [_table([("iql", *GAME)], (4,), 0.1)]
    small = [(name, *GAME) for name in ALGORITHMS] + [("qmix", name) for name in SEQUENTIAL]
    games = _table(small, (4, 64, 1024), 0.5)
    return [games, _table(LARGE, (4, 64), 2.0)]


def _table(works: Sequence[tuple[str, ...]], counts: Sequence[int], seconds: float) -> Table:
    """Steps per second of one seed at width 1, with nothing beside it, and of many seeds as multiples of that."""
    rows = []
    for words in works:
        experiment = marlx.configure(*words)
        program = Program(experiment)
        fleets = [Fleet(program, experiment.numbers(), range(1), width=1)]
        fleets += [Fleet(program, experiment.numbers(), range(count)) for count in counts]
        for fleet in fleets:
            fleet.compile()
        turns = [[rate(fleet, program.plan.warm_up, seconds) for fleet in fleets] for _ in range(2)]
        one, *many = (max(found) for found in zip(*turns, strict=True))  # of two turns the less disturbed
        rows.append((words[0], words[1], one * program.plan.steps_per_iteration, *(x / one for x in many)))
        print(*rows[-1], flush=True)  # it takes minutes
    columns = ("method", "environment", "one seed, steps/s", *(f"{count:,} seeds, times" for count in counts))
    return Table("Seeds together against one alone", columns, rows)
