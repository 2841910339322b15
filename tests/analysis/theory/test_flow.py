"""Gradient flow of a single-state game: what holds of the theorems of "Beyond Monotonicity", and what does not."""

import jax
import numpy as np
import pytest
from marlx_envs.payoffs import PAYOFFS

from marlx.analysis.joint_table import igm_gap
from marlx.analysis.theory.flow import gradient_flow, hessian, hessian_of_zero_loss, interpolating_mixer, loss
from marlx.analysis.theory.regret import largest_boltzmann_gap

PAYOFF = PAYOFFS["game_b"]().astype(float)
UTILITIES = np.array([[1.0, 0.0, 2.0], [0.5, -1.0, 1.5]])  # greedy (C, C); the best is (A, A)
MIXER = interpolating_mixer(PAYOFF, UTILITIES)


def test_a_point_of_zero_loss_can_break_igm() -> None:
    """Theorem 1, by construction: the mixer gives every payoff, and the greedy joint action is not the best."""
    pairs = np.stack(np.meshgrid(*UTILITIES, indexing="ij"), axis=-1)
    np.testing.assert_allclose(jax.jit(jax.vmap(jax.vmap(MIXER)))(pairs), PAYOFF, atol=1e-5)
    assert float(jax.jit(loss, static_argnums=1)(UTILITIES, MIXER, PAYOFF, 1.0)) == pytest.approx(0, abs=1e-9)
    assert PAYOFF[tuple(UTILITIES.argmax(axis=1))] == 10 < PAYOFF.max() == 12


@pytest.mark.parametrize("temperature, curvature, claimed", [(1.0, 48.1, -4), (0.5, 19.7, -8), (0.2, 1.08, -20)])
def test_it_is_no_saddle(temperature: float, curvature: float, claimed: float) -> None:
    """Theorem 3 claims v^T H v = -(2/tau) (12 - 10) for v = e_A - e_C of agent 1; it is positive."""
    whole = hessian(MIXER, PAYOFF, UTILITIES, temperature)
    np.testing.assert_allclose(whole, hessian_of_zero_loss(MIXER, PAYOFF, UTILITIES, temperature), atol=1e-10)
    spectrum = np.linalg.eigvalsh(whole)
    assert spectrum[0] > -1e-12
    direction = np.array([1.0, 0, -1, 0, 0, 0])
    assert direction @ whole @ direction == pytest.approx(curvature, rel=2e-3)
    assert claimed == pytest.approx(-2 / temperature * (PAYOFF[0, 0] - PAYOFF[2, 2]))
    if temperature == 1:
        assert spectrum[0] == pytest.approx(3.8e-3, rel=0.02)
    assert np.linalg.matrix_rank(whole, tol=1e-14) == 6


def test_curvature_in_directions_that_are_not_visited_fades() -> None:
    lowest = [np.linalg.eigvalsh(hessian_of_zero_loss(MIXER, PAYOFF, UTILITIES, tau))[0] for tau in (1.0, 0.5, 0.2)]
    assert lowest[0] > lowest[1] > lowest[2] > -1e-12 and lowest[2] < 1e-6


def test_away_from_zero_loss_the_two_hessians_differ() -> None:
    shifted = UTILITIES + 0.1
    assert np.abs(hessian(MIXER, PAYOFF, shifted, 0.5) - hessian_of_zero_loss(MIXER, PAYOFF, shifted, 0.5)).max() > 0.1


def test_the_flow_goes_back_to_the_point_that_breaks_igm() -> None:
    """Pushed towards the optimum, as Theorem 3's direction says, the loss falls again: the point attracts."""
    start = UTILITIES + 0.02 * np.array([[1.0, 0, -1], [1, 0, -1]])
    path, losses = gradient_flow(MIXER, PAYOFF, start, temperature=1.0, time=4.0, steps=400)
    assert (np.diff(losses) <= 1e-12).all() and losses[-1] < 1e-3 * losses[0]
    assert path.shape == (401, 2, 3) and path[-1].argmax(axis=1).tolist() == [2, 2]


def test_the_boltzmann_gap_of_remix() -> None:
    where, gap = largest_boltzmann_gap()
    assert where == pytest.approx(1.2785, abs=5e-5) and gap == pytest.approx(0.2785, abs=5e-5)
    assert gap == pytest.approx(where - 1)
    z = np.linspace(0, 5, 10_001)
    assert (z / (1 + np.exp(z))).max() == pytest.approx(gap, abs=1e-6)


def test_the_worked_example_of_igm() -> None:
    """Q_1 = (5, 3), Q_2 = (4, 6): greedy is (A, D), which pays 8; the maximum is (A, C) with 10."""
    table, utilities = np.array([[[10.0, 8], [7, 9]]]), [np.array([5, 3]), np.array([4, 6])]
    assert igm_gap(table, np.array([[q.argmax() for q in utilities]])).tolist() == [2.0]
