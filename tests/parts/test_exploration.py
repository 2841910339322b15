"""Exploration: the schedule's numbers, sampled frequencies against the distributions, masks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from marlx import exploration


def test_schedule_numbers() -> None:
    epsilon = [float(exploration.linear_schedule(1, 0.05, 100_000, t)) for t in (0, 50_000, 100_000, 900_000)]
    np.testing.assert_allclose(epsilon, [1, 0.525, 0.05, 0.05], rtol=1e-6)


def test_schedule_without_steps_is_its_end() -> None:
    assert exploration.linear_schedule(1.0, 0.25, 0, 0) == 0.25


UTILITIES = jnp.array([[1.0, 5.0, 3.0, 2.0], [9.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 4.0]])
AVAILABLE = jnp.array([[True, False, True, True], [True, True, True, True], [True, False, False, False]])


def test_greedy_takes_the_first_best_available_action() -> None:
    np.testing.assert_array_equal(exploration.greedy(UTILITIES, AVAILABLE), [2, 0, 0])
    assert exploration.greedy(jnp.zeros(3), jnp.array([False, True, True])) == 1


@pytest.mark.parametrize("name", exploration.EXPLORERS)
@pytest.mark.parametrize("epsilon", [0.0, 0.3, 1.0])
def test_marginal_frequencies_are_the_policy(name: str, epsilon: float) -> None:
    draws = 40_000
    keys = jax.random.split(jax.random.key(0), draws)
    sample = jax.vmap(lambda key: exploration.EXPLORERS[name](key, UTILITIES, AVAILABLE, jnp.float32(epsilon)))
    frequencies = jax.nn.one_hot(sample(keys), 4).mean(0)
    expected = exploration.policy(UTILITIES, AVAILABLE, epsilon).probs
    np.testing.assert_allclose(frequencies, expected, atol=0.011)
    assert (frequencies[~AVAILABLE] == 0).all()


def test_centralised_draws_for_the_whole_team() -> None:
    """P(greedy joint action) = 1 - eps + eps / |U| for the team, and (1 - eps + eps / A)^N agent by agent."""
    utilities, available, epsilon = jnp.zeros((2, 3)).at[:, 1].set(1.0), jnp.ones((2, 3), bool), 0.3
    keys = jax.random.split(jax.random.key(1), 40_000)
    for explorer, expected in (
        (exploration.centralised, 0.7 + 0.3 / 9),
        (exploration.decentralised, (0.7 + 0.3 / 3) ** 2),
    ):
        actions = jax.vmap(lambda key, e=explorer: e(key, utilities, available, jnp.float32(epsilon)))(keys)
        np.testing.assert_allclose((actions == 1).all(-1).mean(), expected, atol=0.01)
