"""Total rate against the number of seeds, and against the vmap width on a device."""

import marlx
from benchmarks.common import GAME, Table
from benchmarks.throughput import rate
from marlx.engine.seeds import Fleet
from marlx.program import Program


def run(*, quick: bool) -> list[Table]:
    """QMIX on a 3x3 game: one seed, many seeds, and widths."""
    experiment = marlx.configure(*GAME)
    program = Program(experiment)
    rows = []
    alone = 0.0
    # The first row is what all others are held against: one seed alone, nothing beside it.
    for count, width in [
        (1, 1),
        (1, None),
        (4, None),
        (16, None),
        (64, None),
        (64, 1),
        (64, 8),
        (64, 32),
        (1024, None),
    ]:
        if quick and count > 64:
            continue
        fleet = Fleet(program, experiment.numbers(), range(count), width=width)
        compile_seconds = fleet.compile()
        iterations = max(20, (1_000 if quick else 4_000) // count)
        total = rate(fleet, program, iterations, 3 if quick else 5)
        alone = alone or total
        layout = fleet.layout
        shape = f"{layout.devices} x {layout.maps} x {layout.width}"
        updates = total / program.plan.steps_per_iteration
        rows.append(
            (count, shape + ("" if width is None else " (given)"), total, updates, total / alone, compile_seconds)
        )
    columns = ("seeds", "devices x maps x width", "steps/s", "updates/s", "against one seed", "compile s")
    return [Table("QMIX on a 3x3 game, 8 environments, one update of 32 a step", columns, rows)]
