"""How joint actions fare over training: weights as heat maps (paper ReMIX, Figure 3), tables stage by stage (paper POW,
Figure 9).
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from marlx.analysis.plots import caption, draw_table
from marlx.analysis.style import INK, PALE
from marlx.joint_actions import letter

COLOURS = "cividis"  # as even to colour-blind readers, and lighter means more in print too
LEAST = 1e-4  # share of steps, of the darkest colour; smaller ones have it too
MOST_LABELS = 27

Floats = npt.NDArray[np.float64]


class Weights(NamedTuple):
    """Weights of one run at K evaluations."""

    title: str
    edges: Floats  # [K+1], environment steps that the evaluations are about
    shares: Floats  # [W K], of steps, by weight from 0 to 1
    joint: Floats | None = None  # [U K], mean weight of a joint action; NaN where it is not in the data
    names: Sequence[str] = ()  # [U]


class Stage(NamedTuple):
    """What a method believes at one evaluation."""

    title: str
    tables: Mapping[str, Floats]  # [A A] by name
    greedy: Sequence[int]  # joint action


def weight_maps(runs: Sequence[Weights]) -> Figure:
    """A column for each run: how many steps have which weight, and below it the mean weights of joint actions."""
    rows = 2 if any(run.joint is not None for run in runs) else 1
    tall = max([len(run.names) for run in runs if run.joint is not None], default=0)
    heights = [1.7, min(max(1.2, 0.19 * tall), 4.5)][:rows]
    figure = Figure(figsize=(3.1 * len(runs) + 1.2, sum(heights) + 0.6 * rows + 0.2), layout="constrained")
    grid = figure.subplots(rows, len(runs), squeeze=False, sharex="col", height_ratios=heights)
    shares, means = LogNorm(LEAST, 1), Normalize(0, 1)
    for column, run in enumerate(runs):
        top = grid[0, column]
        top.set_title(run.title, loc="left", fontsize=9, color=INK)
        top.xaxis.set_major_formatter(EngFormatter(sep=""))
        edges = np.linspace(0, 1, len(run.shares) + 1)
        _map(top, run.edges, edges, np.where(run.shares > 0, np.maximum(run.shares, LEAST), np.nan), shares)
        if rows > 1:
            below = grid[1, column]
            if run.joint is None:
                below.set_visible(False)
                top.tick_params(labelbottom=True)
                continue
            count = len(run.names)
            _map(below, run.edges, np.arange(count + 1) - 0.5, run.joint, means)
            below.invert_yaxis()
            below.set_yticks(range(count) if count <= MOST_LABELS else [], run.names if count <= MOST_LABELS else [])
    grid[0, 0].set_ylabel("weight", fontsize=9)
    _bar(figure, grid[0], shares, "share of steps\n(white: none)", "min")
    if rows > 1:
        grid[1, 0].set_ylabel("joint action, payoff", fontsize=9)
        _bar(figure, grid[1], means, "mean weight\n(white: no data)")
    figure.supxlabel("environment steps of one seed", fontsize=9)
    return figure


def table_stages(
    stages: Sequence[Stage], payoff: npt.ArrayLike, what: str = "", frame: str = "greedy joint action"
) -> Figure:
    """The payoff, and a column for each stage with a row for each table; the greedy joint action is framed.

    Args:
        payoff: the true payoff [A A].
        what: what the numbers are, such as "means over 8 seeds"; frame: what is framed.
    """
    truth = np.asarray(payoff, float)
    limit = float(np.abs(truth).max()) or 1.0
    actions = [letter(i) for i in range(len(truth))]
    kinds = list(stages[0].tables)
    side = max(1.75, 0.5 * len(truth))
    size = (side * (1 + len(stages)) + 0.3, (side + 0.02) * len(kinds) + 0.45)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(len(kinds), 1 + len(stages), squeeze=False)
    draw_table(grid[0, 0], truth, truth, actions, limit)
    grid[0, 0].set_title("payoff", fontsize=10, fontweight="bold", color=INK)
    for row, kind in enumerate(kinds):
        for column, stage in enumerate(stages, 1):
            axes = grid[row, column]
            draw_table(axes, stage.tables[kind], truth, actions, limit, stage.greedy)
            if row == 0:
                axes.set_title(stage.title, fontsize=10, fontweight="bold", color=INK)
        grid[row, 1].set_ylabel(kind, fontsize=11, color=INK, rotation=0, labelpad=14, va="center")
        if row > 0:
            grid[row, 0].set_visible(False)
    caption(figure, what, "rows: agent 1, columns: agent 2", f"frame: {frame}", "*: best payoff")
    return figure


def _map(axes: Axes, x: Floats, y: npt.ArrayLike, values: Floats, norm: Normalize) -> None:
    axes.pcolormesh(x, y, np.ma.masked_invalid(values), norm=norm, cmap=COLOURS, rasterized=True)
    axes.set_facecolor("white")
    axes.tick_params(labelsize=8, length=2)
    for spine in axes.spines.values():
        spine.set_color(PALE)


def _bar(figure: Figure, axes: Any, norm: Normalize, label: str, extend: Literal["neither", "min"] = "neither") -> None:
    bar = figure.colorbar(ScalarMappable(norm, COLOURS), ax=list(axes), fraction=0.05, pad=0.02, extend=extend)
    bar.set_label(label, fontsize=8)
    bar.ax.tick_params(labelsize=8)
