"""Named games: every table of the specification, and the rewards of hand-played episodes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from marlx_envs import UsageError, make
from marlx_envs.payoffs import PAYOFFS, options_taken
from marlx_envs.solver import optimal_joint_actions

KEY = jax.random.key(0)

# name: rows, best payoff, where
MATRICES = {
    "son3": ([[8, -12, -12], [-12, 0, 0], [-12, 0, 0]], 8, [(0, 0)]),
    "resq79": ([[8, -12, -12], [-12, 0, 0], [-12, 0, 7.9]], 8, [(0, 0)]),
    "qplex6": ([[8, -12, -12], [-12, 6, 0], [-12, 0, 6]], 8, [(0, 0)]),
    "qplex_w": ([[10.4, 0, 10], [0, 10, 10], [10, 10, 10]], 10.4, [(0, 0)]),
    "mrvf5": ([[8, -12, -12], [-12, 3, 0], [-12, 0, 5]], 8, [(0, 0)]),
    "mrvf8": ([[8, 0, 0], [0, 3, 0], [0, 0, 5]], 8, [(0, 0)]),
    "mrvf4a": ([[9, 8, 7], [6, 5, 4], [3, 2, 1]], 9, [(0, 0)]),
    "mrvf4b": ([[8, 9, 7], [2, 3, 1], [5, 6, 4]], 9, [(0, 1)]),
    "mrvf4c": ([[9, 0, 0], [0, 5, 0], [0, 0, 0]], 9, [(0, 0)]),
    "mrvf4d": ([[9, -9, -9], [-9, 5, 0], [-9, 0, 0]], 9, [(0, 0)]),
    "mrvf11": (
        [[2.2, 1.1, 1.1, -0.9], [1.1, 2, 1, -1], [1.1, 1, 2, -1], [-0.9, -1, -1, -2]],
        2.2,
        [(0, 0)],
    ),
    "pm2_soft": ([[12, -0.1, -0.1], [-0.1, 0, 0], [-0.1, 0, 0]], 12, [(0, 0)]),
    "pm2_hard": ([[12, -12, -12], [-12, 0, 0], [-12, 0, 0]], 12, [(0, 0)]),
    "pm2_third": ([[12, 0, 10], [0, 0, 10], [10, 10, 10]], 12, [(0, 0)]),
    "game_a": ([[12, -12, -12], [-12, 0, 0], [-12, 0, 0]], 12, [(0, 0)]),
    "game_b": ([[12, 0, 10], [0, 0, 10], [10, 10, 10]], 12, [(0, 0)]),
    "climb": ([[11, -30, 0], [-30, 7, 0], [0, 6, 5]], 11, [(0, 0)]),
    **{f"penalty_{k}": ([[-k, 0, 10], [0, 2, 0], [10, 0, -k]], 10, [(0, 2), (2, 0)]) for k in (0, 25, 50, 75, 100)},
    "coord_n": ([[1, 0, 0], [0, 1, 0], [0, 0, 1]], 1, [(0, 0), (1, 1), (2, 2)]),
}
RULES = {"son_n", "resq_n", "climb_n", "k_of_n"}


def play(environment, joint_actions):
    """Rewards until the episode ends, how it ends, and the last state."""
    state, rewards = environment.reset(KEY), []
    for actions in joint_actions:
        state, reward, terminated, truncated, _ = environment.step(KEY, state, jnp.array(actions, jnp.int32))
        rewards.append(float(reward))
        if terminated or truncated:
            return rewards, "terminated" if terminated else "truncated", state
    return rewards, "goes on", state


def test_every_payoff_has_a_test():
    assert set(PAYOFFS) == set(MATRICES) | RULES


@pytest.mark.parametrize("name", MATRICES)
def test_matrices(name):
    rows, best, where = MATRICES[name]
    environment = make("matrix_game", payoff=name)
    np.testing.assert_array_equal(environment.params["rewards"], np.float32([rows]))
    assert [tuple(joint) for joint in optimal_joint_actions(rows)] == where
    assert environment.spec.return_max == pytest.approx(best)
    assert environment.spec.return_min == pytest.approx(np.min(rows))
    rewards, end, _ = play(environment, where)
    assert (rewards, end) == ([pytest.approx(best)], "terminated")


def test_one_step_defaults():
    environment = make("matrix_game")
    state = environment.reset(KEY)
    np.testing.assert_array_equal(environment.observe(state), [[1.0], [1.0]])
    np.testing.assert_array_equal(environment.global_state(state), [1.0])
    assert environment.spec.episode_limit == 1
    assert environment.spec.limit_is_terminal


def test_matrix_mrvf4b_is_4a_reordered():
    np.testing.assert_array_equal(PAYOFFS["mrvf4a"]()[[0, 2, 1]][:, [1, 0, 2]], PAYOFFS["mrvf4b"]())


def test_options_of_named_payoffs():
    assert make("matrix_game", payoff="qplex_w", w=12).params["rewards"][0, 0, 0] == 12
    assert make("matrix_game", payoff="coord_n", n_actions=5).spec.n_actions == 5
    assert options_taken("k_of_n") == ("n_agents", "n_actions", "needed", "win", "lose")


@pytest.mark.parametrize("rule, matrix", [("son_n", "son3"), ("resq_n", "resq79")])
def test_n_agent_rules_contain_the_matrices(rule, matrix):
    pair = make("matrix_game", payoff=rule).params["rewards"]
    np.testing.assert_array_equal(pair, make("matrix_game", payoff=matrix).params["rewards"])


def test_son_and_resq_for_four_agents():
    for name, trap in (("son_n", 0.0), ("resq_n", 7.9)):
        payoff = make("matrix_game", payoff=name, n_agents=4, n_actions=3).params["rewards"][0]
        for joint in np.ndindex(payoff.shape):
            expected = 8 if set(joint) == {0} else -12 if 0 in joint else trap if set(joint) == {2} else 0
            assert payoff[joint] == np.float32(expected)


def test_climb_for_three_agents():
    game = make("matrix_game", payoff="climb_n", n_agents=3, diagonal=[1, 5], miss=-3)
    payoff = np.asarray(game.params["rewards"][0])
    assert payoff.shape == (2, 2, 2)
    assert (payoff[0, 0, 0], payoff[1, 1, 1]) == (1, 5)
    assert (payoff == -3).sum() == 6


def test_k_of_n():
    game = make("matrix_game", payoff="k_of_n", n_agents=4, n_actions=3, needed=3, win=5, lose=-1)
    payoff = np.asarray(game.params["rewards"][0])
    for joint in np.ndindex(payoff.shape):
        count = joint.count(0)
        assert payoff[joint] == (5 if count >= 3 else -1 if count else 0)


def test_k_of_n_is_one_encounter_of_predator_prey():
    payoff = make("matrix_game", payoff="k_of_n", n_actions=6, lose=-5).params["rewards"][0]
    expected = np.zeros((6, 6))
    expected[0], expected[:, 0], expected[0, 0] = -5, -5, 10
    np.testing.assert_array_equal(payoff, expected)


@pytest.mark.parametrize(
    "plan, rewards",
    [
        ([(0, 0), (1, 0)], [0, 7]),
        ([(0, 1), (0, 0)], [0, 7]),
        ([(1, 0), (1, 1)], [0, 8]),
        ([(1, 1), (0, 0)], [0, 0]),
        ([(1, 0), (0, 1)], [0, 1]),
    ],
)
def test_two_step_game(plan, rewards):
    assert play(make("two_step_game"), plan)[:2] == (rewards, "terminated")


def test_two_step_game_features():
    environment = make("two_step_game")
    state = environment.reset(KEY)
    for actions, one_hot in (((1, 0), [1, 0, 0]), ((0, 0), [0, 0, 1]), ((0, 0), [0, 0, 0])):
        np.testing.assert_array_equal(environment.observe(state), [one_hot, one_hot])
        np.testing.assert_array_equal(environment.global_state(state), one_hot)
        state, *_ = environment.step(KEY, state, jnp.array(actions))
    assert environment.spec.return_max == 8


@pytest.mark.parametrize(
    "plan, good_branches, rewards",
    [
        ([(0, 0)] * 9 + [(1, 1)], 2, [1] * 9 + [4]),
        ([(0, 0)] * 10, 2, [1] * 10),
        ([(1, 1)] * 10, 2, [1] * 10),
        ([(0, 0)] * 9 + [(0, 1)], 2, [1] * 10),
        ([(0, 1)] * 10, 2, [0]),
        ([(0, 0), (1, 1)], 2, [1, 0]),
        ([(1, 1)] * 9 + [(0, 0)], 2, [1] * 9 + [0]),
        ([(0, 1)] * 10, 4, [1] * 10),
        ([(1, 0), (0, 1)], 4, [1, 0]),
    ],
)
def test_k_step_game(plan, good_branches, rewards):
    game = make("k_step_game", good_branches=good_branches)
    assert play(game, plan)[:2] == (rewards, "terminated")
    assert game.spec.return_max == 13


def test_k_step_game_features():
    environment = make("k_step_game")
    state = environment.reset(KEY)
    assert np.flatnonzero(environment.global_state(state)).tolist() == [0, 11]  # no step done, branch 0
    state, *_ = environment.step(KEY, state, jnp.array([1, 1]))
    assert np.flatnonzero(environment.global_state(state)).tolist() == [1, 11 + 3]
    assert np.flatnonzero(environment.observe(state)[1]).tolist() == [1, 11 + 3]
    _, _, last = play(environment, [(0, 0)] * 10)
    assert np.flatnonzero(environment.global_state(last)).tolist() == [10, 11]


def test_k_step_game_of_one_step():
    environment = make("k_step_game", length=1)
    assert [play(environment, [joint])[0] for joint in np.ndindex(2, 2)] == [[1], [0], [0], [1]]
    np.testing.assert_array_equal(environment.global_state(environment.reset(KEY)), [1, 0])
    assert environment.spec.return_max == 1


def test_k_step_game_takes_2_or_4_branches():
    with pytest.raises(UsageError, match="must be 2 or 4, not 3"):
        make("k_step_game", good_branches=3)


def test_two_state_game():
    environment = make("two_state_game")
    rewards, end, state = play(environment, [(0, 0)] * 3 + [(1, 1)] + [(0, 0)] * 3)
    assert (rewards, end) == ([1, 1, 1, 0, 0, 0, 0], "goes on")
    np.testing.assert_array_equal(environment.observe(state), [[1, 0], [1, 0]])
    np.testing.assert_array_equal(environment.global_state(state), [1, 0, 1, 0])
    assert play(environment, [(0, 1), (1, 0), (0, 0)])[0] == [0, 0, 1]
    assert play(environment, [(0, 0)] * 101)[:2] == ([1] * 100, "terminated")
    assert environment.spec.return_max == 100


def test_two_state_game_may_be_truncated():
    environment = make("two_state_game", episode_limit=3, limit_is_terminal=False)
    assert play(environment, [(0, 0)] * 4)[:2] == ([1] * 3, "truncated")


def test_repeated_payoff():
    environment = make("matrix_game", payoff="mrvf5", repeats=3)
    rewards, end, _ = play(environment, [(0, 0), (0, 1), (2, 2), (0, 0)])
    assert (rewards, end) == ([8, -12, 5], "terminated")
    state = environment.reset(KEY)
    for time in range(3):
        np.testing.assert_array_equal(environment.observe(state), [np.eye(3)[time]] * 2)
        state, *_ = environment.step(KEY, state, jnp.array([0, 0]))
    assert (environment.spec.return_max, environment.spec.return_min) == (24, -36)


def test_payoff_games_may_be_truncated():
    options = {"payoff": "mrvf5", "limit_is_terminal": False}
    assert play(make("matrix_game", **options), [(0, 0)])[:2] == ([8], "truncated")
    environment = make("repeated_game", **options)
    assert play(environment, [(2, 2)] * 11)[:2] == ([5] * 10, "truncated")
    assert environment.spec.return_max == 80 and not environment.spec.limit_is_terminal
    strict = make("matrix_game", **options, repeats=2, must_stay_optimal=True)
    assert play(strict, [(0, 0), (0, 0)])[:2] == ([8, 8], "truncated")
    assert play(strict, [(0, 0), (2, 2)])[:2] == ([8, 5], "terminated")  # ended by the rule, at the limit too


def test_repeated_payoff_must_stay_optimal():
    environment = make("repeated_game", payoff="penalty_25", must_stay_optimal=True)
    assert play(environment, [(0, 2), (2, 0)] * 6)[:2] == ([10] * 10, "terminated")
    assert play(environment, [(0, 2), (1, 1), (0, 2)])[:2] == ([10, 2], "terminated")
    assert environment.spec.return_max == 100


def test_payoffs_by_step():
    payoff = [[[1, 0], [0, 2]], [[3, 0], [0, 1]]]
    environment = make("matrix_game", payoff=payoff, per_step=True)
    assert play(environment, [(1, 1), (0, 0)])[:2] == ([2, 3], "terminated")
    assert environment.spec.episode_limit == 2
    assert environment.spec.n_agents == 2
    strict = make("matrix_game", payoff=payoff, per_step=True, must_stay_optimal=True)
    assert play(strict, [(0, 0), (0, 0)])[:2] == ([1], "terminated")


def test_agents_with_fewer_actions_are_masked():
    environment = make("matrix_game", payoff=[[1, 2, 3], [4, 5, 6]], repeats=2)
    state = environment.reset(KEY)
    np.testing.assert_array_equal(environment.available_actions(state), [[1, 1, 0], [1, 1, 1]])
    assert not environment.spec.uniform_actions
    assert play(environment, [(2, 1)])[0] == play(environment, [(1, 1)])[0]
    assert environment.spec.return_max == 12


def test_environments_are_values():
    assert make("matrix_game", payoff=[[1, 2], [3, 4]]) == make("matrix_game", payoff=np.array([[1, 2], [3, 4]]))
    assert len({make("matrix_game", payoff=[[1, 2], [3, 4]]), make("matrix_game", payoff=((1, 2), (3, 4)))}) == 1
