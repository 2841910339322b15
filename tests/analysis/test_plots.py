"""Pictures are drawn whole, with labels that do not overlap."""

import io

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from marlx.analysis.plots import Curve, _apart, curve_panels, learning_curves, payoff_tables, whose
from marlx.analysis.style import short

PAYOFF = [[8.0, -12.0, -12.0], [-12.0, 0.0, 0.0], [-12.0, 0.0, 7.9]]


def curve(label: str, height: float, count: int = 5) -> Curve:
    steps = np.arange(1, count + 1) * 1e4
    mean = np.full(count, float(height))
    return Curve(label, steps, mean, mean - 1, mean + 1, 8)


def draw(figure: Figure) -> None:
    file = io.BytesIO()
    figure.savefig(file, format="png")
    assert file.getvalue().startswith(b"\x89PNG")


def words(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in (*axes.texts, axes.title, axes.xaxis.label)]


@pytest.mark.parametrize("heights", [[1.0], [1.0, 1.0, 1.0], [0.0, 5.0, 5.1, 9.0], [np.nan, 2.0]])
def test_labels_of_curves_do_not_overlap(heights: list[float]) -> None:
    figure = learning_curves([curve(f"run {i}", h) for i, h in enumerate(heights)], "evaluation_return", "game", 10.0)
    draw(figure)
    axes = figure.axes[0]
    labels = [text for text in axes.texts if text.get_text().startswith("run")]
    boxes = [Text.get_window_extent(text) for text in labels]  # of the words, without the line to the curve
    inside = figure.bbox
    assert len(boxes) == len(heights)
    for i, box in enumerate(boxes):
        assert inside.x0 <= box.x0 and box.x1 <= inside.x1
        assert not any(box.overlaps(other) for other in boxes[i + 1 :])
    labels_of_axes = (axes.get_xlabel(), axes.get_ylabel())
    assert labels_of_axes == ("environment steps of one seed", "greedy return of an episode")
    assert "game: IQM and 95% interval over 8 seeds" in axes.get_title(loc="left")


def test_evaluations_that_stand_alone_are_seen() -> None:
    """The only one; or one after which every seed has died. A line has no length there, nor its interval a width."""
    for alone in (curve("a", 1.0, count=1), curve("a", 1.0)._replace(mean=np.array([np.nan, 1, np.nan, 2, 2]))):
        figure = learning_curves([alone], "loss")
        draw(figure)
        at = alone.steps[np.flatnonzero(np.isfinite(alone.mean))[0]]
        whole = [line for line in figure.axes[0].lines if not line.get_clip_on()]  # also at the edge
        assert [line.get_xydata().tolist() for line in whole] == [[[at, 0], [at, 2]], [[at, 1]]]  # type: ignore[union-attr]


def few(label: str, heights: list[float], count: int = 5) -> Curve:
    each = np.tile(np.array(heights)[:, None], count)
    return curve(label, float(np.mean(heights)), count)._replace(seeds=len(heights), each=each)


def test_of_few_seeds_each_is_drawn() -> None:
    """And no band, which would say more of them than they do."""
    figure = learning_curves([few("a", [1, 2, 6])], "loss", "game")
    draw(figure)
    (axes,) = figure.axes
    heights = [line.get_ydata()[-1] for line in axes.lines if len(line.get_ydata()) == 5]  # type: ignore[arg-type,index]
    assert heights == [1, 2, 6, 3] and not axes.collections
    assert axes.get_title(loc="left") == "game: mean and each of 3 seeds"
    draw(learning_curves([few("a", [1, 2, 6], count=1)], "loss"))


@pytest.mark.parametrize(
    "curves, words",
    [
        ([curve("a", 1)], "IQM and 95% interval over 8 seeds"),
        ([curve("a", 1), curve("b", 1)._replace(seeds=5)], "IQM and 95% interval over 5 to 8 seeds"),
        ([few("a", [1, 2]), curve("b", 1)], "IQM and 95% interval over 8 seeds,\nor mean and each of 2 seeds"),
        ([few("a", [1.0])], "1 seed"),
        ([few("a", [1.0]), few("a", [1, 2])], "mean and each of 1 to 2 seeds"),
        ([curve("a", np.nan)._replace(seeds=0)], ""),
    ],
)
def test_titles_say_what_is_drawn(curves: list[Curve], words: str) -> None:
    assert whose(curves) == words
    assert learning_curves(curves, "loss").axes[0].get_title(loc="left") == words


