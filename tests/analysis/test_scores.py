"""Statistics over tasks and seeds against numbers of rliable, hand-made cases and plain loops.

rliable's dependency `arch` does not import beside pandas 3, so its numbers stand here: rliable 1.2.0 with arch 7.2.0,
numpy 2.4.6, 20,000 resamples, 95% percentile intervals, of the scores X and Y below (rows are seeds, columns tasks).
"""

import numpy as np
import pytest

from marlx.analysis.scores import (
    aggregate,
    best_evaluation,
    difference,
    fewest,
    left_out,
    normalised,
    performance_profile,
    probability_of_improvement,
    shown,
    steps_to_reach,
    tied_tasks,
    ties,
)

X = np.array([
    [0.6, 0.675, 0.531], [0.377, 0.486, 0.352], [0.615, 0.935, 0.477], [0.445, 0.722, 0.689], [0.626, 0.367, 0.593],
    [0.774, 0.264, 0.486], [0.125, 0.278, 0.14], [0.541, 0.283, 0.668], [0.639, 0.553, -0.029], [0.465, 0.588, 0.628],
])  # fmt: skip
Y = np.array([
    [-0.009, 0.307, 0.156], [0.207, 0.768, 0.208], [0.44, 0.715, 0.275], [0.416, 0.483, 0.469], [0.082, 0.473, 0.858],
    [-0.014, 0.708, 0.486], [0.258, 1.05, 0.679], [0.09, 0.472, 0.623],
])  # fmt: skip
RESAMPLES = 20_000


def tasks(columns: np.ndarray) -> dict[str, np.ndarray]:
    return {f"task {k}": column for k, column in enumerate(columns.T)}


@pytest.mark.parametrize(
    "scores, iqm, low, high", [(X, 0.523625, 0.4390625, 0.59043906), (Y, 0.40916667, 0.31683333, 0.51858542)]
)
def test_interquartile_mean_as_rliable(scores: np.ndarray, iqm: float, low: float, high: float) -> None:
    found = aggregate(tasks(scores), resamples=RESAMPLES)
    assert found.iqm == pytest.approx(iqm, abs=1e-8)
    assert (found.low, found.high) == pytest.approx((low, high), abs=4e-3)
    assert found.used == scores.size


def test_probability_of_improvement_as_rliable() -> None:
    found = probability_of_improvement(tasks(X), tasks(Y), resamples=RESAMPLES)
    assert found.value == pytest.approx(0.60208333, abs=1e-8)
    assert (found.low, found.high) == pytest.approx((0.47083333, 0.74166667), abs=0.01)


@pytest.mark.parametrize(
    "scores, share, low, high",
    [
        (X, [0.96666667, 0.9, 0.53333333, 0.06666667, 0], [0.9, 0.8, 0.36666667, 0, 0], [1, 1, 0.7, 0.16666667, 0]),
        (Y, [0.91666667, 0.70833333, 0.29166667, 0.125, 0.04166667], [0.79166667, 0.54166667, 0.125, 0, 0],
         [1, 0.83333333, 0.45833333, 0.25, 0.125]),
    ],
)  # fmt: skip
def test_performance_profile_as_rliable(
    scores: np.ndarray, share: list[float], low: list[float], high: list[float]
) -> None:
    found = performance_profile(tasks(scores), [0, 0.25, 0.5, 0.75, 1], resamples=RESAMPLES)
    np.testing.assert_allclose(found.value, share, atol=1e-8)
    np.testing.assert_allclose(found.low, low, atol=0.045)  # the ends move by whole seeds: 1/30 and 1/24
    np.testing.assert_allclose(found.high, high, atol=0.045)


