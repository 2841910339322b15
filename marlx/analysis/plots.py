"""Pictures for papers: learning curves over seeds, and what methods make of a payoff table.

Lines differ in their dashes beside their colours. Figures are made without pyplot, so that nothing depends on a display
or on global state.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import EngFormatter

from marlx.analysis.style import INK, PALE, PALETTE, percent, words
from marlx.joint_actions import letter

DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)))
OF_MOST = "greedy joint action of most seeds"  # what is framed in means over seeds
_GAP = 0.065  # of the height of the axes, between labels at the ends of curves


class Curve(NamedTuple):
    """One line of `learning_curves`: arrays [K] over evaluations."""

    label: str
    steps: npt.NDArray[np.float64]  # environment steps of one seed
    mean: npt.NDArray[np.float64]  # over seeds: interquartile, or of few the plain one
    low: npt.NDArray[np.float64]
    high: npt.NDArray[np.float64]
    seeds: int  # that are drawn
    note: str = ""  # what is to be known of them, such as "2 of 5 seeds" of a run that is not finished
    each: npt.NDArray[np.float64] | None = None  # [S K], drawn instead of the interval where seeds are few


def learning_curves(curves: Sequence[Curve], metric: str, title: str = "", best: float | None = None) -> Figure:
    """Interquartile means with 95% intervals against environment steps, each labelled at its end; of few seeds each.

    Args:
        metric: name of what is on the vertical axis, such as "evaluation_return".
        best: value of a dashed line, such as the best return there is.
    """
    longest = max((len(_end_label(curve)) for curve in curves), default=0)
    figure = Figure(figsize=(5.2 + 0.065 * max(longest - 20, 0), 3.2), layout="constrained")  # the axes stay as wide
    axes = figure.add_subplot()
    for index, curve in enumerate(curves):
        _draw_curve(axes, curve, index, 1.8)
    if best is not None:
        _draw_best(axes, best, "best")
    axes.set_xlim(left=0)
    axes.margins(y=0.06)
    _show_all_of_a_share(axes, metric)
    axes.set_xlabel("environment steps of one seed", fontsize=9)
    axes.set_ylabel(words(metric), fontsize=9)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    plain(axes)
    heading = ": ".join(filter(None, (title, whose(curves))))
    axes.set_title(heading, loc="left", fontsize=9, color=INK)
    _label_ends(figure, axes, curves)
    return figure


def whose(curves: Sequence[Curve]) -> str:
    """What lines and bands of learning curves are, and of how many seeds, in words."""
    found = []
    for few, what in ((False, "IQM and 95% interval over"), (True, "mean and each of")):
        counts = sorted({curve.seeds for curve in curves if (curve.each is not None) == few and curve.seeds})
        if counts:
            number = " to ".join(str(x) for x in dict.fromkeys((counts[0], counts[-1])))
            found.append("1 seed" if few and counts == [1] else f"{what} {number} seed{'' if counts == [1] else 's'}")
    return ",\nor ".join(found)


def curve_panels(
    panels: Mapping[str, Sequence[Curve]], metric: str, best: float | None = None, title: str = ""
) -> Figure:
    """Learning curves side by side, a panel for each condition; a label has one colour and dashes in all of them.

    Args:
        panels: title -> its curves.
        metric: name of what is on the vertical axis.
        best: value of a dashed line in every panel.
        title: of all panels, such as `whose` seeds they show.
    """
    columns = min(len(panels), 4)
    rows = -(-len(panels) // columns)
    labels = list(dict.fromkeys(curve.label for curves in panels.values() for curve in curves))
    room = max(1.3, 0.6 + 0.07 * max(map(len, labels), default=0))  # inches of the legend
    figure = Figure(figsize=(2.4 * columns + room, 2.1 * rows + 0.6), layout="constrained")
    lines: dict[str, Any] = {}
    every = list(figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat)
    for number, (axes, (name, curves)) in enumerate(zip(every, panels.items(), strict=False)):
        for curve in curves:
            lines[curve.label] = _draw_curve(axes, curve, labels.index(curve.label), 1.6)
            if curve.note:
                name += f"\n{curve.label}: {curve.note}"
        if best is not None:
            _draw_best(axes, best, "" if number else "best")
        _show_all_of_a_share(axes, metric)
        axes.set_title(name, loc="left", fontsize=8, color=INK)
        axes.set_xlim(left=0)
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        plain(axes)
    for above, axes in zip(every[len(panels) - columns :], every[len(panels) :], strict=False):
        axes.set_visible(False)
        above.tick_params(labelbottom=True)
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=9, color=INK)
    figure.supxlabel("environment steps of one seed", fontsize=9)
    figure.supylabel(words(metric), fontsize=9)
    figure.legend([lines[label] for label in labels], labels, loc="outside right center", fontsize=8, frameon=False)
    return figure


def _draw_best(axes: Axes, best: float, label: str) -> None:
    """A dashed line at the best value there is."""
    axes.axhline(best, color=PALE, linewidth=0.9, linestyle=(0, (2, 2)), zorder=0)
    axes.annotate(
        label, (0, best), (4, -3), xycoords=("axes fraction", "data"), textcoords="offset points",
        va="top", fontsize=8, color=PALE,
    )  # fmt: skip


def _show_all_of_a_share(axes: Axes, metric: str) -> None:
    """A win rate or another share goes from 0 to 1, however little of that is reached."""
    if metric.endswith("win_rate") or "_share" in metric:
        axes.set_ylim(-0.04, 1.04)


def _draw_curve(axes: Axes, curve: Curve, place: int, width: float) -> Line2D:
    """A line in its interval or with a thin one for each seed; a dot for each evaluation that stands alone."""
    colour, dashes = PALETTE[place % len(PALETTE)], DASHES[place % len(DASHES)]
    if curve.each is None:
        axes.fill_between(curve.steps, curve.low, curve.high, color=colour, alpha=0.18, linewidth=0)
    elif curve.seeds > 1:
        axes.plot(curve.steps, curve.each.T, color=colour, alpha=0.5, linewidth=0.6)
    (line,) = axes.plot(curve.steps, curve.mean, color=colour, linestyle=dashes, linewidth=width)
    known = np.isfinite(np.pad(curve.mean, 1, constant_values=np.nan))
    for k in np.flatnonzero(known[1:-1] & ~known[:-2] & ~known[2:]):
        step = curve.steps[k]
        if curve.each is None:
            axes.plot(
                (step, step), (curve.low[k], curve.high[k]), color=colour, alpha=0.5, linewidth=width, clip_on=False
            )
        elif curve.seeds > 1:
            axes.plot(np.full(curve.seeds, step), curve.each[:, k], ".", color=colour, alpha=0.5, clip_on=False)
        axes.plot(step, curve.mean[k], "o", color=colour, clip_on=False)
    return line


def _end_label(curve: Curve) -> str:
    return ", ".join(filter(None, (curve.label, curve.note)))


def _label_ends(figure: Figure, axes: Axes, curves: Sequence[Curve]) -> None:
    """A label right of the axes for each curve, at its last value and moved apart where they would overlap.

    A line leads to where the curve ends; where that is before others do, in dots, so that it is no part of the curve.
    """
    low, high = axes.get_ylim()
    ends = [_last(curve) for curve in curves]
    heights = [0.0 if end is None else (end[1] - low) / (high - low) for end in ends]
    placed = _apart(heights, min(_GAP, 1 / len(curves)))
    longest = max(float(curve.steps[-1]) for curve in curves)
    for index, (curve, height, end) in enumerate(zip(curves, placed, ends, strict=True)):
        colour, place = PALETTE[index % len(PALETTE)], (1.05, height)
        line: dict[str, Any] = {"arrowstyle": "-", "color": colour, "linewidth": 0.7, "shrinkA": 1, "shrinkB": 1}
        line["linestyle"] = (0, (1, 4)) if end is not None and end[0] < 0.99 * longest else "-"
        axes.annotate(
            _end_label(curve), place if end is None else end, place,
            xycoords="axes fraction" if end is None else "data", textcoords="axes fraction",
            va="center", fontsize=9, color=_darker(colour), annotation_clip=False,
            arrowprops=None if end is None else line,
        )  # fmt: skip
    axes.set_xlim(right=longest)


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
    greedy: Mapping[str, Sequence[int]] | None = None,
    what: str = "",
    frame: str = "",
) -> Figure:
    """A payoff of two agents beside the joint values that methods learned for it (paper POW, Figure 2).

    In every table the greedy cell is framed; the cell of the best payoff has a star. Colours share one scale.

    Args:
        tables: method -> joint values [A A], rows are actions of agent 1; such as the mean over seeds.
        payoff: the true payoff [A A].
        shares: method -> share of seeds, 0 to 1, whose greedy joint action is a best one.
        actions: names of the actions; A, B, C, ... if None.
        greedy: method -> the joint action that its agents choose; the largest cell of a table that has none here.
        what: what the numbers are, such as "mean Q_tot of 24 seeds".
        frame: what is framed, in words.
    """
    truth = np.asarray(payoff, float)
    shown = {"payoff": truth, **{name: np.asarray(table, float) for name, table in tables.items()}}
    for name, table in shown.items():
        if table.shape != truth.shape or table.ndim != 2:
            raise ValueError(f"table {name!r} must have the shape of a payoff of two agents, not {table.shape}")
    names = actions or [letter(i) for i in range(max(truth.shape))]
    columns = min(len(shown), 5)
    rows = -(-len(shown) // columns)
    side = max(1.75, 0.5 * max(truth.shape))
    figure = Figure(figsize=(side * columns, (side + 0.55) * rows + 0.2), layout="constrained")
    limit = float(np.abs(truth).max()) or 1.0
    for index, (name, table) in enumerate(shown.items()):
        axes = figure.add_subplot(rows, columns, index + 1)
        draw_table(axes, table, truth, names, limit, (greedy or {}).get(name))
        share = (shares or {}).get(name)
        below = "true values" if index == 0 else "" if share is None else f"{percent(share)}% of seeds at the best"
        axes.set_title(name, fontsize=10, fontweight="bold", color=INK)
        axes.set_xlabel(f"agent 2\n{below}", fontsize=8, color=INK)
        if index % columns == 0:
            axes.set_ylabel("agent 1", fontsize=8, color=INK)
    framed = frame or ("greedy joint action" if greedy else "largest value")
    caption(figure, what, f"frame: {framed}", "*: best payoff")
    return figure


def caption(figure: Figure, *words: str) -> None:
    """A line below a figure that says what its signs mean; several lines below a narrow one, which grows by them."""
    known = [word for word in words if word]
    wide = 0.06 * len("    ".join(known)) < figure.get_figwidth()  # inches, of a letter in this size
    text = ("    " if wide else "\n").join(known)
    figure.set_figheight(figure.get_figheight() + 0.14 * text.count("\n"))
    figure.supxlabel(text, fontsize=8, color=PALE)


def draw_table(
    axes: Axes,
    table: npt.NDArray[np.float64],
    truth: npt.NDArray[np.float64],
    names: Sequence[str],
    limit: float,
    greedy: Sequence[int] | None = None,
) -> None:
    """A table [A A] with its greedy cell framed (the largest if None), and a star where the payoff [A A] is best.

    Args:
        names: of the actions.
        limit: value of the darkest colours.
    """
    image = axes.imshow(
        np.clip(table, -limit, limit), cmap="PuOr_r", vmin=-1.25 * limit, vmax=1.25 * limit, aspect="equal"
    )
    chosen = tuple(greedy) if greedy is not None else np.unravel_index(np.nanargmax(table), table.shape)
    for (row, column), value in np.ndenumerate(table):
        best = truth[row, column] == truth.max()
        red, green, blue, _ = image.to_rgba(np.clip([value], -limit, limit))[0]
        dark = 0.3 * red + 0.6 * green + 0.1 * blue < 0.6
        weight = "bold" if (row, column) == chosen else "normal"
        shown = f"{value:.1f}{'*' if best else ''}".replace("-0.0", "0.0")
        axes.text(
            column, row, shown, ha="center", va="center", fontsize=9, fontweight=weight, color="white" if dark else INK
        )
    frame = Rectangle((chosen[1] - 0.46, chosen[0] - 0.46), 0.92, 0.92, fill=False, edgecolor=INK, linewidth=2.0)
    axes.add_patch(frame)
    axes.set_xticks(range(table.shape[1]), names[: table.shape[1]], fontsize=8)
    axes.set_yticks(range(table.shape[0]), names[: table.shape[0]], fontsize=8)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _darker(colour: str) -> tuple[float, ...]:
    """A colour dark enough for text on white."""
    return tuple(0.75 * part for part in to_rgb(colour))


def plain(axes: Axes) -> None:
    """Axes with no more lines than are needed to read values."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8)


def _last(curve: Curve) -> tuple[float, float] | None:
    """The step and value at which a curve ends; None where it has no value."""
    known = np.flatnonzero(np.isfinite(curve.mean))
    return (float(curve.steps[known[-1]]), float(curve.mean[known[-1]])) if known.size else None
