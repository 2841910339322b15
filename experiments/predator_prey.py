"""Predator-prey with and without punishment: `python -m experiments.predator_prey --methods qmix vdn --penalties 0 -2`.

One run for each method and punishment, its seeds side by side, then one table and one picture for all of them.
"""

import math
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from marlx_envs.options import UsageError
from rich.table import Table

from experiments import record
from experiments.record import RESULTS
from experiments.words import check_names, folder, positive, stem
from marlx.host.cli import guarded, one_line_parser
from marlx.host.console import console


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = one_line_parser("python -m experiments.predator_prey", __doc__)
    parser.add_argument("--methods", nargs="+", default=["qmix", "vdn"])
    parser.add_argument("--penalties", nargs="+", type=float, default=[0.0, -2.0])
    parser.add_argument("--seeds", type=positive, default=4)
    parser.add_argument("--steps", type=positive, default=1_000_000)
    parser.add_argument("--runs", type=Path, default=Path("runs") / "predator_prey", help="where the runs lie")
    parser.add_argument("--out", type=folder, default=str(RESULTS))
    parser.add_argument("--name", type=stem, help="of the files; predator_prey_ and the methods'")
    parser.add_argument("--so-far", action="store_true", help="train nothing; write what unfinished runs have reached")
    parser.add_argument("overrides", nargs="*", metavar="section.name=value")
    options = parser.parse_args(arguments)

    import pandas as pd

    import marlx
    from marlx.analysis.plots import learning_curves
    from marlx.host.drawing import curve
    from marlx.host.lanes import Lanes
    from marlx.host.results import differences, in_words

    check_names("method", options.methods, marlx.ALGORITHMS)
    screen, curves, rows, frames = console(), [], [], []
    experiments = {
        (penalty, method): marlx.configure(
            method, "predator_prey", f"environment.miss_penalty={penalty}", f"training.total_steps={options.steps}",
            *options.overrides,
        )
        for penalty in dict.fromkeys(options.penalties) for method in options.methods
    }  # fmt: skip
    for (penalty, method), experiment in experiments.items():
        out = options.runs / f"{method}_{penalty:g}"
        if options.so_far:
            run = marlx.load_run(out)
            if other := differences(run, Lanes(experiment, list(range(options.seeds)), {}), 0):
                raise UsageError(f"{out} holds another run: {in_words(other)}")
        else:
            run = marlx.train(experiment, seeds=options.seeds, out=out, resume=(out / "run.toml").exists())
        curves.append(curve(run, "evaluation_return", f"{method}, p = {penalty:g}"))
        last = record.final(run.metrics(), "seed")["evaluation_return"].to_numpy()
        frames.append(run.tidy().assign(method=method, penalty=penalty))
        rows.append((method, penalty, last, run.record))
    name = options.name or f"predator_prey_{'_'.join(options.methods)}"
    record.write_picture(
        options.out / f"{name}.png", learning_curves(curves, "evaluation_return", "predator-prey", best=40.0)
    )
    record.write_table(options.out / f"{name}.parquet", pd.concat(frames, ignore_index=True))
    records = {f"{method}, p = {penalty:g}": found for method, penalty, _, found in rows}
    record.write(options.out / f"{name}.json", runs=records)
    table = Table("method", "punishment", "greedy return, mean", "each seed", "steps/s, all seeds", "minutes")
    for method, penalty, last, found in rows:
        table.add_row(
            method, f"{penalty:g}", _mean(last), " ".join(f"{value:.1f}" for value in last),
            f"{found.get('steps_per_second', math.nan):,.0f}", f"{found.get('train_seconds', math.nan) / 60:.1f}",
        )  # fmt: skip
    screen.print(table)
    screen.print(f"picture and metrics: {options.out / name}.png, .parquet")


def _mean(values: npt.NDArray[np.float64]) -> str:
    """The mean over seeds that live, and how many do not."""
    alive = values[np.isfinite(values)]
    left_out = f" ({len(values) - len(alive)} left out)" if len(alive) < len(values) else ""
    return f"{alive.mean():.1f}{left_out}" if len(alive) else f"none{left_out}"


if __name__ == "__main__":
    sys.exit(guarded(main))
