"""Ideal monotonic tables against the numbers of MRVF (appendix B.2) and of the specification, and a general solver."""

import itertools

import numpy as np
import pytest
from marlx_envs.payoffs import PAYOFFS
from scipy.optimize import minimize

from marlx.analysis.theory.exploration import EXPLORATIONS
from marlx.analysis.theory.lattice import upper_sets
from marlx.analysis.theory.least import least_by_greedy
from marlx.analysis.theory.projection import losses_by_greedy, minimisers, project

UNIFORM = 1 / 9


def losses(payoff: str) -> np.ndarray:
    return losses_by_greedy(PAYOFFS[payoff]()[None], UNIFORM)[0]


def test_there_are_20_upper_sets_of_a_3x3_game_and_70_of_a_4x4_game() -> None:
    assert [len(upper_sets(shape).member) for shape in ((3, 3), (4, 4), (2, 2, 2))] == [20, 70, 20]


def test_losses_by_greedy_cell_of_the_mrvf_matrix() -> None:
    expected = [[45.5556, 41.8730, 41.8730], [41.8730, 37.4074, 36.9630], [41.8730, 36.9630, 36.2222]]
    np.testing.assert_allclose(losses("mrvf5"), expected, atol=5e-5)


def test_tables_of_the_mrvf_matrix() -> None:
    best = project(PAYOFFS["mrvf5"](), UNIFORM)
    assert best.greedy == (2, 2)
    assert 9 * best.loss == pytest.approx(326)
    np.testing.assert_allclose(best.table, [[-8, -8, -8], [-8, 1, 1], [-8, 1, 5]], atol=1e-9)
    held = project(PAYOFFS["mrvf5"](), UNIFORM, greedy=(0, 0))
    assert 9 * held.loss == pytest.approx(410)
    np.testing.assert_allclose(held.table, [[8, -5, -5], [-5, -5, -5], [-5, -5, -5]], atol=1e-9)


@pytest.mark.parametrize(
    "payoff, greedy, loss, of_first",
    [
        ("mrvf5", [(2, 2)], 36.2222, 45.5556),
        ("resq79", [(2, 2)], 35.5556, 48.6010),
        ("son3", [(0, 0)], 32.0, 32.0),
        ("game_a", [(0, 0)], 32.0, 32.0),
        ("game_b", [(2, 2)], 0.3333, 11.1111),
        ("mrvf8", [(0, 0)], 2.6519, 2.6519),
        ("mrvf4a", [(0, 0)], 0.0, 0.0),
    ],
)
def test_ideal_under_uniform_data(payoff: str, greedy: list[tuple[int, int]], loss: float, of_first: float) -> None:
    found = losses(payoff)
    assert found.min() == pytest.approx(loss, abs=5e-5)
    assert found[0, 0] == pytest.approx(of_first, abs=5e-5)
    assert [tuple(cell) for cell in np.argwhere(minimisers(found[None])[0])] == greedy


def test_tables_and_second_best_of_other_matrices() -> None:
    np.testing.assert_allclose(
        project(PAYOFFS["resq79"](), UNIFORM).table, [[-8, -8, -8], [-8, 0, 0], [-8, 0, 7.9]], atol=1e-6
    )
    assert np.isclose(project(PAYOFFS["game_b"](), UNIFORM).table, 10.5).sum() == 4
    assert np.unique(losses("son3").round(4))[1] == 35.0476


@pytest.mark.parametrize("lose, loss, never", [(0.0, 0.0, None), (-2.0, 0.7937, None), (-5.0, 4.9603, 5.6818)])
def test_an_encounter_of_predator_prey(lose: float, loss: float, never: float | None) -> None:
    """Six actions, of which five are alike: found in 36 orders instead of 518,400."""
    found = losses_by_greedy(PAYOFFS["k_of_n"](2, 6, 2, 10.0, lose)[None], 1 / 36)[0]
    assert found[0, 0] == found.min() == pytest.approx(loss, abs=5e-5)
    assert never is None or found[5, 5] == found[1, 3] == pytest.approx(never, abs=5e-5)


