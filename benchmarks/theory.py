"""The theory desk: seconds that random 3x3 games take each method, and how often only optima are stable."""

import time

import numpy as np

from benchmarks.common import Cell, Table
from marlx.analysis.theory.survey import METHODS, Setting, Verdict, points, verdicts

SETTINGS = {"uniform": Setting(), "epsilon 0.2": Setting(epsilon=0.2)}


def run(*, quick: bool) -> list[Table]:
    """10,000 games with normal payoffs (seed 0), under uniform data and under epsilon-greedy ones."""
    games = np.random.default_rng(0).normal(size=(100 if quick else 10_000, 3, 3))
    rows: list[tuple[Cell, ...]] = []
    totals = dict.fromkeys(SETTINGS, 0.0)
    for name in METHODS:
        cells: list[Cell] = []
        for data, setting in SETTINGS.items():
            points(games[:2], setting, (name,))  # what is listed once for a shape of games
            started = time.perf_counter()
            found = verdicts(games, points(games, setting, (name,))[name])
            cells += [seconds := time.perf_counter() - started, float((found >= Verdict.WEAK).mean())]
            totals[data] += seconds
        rows.append((name, *cells))
    rows.append(("all of them", *(cell for total in totals.values() for cell in (total, ""))))
    columns = ("method", *(f"{data}: {what}" for data in SETTINGS for what in ("s", "only optima stable")))
    return [Table(f"Theory desk: {len(games):,} random 3x3 games", columns, rows)]
