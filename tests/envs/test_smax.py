"""SMAX as an environment: sizes, ends, rewards, packing, where battles begin, and mistakes of users."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from marlx_envs import UsageError, make
from marlx_envs.smax import Smax
from marlx_envs.smax_battle import Battle
from marlx_envs.smax_rules import MAP, SHOOT, STOP, Units
from marlx_envs.smax_units import JAXMARL_KINDS, LETTERS, OTHERWISE, SCENARIOS, UNITS, kinds

KEY = jax.random.key(5)

# Allies, enemies, observation, state of jaxmarl, actions (specification, 4.2).
SIZES = {
    "3m": (3, 3, 75, 72, 8),
    "2s3z": (5, 5, 127, 120, 10),
    "8m": (8, 8, 205, 192, 13),
    "25m": (25, 25, 647, 600, 30),
    "3s5z": (8, 8, 205, 192, 13),
    "5m_vs_6m": (5, 6, 140, 132, 11),
    "10m_vs_11m": (10, 11, 270, 252, 16),
    "27m_vs_30m": (27, 30, 738, 684, 35),
    "3s5z_vs_3s6z": (8, 9, 218, 204, 14),
    "3s_vs_5z": (3, 5, 101, 96, 10),
    "6h_vs_8z": (6, 8, 179, 168, 13),
    "smacv2_5_units": (5, 5, 127, 120, 10),
    "smacv2_10_units": (10, 10, 257, 240, 15),
    "smacv2_20_units": (20, 20, 517, 480, 25),
}


@pytest.mark.parametrize("scenario", SIZES)
def test_sizes(scenario):
    spec = Smax(scenario=scenario, state="jaxmarl").spec
    allies, enemies, observation, state, actions = SIZES[scenario]
    assert (spec.n_agents, spec.n_actions) == (allies, actions)
    assert (spec.observation_size, spec.state_size) == (observation, state)
    assert Smax(scenario=scenario).spec.state_size == 10 * (allies + enemies) + allies * actions


def idle(environment):
    """A battle in which nobody meets, and a step of it in which nobody moves."""
    count, allies = environment.core.n_units, environment.spec.n_agents
    battle = environment.reset(KEY)
    x = np.where(np.arange(count) < allies, 1, 31)
    return battle._replace(units=battle.units._replace(position=jnp.array([x, np.arange(count) * 4 + 4.0])))


@pytest.mark.parametrize("terminal", [True, False])
def test_an_idle_episode_lasts_as_many_steps_as_the_limit(terminal):
    environment = Smax(episode_limit=7, limit_is_terminal=terminal, enemies="1m", allies="1m")
    battle, ends = idle(environment), []
    step = jax.jit(environment.step)
    for number in range(7):
        battle, _, terminated, truncated, info = step(jax.random.key(number), battle, jnp.array([STOP]))
        ends.append((bool(terminated), bool(truncated)))
    assert ends == [(False, False)] * 6 + [(terminal, not terminal)]
    assert not info["won"]
    assert int(battle.time) == 7


def test_limits_of_starcraft():
    limits = {name: Smax(scenario=name, episode_limit=0).spec.episode_limit for name in SCENARIOS}
    assert limits["3m"] == 60
    assert limits["3s_vs_5z"] == 250
    assert limits["6z_vs_24zg_open"] == 400
    assert Smax().spec.episode_limit == 100


def outcome(environment, before, after):
    """Reward and `won`, from healths before and after a step."""
    count = len(before)
    units = [Units(jnp.zeros((2, count)), jnp.array(h, jnp.float32), jnp.zeros(count)) for h in (before, after)]
    actions = jnp.zeros(count, jnp.uint8)
    one, other = (Battle(u, actions, None, None, jnp.int32(t)) for t, u in enumerate(units))
    _, reward, _, _, info = environment.outcome(one, other)
    return float(reward), bool(info["won"])


def test_rewards():
    ours, scale = Smax(scenario="3s_vs_5z"), 20 / (150 * 5 + 10 * 5 + 200)
    smac = Smax(scenario="3s_vs_5z", reward="smac20")
    allies, full = [160.0] * 3, [150.0] * 5
    hurt, one_dead = [142.0, *full[1:]], [0.0, *full[1:]]
    assert outcome(ours, allies + full, allies + hurt) == pytest.approx((10 * 8 / 150 / 5, 0))
    assert outcome(smac, allies + full, allies + hurt) == pytest.approx((8 * scale, 0))
    assert outcome(smac, allies + hurt, allies + one_dead) == pytest.approx(((142 + 10) * scale, 0))
    assert outcome(smac, allies + full, allies + [0.0] * 5) == pytest.approx((20, 1))
    assert outcome(ours, allies + full, allies + [0.0] * 5) == pytest.approx((20, 1))
    nobody = [0.0] * 3
    assert outcome(ours, allies + full, nobody + [0.0] * 5) == pytest.approx((10, 0))
    assert outcome(smac, allies + full, nobody + full) == pytest.approx((0, 0))  # own losses cost nothing
    # Healed enemies: only the signed reward tells.
    absolute = Smax(scenario="3s_vs_5z", reward="smac20_absolute")
    assert outcome(smac, allies + hurt, allies + full) == pytest.approx((-8 * scale, 0))
    assert outcome(absolute, allies + hurt, allies + full) == pytest.approx((8 * scale, 0))


def test_a_packed_battle_is_small():
    environment = Smax(scenario="2s3z")
    packed = environment.pack(environment.reset(KEY))
    assert sum(x.nbytes for x in jax.tree.leaves(packed)) == 10 * (8 + 4 + 1 + 1)
    assert max(unit.health for unit in UNITS[:JAXMARL_KINDS]) < 256


def starts(scenario, count=400):
    return jax.jit(jax.vmap(Smax(scenario=scenario).reset))(jax.random.split(KEY, count))


def test_armies_begin_around_their_places():
    x, y = np.asarray(starts("8m").units.position).transpose(1, 0, 2)
    for side, place in ((x[:, :8], MAP / 4), (x[:, 8:], 3 * MAP / 4), (y, MAP / 2)):
        assert abs(side.mean() - place) < 0.1
        assert 1.5 < np.abs(side - place).max() < 4  # 2, and pushes


@pytest.mark.parametrize(
    "scenario, letters", [("protoss_5v5_lite", "sZ"), ("terran_5v5_lite", "mM"), ("zerg_5v5_lite", "zh")]
)
def test_races_are_halves_of_two_kinds_and_begin_on_the_map(scenario, letters):
    battles = starts(scenario)
    kinds = np.asarray(battles.kinds)
    np.testing.assert_array_equal(kinds[:, :5], kinds[:, 5:])
    share = (kinds == LETTERS.index(letters[0])).mean()
    assert abs(share - 0.5) < 0.05
    assert set(np.unique(kinds)) == {LETTERS.index(c) for c in letters}
    place = np.asarray(battles.units.position)
    mirrored = (np.abs(place[:, 0, :5] + place[:, 0, 5:] - MAP) < 2).all(-1)
    assert 0.4 < mirrored.mean() < 0.6
    outside = ((place <= 0) | (place >= MAP)).any((1, 2))
    assert not (outside & ~mirrored).any()


def test_the_surrounded_team_is_either():
    place = np.asarray(starts("smacv2_5_units").units.position)
    central = (np.abs(place - MAP / 2) < 4).all(1)
    allies, enemies = central[:, :5].all(-1), central[:, 5:].all(-1)
    assert 0.15 < allies.mean() < 0.35
    assert 0.15 < enemies.mean() < 0.35
    assert ((place <= 0) | (place >= MAP)).any()  # as in jaxmarl, some begin outside


def test_the_normalised_state_shows_latest_actions_of_allies():
    environment = Smax()
    battle = jax.jit(environment.reset)(KEY)
    assert not environment.global_state(battle)[60:].any()
    after, *_ = jax.jit(environment.step)(KEY, battle, jnp.array([0, STOP, SHOOT]))
    shown = environment.global_state(after)[60:].reshape(3, 8)
    np.testing.assert_array_equal(shown, np.eye(8)[[0, STOP, SHOOT]])
    assert float(jnp.abs(environment.global_state(after)).max()) <= 1


def test_scenarios_of_jaxmarl_have_its_armies():
    """Its table against ours: kinds of all units, sizes of teams, and whether places and kinds are drawn."""
    reason = "compares with jaxmarl: pip install '.[smax]'"
    theirs = pytest.importorskip("jaxmarl.environments.smax.smax_env", reason=reason).MAP_NAME_TO_SCENARIO
    assert len(theirs) == 14
    for name, their in theirs.items():
        ours = SCENARIOS[name]
        assert (len(ours.allies), len(ours.enemies)) == (their.num_allies, their.num_enemies)
        assert bool(ours.drawn) == their.smacv2_position_generation == their.smacv2_unit_type_generation
        if not ours.drawn:
            np.testing.assert_array_equal(kinds(ours.allies + ours.enemies), their.unit_types)
    assert set(OTHERWISE.values()) <= set(SCENARIOS) - set(theirs)


@pytest.mark.parametrize(
    "options, words",
    [
        ({"scenario": "3mm"}, "unknown value of environment.scenario '3mm'; did you mean '3m'?"),
        ({"scenario": "xyz"}, "unknown value of environment.scenario 'xyz'; valid: 10m_vs_11m, 1c3s5z, "),
        (
            {"scenario": "corridor"},
            "environment.scenario 'corridor' is not here as it is in StarCraft II; '6z_vs_24zg_",
        ),
        (
            {"scenario": "zerg_5_vs_5"},
            "environment.scenario 'zerg_5_vs_5' is not here as it is in StarCraft II; 'zerg_",
        ),
        ({"scenario": "MMM2", "engine": "jaxmarl"}, "environment.engine=jaxmarl does not have colossus, baneling, med"),
        ({"allies": "0m"}, "environment.allies must name at least one unit of each kind, not '0m'"),
        (
            {"enemies": "3x"},
            "environment.enemies must be counts and letters of units",
        ),
        ({"enemies": "99m"}, "environment.enemies must have at most 64 units, not '99m'"),
        ({"scenario": "zerg_5v5_lite", "allies": "3m"}, "environment.scenario=zerg_5v5_lite draws its units"),
    ],
)
def test_mistakes_are_one_line(options, words):
    with pytest.raises(UsageError) as caught:
        make("smax", **options)
    assert str(caught.value).startswith(words)
    assert "\n" not in str(caught.value)
