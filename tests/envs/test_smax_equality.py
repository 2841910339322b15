"""The native engine of SMAX against jaxmarl's, step by step with jaxmarl's random numbers."""

import numpy as np
import pytest
from marlx_envs.smax import Smax
from marlx_envs.smax_special import special
from marlx_envs.smax_units import SCENARIOS, kinds

from tests.envs.smax_games import episodes, side_by_side

TOLERANCE = 1e-4
COMMON = [name for name, battle in SCENARIOS.items() if special(kinds(battle.allies + battle.enemies)) is None]


def check(out, scenario):
    largest = max(out[name].max() for name in ("seen", "hidden", "reward"))
    steps, edges = len(out["seen"]), out["undecided"].sum()  # with -s, for the record
    print(f"{scenario}: {steps} steps, largest difference {largest:.1e}, {edges} attacks on the edge of reach")
    assert out["seen"].max() < TOLERANCE
    assert out["hidden"].max() < TOLERANCE
    assert out["reward"].max() < TOLERANCE
    np.testing.assert_array_equal(out["done"], out["ended"])  # episodes are as long as jaxmarl's with T - 1
    assert out["ended"].any()


@pytest.mark.parametrize(
    "scenario, resync",
    [
        pytest.param("3m", False, marks=pytest.mark.slow),
        ("2s3z", True),
        pytest.param("smacv2_5_units", True, marks=pytest.mark.slow),
    ],
)
def test_a_hundred_steps_equal_jaxmarl(scenario, resync):
    pytest.importorskip("jaxmarl", reason="compares with jaxmarl: pip install '.[smax]'")
    check(side_by_side(scenario, steps=100, games=2, resync=resync), scenario)


@pytest.mark.slow
@pytest.mark.parametrize("scenario", COMMON)
def test_a_thousand_steps_equal_jaxmarl(scenario):
    pytest.importorskip("jaxmarl", reason="compares with jaxmarl: pip install '.[smax]'")
    check(side_by_side(scenario, steps=1_000, games=4, resync=True), scenario)


@pytest.mark.slow
@pytest.mark.parametrize("scenario", ["3m", "smacv2_5_units"])
def test_with_their_own_random_numbers_both_engines_play_alike(scenario):
    """Means over episodes of scripted play, from each engine's own starts, differ by less than 4 standard errors."""
    pytest.importorskip("jaxmarl", reason="compares with jaxmarl: pip install '.[smax]'")
    found = [episodes(Smax(scenario=scenario, engine=engine), 1_000) for engine in ("native", "jaxmarl")]
    for name in found[0]:
        ours, theirs = (np.asarray(each[name], np.float64) for each in found)
        error = np.sqrt((ours.var() + theirs.var()) / len(ours))
        assert abs(ours.mean() - theirs.mean()) < 4 * error, (name, ours.mean(), theirs.mean(), error)