def test_a_curve_that_ends_early_has_its_label_there() -> None:
    figure = learning_curves([curve("long", 1.0), curve("short", 2.0, count=2), curve("none", np.nan)], "loss")
    draw(figure)
    ends = {text.get_text(): text for text in figure.axes[0].texts}
    assert (ends["long"].xy, ends["short"].xy) == ((5e4, 1.0), (2e4, 2.0))  # type: ignore[attr-defined]
    assert ends["none"].arrow_patch is None  # type: ignore[attr-defined]


def test_panels_that_are_not_needed_are_not_seen() -> None:
    panels = {f"gamma {i}": [curve("vdn", 1.0)] for i in range(5)}
    panels["gamma 1"] = [curve("vdn", 1.0), curve("qmix", 2.0)._replace(note="2 of 5 seeds")]
    figure = curve_panels(panels, "loss", title="IQM over 8 seeds")
    draw(figure)
    assert figure.get_suptitle() == "IQM over 8 seeds"
    assert [axes.get_visible() for axes in figure.axes] == [True] * 5 + [False] * 3
    assert figure.axes[1].get_title(loc="left") == "gamma 1\nqmix: 2 of 5 seeds"
    numbered = [bool(axes.xaxis.get_tick_params()["labelbottom"]) for axes in figure.axes[:5]]
    assert numbered == [False, True, True, True, True]  # the lowest of each column


def test_a_label_says_what_is_to_be_known_of_its_seeds() -> None:
    figure = learning_curves([curve("vdn", 1.0)._replace(note="2 of 5 seeds")], "loss")
    assert "vdn, 2 of 5 seeds" in words(figure)


def test_apart_moves_no_more_than_needed() -> None:
    np.testing.assert_allclose(_apart([0.5, 0.5], 0.1), [0.45, 0.55])
    np.testing.assert_allclose(_apart([0.9, 0.1], 0.1), [0.9, 0.1])
    placed = _apart([1.0, 1.0, 0.99], 0.1)
    assert max(placed) <= 1 and np.diff(sorted(placed)).min() >= 0.1 - 1e-6


def test_payoff_tables_mark_the_greedy_and_the_best_cell() -> None:
    table = np.array(PAYOFF) * 0.5
    table[0, 0] = -9.04
    figure = payoff_tables({"qmix": table, "vdn": np.zeros((3, 3))}, PAYOFF, {"qmix": 0.0, "vdn": 0.25})
    draw(figure)
    found = words(figure)
    assert "8.0*" in found and "-9.0*" in found
    assert "agent 2\n0% of seeds at the best" in found and "agent 2\n25% of seeds at the best" in found
    frame = figure.axes[1].patches[0]
    assert (round(frame.get_x()), round(frame.get_y())) == (2, 2)  # type: ignore[attr-defined]


def test_a_caption_has_room() -> None:
    """All its words stay inside a picture that is narrow, and are one line where it is wide."""
    for side, lines in ((1, 3), (4, 1)):
        tables = {f"method {i}": np.zeros((3, 3)) for i in range(side)}
        figure = payoff_tables(tables, PAYOFF, greedy=dict.fromkeys(tables, (0, 0)), what="means over 24 seeds")
        renderer = draw(figure)
        caption = figure._supxlabel  # type: ignore[attr-defined]
        box, around = caption.get_window_extent(renderer), figure.bbox
        assert around.x0 <= box.x0 and box.x1 <= around.x1
        assert figure.axes[0].title.get_window_extent(renderer).y1 <= around.y1  # it takes no room from the tables
        assert "greedy joint action" in caption.get_text()
        assert caption.get_text().count("\n") == lines - 1 and "means over 24 seeds" in caption.get_text()


@pytest.mark.parametrize("metric, whole", [("evaluation_win_rate", True), ("round_share_2", True), ("loss", False)])
def test_a_share_is_drawn_from_0_to_1(metric: str, whole: bool) -> None:
    flat = curve("vdn", 0.0)._replace(low=np.zeros(5), high=np.zeros(5))
    for figure in (learning_curves([flat], metric), curve_panels({"": [flat]}, metric)):
        low, high = figure.axes[0].get_ylim()
        assert (low <= 0 and high >= 1) == whole


def test_the_line_of_the_best_is_named_once() -> None:
    panels = {name: [curve("vdn", 1.0)] for name in ("a", "b")}
    figure = curve_panels(panels, "evaluation_return", 2.0)
    draw(figure)
    assert words(figure).count("best") == 1


def test_a_table_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="table 'a' must have the shape"):
        payoff_tables({"a": [[1, 2]]}, PAYOFF)


def test_values_are_written_as_files_have_them() -> None:
    assert [short(value) for value in (True, np.False_, 0.5, 50000.0, "3m")] == ["true", "false", "0.5", "50000", "3m"]
