"""`marlx compare`: runs side by side with intervals, which differences are clear, and marl-eval's JSON."""

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from marlx_envs.options import UsageError, unknown
from rich.table import Table
from rich.text import Text

from marlx.analysis import scores as statistics
from marlx.analysis.scores import Estimate, Scores
from marlx.analysis.statistics import ENOUGH, in_words
from marlx.analysis.style import percent, words
from marlx.host import directory
from marlx.host.abreast import STANDING, abreast
from marlx.host.console import console
from marlx.host.drawing import labels, picture_path, save_figure
from marlx.host.files import write_whole
from marlx.host.metrics import by_seed
from marlx.host.results import Run, plain
from marlx.host.shares import load_run

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

SHARE = 0.9  # of the highest mean: what steps are counted to
BETTER = ("evaluation_return", "evaluation_win_rate", "training_return")  # metrics of which more is better


class _Side(NamedTuple):
    """One setting of one run."""

    run: Run
    method: str
    task: str
    standing: str  # of a run that is not finished, how far it is
    seeds: Any  # ids, [S]; of an unfinished run those that are equally far
    steps: Any  # environment steps of each evaluation, [S K]
    values: Any  # [S K], NaN where a seed has no such evaluation
    absolute: Any  # [S], of the best parameters; None where they were not asked for

    @property
    def scores(self) -> Any:
        """What a seed is judged by, [S]."""
        return self.values[:, -1] if self.absolute is None else self.absolute


def compare(
    paths: Sequence[str], metric: str, out: str | None = None, profile: str | None = None, absolute: bool = False
) -> None:
    """Prints how runs differ in their last evaluation; the first is what the others are held against.

    Of a run that is not finished the seeds that are equally far count (see `abreast`), and it is said how far that is.
    Runs of one task are compared as they are, each point of a grid by itself. Over several tasks each algorithm needs
    one run of each; a task's scores are then normalised by its lowest and highest. Tasks on which all are equal are
    left out, and where those are all tasks nothing is compared.

    Args:
        out: a file for marl-eval's JSON; None writes none.
        profile: a picture of performance profiles; None draws none.
        absolute: not the last evaluation but the absolute metric of Gorsane et al. (2022), see `Run.evaluate`.

    Raises:
        UsageError: no run, no such metric, runs that cannot be put side by side, or a disk that refuses.
    """
    picture = None if profile is None else picture_path(profile)
    table = None if out is None else directory.file_place(out, "--json", [".json"])
    sides = _sides([load_run(path) for path in paths], metric, absolute)
    scores: dict[str, dict[str, Any]] = {}
    for side in sides:
        scores.setdefault(side.method, {})[side.task] = side.scores
    tasks = sorted({side.task for side in sides})
    screen = console()

    def say(line: str) -> None:
        screen.print(line, markup=False, soft_wrap=True)

    if table is not None:
        _export(table, sides, metric)
        if not absolute:
            say(f"{table}: its absolute_metrics are the best evaluation of each seed; --absolute plays fresh episodes")
    which = "best parameters of each seed in fresh episodes" if absolute else "last evaluation"
    few = any(statistics.fewest(of) < ENOUGH for of in scores.values())
    means = "interquartile mean (IQM) over seeds [95% bootstrap interval]"
    means += f", of fewer than {ENOUGH} seeds the mean [lowest, highest]" if few else ""
    say(f"{metric.replace('_', ' ')}, {which}; {means}")
    for line in _lengths(sides):
        say(line)
    curves = None
    if len(tasks) > 1:
        for task in statistics.tied_tasks(scores):
            say(f"left out, as all scores are equal there: {task}")
            tasks.remove(task)
        if not tasks:
            say("all scores are equal on every task: there is nothing to compare or to draw")
            return
        number = f"{len(tasks)} task{'s' if len(tasks) > 1 else ''}"
        say(f"{number}, scores from 0 (lowest of any seed there) to 1 (highest): {', '.join(tasks)}")
        scores = {method: {task: of[task] for task in tasks} for method, of in scores.items()}
        scores = dict(statistics.normalised(scores))
    else:
        sound = {side.method: np.isfinite(side.scores)[:, None] for side in sides}  # the others are left out
        curves = {side.method: (side.steps, np.where(sound[side.method], side.values, np.nan)) for side in sides}
    with warnings.catch_warnings(action="ignore"):
        screen.print(_table(scores, curves if metric in BETTER else None))
        if picture is not None:
            label = "normalised score" if curves is None else words(metric)
            begun = {side.method for side in sides if side.standing}
            named = {f"{name}, not finished" if name in begun else name: of for name, of in scores.items()}
            save_figure(_profiles(named, f"{label}, {which}"), picture)
    if any(statistics.left_out(of) for of in scores.values()):
        say("left-out seeds have no finite value; they may have been the bad ones, so nothing is judged without them")
    say(
        f"clear: {ENOUGH} or more seeds of each run, and the interval of the difference leaves 0 out; "
        "several comparisons make chance findings likelier"
    )