@pytest.mark.parametrize("over", [1.0, 0.1])
@pytest.mark.parametrize("shape", [(3, 3), (2, 3), (2, 2, 2)])
def test_every_order_against_a_general_solver(shape: tuple[int, ...], over: float) -> None:
    generator = np.random.default_rng(sum(shape))
    payoff, weights = generator.normal(size=shape), generator.uniform(0.05, 1, shape)
    expected = np.full(shape, np.inf)
    for choice in itertools.product(*(itertools.permutations(range(size)) for size in shape)):
        last = tuple(order[-1] for order in choice)
        place = np.ix_(*choice)
        expected[last] = min(expected[last], solved(payoff[place], weights[place], over))
    found = losses_by_greedy(payoff[None], weights, over)[0]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    best = project(payoff, weights, over=over)
    assert best.loss == pytest.approx(found.min(), abs=1e-9) and found[best.greedy] == pytest.approx(found.min())
    error = best.table - payoff
    assert (weights * np.where(error > 0, over, 1) * error**2).sum() == pytest.approx(best.loss)


def solved(payoff: np.ndarray, weights: np.ndarray, over: float) -> float:
    """The loss of the best table that rises along every axis, in steps >= 0 from its lowest cell, by SLSQP."""
    steps = [
        np.diff(np.eye(payoff.size).reshape(*payoff.shape, -1), axis=a).reshape(-1, payoff.size)
        for a in range(payoff.ndim)
    ]
    rises = np.concatenate(steps)

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        error = flat - payoff.reshape(-1)
        scale = weights.reshape(-1) * np.where(error > 0, over, 1)
        return float((scale * error**2).sum()), 2 * scale * error

    constraint = {"type": "ineq", "fun": lambda flat: rises @ flat, "jac": lambda flat: rises}
    return float(minimize(loss, np.zeros(payoff.size), jac=True, constraints=[constraint], options={"ftol": 1e-12}).fun)


@pytest.mark.parametrize("over", [1.0, 0.1])
@pytest.mark.parametrize("shape", [(3, 3), (2, 4), (2, 3, 2)])
def test_orders_that_are_passed_over_have_a_larger_loss(shape: tuple[int, ...], over: float) -> None:
    """The quick search against all orders: any weights, data around a joint action, few cells, whole numbers (ties)."""
    generator = np.random.default_rng(sum(shape))
    games = generator.normal(size=(40, *shape))
    whole = generator.integers(-2, 3, size=games.shape).astype(float)
    around = np.concatenate([of(shape, epsilon)[:2] for of in EXPLORATIONS.values() for epsilon in (0.1, 0.5)])
    some = generator.integers(0, 2, games.shape) + np.eye(1, games[0].size).reshape(shape)
    some = some if over == 1 else some + 0.5  # where nothing weighs, an optimistic table need not settle
    for weights in (1 / games[0].size, generator.uniform(0, 1, games.shape), some, *around):
        for payoffs in (games, whole):
            expected = minimisers(losses_by_greedy(payoffs, weights, over))
            np.testing.assert_array_equal(least_by_greedy(payoffs, weights, over), expected)


def test_a_batch_is_its_games_one_by_one_whatever_their_scale() -> None:
    games = np.random.default_rng(0).normal(size=(5, 3, 3))
    together = losses_by_greedy(games, UNIFORM)
    for game, loss in zip(games, together, strict=True):
        np.testing.assert_allclose(losses_by_greedy(game[None], UNIFORM)[0], loss)
        np.testing.assert_allclose(losses_by_greedy(1e6 + 100 * game[None], UNIFORM)[0] / 1e4, loss, rtol=1e-6)


def test_cells_without_weight_are_free() -> None:
    weights = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]])
    assert losses_by_greedy(PAYOFFS["mrvf5"]()[None], weights)[0, 0, 0] == pytest.approx(0)
    assert losses_by_greedy(PAYOFFS["mrvf5"]()[None], weights)[0, 2, 2] > 1


def test_a_game_too_large_is_refused() -> None:
    with pytest.raises(ValueError, match="7 x 7 actions has 25,401,600 orders"):
        losses_by_greedy(np.random.default_rng(0).normal(size=(1, 7, 7)), 1)
    with pytest.raises(ValueError, match="more than 20,000 upper sets"):
        losses_by_greedy(PAYOFFS["son_n"](4, 4)[None], 1)
