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
    expected = exploration.policy(UTILITIES, AVAILABLE, epsilon, name).probs
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


def test_softmax_probabilities_by_hand() -> None:
    """exp(Q / tau) over available actions: at tau = 0.5 the first agent's (1, 3, 2) are in proportion 1 : e^4 : e^2."""
    probs = exploration.policy(UTILITIES, AVAILABLE, 0.5, "softmax").probs
    weights = np.array([1, 0, np.exp(4), np.exp(2)])
    np.testing.assert_allclose(probs[0], weights / weights.sum(), rtol=1e-5)
    np.testing.assert_allclose(probs[1], np.array([np.exp(18), 1, 1, 1]) / (np.exp(18) + 3), rtol=1e-5)
    np.testing.assert_array_equal(probs[2], [1, 0, 0, 0])


def test_softmax_without_temperature_is_greedy() -> None:
    """To the bit, ties included, as evaluation needs it; and as a distribution."""
    ties = jnp.zeros((3, 4))
    for utilities in (UTILITIES, ties, 1e8 * UTILITIES):
        expected = exploration.greedy(utilities, AVAILABLE)
        for seed in range(20):
            found = exploration.softmax(jax.random.key(seed), utilities, AVAILABLE, jnp.float32(0))
            np.testing.assert_array_equal(found, expected)
        probs = exploration.policy(utilities, AVAILABLE, 0.0, "softmax").probs
        np.testing.assert_array_equal(probs, jax.nn.one_hot(expected, 4))


def test_softmax_draws_agent_by_agent() -> None:
    """The joint frequencies are products of the agents' own."""
    utilities, available = jnp.array([[0.0, 1.0], [0.5, 0.0]]), jnp.ones((2, 2), bool)
    keys = jax.random.split(jax.random.key(3), 40_000)
    actions = jax.vmap(lambda key: exploration.softmax(key, utilities, available, jnp.float32(0.7)))(keys)
    joint = jax.nn.one_hot(2 * actions[:, 0] + actions[:, 1], 4).mean(0)
    first, second = exploration.policy(utilities, available, 0.7, "softmax").probs
    np.testing.assert_allclose(joint, jnp.outer(first, second).ravel(), atol=0.011)