def _profiles(scores: Mapping[str, Scores], label: str) -> "Figure":
    """Performance profiles, which step down at every score that there is; without intervals where seeds are few."""
    from marlx.analysis.comparisons import performance_profiles

    every = np.unique(np.concatenate([_finite(of) for of in scores.values()]))
    if not every.size:
        raise UsageError("no seed has a finite value; there is nothing to draw")
    room = 0.05 * (np.ptp(every) or abs(every[0]) or 1.0)
    thresholds = np.concatenate([every[:1] - room, every, every[-1:] + room])
    dead = {method: statistics.left_out(of) for method, of in scores.items()}
    found = {
        method + (f", {dead[method]} left out" if dead[method] else ""): statistics.performance_profile(of, thresholds)
        for method, of in scores.items()
    }
    counts = [statistics.fewest(of) for of in scores.values()]
    seeds = " to ".join(str(x) for x in dict.fromkeys((min(counts), max(counts))))
    if min(counts) < ENOUGH:
        found = {method: Estimate(of.value, of.value, of.value) for method, of in found.items()}
    title = f"{seeds} seeds each{', bands: 95% intervals' if min(counts) >= ENOUGH else ''}"
    return performance_profiles(found, thresholds, label, title)


def _table(scores: Mapping[str, Scores], curves: Mapping[str, tuple[Any, Any]] | None) -> Table:
    first = next(iter(scores))
    steps = _steps(scores, curves) if curves else None
    table = Table("", "seeds", "IQM", "lowest, highest seed", f"minus {first}", f"above {first}, ties half")
    if steps:
        table.add_column(f"steps to {SHARE:.0%} of the best")
        table.add_column("best evaluation")
    for method, of in scores.items():
        found, dead = statistics.shown(of), statistics.left_out(of)
        seeds = f"{int(found.used)}" + (f" ({dead} left out)" if dead else "")
        every = _finite(of)
        cells = [method, seeds, _shown(of), f"{every.min():.4g}, {every.max():.4g}" if every.size else ""]
        cells += ["", ""] if method == first else _against(of, scores[first])
        if steps and curves:
            cells += [steps[method], _shown({"": statistics.best_evaluation(curves[method][1])})]
        table.add_row(*map(Text, cells))
    for column in table.columns:
        column.overflow = "fold"  # no word is cut off
    return table


def _shown(of: Scores) -> str:
    """A mean and its two ends, in words; which mean where it is not that of the head."""
    few = statistics.fewest(of) < ENOUGH
    found = statistics.shown(of)
    return f"{'mean ' if few and found.used > 1 else ''}{in_words(found)}"


def _mean(of: Scores) -> float:
    """The mean of all scores: what few seeds are told by, and so what others are held against them by."""
    every = _finite(of)
    return float(every.mean()) if every.size else np.nan


