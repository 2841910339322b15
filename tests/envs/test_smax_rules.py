"""Rules of SMAX by hand-computed battles (specification, 4.8), as a batch of one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from marlx_envs.smax import Smax
from marlx_envs.smax_battle import Battle
from marlx_envs.smax_enemy import enemy_turn
from marlx_envs.smax_rules import (
    COOLDOWN_NOISE,
    NO_TARGET,
    STOP,
    TICK,
    Orders,
    Units,
    fight,
    push,
    statistics,
)
from marlx_envs.smax_units import UNITS, kinds

ENVIRONMENT = Smax(scenario="3m")
PLACES = [(10, 16), (10, 20), (10, 12), (14, 16), (25, 20), (25, 12)]
MARINES = statistics(kinds("mmmmmm")[:, None])
RUN = jax.jit(fight, static_argnums=3)


def battle(health=(45,) * 6, **places):
    """Three marines on each side; `places` move single units, as u3=(25, 16)."""
    position = np.array([places.get(f"u{i}", place) for i, place in enumerate(PLACES)], np.float32).T
    return Units(jnp.asarray(position), jnp.array(health, jnp.float32), jnp.zeros(6))


def after(units, **actions):
    """Units and reward of the allies after a step in which units do as told, as u0=5, and else stop."""
    chosen = jnp.array([actions.get(f"u{i}", STOP) for i in range(6)])
    batch = jax.tree.map(lambda x: x[..., None], (units, chosen))
    fought = jax.tree.map(lambda x: x[..., 0], RUN(MARINES, *batch, 3, jnp.zeros((8, 6, 1))))
    before, later = (Battle(u, chosen, None, None, jnp.int32(t)) for t, u in ((0, units), (1, fought)))
    _, reward, terminated, truncated, info = ENVIRONMENT.outcome(before, later)
    return fought, float(reward) / ENVIRONMENT.reward_scale, bool(terminated), bool(truncated), bool(info["won"])


def test_a_marine_shoots_once_in_a_step():
    once, reward, *_ = after(battle(), u0=5)
    assert once.health.tolist() == [45, 45, 45, 36, 45, 45]
    np.testing.assert_allclose(reward, 9 / 45 / 3, rtol=1e-6)
    assert float(once.cooldown[0]) == pytest.approx(0.61 - 7 * TICK)
    twice, reward, *_ = after(once, u0=5)
    assert float(twice.health[3]) == 27
    np.testing.assert_allclose(reward, 9 / 45 / 3, rtol=1e-6)


def test_no_unit_shoots_twice_in_a_step():
    numbers = statistics(kinds("zzzzzz")[:, None])  # the quickest
    batch = jax.tree.map(lambda x: x[..., None], (battle(u0=(13, 16)), jnp.array([5, 4, 4, 4, 4, 4])))
    noise = jnp.full((8, 6, 1), COOLDOWN_NOISE[0])
    assert float(RUN(numbers, *batch, 3, noise).health[3, 0]) == 45 - 5
    assert numbers.cooldown[0, 0] == min(unit.cooldown for unit in UNITS)


@pytest.mark.parametrize("action, step", [(0, (0, 1)), (1, (1, 0)), (2, (0, -1)), (3, (-1, 0)), (4, (0, 0))])
def test_a_step_is_half_a_second_long(action, step):
    units, *_ = after(battle(), u1=action)
    np.testing.assert_allclose(units.position[:, 1], np.array([10, 20]) + 1.575 * np.array(step), atol=1e-5)


def test_both_sides_can_die_together_and_nobody_wins():
    units = battle(health=(5, 0, 0, 5, 0, 0))
    fought, reward, terminated, truncated, won = after(units, u0=5, u3=7)
    assert fought.health.tolist() == [0] * 6
    assert (terminated, truncated, won) == (True, False, False)
    np.testing.assert_allclose(reward, 5 / 45 / 3, rtol=1e-6)


def test_who_reaches_the_border_dies():
    fought, reward, *_ = after(battle(u4=(25, 31.9)), u4=0)
    assert float(fought.health[4]) == 0
    np.testing.assert_allclose(reward, 1 / 3, rtol=1e-6)


def test_a_win_pays_one():
    _, reward, terminated, _, won = after(battle(health=(45, 45, 45, 9, 0, 0)), u0=5)
    assert terminated and won
    np.testing.assert_allclose(reward, 9 / 45 / 3 + 1, rtol=1e-6)


def test_enemies_count_allies_from_the_last():
    fought, *_ = after(battle(), u3=7)
    assert fought.health.tolist() == [36, 45, 45, 45, 45, 45]


def test_what_cannot_be_hit_is_not():
    out_of_range, *_ = after(battle(u0=(8.9, 16)), u0=5)
    assert float(out_of_range.health[3]) == 45
    dead_shooter, *_ = after(battle(health=(0, 45, 45, 45, 45, 45)), u0=5)
    assert float(dead_shooter.health[3]) == 45
    dead, *_ = after(battle(health=(0, 45, 45, 45, 45, 45)), u0=1)
    assert dead.position[:, 0].tolist() == [10, 16]


def test_overlapping_units_share_the_way_apart():
    position = jnp.array([[10, 10.5, 20], [5, 5, 5]], jnp.float32)[..., None]
    lives = jnp.array([True, True, True])[:, None]
    moved = push(position, lives, jnp.full((3, 1), 0.5))[..., 0]
    np.testing.assert_allclose(moved, [[9.75, 10.75, 20], [5, 5, 5]], atol=1e-5)
    dead = push(position, lives.at[1].set(False), jnp.full((3, 1), 0.5))[..., 0]
    np.testing.assert_array_equal(dead, position[..., 0])


def orders(goal=(0, 0), target=NO_TARGET):
    return Orders(jnp.tile(jnp.array(goal, jnp.float32)[:, None, None], (1, 3, 1)), jnp.full((3, 1), target))


def turn(units, given, pick):
    batch = jax.tree.map(lambda x: x[..., None], units)
    actions, target = enemy_turn(MARINES, batch, given, jnp.full((3, 1), pick), 3)
    return actions[:, 0].tolist(), target[:, 0].tolist()


def test_an_enemy_shoots_the_nearest_until_it_is_gone():
    units = battle(u0=(10, 16), u1=(13, 19))  # 4 and 3.2 from enemy 3, whose slots 0, 1, 2 are allies 2, 1, 0
    assert turn(units, orders(), 0.0)[0][0] == 5 + 1
    assert turn(units, orders(target=2), 0.0)[0][0] == 5 + 2
    gone = units._replace(health=units.health.at[0].set(0))
    assert turn(gone, orders(target=2), 0.0) == ([6, 3, 3], [1, NO_TARGET, NO_TARGET])


def test_an_enemy_walks_to_one_of_those_it_sees_or_to_its_goal():
    units = battle(u3=(16, 16), u0=(10, 16), u1=(15, 22.5), u2=(16.2, 9))
    walks = [turn(units, orders(), pick)[0][0] for pick in (0.0, 0.3, 0.4, 0.6, 0.7, 0.99)]
    assert walks == [3, 3, 0, 0, 2, 2]  # 1 - pick goes along the slots: allies 2, 1, 0
    far = battle(u3=(25, 16))
    assert turn(far, orders(goal=(30, 17)), 0.5)[0][0] == 1
