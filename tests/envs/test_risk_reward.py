"""Risk-reward games: MRVF's Table 10 by hand, and closed forms against all joint actions of random games."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from marlx_envs import UsageError, make
from marlx_envs.risk_reward import draw_game, normalised_return, payoff, payoff_bounds

KEY = jax.random.key(0)
TABLE_10 = jnp.array([[0.0, 1, 2], [3, 4, 5]])
IDENTITY = {"r": TABLE_10, "perm": jnp.array([[0, 1, 2], [0, 1, 2]])}
PERMUTED = {"r": TABLE_10, "perm": jnp.array([[2, 0, 1], [2, 1, 0]])}


def all_joint(n_agents, n_actions):
    return jnp.array(list(np.ndindex(*(n_actions,) * n_agents)))


def draw_games(count, n_agents, n_actions):
    draw = jax.vmap(lambda key: draw_game(key, n_agents, n_actions))
    return jax.tree.map(np.asarray, draw(jax.random.split(KEY, count)))


@jax.jit
def tensor_of(game):
    """Payoffs of all joint actions, [A ... A]."""
    n_agents, n_actions = game["r"].shape
    return jax.vmap(payoff, (None, 0))(game, all_joint(n_agents, n_actions)).reshape((n_actions,) * n_agents)


@pytest.mark.parametrize(
    "game, matrix",
    [
        (IDENTITY, [[3, -4, -5], [-4, 5, -6], [-5, -6, 7]]),
        (PERMUTED, [[7, -6, -5], [-5, -4, 3], [-6, 5, -4]]),
    ],
)
def test_table_10(game, matrix):
    np.testing.assert_array_equal(tensor_of(game), matrix)
    assert [float(x) for x in payoff_bounds(game)] == [7, 3, -6]


@pytest.mark.parametrize(
    "literal, expected",
    [
        (False, [[1, -1, -5 / 6], [-5 / 6, -2 / 3, 0], [-1, 0.5, -2 / 3]]),
        (True, [[1, 0, -1 / 6], [-1 / 6, -1 / 3, 0], [0, 0.5, -1 / 3]]),
    ],
)
def test_table_10_normalised(literal, expected):
    np.testing.assert_allclose(normalised_return(PERMUTED, tensor_of(PERMUTED), literal), expected, atol=1e-6)


@pytest.mark.parametrize("n_agents, n_actions, agreements", [(3, 5, 5), (5, 5, 5), (5, 8, 8)])
def test_sparsity_range_and_closed_forms(n_agents, n_actions, agreements):
    games = draw_games(3, n_agents, n_actions)
    for i in range(3):
        game = jax.tree.map(lambda x: x[i], games)  # noqa: B023
        tensor = np.asarray(tensor_of(game))
        assert (tensor >= 0).sum() == agreements
        assert np.abs(tensor).max() <= 10
        bounds = [float(x) for x in jax.jit(payoff_bounds)(game)]
        np.testing.assert_allclose(bounds, [tensor.max(), tensor[tensor >= 0].min(), tensor.min()], rtol=1e-5)
        scaled = np.asarray(jax.jit(normalised_return)(game, tensor))
        np.testing.assert_allclose([scaled.min(), scaled.max()], [-1, 1], rtol=1e-5)
        assert ((scaled >= -1e-6) == (tensor >= 0)).all()


def test_range_and_permutations_of_a_draw():
    games = draw_games(200, 4, 6)
    assert games["r"].shape == games["perm"].shape == (200, 4, 6)
    assert 0 <= games["r"].min() < 0.01
    assert 2.49 < games["r"].max() <= 2.5
    np.testing.assert_array_equal(jnp.sort(games["perm"]), jnp.broadcast_to(jnp.arange(6), (200, 4, 6)))
    first = games["perm"][:, :, 0]
    assert (first[:, 0] == first[:, 1]).mean() < 0.5  # one permutation per agent


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(np.float32, (3, 3), elements=st.integers(0, 4).map(float)), st.permutations(range(3)))
def test_bounds_with_ties_against_all_joint_actions(r, permutation):
    game = {"r": jnp.asarray(r), "perm": jnp.array([permutation, [0, 1, 2], [2, 1, 0]])}
    tensor = np.asarray(tensor_of(game))
    disagree = np.array([len(set(joint)) > 1 for joint in np.ndindex(3, 3, 3)]).reshape(3, 3, 3)
    plain = np.asarray(tensor_of({**game, "perm": jnp.tile(jnp.arange(3), (3, 1))}))
    largest, smallest, worst = (float(x) for x in payoff_bounds(game))
    assert worst == plain[disagree].min() == tensor.min()
    assert (largest, smallest) == (plain[~disagree].max(), plain[~disagree].min())
    for literal in (False, True):
        assert np.isfinite(normalised_return(game, jnp.asarray(tensor), literal)).all()


def test_environment():
    environment = make("risk_reward", n_agents=2, n_actions=3)
    state = environment.reset(KEY)
    np.testing.assert_array_equal(environment.observe(state), [[1.0], [1.0]])
    np.testing.assert_array_equal(environment.global_state(state), [1.0])
    _, reward, terminated, truncated, info = environment.step(KEY, state, jnp.array([0, 2]), PERMUTED)
    assert (float(reward), bool(terminated), bool(truncated)) == (-5, True, False)
    assert float(info["normalised_return"]) == pytest.approx(-5 / 6)
    assert environment.spec.metrics == ("normalised_return",)


def test_literal_form_is_an_option():
    environment = make("risk_reward", n_agents=2, n_actions=3, normalisation="eq30_literal")
    *_, info = environment.step(KEY, environment.reset(KEY), jnp.array([0, 1]), PERMUTED)
    assert float(info["normalised_return"]) == 0
    with pytest.raises(UsageError, match="did you mean 'eq30_literal'"):
        make("risk_reward", normalisation="eq30_litteral")


def test_game_seed_decides_the_default_game():
    first, again, other = (make("risk_reward", game_seed=seed).params for seed in (1, 1, 2))
    np.testing.assert_array_equal(first["r"], again["r"])
    assert not np.array_equal(first["r"], other["r"])
    np.testing.assert_array_equal(first["r"], draw_game(jax.random.key(1), 3, 5)["r"])


def test_default_game_survives_a_first_use_under_jit():
    environment = make("risk_reward")
    traced = jax.jit(lambda key: environment.step(key, environment.reset(key), jnp.zeros(3, jnp.int32))[1])(KEY)
    assert float(traced) == pytest.approx(float(payoff(environment.params, jnp.zeros(3, jnp.int32))))


def test_bounds_in_the_spec():
    environment = make("risk_reward", n_agents=3, n_actions=4, game_seed=5)
    tensor = np.asarray(tensor_of(environment.params))
    assert environment.spec.return_max == pytest.approx(tensor.max(), rel=1e-5)
    assert environment.spec.return_min == pytest.approx(tensor.min(), rel=1e-5)


def test_a_batch_of_games_in_one_program():
    environment = make("risk_reward")
    games = draw_games(8, 3, 5)
    step = jax.jit(jax.vmap(environment.step, (None, None, None, 0)))
    actions = jnp.array([4, 0, 2])
    rewards = step(KEY, environment.reset(KEY), actions, games)[1]
    expected = [tensor_of(jax.tree.map(lambda x, i=i: x[i], games))[4, 0, 2] for i in range(8)]
    np.testing.assert_allclose(rewards, expected, rtol=1e-6)
