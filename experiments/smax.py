"""SMAX: `python -m experiments.smax --methods qmix pow_qmix --scenarios 3m 2s3z`.

One run for each method and scenario with the project's one set of numbers for SMAX, its seeds side by side; then a
table, and curves of win rate and return for each scenario. Runs that are there already go on where they stopped.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from experiments import record
from experiments.words import check_names, folder, positive
from marlx.host.cli import guarded, one_line_parser
from marlx.host.console import console

METRICS = ("evaluation_win_rate", "evaluation_return")


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = one_line_parser("python -m experiments.smax", __doc__)
    parser.add_argument("--methods", nargs="+", default=["qmix"])
    parser.add_argument("--scenarios", nargs="+", default=["3m", "2s3z"])
    parser.add_argument("--seeds", type=positive, default=3)
    parser.add_argument("--steps", type=positive, default=2_000_000)
    parser.add_argument("--runs", type=Path, default=Path("runs") / "smax", help="where the runs lie")
    parser.add_argument("--out", type=folder, default=str(record.RESULTS))
    parser.add_argument("overrides", nargs="*", metavar="section.name=value")
    options = parser.parse_args(arguments)

    import pandas as pd

    import marlx
    from marlx.analysis.plots import learning_curves
    from marlx.host import backend
    from marlx.host.drawing import curve

    check_names("method", options.methods, marlx.ALGORITHMS)
    backend.prepare(options.seeds)

    table = Table("scenario", "method", "greedy wins, each seed", "greedy return, each seed", "steps/s, all seeds")
    experiments = {
        scenario: {
            method: marlx.configure(
                method, "smax", f"environment.scenario={scenario}", f"training.total_steps={options.steps}",
                *options.overrides,
            )
            for method in options.methods
        }
        for scenario in options.scenarios
    }  # fmt: skip
    for scenario, of_methods in experiments.items():
        runs = {}
        for method, experiment in of_methods.items():
            out = options.runs / f"{method}_{scenario}"
            run = marlx.train(experiment, seeds=options.seeds, out=out, resume=(out / "run.toml").exists())
            last = record.final(run.metrics(), "seed")
            shown = [" ".join(f"{value:.2f}" for value in last[metric]) for metric in METRICS]
            table.add_row(scenario, method, *shown, f"{run.record['steps_per_second']:,.0f}")
            runs[method] = run
        name = f"smax_{scenario}_{'_'.join(options.methods)}"
        for metric in METRICS:
            curves = [curve(run, metric, method) for method, run in runs.items()]
            picture = learning_curves(curves, metric, f"smax, {scenario}", best=None)
            record.write_picture(options.out / f"{name}_{metric.removeprefix('evaluation_')}.png", picture)
        tidy = pd.concat([run.tidy().assign(method=method) for method, run in runs.items()], ignore_index=True)
        record.write_table(options.out / f"{name}.parquet", tidy)
        record.write(options.out / f"{name}.json", runs={method: run.record for method, run in runs.items()})
    console().print(table)


if __name__ == "__main__":
    sys.exit(guarded(main))
