"""The short tables at the end of `marlx train` and `marlx evaluate`."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich.table import Table
from rich.text import Text

from marlx.analysis.statistics import ENOUGH, Interval, in_words, kind, over_seeds
from marlx.host import directory, seed_ids
from marlx.host.console import console
from marlx.host.metrics import by_seed
from marlx.host.progress import duration, quantity
from marlx.host.results import Run

_FIELDS = ("iqm", "low", "high", "seeds", "left_out")  # of a result
_MOST_DEAD = 10  # seeds that are listed


def show_run(run: Run) -> int:
    """What a run reached, how long it took, and where it lies; returns the exit code, 1 if every seed died."""
    record = run.record
    table = _table()
    for name, found in sorted(record.get("result", {}).items(), key=lambda item: item[0] != "evaluation_return"):
        if name in ("evaluation_return", "evaluation_win_rate") or (
            name == "training_return" and len(record["result"]) == 1
        ):
            shown = Interval(*(found[field] for field in _FIELDS))
            if shown.used < ENOUGH:
                shown = over_seeds(_last(run, name))
            _over_seeds(table, name.replace("_", " "), shown)
    train, compiling = (duration(record.get(f"{name}_seconds", 0.0)) for name in ("train", "compile"))
    _row(table, "time", f"{train} + {compiling} to compile")
    _row(table, "environment steps/s", quantity(record.get("steps_per_second", 0.0)))
    _dead(table, record.get("dead", []))
    _row(table, "results", str(run.path))
    experiment, seeds = run.experiment, seed_ids.counted(len(run.seeds))
    _print(f"{experiment.algorithm_name} on {experiment.environment_name}, {seeds}", table)
    return int(len(record.get("dead", [])) == len(run.lanes))


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
        found = over_seeds(metrics[name])
        _over_seeds(table, name.removeprefix("evaluation_"), found)
        if found.used >= ENOUGH:  # of fewer it is said already
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


def _over_seeds(table: Table, name: str, found: Interval) -> None:
    """A row for a metric over seeds."""
    missing = f", {found.left_out} of {found.used + found.left_out} seeds without a finite value"
    _row(table, f"{name}, {kind(found.used)}", in_words(found) + (missing if found.left_out else ""))


def _last(run: Run, name: str) -> Any:
    """A metric at the last evaluation, [S]; NaN where a record tells of one that was not stored."""
    tidy = run.tidy()
    mine = tidy[tidy["name"] == name]
    return by_seed(mine, ["value"])[0][:, -1] if len(mine) else np.full(len(run.seeds), np.nan)


def _table() -> Table:
    table = Table(show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    return table


def _row(table: Table, name: str, value: str) -> None:
    table.add_row(Text(name), Text(value))


def _print(title: str, table: Table) -> None:
    screen = console()
    screen.print(title, markup=False, soft_wrap=True)
    screen.print(table)
