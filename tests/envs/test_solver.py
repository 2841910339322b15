"""The exact solver and the facts about payoff tensors, against values worked out by hand."""

import itertools

import numpy as np
import pytest
from marlx_envs import make
from marlx_envs.payoffs import PAYOFFS, climb_n, k_of_n, qplex_w
from marlx_envs.solver import (
    is_monotonic,
    is_symmetric,
    means_under_uniform_partners,
    optimal_joint_actions,
    optimal_value,
    solve,
)

FIXED = [name for name in PAYOFFS if not name.endswith(("_n", "_w"))]


def test_two_step_game():
    solution = solve(make("two_step_game").tables, discount=0.99)
    np.testing.assert_allclose(solution.q_values[0, 0], [[6.93, 6.93], [7.92, 7.92]], rtol=1e-12)
    assert solution.value == pytest.approx(7.92)
    assert solution.optimal_actions().tolist() == [[1, 0], [1, 1]]
    assert solution.optimal_actions(time=1, state=1).tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert solution.optimal_actions(time=1, state=2).tolist() == [[1, 1]]
    assert solve(make("two_step_game").tables).value == 8


def test_two_state_game():
    tables = make("two_state_game").tables
    assert optimal_value(tables) == 100
    assert optimal_value(tables, discount=0.9) == pytest.approx((1 - 0.9**100) / 0.1)
    solution = solve(tables)
    assert solution.q_values.shape == (100, 2, 2, 2)
    assert solution.optimal_actions().tolist() == [[0, 0]]
    np.testing.assert_array_equal(solution.values[:, 1], np.arange(100, -1, -1))
    np.testing.assert_array_equal(solution.values[:, 0], 0)
    assert solution.q_values[0, 1, 1, 1] == 0


@pytest.mark.parametrize("good_branches", [2, 4])
@pytest.mark.parametrize("k", [1, 2, 3, 10])
def test_k_step_game(k, good_branches):
    solution = solve(make("k_step_game", length=k, good_branches=good_branches).tables)
    assert solution.value == (1 if k == 1 else k + 3)
    if k > 1:
        assert solution.optimal_actions().tolist() == [[0, 0]]


def test_backward_induction_agrees_with_every_plan():
    payoff = np.random.default_rng(0).normal(size=(3, 2, 3)).tolist()
    game = make("matrix_game", payoff=payoff, per_step=True, must_stay_optimal=True)
    rewards, terminal = game.tables.rewards, game.tables.terminal
    returns = []
    for plan in itertools.product(itertools.product(range(2), range(3)), repeat=3):
        total, discount = 0.0, 1.0
        for step, joint in enumerate(plan):
            total += discount * rewards[(step, *joint)]
            discount *= 0.8
            if terminal[(step, *joint)]:
                break
        returns.append(total)
    assert optimal_value(game.tables, 0.8) == pytest.approx(max(returns))


def test_unavailable_actions_are_never_optimal():
    solution = solve(make("matrix_game", payoff=[[1, 2, 3], [4, 5, 6]]).tables)
    assert solution.optimal_actions().tolist() == [[1, 2]]
    np.testing.assert_array_equal(solution.q_values[0, 0, 2], -np.inf)


@pytest.mark.parametrize(
    "payoff, means",
    [
        ("son3", (-16 / 3, -4, -4)),
        ("resq79", (-16 / 3, -4, -4.1 / 3)),
        ("mrvf5", (-16 / 3, -3, -7 / 3)),
        ("mrvf11", (0.875, 0.775, 0.775, -1.225)),
    ],
)
def test_means_under_a_uniform_partner(payoff, means):
    for agent_means in means_under_uniform_partners(PAYOFFS[payoff]()):
        np.testing.assert_allclose(agent_means, means, atol=1e-6)
    # the best action looks best on average in mrvf11 and worst in the others
    assert (np.argmax(means) == 0) == (payoff == "mrvf11")
    assert (np.argmin(means) == 0) == (payoff != "mrvf11")


@pytest.mark.parametrize("payoff", FIXED)
def test_symmetric_payoffs(payoff):
    assert is_symmetric(PAYOFFS[payoff]()) == (payoff not in ("mrvf4a", "mrvf4b", "climb"))


@pytest.mark.parametrize("payoff", FIXED)
def test_monotonic_payoffs(payoff):
    assert is_monotonic(PAYOFFS[payoff]()) == (payoff in ("mrvf4a", "mrvf4b"))


def test_predicates_elsewhere():
    assert not is_monotonic([[8, 9, 7], [3, 2, 1], [5, 6, 4]])  # mrvf4b as the paper prints it
    assert is_symmetric(qplex_w(10.4))
    assert not is_monotonic(qplex_w(10.4))
    assert not is_monotonic(np.eye(3))
    assert is_symmetric(k_of_n(3, 4, 2, 10.0, -2.0))
    assert is_monotonic(np.add.outer(np.add.outer([1, 0], [3, 5, 4]), [0, 2]))
    assert not is_symmetric(np.add.outer([0, 1], np.add.outer([0, 1], [0, 2])))


def test_optimal_joint_actions_include_ties_of_float32():
    assert optimal_joint_actions(PAYOFFS["penalty_25"]()).tolist() == [[0, 2], [2, 0]]
    assert optimal_joint_actions(np.float32([[7.9, 1], [1, 7.9 + 2e-7]])).tolist() == [[0, 0], [1, 1]]
    assert optimal_joint_actions(climb_n(3, (1.0, 2.0), 0.0)).tolist() == [[1, 1, 1]]


def test_squared_errors_of_two_monotonic_fits_to_mrvf5():
    payoff = PAYOFFS["mrvf5"]()
    at_last = np.array([[-8, -8, -8], [-8, 1, 1], [-8, 1, 5]])
    at_first = np.full((3, 3), -5)
    at_first[0, 0] = 8
    assert ((payoff - at_last) ** 2).mean() == pytest.approx(326 / 9)
    assert ((payoff - at_first) ** 2).mean() == pytest.approx(410 / 9)


def test_second_round_targets_of_mrvf5():
    payoff = PAYOFFS["mrvf5"]()
    after_last = np.maximum(payoff - payoff[2, 2], 0)
    assert after_last[0, 0] == 3
    assert np.count_nonzero(after_last) == 1
    assert not np.maximum(payoff - payoff[0, 0], 0).any()
