"""Interquartile means and intervals against hand-made numbers, scipy and a plain loop."""

import numpy as np
import pytest

from marlx.analysis.statistics import fewest, in_words, interval, iqm, kind, one_set, over_seeds


def test_iqm_of_eight_values_is_the_mean_of_the_middle_four() -> None:
    assert iqm([100, 1, 2, 3, 4, 5, 6, -100]) == pytest.approx((2 + 3 + 4 + 5) / 4)


@pytest.mark.parametrize("size", range(1, 14))
def test_iqm_equals_the_trimmed_mean_of_scipy(size: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    values = np.random.default_rng(size).normal(size=(size, 3))
    np.testing.assert_allclose(iqm(values), stats.trim_mean(values, 0.25, axis=0))


def test_non_finite_values_are_left_out_and_counted() -> None:
    found = interval([[1.0, np.nan], [2.0, np.inf], [3.0, np.nan], [np.nan, np.nan]])
    np.testing.assert_allclose(found.iqm, [2.0, np.nan])
    np.testing.assert_array_equal(found.used, [3, 0])
    np.testing.assert_array_equal(found.left_out, [1, 4])
    assert np.isnan(found.low[1]) and 1 <= found.low[0] <= 2 <= found.high[0] <= 3


def test_interval_is_repeatable_and_holds_its_mean() -> None:
    values = np.random.default_rng(0).normal(size=(32, 5))
    first, second = interval(values), interval(values)
    np.testing.assert_array_equal(first.low, second.low)
    assert (first.low <= first.iqm).all() and (first.iqm <= first.high).all()


def test_interval_equals_a_plain_loop_in_distribution() -> None:
    values = np.random.default_rng(1).exponential(size=30)
    generator = np.random.default_rng(2)
    means = [iqm(generator.choice(values, size=30)) for _ in range(4000)]
    found = interval(values, resamples=4000)
    np.testing.assert_allclose([found.low, found.high], np.percentile(means, [2.5, 97.5]), rtol=0.05)


def test_a_single_seed_has_an_interval_of_no_width() -> None:
    assert interval([3.0])[:3] == (3.0, 3.0, 3.0)


def test_strata_are_drawn_apart() -> None:
    values = np.array([0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0])
    labels = ["easy"] * 4 + ["hard"] * 4
    apart, together = interval(values, labels), interval(values)
    assert apart[:3] == (0.5, 0.5, 0.5)
    assert together.low < 0.5 < together.high


def test_ten_thousand_seeds_take_seconds() -> None:
    values = np.random.default_rng(0).normal(size=(10_000, 20))
    found = interval(values, resamples=500)
    assert (found.high - found.low < 0.1).all()


def test_of_few_seeds_the_mean_and_the_range_are_shown() -> None:
    """The interquartile mean of four would be 2.5, and a bootstrap interval nothing but the range."""
    few, many = [1.0, 2.0, 3.0, 10.0], [1.0, 2.0, 3.0, 10.0, 4.0]
    assert over_seeds(few) == (4.0, 1.0, 10.0, 4, 0)
    assert over_seeds(many) == interval(many) and over_seeds([*few, np.nan]) == (4.0, 1.0, 10.0, 4, 1)
    found = over_seeds([[1.0, np.nan], [3.0, np.nan], [np.nan, np.nan]])
    np.testing.assert_array_equal(found, [[2, np.nan], [1, np.nan], [3, np.nan], [2, 0], [1, 3]])
    labels = [0] * 5 + [1] * 4
    assert over_seeds([*many, *few], labels).iqm == pytest.approx(4.0) and fewest([*many, *few], labels) == 4
    assert over_seeds([*many, *many], [0] * 5 + [1] * 5) == interval([*many, *many], [0] * 5 + [1] * 5)


def test_words_say_what_is_shown() -> None:
    assert [kind(seeds) for seeds in (1, 4, 5)] == ["one seed", "mean [lowest, highest]", "IQM [95% interval]"]
    assert [in_words(over_seeds(x)) for x in ([2.0], [1.0, 4.0], [np.nan])] == ["2", "2.5 [1, 4]", "no finite value"]


def test_a_curve_is_of_the_same_seeds_throughout() -> None:
    nan = np.nan
    np.testing.assert_array_equal(one_set([[1, 2, 3], [4, 5, nan]]), [[1, 2, 3], [nan, nan, nan]])
    np.testing.assert_array_equal(one_set([[1, 2, nan], [4, nan, nan]]), [[1, nan, nan], [4, nan, nan]])
