"""`marlx plot`: runs or a sweep from disk to a picture of learning curves."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from marlx_envs.options import UsageError, unknown

from marlx.analysis.plots import Curve, curve_panels, learning_curves, whose
from marlx.analysis.statistics import ENOUGH, one_set, over_seeds
from marlx.analysis.style import short
from marlx.host import directory
from marlx.host.abreast import STANDING, abreast
from marlx.host.files import write_whole
from marlx.host.metrics import by_seed
from marlx.host.results import Run
from marlx.host.shares import load_run
from marlx.host.sweep import PLAN, Sweep, read_sweep, results

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

FORMATS = (".png", ".pdf", ".svg")
MOST_PANELS = 24


def draw_runs(paths: Sequence[str], out: str | None, metric: str) -> Path:
    """Draws one curve for each run; returns where the picture lies.

    Args:
        out: None writes learning_curve.png, beside the metrics of a single run or here for several.

    Raises:
        UsageError: no run, no such metric, another kind of picture, or a disk that refuses.
    """
    if len(paths) == 1 and (directory.locate(paths[0]) / PLAN).is_file():
        return draw_sweep(directory.locate(paths[0]), out, metric)
    runs = [load_run(path) for path in paths]
    path = picture_path(out if out is not None else _default(runs))
    curves = [curve(run, metric, label) for run, label in zip(runs, labels(runs), strict=True)]
    figure = learning_curves(curves, metric, _title(runs), _best(runs) if metric == "evaluation_return" else None)
    save_figure(figure, path)
    return path


def draw_sweep(folder: Path, out: str | None, metric: str) -> Path:
    """Draws a panel for each point of a sweep and a curve for each algorithm in it; returns where the picture lies.

    Raises:
        UsageError: as `draw_runs`, or more points than can be read.
    """
    sweep = read_sweep(folder / PLAN)
    table = results(sweep, folder, lambda run: abreast(run, run.metrics(), len(sweep.seeds)))
    path = picture_path(out if out is not None else folder / "learning_curves.png")
    save_figure(sweep_figure(sweep, table, metric, folder), path)
    return path


def sweep_figure(sweep: Sweep, table: "pd.DataFrame", metric: str, folder: Path) -> "Figure":
    """The picture of a sweep's table, see `draw_sweep`; `folder` is where it lies.

    Args:
        table: as `marlx.host.sweep.results` has it, with a column `STANDING`.
    """
    columns = list(map(str, table.columns))
    metrics = [name for name in columns[columns.index("env_steps") + 1 :] if name != STANDING]
    if metric not in metrics:
        raise unknown(f"metric of {folder}", metric, metrics)
    names = [name for name in table.columns if "." in name or name == "environment"]
    names = [name for name in names if table[name].nunique(dropna=False) > 1]
    if "algorithm" in table and table["algorithm"].nunique() == 1 and names:
        label, names = names[-1], names[:-1]  # one method: its last axis makes the curves
    else:
        label = "algorithm"
    returns = next((name for name in ("evaluation_return", "training_return") if name in table), metric)
    panels: dict[str, list[Curve]] = {}
    for values, group in table.groupby([*names, label], dropna=False, sort=False):
        if group[metric].isna().all() and group[returns].notna().any():
            continue  # a method that has no such metric
        words = [f"{name.rpartition('.')[2]} {short(x)}" for name, x in zip((*names, label), values, strict=True)]
        own = words.pop() if "." in label else short(values[-1])
        panels.setdefault("\n".join(words[: len(names)]), []).append(curve_of(group, metric, own))
    if not panels:
        raise UsageError(f"{metric} has no finite value in {folder}")
    if len(panels) > MOST_PANELS:
        raise UsageError(f"{folder} has {len(panels)} points, too many to draw; at most {MOST_PANELS}")
    best = {cell.experiment.make_environment().spec.return_max for cell in sweep.cells}
    line = best.pop() if len(best) == 1 and metric == "evaluation_return" else None
    methods, places = ({cell.coordinates[name] for cell in sweep.cells} for name in ("algorithm", "environment"))
    title = " on ".join(of.pop() for of in (methods, places) if len(of) == 1)  # what no label says
    seeds = whose([x for of in panels.values() for x in of])
    return curve_panels(panels, metric, line, "\n".join(filter(None, (title, seeds))))


def picture_path(out: str | Path) -> Path:
    """Where a picture may go; see `directory.file_place`."""
    return directory.file_place(out, "a picture", FORMATS)


def save_figure(figure: "Figure", path: Path) -> None:
    """Writes a figure, whole or not at all. Raises `DiskError`."""
    kind = path.suffix.lower().removeprefix(".")
    write_whole(path, lambda file: figure.savefig(file, format=kind, dpi=200))


def curve(run: Run, metric: str, label: str) -> Curve:
    """The curve of one run over the seeds that last; of an unfinished one see `abreast`.

    Raises:
        UsageError: there is none.
    """
    tidy = run.tidy()
    mine = tidy[tidy["name"] == metric]
    if not len(tidy):
        raise UsageError(f"{run.path} has no evaluations yet")
    if not len(mine):
        raise unknown(f"metric of {run.path}", metric, map(str, tidy["name"].cat.categories))
    if run.lanes.grid:
        raise UsageError(f"{run.path} has a grid of points; draw the sweep that it is part of")
    return curve_of(abreast(run, mine), "value", label)


def curve_of(table: "pd.DataFrame", column: str, label: str) -> Curve:
    """The curve of a table with columns seed, env_steps, standing and the one that is drawn."""
    steps, values = by_seed(table, ["env_steps", column])  # packed rows: steps differ a little between seeds
    lasted, values = int(np.isfinite(values[:, -1]).sum()), one_set(values)
    drawn = np.isfinite(values).any(axis=1)
    missing = f"{len(steps) - lasted} of {len(steps)} seeds left out" if lasted else "no seed lasted"
    note = ", ".join([*filter(None, table[STANDING].unique()), *([missing] if lasted < len(steps) else [])])
    mean, low, high, *_ = over_seeds(values)
    each = values[drawn] if drawn.sum() < ENOUGH else None
    return Curve(label, np.nanmean(steps[drawn | ~drawn.any()], axis=0), mean, low, high, int(drawn.sum()), note, each)


def _default(runs: Sequence[Run]) -> Path:
    return runs[0].path / "learning_curve.png" if len(runs) == 1 else Path("learning_curve.png")


def labels(runs: Sequence[Run]) -> list[str]:
    """The shortest of algorithm, algorithm on environment, and path that tells all runs apart.

    Raises:
        UsageError: one is named twice.
    """
    if len({run.path.resolve() for run in runs}) < len(runs):
        raise UsageError(f"a run is named twice: {', '.join(str(run.path) for run in runs)}")
    algorithms = [run.experiment.algorithm_name for run in runs]
    places = [f"{run.experiment.algorithm_name} on {run.experiment.environment_name}" for run in runs]
    for names in (algorithms, places, [run.path.resolve().name for run in runs]):
        one_environment = names is not algorithms or len({run.experiment.environment_name for run in runs}) == 1
        if one_environment and len(set(names)) == len(runs):
            return names
    return [str(run.path) for run in runs]


def _title(runs: Sequence[Run]) -> str:
    return ", ".join(sorted({run.experiment.environment_name for run in runs}))


def _best(runs: Sequence[Run]) -> float | None:
    """The best return, if all runs share one that is known."""
    best = {run.experiment.make_environment().spec.return_max for run in runs}
    return best.pop() if len(best) == 1 else None
