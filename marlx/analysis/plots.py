"""Pictures for papers: learning curves over seeds, and what methods make of a payoff table.

Colours are those of Okabe and Ito, told apart by colour-blind readers; lines also differ in their dashes. Figures are
made without pyplot, so that nothing depends on a display or on global state.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import EngFormatter

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)))
_INK, _PALE = "#222222", "#777777"
_GAP = 0.065  # of the height of the axes, between labels at the ends of curves


class Curve(NamedTuple):
    """One line of `learning_curves`: arrays [K] over evaluations."""

    label: str
    steps: npt.NDArray[np.float64]  # environment steps of one seed
    mean: npt.NDArray[np.float64]  # interquartile mean over seeds
    low: npt.NDArray[np.float64]
    high: npt.NDArray[np.float64]
    seeds: int


def learning_curves(curves: Sequence[Curve], metric: str, title: str = "", best: float | None = None) -> Figure:
    """Interquartile means with 95% intervals against environment steps, each labelled at its end.

    Args:
        metric: name of what is on the vertical axis, such as "evaluation_return".
        best: value of a dashed line, such as the best return there is.
    """
    figure = Figure(figsize=(5.2, 3.2), layout="constrained")
    axes = figure.add_subplot()
    for index, curve in enumerate(curves):
        colour, dashes = PALETTE[index % len(PALETTE)], DASHES[index % len(DASHES)]
        marker = "o" if len(curve.steps) == 1 else ""
        axes.fill_between(curve.steps, curve.low, curve.high, color=colour, alpha=0.18, linewidth=0)
        axes.plot(
            curve.steps, curve.mean, color=colour, linestyle=dashes, marker=marker, linewidth=1.8, label=curve.label
        )
    if best is not None:
        axes.axhline(best, color=_PALE, linewidth=0.9, linestyle=(0, (2, 2)), zorder=0)
        axes.annotate(
            "best", (0, best), (4, -3), xycoords=("axes fraction", "data"), textcoords="offset points",
            va="top", fontsize=8, color=_PALE,
        )  # fmt: skip
    axes.set_xlim(left=0)
    axes.margins(y=0.06)
    axes.set_xlabel("environment steps of one seed", fontsize=9)
    axes.set_ylabel(_words(metric), fontsize=9)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    _plain(axes)
    counts = sorted({curve.seeds for curve in curves})
    seeds = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    heading = f"{title}: " if title else ""
    plural = "" if counts == [1] else "s"
    axes.set_title(f"{heading}IQM and 95% interval over {seeds} seed{plural}", loc="left", fontsize=9, color=_INK)
    _label_ends(figure, axes, curves)
    return figure


def _label_ends(figure: Figure, axes: Axes, curves: Sequence[Curve]) -> None:
    """A label right of each curve at its last value, moved apart where they would overlap."""
    low, high = axes.get_ylim()
    ends = [_last(curve.mean) for curve in curves]
    heights = [(end - low) / (high - low) if np.isfinite(end) else 0.0 for end in ends]
    placed = _apart(heights, min(_GAP, 1 / len(curves)))
    for index, (curve, height, end) in enumerate(zip(curves, placed, heights, strict=True)):
        colour = PALETTE[index % len(PALETTE)]
        axes.annotate(
            curve.label, (1, end), (1.05, height), xycoords="axes fraction", textcoords="axes fraction",
            va="center", fontsize=9, color=_darker(colour), annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.7, "shrinkA": 1, "shrinkB": 1},
        )  # fmt: skip
    axes.set_xlim(right=max(float(curve.steps[-1]) for curve in curves))


def _apart(heights: Sequence[float], gap: float) -> list[float]:
    """Heights from 0 to 1, moved as little as needed to lie at least `gap` apart, in their order."""
    order = np.argsort(heights, kind="stable")
    placed = np.asarray(heights, float)[order]
    for _ in range(100):
        short = gap - np.diff(placed)
        if (short <= 1e-9).all():
            break
        for i in np.flatnonzero(short > 1e-9):
            push = max(gap - (placed[i + 1] - placed[i]), 0) / 2
            placed[i] -= push
            placed[i + 1] += push
        placed = np.clip(placed, 0, 1)
    found = np.empty(len(placed))
    found[order] = placed
    return [float(x) for x in found]


def payoff_tables(
    tables: Mapping[str, npt.ArrayLike],
    payoff: npt.ArrayLike,
    shares: Mapping[str, float] | None = None,
    actions: Sequence[str] | None = None,
) -> Figure:
    """A payoff of two agents beside the joint values that methods learned for it.

    In every table the greedy cell is framed; the cell of the best payoff has a star. Colours share one scale.

    Args:
        tables: method -> joint values [A A], rows are actions of agent 1; such as the mean over seeds.
        payoff: the true payoff [A A].
        shares: method -> share of seeds, 0 to 1, whose greedy joint action is a best one.
        actions: names of the actions; A, B, C, ... if None.
    """
    truth = np.asarray(payoff, float)
    shown = {"payoff": truth, **{name: np.asarray(table, float) for name, table in tables.items()}}
    for name, table in shown.items():
        if table.shape != truth.shape or table.ndim != 2:
            raise ValueError(f"table {name!r} must have the shape of a payoff of two agents, not {table.shape}")
    names = actions or [chr(ord("A") + i) for i in range(max(truth.shape))]
    columns = min(len(shown), 5)
    rows = -(-len(shown) // columns)
    side = max(1.75, 0.5 * max(truth.shape))
    figure = Figure(figsize=(side * columns, (side + 0.55) * rows + 0.2), layout="constrained")
    limit = float(np.abs(truth).max()) or 1.0
    for index, (name, table) in enumerate(shown.items()):
        axes = figure.add_subplot(rows, columns, index + 1)
        _table(axes, table, truth, names, limit)
        share = (shares or {}).get(name)
        below = "true values" if index == 0 else "" if share is None else f"{share:.0%} of seeds at the best"
        axes.set_title(name, fontsize=10, fontweight="bold", color=_INK)
        axes.set_xlabel(f"agent 2\n{below}", fontsize=8, color=_INK)
        if index % columns == 0:
            axes.set_ylabel("agent 1", fontsize=8, color=_INK)
    figure.supxlabel("frame: greedy joint action    *: best payoff", fontsize=8, color=_PALE)
    return figure


def _table(
    axes: Axes, table: npt.NDArray[np.float64], truth: npt.NDArray[np.float64], names: Sequence[str], limit: float
) -> None:
    image = axes.imshow(
        np.clip(table, -limit, limit), cmap="PuOr_r", vmin=-1.25 * limit, vmax=1.25 * limit, aspect="equal"
    )
    greedy = np.unravel_index(np.nanargmax(table), table.shape)
    for (row, column), value in np.ndenumerate(table):
        best = truth[row, column] == truth.max()
        red, green, blue, _ = image.to_rgba(np.clip([value], -limit, limit))[0]
        dark = 0.3 * red + 0.6 * green + 0.1 * blue < 0.6
        weight = "bold" if (row, column) == greedy else "normal"
        words = f"{value:.1f}{'*' if best else ''}".replace("-0.0", "0.0")
        axes.text(
            column, row, words, ha="center", va="center", fontsize=9, fontweight=weight, color="white" if dark else _INK
        )
    frame = Rectangle((greedy[1] - 0.46, greedy[0] - 0.46), 0.92, 0.92, fill=False, edgecolor=_INK, linewidth=2.0)
    axes.add_patch(frame)
    axes.set_xticks(range(table.shape[1]), names[: table.shape[1]], fontsize=8)
    axes.set_yticks(range(table.shape[0]), names[: table.shape[0]], fontsize=8)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def share_table(shares: Any) -> Figure:
    """Shares, 0 to 1, of methods (rows of a data frame) on tasks (its columns), as a table of coloured percentages."""
    values = shares.to_numpy(float)
    rows, columns = values.shape
    figure = Figure(figsize=(max(1.3 + 0.55 * columns, 3.6), 1.2 + 0.27 * rows), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(values, cmap="Blues", vmin=0, vmax=1.2, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        colour = "white" if value > 0.7 else _INK
        axes.text(column, row, f"{100 * value:.0f}", ha="center", va="center", fontsize=8, color=colour)
    axes.set_xticks(range(columns), [str(name) for name in shares.columns], rotation=45, ha="right", fontsize=8)
    axes.set_yticks(range(rows), [str(name) for name in shares.index], fontsize=8)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_title("% of seeds at a best joint action", loc="left", fontsize=9, color=_INK)
    return figure


def spreads(values: Mapping[str, Mapping[str, npt.ArrayLike]], label: str) -> Figure:
    """All runs of methods on tasks: a panel for each task, a row for each method; a dot is a run.

    The bar is the middle half of the runs, its notch the median, the diamond the mean.

    Args:
        values: task -> method -> one value for each run [R].
        label: of the horizontal axis.
    """
    methods = list(dict.fromkeys(name for found in values.values() for name in found))
    size = (1.6 + 2.6 * len(values), 1.1 + 0.3 * len(methods))
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(1, len(values), sharex=True, sharey=True, squeeze=False)[0]
    for axes, (task, found) in zip(panels, values.items(), strict=True):
        for row, method in enumerate(methods):
            if method in found:
                _spread(axes, row, np.asarray(found[method], float), PALETTE[row % len(PALETTE)])
        axes.set_yticks(range(len(methods)), methods, fontsize=9)
        axes.set_ylim(len(methods) - 0.5, -0.5)
        _plain(axes)
        axes.grid(axis="x", color="#dddddd", linewidth=0.6)
        axes.set_title(task, loc="left", fontsize=9, color=_INK)
    figure.supxlabel(label, fontsize=9)
    return figure


def _spread(axes: Axes, row: int, values: npt.NDArray[np.float64], colour: str) -> None:
    low, median, high = np.percentile(values, (25, 50, 75))
    heights = row + 0.28 * np.sin(2.4 * np.arange(len(values)))  # apart, and the same in every drawing
    axes.scatter(values, heights, s=7, color=colour, alpha=0.45, linewidth=0)
    axes.plot((low, high), (row, row), color=colour, linewidth=3, solid_capstyle="butt")
    axes.plot(median, row, marker="|", markersize=11, markeredgewidth=2, color=_INK)
    axes.plot(values.mean(), row, marker="D", markersize=4, color="white", markeredgecolor=_INK)


def proportions(shares: Any, title: str) -> Figure:
    """Shares, 0 to 1, as stacked bars in percent: a bar for each row of a data frame, a part for each column."""
    names = [" ".join(row) if isinstance(row, tuple) else str(row) for row in shares.index]
    figure = Figure(figsize=(5.2, 1.0 + 0.3 * len(names)), layout="constrained")
    axes = figure.add_subplot()
    start = np.zeros(len(names))
    for column, colour in zip(shares.columns, PALETTE, strict=False):
        parts = 100 * shares[column].to_numpy(float)
        axes.barh(range(len(names)), parts, left=start, color=colour, label=_words(str(column)), height=0.7)
        for row, part in enumerate(parts):
            if part >= 6:  # room for the number
                middle = start[row] + part / 2
                axes.text(middle, row, f"{part:.0f}", ha="center", va="center", fontsize=8, color="white")
        start += parts
    axes.set_yticks(range(len(names)), names, fontsize=9)
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    axes.set_title(title, loc="left", fontsize=9, color=_INK)
    figure.legend(loc="outside lower center", ncols=len(shares.columns), fontsize=8, frameon=False)
    return figure


def _darker(colour: str) -> tuple[float, ...]:
    """A colour dark enough for text on white."""
    return tuple(0.75 * part for part in to_rgb(colour))


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8)


def _words(metric: str) -> str:
    words = metric.replace("_", " ")
    return words.replace("evaluation return", "greedy return of an episode").replace("evaluation", "greedy")


def _last(values: npt.NDArray[np.float64]) -> float:
    finite = values[np.isfinite(values)]
    return float(finite[-1]) if finite.size else float("nan")
