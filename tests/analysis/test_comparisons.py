"""Comparisons of methods say what the numbers say."""

import io

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from marlx.analysis.comparisons import proportions, share_table, spreads
from marlx.analysis.style import percent


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


def test_spreads_say_what_their_signs_are_and_leave_out_what_is_not_finite() -> None:
    values = {
        "3x5": {"mrvf": np.array([0.0, np.nan, 1.0]), "qmix": np.array([2.0, 2.0, 2.0])},
        "5x5": {"qmix": [np.nan]},
    }
    figure = spreads(values, "return")
    draw(figure)
    first, second = figure.axes
    assert [np.ravel(line.get_xdata()).tolist() for line in first.lines[:3]] == [[0.25, 0.75], [0.5], [0.5]]
    assert not second.lines
    words = figure.get_supxlabel()
    assert words.startswith("return\n") and "a run, 0 to 3 of each (2 in all not finite, left out)" in words
    assert all(sign in words for sign in ("bar: middle half", "tick: median", "diamond: mean"))


def test_halves_of_a_percent_go_up() -> None:
    assert [percent(share) for share in (0.125, 0.875, 0.145, 0.0, 1.0)] == ["13", "88", "15", "0", "100"]
    assert percent(np.nan) == "nan"
    figure = share_table(pd.DataFrame({"game": [0.125]}, index=["vdn"]))
    assert [text.get_text() for text in figure.axes[0].texts] == ["13"]


def test_proportions_are_stacked_to_the_whole() -> None:
    rows = pd.MultiIndex.from_tuples([("3x5", "mrvf"), ("5x5", "mrvf")])
    figure = proportions(pd.DataFrame({"round_share_1": [0.7, 0.2], "round_share_2": [0.3, 0.8]}, index=rows), "rounds")
    draw(figure)
    (axes,) = figure.axes
    bars = [bar for container in axes.containers for bar in container]
    assert [(bar.get_x(), bar.get_width()) for bar in bars] == [(0, 70), (0, 20), (70, 30), (20, 80)]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["3x5 mrvf", "5x5 mrvf"]
