"""The short tables at the end of `marlx train` and `marlx evaluate`."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from marlx.analysis.statistics import interval
from marlx.host import directory
from marlx.host.progress import duration, quantity
from marlx.host.results import Run

_OVER_SEEDS = ", IQM [95% interval]"
_MOST_DEAD = 10  # seeds that are listed


def show_run(run: Run) -> None:
    """What a run reached, how long it took, and where it lies."""
    record = run.record
    table = _table()
    for name, found in sorted(record.get("result", {}).items(), key=lambda item: item[0] != "evaluation_return"):
        if name in ("evaluation_return", "evaluation_win_rate") or (
            name == "training_return" and len(record["result"]) == 1
        ):
            _row(table, f"{name.replace('_', ' ')}{_OVER_SEEDS}", _interval(**found))
    train, compiling = (duration(record.get(f"{name}_seconds", 0.0)) for name in ("train", "compile"))
    _row(table, "time", f"{train} + {compiling} to compile")
    _row(table, "environment steps/s", quantity(record.get("steps_per_second", 0.0)))
    _dead(table, record.get("dead", []))
    _row(table, "results", str(run.path))
    _print(f"{run.experiment.algorithm_name} on {run.experiment.environment_name}, {len(run.seeds)} seeds", table)


def show_evaluation(run: Run, metrics: Mapping[str, Any], episodes: int, parameters: str) -> None:
    """Metrics of greedy episodes over seeds, with the "final" or the "best" parameters; for each point by itself.

    Seeds that died are left out, as of all statistics.
    """
    which = "" if parameters == "final" else f", {parameters} parameters"
    columns, points = run.lanes.columns(), run.lanes.points
    died = [np.all([columns[name] == entry[name] for name in columns], axis=0) for entry in run.record["dead"]]
    left = np.where(np.any(died, axis=0), np.nan, 0.0)
    for number, point in enumerate(points):
        mine = slice(number * len(run.seeds), (number + 1) * len(run.seeds))
        table = _scores({name: (values + left)[mine] for name, values in metrics.items()})
        _dead(table, [entry for entry in run.record["dead"] if all(entry[name] == x for name, x in point.items())])
        where = "".join(f", {name} {value:g}" for name, value in point.items())
        _print(f"{run.path}: {episodes} greedy episodes of each of {len(run.seeds)} seeds{which}{where}", table)


def show_scores(title: str, metrics: Mapping[str, Any]) -> None:
    """Metrics of greedy episodes over seeds, [S] each."""
    _print(title, _scores(metrics))


def _scores(metrics: Mapping[str, Any]) -> Table:
    """A row for each metric [S], the return first."""
    table = _table()
    for name in sorted(metrics, key=lambda name: (name != "evaluation_return", name)):
        found = interval(metrics[name])
        _row(table, name.removeprefix("evaluation_") + _OVER_SEEDS, _interval(*found))
        if found.used > 1:
            lowest, highest = np.nanmin(metrics[name]), np.nanmax(metrics[name])
            _row(table, "  lowest, highest seed", f"{lowest:.4g}, {highest:.4g}")
    return table


def _dead(table: Table, dead: Sequence[Mapping[str, Any]]) -> None:
    """A row for each seed that stopped learning: where it was, when, and by what."""
    for entry in dead[:_MOST_DEAD]:
        place = {name: value for name, value in entry.items() if name not in ("env_steps", "cause")}
        where = ", ".join(f"{name} {value:g}" for name, value in place.items())
        _row(table, f"dead {where}", f"{entry['cause']} not finite at {entry['env_steps']:,} steps")
    if len(dead) > _MOST_DEAD:
        _row(table, "", f"and {len(dead) - _MOST_DEAD} more dead seeds, all in {directory.RECORD}")


def _interval(iqm: float, low: float, high: float, seeds: int, left_out: int) -> str:
    missing = f", {left_out} of {seeds + left_out} seeds without a finite value" if left_out else ""
    return f"{iqm:.4g} [{low:.4g}, {high:.4g}]{missing}"


def _table() -> Table:
    table = Table(show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    return table


def _row(table: Table, name: str, value: str) -> None:
    table.add_row(Text(name), Text(value))


def _print(title: str, table: Table) -> None:
    console = Console(highlight=False)
    console.print(title, markup=False, soft_wrap=True)
    console.print(table)
