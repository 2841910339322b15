"""Pictures of recorded tables, drawn anew: `python -m experiments.redraw predator_prey_mrvf risk_reward`.

For when the way of drawing has changed: nothing is trained, and tables and JSON files of `experiments/results/` stay as
they are. Tables are those of `predator_prey`, `smax`, `risk_reward` and of the sweeps of `papers`; pictures of weights
and of learned tables need the runs.
"""

import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomli_w
from marlx_envs.options import UsageError

from experiments import record, risk_reward, smax
from experiments.words import check_names, folder
from marlx.host.cli import guarded, one_line_parser

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = one_line_parser("python -m experiments.redraw", __doc__)
    parser.add_argument("names", nargs="+", metavar="NAME", help="of tables in experiments/results, without .parquet")
    parser.add_argument("--out", type=folder, default=str(record.RESULTS))
    options = parser.parse_args(arguments)
    tables = sorted(path.stem for path in record.RESULTS.glob("*.parquet") if path.with_suffix(".json").exists())
    check_names("table", options.names, tables)
    for name in options.names:
        table = record.read_table(record.RESULTS / f"{name}.parquet")
        with record.RESULTS.joinpath(f"{name}.json").open(encoding="utf-8") as file:
            for end, figure in pictures(name, table, json.load(file)):
                record.write_picture(options.out / f"{name}{end}.png", figure)
                print(f"{options.out / name}{end}.png")


def pictures(name: str, table: "pd.DataFrame", recorded: dict[str, Any]) -> Iterator[tuple[str, "Figure"]]:
    """The pictures of a table and its JSON, by the ends of their names. Raises `UsageError` where it has none."""
    if "normalised_return" in table:
        yield from risk_reward.report(table)[1].items()
    elif "penalty" in table:
        yield "", _curves(table, recorded, "evaluation_return", "predator-prey", 40.0)
    elif "method" in table and name.startswith("smax_"):
        for metric in smax.METRICS:
            yield f"_{metric.removeprefix('evaluation_')}", _curves(table, recorded, metric, "smax", None)
    elif "sweep" in recorded:
        yield from _sweep(table, recorded)
    else:
        raise UsageError(f"{name} is no table of predator_prey, smax, risk_reward or a sweep")


def _curves(table: "pd.DataFrame", recorded: dict[str, Any], metric: str, title: str, best: float | None) -> "Figure":
    from marlx.analysis.plots import learning_curves
    from marlx.host.abreast import STANDING
    from marlx.host.drawing import curve_of

    curves = []
    groups = [name for name in ("penalty", "method") if name in table]
    for place, own in table[table["name"] == metric].groupby(groups, sort=False):
        label = f"{place[1]}, p = {place[0]:g}" if len(place) > 1 else str(place[0])
        status = recorded.get("runs", recorded)[label]["status"]  # the oldest records have no table of runs
        note = "" if status == "finished" else f"{own['env_steps'].max():,} steps so far"
        curves.append(curve_of(own.assign(**{STANDING: note}), "value", label))
    return learning_curves(curves, metric, title, best=best)


def _sweep(table: "pd.DataFrame", recorded: dict[str, Any]) -> Iterator[tuple[str, "Figure"]]:
    from marlx.host.abreast import STANDING
    from marlx.host.drawing import sweep_figure
    from marlx.host.sweep import PLAN, read_sweep

    with tempfile.TemporaryDirectory() as place:
        plan = Path(place) / PLAN
        plan.write_text(tomli_w.dumps(recorded["sweep"]), encoding="utf-8")
        sweep = read_sweep(plan)
    metric = "evaluation_win_rate" if "evaluation_win_rate" in table else "evaluation_return"
    whole = table.assign(**{STANDING: ""})
    yield "", sweep_figure(sweep, whole, metric, record.RESULTS)
    if "evaluation_round_share_2" in table:
        yield "_rounds", sweep_figure(sweep, whole, "evaluation_round_share_2", record.RESULTS)


if __name__ == "__main__":
    sys.exit(guarded(main))