def _finite(of: Scores) -> Any:
    """The finite scores of all tasks."""
    every = np.concatenate([np.asarray(x) for x in of.values()])
    return every[np.isfinite(every)]


def _against(of: Scores, first: Scores) -> list[str]:
    """By how much scores differ from the first, and how often a seed's is above that of one of the first, in words."""
    gap, above = statistics.difference(of, first), statistics.probability_of_improvement(of, first)
    if not np.isfinite(gap.value):
        return ["", ""]
    seeds = min(map(statistics.fewest, (of, first)))
    judged = verdict(gap, seeds, statistics.left_out(of) + statistics.left_out(first))
    minus, share = f"{gap.value:.4g} [{gap.low:.4g}, {gap.high:.4g}]", f"{percent(above.value)}%"
    if seeds < ENOUGH:  # an interval would be far too narrow
        minus = f"{_mean(of) - _mean(first):.4g}"
    else:
        share += f" [{percent(above.low)}%, {percent(above.high)}%]"
    if not np.isfinite(above.value):  # on some task one of the two has no score
        return [f"{minus} {judged}", ""]
    equal = statistics.ties(of, first)
    return [f"{minus} {judged}", share + (f", {percent(equal)}% ties" if equal > 0 else "")]


def _lengths(sides: Sequence[_Side]) -> Iterator[str]:
    """A line for each side that is not finished, and one for each task whose sides differ in their evaluations."""
    for side in sides:
        if side.standing:
            yield f"not finished: {side.method}, {side.standing}"
    tasks = list(dict.fromkeys(side.task for side in sides))
    for task in tasks:
        own = [side for side in sides if side.task == task]
        counts = [side.steps.shape[1] for side in own]
        last = [float(np.median(np.nanmax(side.steps, axis=1))) for side in own]
        if len(set(counts)) > 1 or max(last) > 1.01 * min(last):  # steps of packed rows differ a little
            told = [f"{side.method} {k} to {x:,.0f}" for side, k, x in zip(own, counts, last, strict=True)]
            where = f" on {task}" if len(tasks) > 1 else ""
            yield f"runs differ{where} in evaluations and last environment step: {', '.join(told)}"


def _steps(scores: Mapping[str, Scores], curves: Mapping[str, tuple[Any, Any]]) -> dict[str, str]:
    """Median environment steps until a seed's evaluation reaches most of the highest mean, in words."""
    few = any(statistics.fewest(of) < ENOUGH for of in scores.values())
    highest = float(np.fmax.reduce([_mean(of) if few else statistics.shown(of).iqm for of in scores.values()]))
    if not highest > 0:
        return {}
    found = {}
    for method, (steps, values) in curves.items():
        sound = np.isfinite(values[:, -1])
        reached = statistics.steps_to_reach(steps[sound], values[sound], SHARE * highest)
        share = np.isfinite(reached).mean() if reached.size else 0.0
        words = f"{np.median(reached):,.0f}" if share > 0.5 else "not reached by most"
        found[method] = words if share == 1 else f"{words} ({share:.0%} of seeds)"
    return found


def verdict(gap: Estimate, seeds: int, left_out: int) -> str:
    """Whether a difference is clear, in words.

    Args:
        seeds: the smallest number of the two sides on any task; left_out: how many more have no finite value.
    """
    if not np.isfinite(gap.low):
        return ""
    if left_out:
        return f"not judged: {left_out} seed{'s' if left_out > 1 else ''} left out"
    if seeds < ENOUGH:
        return "too few seeds"
    return "clear" if gap.low > 0 or gap.high < 0 else "not clear"


