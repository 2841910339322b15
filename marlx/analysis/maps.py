"""Stability maps: which methods find the optimum of a payoff, over two of its parameters."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from marlx.analysis.theory.survey import Setting, Verdict, points, verdicts

_INK, _PALE = "#222222", "#777777"
COLOURS = {
    Verdict.ALWAYS: ("#0072B2", "only optima are stable, and are reached"),
    Verdict.WEAK: ("#8CC5EA", "only optima, but not for certain (weakly, or with circles)"),
    Verdict.SOME: ("#F3D9A4", "an optimum and others: it depends on the start"),
    Verdict.NEVER: ("#D55E00", "no optimum is stable"),
}
_TITLES = {"vdn": "VDN", "mrvf": "MRVF", "resq": "ResQ", "qplex": "QPLEX"}


class Family(NamedTuple):
    """Payoffs of two parameters: the best cell pays 8, one agent alone at A pays -x, the safe cell (C, C) pays y."""

    x: npt.NDArray[np.float64]  # [X]
    y: npt.NDArray[np.float64]  # [Y]

    def payoffs(self) -> npt.NDArray[np.float64]:
        """Games [Y*X 3 3]."""
        second, miss = (grid.reshape(-1) for grid in np.meshgrid(self.y, self.x, indexing="ij"))
        found = np.zeros((len(miss), 3, 3))
        found[:, 0, 1:] = found[:, 1:, 0] = -miss[:, None]
        found[:, 0, 0], found[:, 2, 2] = 8.0, second
        return found


PUNISHMENT = Family(np.linspace(0, 24, 61), np.linspace(0.1, 7.9, 40))


def family_verdicts(family: Family, setting: Setting) -> dict[str, npt.NDArray[np.int8]]:
    """A `Verdict` of every method on every game of a family, [Y X] by name."""
    games = family.payoffs()
    found = points(games, setting)
    return {name: verdicts(games, of).reshape(len(family.y), len(family.x)) for name, of in found.items()}


def _edges(centres: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Where cells of even width begin and end."""
    half = (centres[1] - centres[0]) / 2
    return float(centres[0] - half), float(centres[-1] + half)


def stability_map(family: Family, found: Mapping[str, npt.NDArray[np.int8]], data: str) -> Figure:
    """A panel for each method; colours say which joint actions are its stable points.

    Args:
        found: as of `family_verdicts`.
        data: what the data are, in words.
    """
    columns = min(4, len(found))
    rows = -(-len(found) // columns)
    figure = Figure(figsize=(1.9 * columns + 0.4, 1.75 * rows + 1.25), layout="constrained")
    colours = ListedColormap([COLOURS[verdict][0] for verdict in Verdict])
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    (left, right), (bottom, top) = map(_edges, family)
    for axes, (name, values) in zip(grid.flat, found.items(), strict=False):
        axes.imshow(
            values, cmap=colours, vmin=-0.5, vmax=len(Verdict) - 0.5, origin="lower", aspect="auto",
            extent=(left, right, bottom, top), interpolation="nearest",
        )  # fmt: skip
        axes.set_title(_TITLES.get(name, name.upper().replace("_", "-")), fontsize=9, color=_INK, loc="left")
        axes.tick_params(labelsize=8, length=2, color=_PALE)
        axes.spines[:].set_visible(False)
        axes.set_xticks([0, 6, 12, 18, 24])
        axes.set_yticks([2, 4, 6])
        axes.plot(12, 7.9, marker="o", color="black", markeredgecolor="white", markersize=5, clip_on=False)
    for axes in grid.flat[len(found) :]:
        axes.set_visible(False)
    for axes in grid[-1]:
        axes.set_xlabel("punishment at (A, other)", fontsize=8, color=_INK)
    for axes in grid[:, 0]:
        axes.set_ylabel("payoff at (C, C)", fontsize=8, color=_INK)
    figure.suptitle(
        f"Stable points of ideal learners where (A, A) pays 8; {data}. Dot: the payoff resq79",
        fontsize=9, color=_INK, x=0.01, ha="left",
    )  # fmt: skip
    patches = [Patch(color=colour, label=words) for colour, words in COLOURS.values()]
    figure.legend(handles=patches, loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    return figure
