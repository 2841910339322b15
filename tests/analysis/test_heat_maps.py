"""Heat maps of weights and tables stage by stage: what stands where."""

import io

import numpy as np
from matplotlib.figure import Figure

from marlx.analysis.heat_maps import Stage, Weights, table_stages, weight_maps

PAYOFF = [[8.0, -12.0], [-12.0, 7.9]]


def draw(figure: Figure) -> None:
    figure.savefig(io.BytesIO(), format="png")


def test_weights_over_training() -> None:
    edges = np.array([0.0, 100, 200, 400])
    shares = np.array([[0.5, 0, 1], [0.5, 1, 0]])  # weights below and from 0.5 on
    joint = np.array([[1.0, 0.5, np.nan], [0, 0, 0]])
    figure = weight_maps([Weights("ow", edges, shares, joint, ["AA  8", "AB  -12"]), Weights("cw", edges, shares)])
    draw(figure)
    (above, alone), (below, nothing) = np.array(figure.axes[:4]).reshape(2, 2)
    assert [axes.get_title(loc="left") for axes in (above, alone)] == ["ow", "cw"] and not nothing.get_visible()
    drawn = above.collections[0].get_array()
    np.testing.assert_array_equal(drawn.filled(-1), [[0.5, -1, 1], [0.5, 1, -1]])  # nothing where there is no step
    np.testing.assert_array_equal(below.collections[0].get_array().filled(-1), [[1, 0.5, -1], [0, 0, 0]])
    assert [label.get_text() for label in below.get_yticklabels()] == ["AA  8", "AB  -12"]
    bars = [axes for axes in figure.axes if axes.get_label() == "<colorbar>"]
    assert [axes.get_ylabel() for axes in bars] == [
        "share of steps\n(white: none)",
        "mean weight\n(white: no data)",
    ]
    assert [axes._colorbar.extend for axes in bars] == ["min", "neither"]  # type: ignore[attr-defined]
    assert below.yaxis_inverted() and below.get_xlim() == (0, 400)


def test_stages_of_tables() -> None:
    tables = {"first": np.array([[1.0, 2], [3, 4]]), "second": np.array([[9.0, 2], [3, 4]])}
    figure = table_stages([Stage("I", tables, (1, 0)), Stage("II", tables, (0, 0))], PAYOFF)
    draw(figure)
    grid = np.array(figure.axes).reshape(2, 3)
    assert [axes.get_title() for axes in grid[0]] == ["payoff", "I", "II"] and not grid[1, 0].get_visible()
    assert [axes.get_ylabel() for axes in grid[:, 1]] == ["first", "second"]
    corners = [[(round(x.get_y() + 0.46), round(x.get_x() + 0.46)) for x in axes.patches] for axes in grid[1, 1:]]
    assert corners == [[(1, 0)], [(0, 0)]]  # where the agents are, not where the table is largest
    assert {text.get_text() for text in grid[0, 1].texts} == {"1.0*", "2.0", "3.0", "4.0"}