def _sides(runs: Sequence[Run], metric: str, absolute: bool) -> list[_Side]:
    """Every setting of every run. Raises `UsageError` if one has nothing, or tasks are not covered alike."""
    tasks = [_task(run, runs) for run in runs]
    one_task = len(set(tasks)) == 1
    names = labels(runs) if one_task else [run.experiment.algorithm_name for run in runs]
    sides = []
    for run, task, name in zip(runs, tasks, names, strict=True):
        played = _absolute(run, metric) if absolute else [None] * len(run.lanes.points)
        table = _values(run, metric)
        for point, best in zip(run.lanes.points, played, strict=True):
            more = " ".join(f"{field.partition('.')[2]}={value}" for field, value in point.items())
            mine = table[np.all([table[field] == value for field, value in point.items()], axis=0)] if point else table
            if not len(mine):
                continue  # of an unfinished run, not begun
            steps, values = by_seed(mine, ["env_steps", "value"])
            seeds = np.unique(mine["seed"])
            if best is not None:  # a seed that died has no score
                best = np.where(np.isfinite(values[:, -1]), best[np.searchsorted(sorted(run.seeds), seeds)], np.nan)
            standing = ", ".join(mine[STANDING].unique())
            sides.append(_Side(run, f"{name} {more}".strip(), task, standing, seeds, steps, values, best))
    for method in dict.fromkeys(side.method for side in sides):
        own = [side.task for side in sides if side.method == method]
        for task in dict.fromkeys(tasks):
            if own.count(task) != 1:
                raise UsageError(
                    f"over several tasks each method needs one run of each: {method} has {own.count(task)} of {task}"
                )
    return sides


def _values(run: Run, metric: str) -> "pd.DataFrame":
    """A row for each seed (and point) that counts and each evaluation: seed, env_steps, value, standing.

    Raises:
        UsageError: no evaluation, or no such metric.
    """
    tidy = run.tidy()
    if not len(tidy):
        raise UsageError(f"{run.path} has no evaluations yet")
    mine = tidy[tidy["name"] == metric]
    if not len(mine):
        raise unknown(f"metric of {run.path}", metric, map(str, tidy["name"].cat.categories))
    return abreast(run, mine)


def _absolute(run: Run, metric: str) -> Any:
    """Means of fresh episodes with the best parameters, [P S]; seeds by their ids, as `_values` has them."""
    found = run.evaluate(parameters="best")
    if metric not in found:
        raise unknown("metric of an evaluation", metric, found)
    return np.reshape(found[metric], (len(run.lanes.points), -1))[:, np.argsort(run.seeds)]


def _task(run: Run, runs: Sequence[Run]) -> str:
    """The environment of a run, and those of its options in which runs of that environment differ."""
    place = run.experiment.environment_name
    alike = [plain(x.experiment)["environment"] for x in runs if x.experiment.environment_name == place]
    own = plain(run.experiment)["environment"]
    differing = [name for name in own if any(other.get(name) != own[name] for other in alike)]
    return " ".join([place, *(f"{name}={own[name]}" for name in differing)])


def _export(path: Path, sides: Sequence[_Side], metric: str) -> None:
    """Writes environment -> task -> algorithm -> run -> step -> metric -> values, as marl-eval reads it.

    A run stores means over the episodes of an evaluation, so each list holds one number. Where the absolute metric was
    not asked for, the highest evaluation of the seed stands in (see `scores.best_evaluation`). Dead seeds are left out,
    and of an unfinished run those that are not as far as others.
    """
    found: dict[str, Any] = {}
    for side in sides:
        best = statistics.best_evaluation(side.values) if side.absolute is None else side.absolute
        place = found.setdefault(side.run.experiment.environment_name, {})
        place = place.setdefault(side.task, {}).setdefault(side.method, {})
        for seed, steps, values, absolute in zip(side.seeds, side.steps, side.values, best, strict=True):
            if np.isfinite(values).all():
                place[f"seed_{seed}"] = {
                    **{
                        f"step_{k}": {"step_count": int(step), metric: [float(value)]}
                        for k, (step, value) in enumerate(zip(steps, values, strict=True), 1)
                    },
                    "absolute_metrics": {metric: [float(absolute)]},
                }
    text = json.dumps(found, indent=1)
    write_whole(path, lambda file: file.write(text.encode()))