def test_difference_is_that_of_the_means_and_as_wide_as_both() -> None:
    found = difference(tasks(X), tasks(Y), resamples=RESAMPLES)
    assert found.value == pytest.approx(0.523625 - 0.40916667, abs=1e-8)
    first, second = aggregate(tasks(X)), aggregate(tasks(Y))
    independent = np.hypot(first.high - first.low, second.high - second.low)
    assert found.high - found.low == pytest.approx(independent, rel=0.1)
    same = difference(tasks(X), tasks(X), resamples=RESAMPLES)
    assert same.value == 0 and same.low == pytest.approx(-same.high, abs=0.01)


def test_ties_count_one_half() -> None:
    found = probability_of_improvement({"": [1, 2, 2]}, {"": [2, 0]})
    assert found.value == pytest.approx((0.5 * 2 + 3) / 6)
    assert probability_of_improvement({"": [3]}, {"": [2, 1]})[:] == (1, 1, 1)


def test_rounding_is_no_difference() -> None:
    """7.9 as two machines have it."""
    one, other = {"": [7.9] * 8}, {"": [7.9000002] * 8}
    assert difference(one, other) == (0, 0, 0) and ties(one, other) == 1
    assert probability_of_improvement(other, one) == (0.5, 0.5, 0.5)
    assert difference(one, {"": [7.8999] * 8}).low > 0 and ties(one, {"": [7.8999] * 8}) == 0
    assert ties({"": [1, 2, 2]}, {"": [2, 0]}) == pytest.approx(2 / 6)


def test_tasks_on_which_all_are_equal() -> None:
    scores = {"x": {"a": [7.9, 7.9], "b": [1.0]}, "y": {"a": [7.9000002], "b": [2.0]}}
    assert tied_tasks(scores) == ["a"]
    assert tied_tasks({"x": {"a": [np.nan], "b": [0.0, 0.0]}}) == ["b"]


def test_seeds_are_few_on_each_task() -> None:
    few = {"a": [1.0, 2, 3, 10], "b": [1.0, 2, 3, 10, 4, np.nan]}
    assert fewest(few) == 4 and shown(few).iqm == pytest.approx(4) and shown(few).high == 10
    assert shown(tasks(X)) == aggregate(tasks(X))


def test_dead_seeds_are_left_out_and_counted() -> None:
    dead = {"a": [1.0, np.nan, 3.0], "b": [np.inf, 2.0]}
    clean = {"a": [1.0, 3.0], "b": [2.0]}
    assert left_out(dead) == 2 and aggregate(dead).left_out == 2
    assert aggregate(dead).iqm == aggregate(clean).iqm
    assert probability_of_improvement(dead, clean) == probability_of_improvement(clean, clean)
    assert performance_profile(dead, [1.5]).value == performance_profile(clean, [1.5]).value == [0.75]
    assert difference(dead, clean).value == 0
    nothing = {"a": [np.nan], "b": [np.nan]}
    for found in (difference(nothing, clean), probability_of_improvement(clean, nothing)):
        assert np.isnan(found).all()


def test_other_tasks_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="same tasks"):
        probability_of_improvement({"a": [1]}, {"b": [1]})


def test_steps_to_reach_and_best_evaluation() -> None:
    returns = np.array([[0.0, 5, 3], [1, 2, 3], [np.nan, 6, np.nan], [np.nan] * 3])
    np.testing.assert_array_equal(steps_to_reach([10, 20, 30], returns, 3), [20, 30, 20, np.inf])
    np.testing.assert_array_equal(steps_to_reach(np.tile([1, 2, 3], (4, 1)), returns, 5), [2, np.inf, 2, np.inf])
    np.testing.assert_array_equal(best_evaluation(returns), [5, 3, 6, np.nan])


def test_normalised_by_the_extremes_of_each_task() -> None:
    found = normalised({"one": {"a": [0, 10], "b": [1.0]}, "other": {"a": [5, np.nan], "b": [1.0]}})
    np.testing.assert_array_equal(found["one"]["a"], [0, 1])
    np.testing.assert_array_equal(found["other"]["a"], [0.5, np.nan])
    assert found["one"]["b"] == found["other"]["b"] == [0]
