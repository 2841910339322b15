"""Pictures of many methods on many tasks: shares as a table, all runs as dots, proportions as bars, profiles."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from marlx.analysis.plots import DASHES, plain
from marlx.analysis.scores import Estimate
from marlx.analysis.style import INK, PALETTE, percent, words


def share_table(shares: Any) -> Figure:
    """Shares, 0 to 1, of methods (rows of a data frame) on tasks (its columns), as a table of coloured percentages."""
    values = shares.to_numpy(float)
    rows, columns = values.shape
    figure = Figure(figsize=(max(1.3 + 0.55 * columns, 3.6), 1.2 + 0.27 * rows), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(values, cmap="Blues", vmin=0, vmax=1.2, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        colour = "white" if value > 0.7 else INK
        axes.text(column, row, percent(value), ha="center", va="center", fontsize=8, color=colour)
    axes.set_xticks(range(columns), [str(name) for name in shares.columns], rotation=45, ha="right", fontsize=8)
    axes.set_yticks(range(rows), [str(name) for name in shares.index], fontsize=8)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_title("% of seeds at a best joint action", loc="left", fontsize=9, color=INK)
    return figure


def spreads(values: Mapping[str, Mapping[str, npt.ArrayLike]], label: str) -> Figure:
    """All runs of methods on tasks: a panel for each task, a row for each method; a dot is a run.

    The bar is the middle half of the runs, its tick the median, the diamond the mean; of those whose value is finite.

    Args:
        values: task -> method -> one value for each run [R].
        label: of the horizontal axis.
    """
    methods = list(dict.fromkeys(name for found in values.values() for name in found))
    every = [np.asarray(x, float) for found in values.values() for x in found.values()]
    finite = [int(np.isfinite(x).sum()) for x in every]
    left = sum(map(len, every)) - sum(finite)
    runs = " to ".join(str(x) for x in dict.fromkeys((min(finite), max(finite))))
    told = f"dot: a run, {runs} of each" + (f" ({left} in all not finite, left out)" if left else "")
    size = (1.6 + 2.6 * len(values), 1.5 + 0.3 * len(methods))
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(1, len(values), sharex=True, sharey=True, squeeze=False)[0]
    for axes, (task, found) in zip(panels, values.items(), strict=True):
        for row, method in enumerate(methods):
            if method in found:
                _spread(axes, row, np.asarray(found[method], float), PALETTE[row % len(PALETTE)])
        axes.set_yticks(range(len(methods)), methods, fontsize=9)
        axes.set_ylim(len(methods) - 0.5, -0.5)
        plain(axes)
        axes.grid(axis="x", color="#dddddd", linewidth=0.6)
        axes.set_title(task, loc="left", fontsize=9, color=INK)
    figure.supxlabel(f"{label}\n{told}\nbar: middle half    tick: median    diamond: mean", fontsize=9)
    return figure


def _spread(axes: Axes, row: int, values: npt.NDArray[np.float64], colour: str) -> None:
    values = values[np.isfinite(values)]
    if not values.size:
        return
    low, median, high = np.percentile(values, (25, 50, 75))
    heights = row + 0.28 * np.sin(2.4 * np.arange(len(values)))  # apart, and the same in every drawing
    axes.scatter(values, heights, s=7, color=colour, alpha=0.45, linewidth=0)
    axes.plot((low, high), (row, row), color=colour, linewidth=3, solid_capstyle="butt")
    axes.plot(median, row, marker="|", markersize=11, markeredgewidth=2, color=INK)
    axes.plot(values.mean(), row, marker="D", markersize=4, color="white", markeredgecolor=INK)


def proportions(shares: Any, title: str) -> Figure:
    """Shares, 0 to 1, as stacked bars in percent: a bar for each row of a data frame, a part for each column."""
    names = [" ".join(row) if isinstance(row, tuple) else str(row) for row in shares.index]
    figure = Figure(figsize=(5.2, 1.0 + 0.3 * len(names)), layout="constrained")
    axes = figure.add_subplot()
    start = np.zeros(len(names))
    for column, colour in zip(shares.columns, PALETTE, strict=False):
        parts = 100 * shares[column].to_numpy(float)
        axes.barh(range(len(names)), parts, left=start, color=colour, label=words(str(column)), height=0.7)
        for row, part in enumerate(parts):
            if part >= 6:  # room for the number
                middle = start[row] + part / 2
                axes.text(middle, row, percent(part / 100), ha="center", va="center", fontsize=8, color="white")
        start += parts
    axes.set_yticks(range(len(names)), names, fontsize=9)
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    axes.set_title(title, loc="left", fontsize=9, color=INK)
    figure.legend(loc="outside lower center", ncols=len(shares.columns), fontsize=8, frameon=False)
    return figure


def performance_profiles(
    profiles: Mapping[str, Estimate], thresholds: npt.NDArray[np.float64], label: str, title: str = ""
) -> Figure:
    """The share of seeds above every threshold, with 95% intervals, a line for each method (Agarwal et al. 2021).

    A share stays what it is from each threshold to the next.

    Args:
        profiles: method -> as of `scores.performance_profile`, arrays [K].
        thresholds: [K].
        label: of the horizontal axis.
        title: what is to be known of the seeds and bands.
    """
    figure = Figure(figsize=(5.2, 3.2), layout="constrained")
    axes = figure.add_subplot()
    for index, (method, profile) in enumerate(profiles.items()):
        colour, dashes = PALETTE[index % len(PALETTE)], DASHES[index % len(DASHES)]
        low, high = 100 * profile.low, 100 * profile.high
        axes.fill_between(thresholds, low, high, step="post", color=colour, alpha=0.18, linewidth=0)
        axes.step(
            thresholds, 100 * profile.value, where="post", color=colour, linestyle=dashes, linewidth=1.8, label=method
        )
    axes.set_ylim(-3, 103)
    axes.set_xlim(thresholds[0], thresholds[-1])
    axes.set_xlabel(label, fontsize=9)
    axes.set_ylabel("% of seeds above", fontsize=9)
    axes.set_title(title, loc="left", fontsize=9, color=INK)
    plain(axes)
    figure.legend(loc="outside right upper", fontsize=8, frameon=False)
    return figure
