"""`make demo`: monotonic and weighted methods on a payoff whose best cell is surrounded by punishment, many seeds."""

import sys
from collections.abc import Sequence
from pathlib import Path

from experiments.payoff import report, study
from marlx.host.cli import guarded, one_line_parser
from marlx.host.console import console

PAYOFF, SEEDS, STEPS = "resq79", 24, 20_000
METHODS = ("vdn", "qmix", "cw_qmix", "pow_qmix")


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains, prints a table, draws a picture."""
    one_line_parser("python -m experiments.demo", __doc__).parse_args(arguments)
    screen = console()
    screen.print(
        "Two agents, three actions each. (A,A) pays 8; one agent alone at A costs 12; (C,C) pays 7.9.\n"
        f"{SEEDS} seeds of each method learn it from uniform data, side by side in one program."
    )
    outcomes = {}
    for method in METHODS:
        with screen.status(f"{method}: compiling and training {SEEDS} seeds"):
            outcomes[method] = study(method, PAYOFF, SEEDS, STEPS)
        screen.print(f"{method}: {SEEDS} seeds x {STEPS:,} steps in {outcomes[method].seconds:.0f} s")
    report(PAYOFF, outcomes, f"uniform data, {SEEDS} seeds, {STEPS:,} steps each", Path("runs") / "demo.png")


if __name__ == "__main__":
    sys.exit(guarded(main))
