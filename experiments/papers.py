"""Results of the papers: `python -m experiments.papers pow_payoff remix_smac --variant small`.

Each is a file of `experiments/sweeps/`. `marlx sweep` trains it, and goes on where it was stopped, and `marlx plot`
draws it, its rounds and (of runs of one setting each) its weights too. The pictures, every evaluation of every seed as
parquet, and the last evaluations in a JSON with command, versions, hardware and date lie in `experiments/results/`,
under the name of the file and its variant.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from experiments import record
from experiments.words import check_names, folder
from marlx.host import cli

SWEEPS = Path(__file__).parent / "sweeps"


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = cli.one_line_parser("python -m experiments.papers", __doc__)
    parser.add_argument("names", nargs="+", metavar="NAME", help="of files in experiments/sweeps, without .toml")
    parser.add_argument("--variant", metavar="NAME", help="of each of the files")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where the runs lie")
    parser.add_argument("--out", type=folder, default=str(record.RESULTS))
    options = parser.parse_args(arguments)

    from marlx.host.sweep import read_sweep

    check_names("result", options.names, sorted(file.stem for file in SWEEPS.glob("*.toml")))
    for name in options.names:
        read_sweep(SWEEPS / f"{name}.toml", options.variant)
    for name in options.names:
        result(SWEEPS / f"{name}.toml", options.variant, options.runs, options.out)


def result(file: Path, variant: str | None, runs: Path, out: Path) -> None:
    """Trains, draws and records one result; ends the program with the sweep's exit code if that is not 0."""
    name = "-".join(word for word in (file.stem, variant) if word)
    words = [str(file), "--out", str(runs / name), *(("--variant", variant) if variant else ())]
    code = cli.main(["sweep", *words, "--quiet"])
    if code:
        sys.exit(code)

    import numpy as np
    import pandas as pd

    from marlx.host.drawing import draw_sweep
    from marlx.host.joint_drawing import draw_kind
    from marlx.host.shares import load_run
    from marlx.host.sweep import RESULTS, read_sweep

    sweep = read_sweep(file, variant)
    table = pd.read_parquet(runs / name / RESULTS)
    metric = "evaluation_win_rate" if "evaluation_win_rate" in table else "evaluation_return"
    coordinates = [column for column in table.columns[: table.columns.get_loc("seed")] if table[column].nunique() > 1]
    found = []
    for place, group in table.groupby(coordinates or ["algorithm"], sort=False, dropna=False):
        last = record.final(group, "seed")
        values = (value.item() if isinstance(value, np.generic) else value for value in place)
        where = dict(zip(coordinates, values, strict=False))
        found.append({**where, metric: last[metric].round(4).tolist()})
    trained = {cell.name: load_run(runs / name / cell.name) for cell in sweep.cells}
    records = {place: run.record for place, run in trained.items()}
    minutes = round(sum(run["train_seconds"] for run in records.values()) / 60, 1)
    out.mkdir(parents=True, exist_ok=True)
    record.write_table(out / f"{name}.parquet", table)
    record.write(out / f"{name}.json", sweep=sweep.plan, last=found, minutes=minutes, runs=records)

    draw_sweep(runs / name, str(out / f"{name}.png"), metric)
    if "evaluation_round_share_2" in table:
        draw_sweep(runs / name, str(out / f"{name}_rounds.png"), "evaluation_round_share_2")
    if all(run.experiment.training["record_weights"] and not run.lanes.grid for run in trained.values()):
        draw_kind([str(run.path) for run in trained.values()], str(out / f"{name}_weights.png"), "weights", None)
    print(f"{minutes} minutes of training; picture, metrics and record: {out / name}.png, .parquet, .json")


if __name__ == "__main__":
    sys.exit(cli.guarded(main))
