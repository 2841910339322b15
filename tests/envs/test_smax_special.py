"""Units that jaxmarl lacks: colossus, baneling, medivac. Hand-computed battles, as a batch of one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from marlx_envs.smax import Smax
from marlx_envs.smax_battle import Battle, available_actions
from marlx_envs.smax_enemy import enemy_turn
from marlx_envs.smax_rules import NO_TARGET, SHOOT, STOP, Orders, Units, fight, push, statistics
from marlx_envs.smax_special import special
from marlx_envs.smax_units import JAXMARL_KINDS, LETTERS, UNITS, kinds


def fought(allies, enemies, places, actions, health=None):
    """Health of all units after a step without noise."""
    team = kinds(allies + enemies)
    numbers, facts = statistics(team[:, None]), special(team)
    health = numbers.health[:, 0] if health is None else jnp.array(health, jnp.float32)
    units = Units(jnp.array(places, jnp.float32).T, health, jnp.zeros(len(team)))
    units, chosen = jax.tree.map(lambda x: x[..., None], (units, jnp.array(actions)))
    noise = jnp.zeros((8, len(team), 1))
    after = jax.jit(lambda u, a: fight(numbers, u, a, len(allies), noise, facts))(units, chosen)
    return np.asarray(after.health)[:, 0].tolist()


def test_a_colossus_burns_those_beside_its_target_once():
    places = [(10, 10), (15, 10), (15, 11.3), (15, 8.2)]  # 1.3 beside, 1.8 beside
    assert fought("c", "zzz", places, [5, STOP, STOP, STOP]) == [350, 15, 15, 35]


def test_a_baneling_takes_those_around_its_target_with_it():
    places = [(10, 10), (11, 10), (12.5, 10), (16, 10)]
    assert fought("b", "mmm", places, [5, STOP, STOP, STOP]) == [0, 25, 25, 45]
    assert fought("b", "mmm", places, [7, STOP, STOP, STOP]) == [30, 45, 45, 45]  # out of range: it lives


def test_a_medivac_heals_the_living_up_to_their_health():
    places = [(10, 10), (12, 10), (11, 11), (30, 30)]
    wounded = [150, 20, 42, 45]
    healed = fought("vmm", "m", places, [SHOOT + 1, STOP, STOP, STOP], wounded)
    np.testing.assert_allclose(healed, [150, 20 + 12.6 / 2, 42, 45], rtol=1e-6)
    assert fought("vmm", "m", places, [SHOOT + 2, STOP, STOP, STOP], wounded) == [150, 20, 45, 45]
    assert fought("vmm", "m", places, [SHOOT + 1, STOP, STOP, STOP], [150, 0, 42, 45]) == [150, 0, 42, 45]
    far = [(20, 20), *places[1:]]
    assert fought("vmm", "m", far, [SHOOT + 1, STOP, STOP, STOP], wounded) == wounded
    itself = fought("vmm", "m", places, [SHOOT, STOP, STOP, STOP], [100, 45, 45, 45])
    assert itself == [100, 45, 45, 45]


def test_a_healed_unit_can_still_be_killed_in_the_same_tick():
    assert fought("vm", "m", [(10, 10), (11, 10), (13, 10)], [SHOOT + 1, STOP, SHOOT], [150, 9, 45]) == [150, 0, 45]


@pytest.mark.parametrize("shooter, damage", [("m", 9), ("s", 13), ("M", 0), ("Z", 0), ("c", 0)])
def test_not_everybody_hits_who_flies(shooter, damage):
    assert fought(shooter, "v", [(10, 10), (11, 10)], [5, STOP]) == [UNITS[LETTERS.index(shooter)].health, 150 - damage]


def test_who_flies_is_not_pushed_by_who_walks():
    team = kinds("vmv")
    place = jnp.array([[10, 10.2, 10.4], [5, 5, 5]], jnp.float32)[..., None]
    moved = push(place, jnp.ones((3, 1), bool), statistics(team[:, None]).radius, special(team))[..., 0]
    np.testing.assert_allclose(moved, [[9.45, 10.2, 10.95], [5, 5, 5]], atol=1e-5)


def turns(places, health, goal=(0, 0)):
    """Actions of an enemy medivac (unit 1) and two enemy marines; ally marine 0."""
    team = kinds("mvmm")
    units = Units(jnp.array(places, jnp.float32).T, jnp.array(health, jnp.float32), jnp.zeros(4))
    orders = Orders(jnp.tile(jnp.array(goal, jnp.float32)[:, None], (1, 3)), jnp.full(3, NO_TARGET))
    units, orders = jax.tree.map(lambda x: x[..., None], (units, orders))
    actions, _ = enemy_turn(statistics(team[:, None]), units, orders, jnp.zeros((3, 1)), 1, special(team))
    return actions[:, 0].tolist()


def test_an_enemy_medivac_heals_the_nearest_wounded_or_follows():
    places = [(2, 2), (20, 20), (22, 20), (20, 23)]
    assert turns(places, [45, 150, 30, 30])[0] == SHOOT + 1  # marine 2, of enemies 3, 2, 1
    assert turns(places, [45, 150, 45, 30])[0] == SHOOT + 0
    assert turns(places, [45, 150, 45, 45])[0] == 1  # east, after the nearest
    assert turns(places, [45, 150, 0, 0], goal=(20, 0))[0] == 2
    assert turns([(2, 2), (20, 20), (22, 20), (20, 26)], [45, 150, 45, 30])[0] == 0  # north, to the wounded


def test_an_allied_medivac_may_heal_whom_it_reaches_and_attack_nobody():
    team = kinds("vmmMmm")
    places = jnp.array([(10, 10), (11, 10), (20, 10), (12, 10), (13, 10), (14, 10)], jnp.float32).T
    battle = Battle(Units(places, statistics(team).health, jnp.zeros(6)), jnp.zeros(6, jnp.uint8), None, None, None)
    allowed = np.asarray(available_actions(battle, team, 3))
    assert allowed[0, SHOOT:].tolist() == [False, True, False]
    assert allowed[1, SHOOT:].tolist() == [True, True, True]


@pytest.mark.parametrize(
    "scenario, sizes", [("1c3s5z", (9, 9)), ("2c_vs_64zg", (2, 64)), ("bane_vs_bane", (24, 24)), ("MMM2", (10, 12))]
)
def test_maps(scenario, sizes):
    environment = Smax(scenario=scenario)
    spec, count = environment.spec, sum(sizes)
    assert (spec.n_agents, spec.n_actions) == (sizes[0], 5 + sizes[1])
    assert spec.observation_size == (count - 1) * (7 + len(UNITS)) + 4 + len(UNITS)
    assert len(UNITS) == JAXMARL_KINDS + 3
    battle = jax.eval_shape(environment.reset, jax.random.key(0))
    assert jax.eval_shape(environment.observe, battle).shape == (spec.n_agents, spec.observation_size)
    assert jax.eval_shape(environment.global_state, battle).shape == (spec.state_size,)
    assert jax.eval_shape(environment.pack, battle).units.health.dtype == jnp.float32  # of 350, and healed
