"""Comparisons of methods say what the numbers say."""

import io

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from marlx.analysis.comparisons import proportions, share_table, spreads


def draw(figure: Figure) -> None:
    file = io.BytesIO()
    figure.savefig(file, format="png")
    assert file.getvalue().startswith(b"\x89PNG")


def test_shares_are_written_as_percentages() -> None:
    figure = share_table(pd.DataFrame({"game_a": [0.5, 1.0], "game_b": [0.0, 0.954]}, index=["vdn", "qmix"]))
    draw(figure)
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.texts] == ["50", "0", "100", "95"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["vdn", "qmix"]


def test_spreads_show_every_run_and_its_quartiles() -> None:
    values = {"3x5": {"mrvf": np.array([0.0, 0.5, 1.0, 1.0, 0.25]), "qmix": np.zeros(5)}, "5x5": {"qmix": [-1.0]}}
    figure = spreads(values, "normalised return")
    draw(figure)
    first, second = figure.axes
    assert len(first.collections) == 2 and len(second.collections) == 1  # a method without runs has no row of dots
    np.testing.assert_array_equal(np.asarray(first.collections[0].get_offsets())[:, 0], values["3x5"]["mrvf"])
    bar, median, mean = (np.ravel(line.get_xdata()).tolist() for line in first.lines[:3])
    assert (bar, median, mean) == ([0.25, 1.0], [0.5], [0.55])
    assert np.ravel(second.lines[0].get_ydata()).tolist() == [1, 1]  # a method keeps its row


def test_proportions_are_stacked_to_the_whole() -> None:
    rows = pd.MultiIndex.from_tuples([("3x5", "mrvf"), ("5x5", "mrvf")])
    figure = proportions(pd.DataFrame({"round_share_1": [0.7, 0.2], "round_share_2": [0.3, 0.8]}, index=rows), "rounds")
    draw(figure)
    (axes,) = figure.axes
    bars = [bar for container in axes.containers for bar in container]
    assert [(bar.get_x(), bar.get_width()) for bar in bars] == [(0, 70), (0, 20), (70, 30), (20, 80)]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["3x5 mrvf", "5x5 mrvf"]
