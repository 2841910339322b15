"""`marlx report`: a run or a sweep as one page of HTML: what was run, learning curves, final scores."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from marlx_envs.options import UsageError

from marlx.analysis.page import whole_page
from marlx.analysis.statistics import ENOUGH, one_set, over_seeds
from marlx.analysis.style import PALETTE, short, words
from marlx.host import directory
from marlx.host.abreast import STANDING, abreast
from marlx.host.files import write_whole
from marlx.host.metrics import by_seed, wide
from marlx.host.progress import duration
from marlx.host.results import Run, plain
from marlx.host.shares import find_run, load_run
from marlx.host.sweep import PLAN, read_sweep

if TYPE_CHECKING:
    import pandas as pd

MOST_CURVES, MOST_STEPS = 400, 200
FIRST = ("evaluation_return", "evaluation_win_rate")  # of the metrics to choose from


class _Curve(NamedTuple):
    """One setting: its coordinates by name, and its evaluations, a row for each seed and evaluation that counts."""

    coordinates: dict[str, Any]
    table: "pd.DataFrame"
    best: float | None  # return, where it is known


def report(path: str, out: str | None) -> Path:
    """Writes the page of a run or a sweep; returns where it lies.

    Args:
        out: a .html file; None writes report.html into the directory.

    Raises:
        UsageError: no run or sweep, nothing evaluated yet, too many settings, another kind of file, or a disk that
            refuses.
    """
    folder = directory.locate(path)
    if os.path.isfile(folder / PLAN):
        sweep = read_sweep(folder / PLAN)
        places = {cell.name: folder / cell.name for cell in sweep.cells}
        found = {name: find_run(place) for name, place in places.items()}
        coordinates = {cell.name: dict(cell.coordinates) for cell in sweep.cells}
        seeds = len(sweep.seeds)
        title = str(sweep.plan.get("title", folder.resolve().name))
    else:
        run = load_run(folder)
        names = {"algorithm": run.experiment.algorithm_name, "environment": run.experiment.environment_name}
        title = f"{names['algorithm']} on {names['environment']}"
        found, coordinates, seeds = {folder.resolve().name: run}, {folder.resolve().name: names}, len(run.seeds)
    runs = {name: run for name, run in found.items() if run is not None}
    where = directory.file_place(out if out is not None else folder / "report.html", "a report", [".html"])
    curves = [curve for name, run in runs.items() for curve in _settings(run, coordinates[name], seeds)]
    if not curves:
        raise UsageError(f"{folder} has no evaluations yet")
    if len(curves) > MOST_CURVES:
        raise UsageError(f"{folder} has {len(curves)} settings, too many for a page; at most {MOST_CURVES}")
    text = whole_page("report", title, {**_results(curves), **_account(found, runs)}).encode()
    write_whole(where, lambda file: file.write(text))
    return where


def _settings(run: Run, coordinates: Mapping[str, Any], seeds: int) -> Iterable[_Curve]:
    """The settings of a run: one, or the points of its grid."""
    tidy, names = run.tidy(), list(run.lanes.grid)
    if not len(tidy):
        return
    table = abreast(run, wide(tidy), seeds)
    best = run.experiment.make_environment().spec.return_max
    for values, group in table.groupby(names, sort=False) if names else [((), table)]:
        yield _Curve({**coordinates, **dict(zip(names, values, strict=True))}, group, best)


def _results(curves: Sequence[_Curve]) -> dict[str, Any]:
    """Curves and scores as the script of the page reads them."""
    names = list(dict.fromkeys(name for curve in curves for name in curve.coordinates))
    told = [{name: short(curve.coordinates.get(name, "none")) for name in names} for curve in curves]
    names = [name for name in names if len({of[name] for of in told}) > 1] or names[:1]
    values = {name: list(dict.fromkeys(of[name] for of in told)) for name in names}
    every = dict.fromkeys(str(name) for curve in curves for name in curve.table.columns)
    metrics = [name for name in every if name.startswith("evaluation_") or name in ("training_return", "loss")]
    metrics.sort(key=lambda name: FIRST.index(name) if name in FIRST else len(FIRST))
    best = {curve.best for curve in curves}
    line = best.pop() if len(best) == 1 else None
    drawn = []
    for curve, of in zip(curves, told, strict=True):
        steps, arrays = _arrays(curve.table, metrics)
        kept = np.unique(np.linspace(0, len(steps) - 1, MOST_STEPS).round().astype(int))
        at = [values[name].index(of[name]) for name in names]
        found = [_statistics(arrays[name], kept) if name in arrays else (None,) * 3 for name in metrics]
        shown, each, scores = zip(*found, strict=True)
        drawn.append(
            {
                "at": at,
                "standing": ", ".join(curve.table[STANDING].unique()),
                "steps": steps[kept].round().astype(int).tolist(),
                "values": shown,
                "each": each,
                "score": scores,
            }
        )
    return {
        "coordinates": [{"name": name, "values": values[name]} for name in names],
        "lines": 0 if names[0] == "algorithm" else len(names) - 1,  # as `marlx plot` has them
        "metrics": [
            {"name": name, "words": words(name), "best": line if name == "evaluation_return" else None}
            for name in metrics
        ],
        "palette": PALETTE,
        "enough": ENOUGH,
        "curves": drawn,
    }


def _arrays(table: "pd.DataFrame", metrics: Iterable[str]) -> tuple[Any, dict[str, Any]]:
    """Mean environment steps [K] of the evaluations, and each metric [S K], NaN where a seed has none."""
    names = ["env_steps", *(name for name in metrics if name in table)]
    arrays = dict(zip(names, by_seed(table, names), strict=True))
    return np.nanmean(arrays["env_steps"], axis=0), arrays


def _statistics(values: Any, kept: Any) -> tuple[list[Any], list[Any] | None, list[Any]]:
    """Of [S K]: the curve [mean, low, high] at some evaluations, each seed there if few, and the score of the last."""
    last, lasting = over_seeds(values[:, -1]), one_set(values)[:, kept]
    curve = over_seeds(lasting)
    drawn = lasting[np.isfinite(lasting).any(axis=1)]
    each = [[_rounded(x) for x in of] for of in drawn] if len(drawn) < ENOUGH else None
    ends = [_rounded(last.iqm), _rounded(last.low), _rounded(last.high), int(last.used), int(last.left_out)]
    return [[_rounded(x) for x in of] for of in curve[:3]], each, ends


def _rounded(x: float) -> float | None:
    """Six digits; None for what is no number."""
    return float(f"{x:.6g}") if np.isfinite(x) else None


def _account(found: Mapping[str, Run | None], runs: Mapping[str, Run]) -> dict[str, Any]:
    """What was run, in words. Records may be anyone's, so nothing is asked of them but that they are data."""
    records = [run.record for run in runs.values()]
    flat = [_flat(run) for run in runs.values()]
    shared = [(name, short(x)) for name, x in flat[0].items() if all(of.get(name) == x for of in flat)]
    head = ["run", "state", "seeds", "environment steps", "time", "dead seeds"]
    rows = [_row(name, run) for name, run in found.items()]
    finished = sum(run.finished for run in runs.values())
    seeds = sorted({len(run.seeds) for run in runs.values()})
    facts = {
        "methods": _distinct(run.experiment.algorithm_name for run in runs.values()),
        "environments": _distinct(run.experiment.environment_name for run in runs.values()),
        "seeds": _distinct(record["seeds"] for record in records),
        "base seed": _distinct(record["base_seed"] for record in records),
        "date": _distinct(str(record.get("date", "unknown"))[:10] for record in records),
        "versions": _distinct(record.get("versions", "unknown") for record in records),
        "hardware": _distinct(record.get("hardware", "unknown") for record in records),
    }
    dead = [f"{name}: {_words(entry)}" for name, run in runs.items() for entry in run.record["dead"][:100]]
    each = " to ".join(str(count) for count in dict.fromkeys((seeds[0], seeds[-1])))
    summary = f"runs: {len(found)}, finished: {finished}, seeds of each: {each}"
    return {"summary": summary, "facts": list(facts.items()), "runs": [head, *rows], "dead": dead, "options": shared}


def _row(name: str, run: Run | None) -> list[Any]:
    if run is None:
        return [name, "missing", "", "", "", ""]
    steps, seconds = (_number(run.record.get(field)) for field in ("env_steps", "train_seconds"))
    return [
        name,
        "finished" if run.finished else "not finished",
        len(run.seeds),
        "" if steps is None else round(steps),
        "" if seconds is None else duration(seconds),
        len(run.record["dead"]) or "none",
    ]


def _flat(run: Run) -> dict[str, Any]:
    """Every option of a run but those that are an axis of it."""
    options = {f"{section}.{name}": x for section, of in plain(run.experiment).items() for name, x in of.items()}
    return {name: x for name, x in options.items() if name not in run.lanes.grid}


def _distinct(values: Iterable[Any]) -> str:
    """Different values in their order, in words."""
    return "; ".join(dict.fromkeys(map(_words, values)))


def _words(value: Any) -> str:
    return ", ".join(f"{name} {x}" for name, x in value.items()) if isinstance(value, Mapping) else str(value)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and abs(value) < 1e15 else None
