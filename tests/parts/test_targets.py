"""Targets: the hand-checked numbers from the specification, and the recursion against its definition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from marlx import targets

VALUES = jnp.array([9.0, 4.0, 3.0, 7.0])
CASES = {
    "terminal at the end": ([1, 0, 2], [0, 0, 1], [1, 1, 1], 0.5, [3.8125, 2.25, 2]),
    "truncated": ([1, 0, 2], [0, 0, 0], [1, 1, 1], 0.5, [5.08825, 5.085, 8.3]),
    "terminal early and padding": ([1, 5, 0], [0, 1, 0], [1, 1, 0], 0.5, [5.05, 5, 0]),
    "lambda 0": ([1, 0, 2], [0, 0, 1], [1, 1, 1], 0.0, [4.6, 2.7, 2]),
    "lambda 1": ([1, 0, 2], [0, 0, 1], [1, 1, 1], 1.0, [2.62, 1.8, 2]),
}


@pytest.mark.parametrize("jit", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_td_lambda_numbers(case: str, jit: bool) -> None:
    rewards, terminated, valid, lambda_, expected = CASES[case]
    function = jax.jit(targets.td_lambda) if jit else targets.td_lambda
    y = function(
        jnp.array(rewards, jnp.float32), jnp.array(terminated, bool), VALUES, jnp.array(valid, bool), 0.9, lambda_
    )
    np.testing.assert_allclose(y, expected, rtol=1e-6)


def _random_trajectory(seed: int, length: int = 12) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    return (
        rng.normal(size=length).astype(np.float32),
        rng.random(length) < 0.2,
        rng.normal(size=length + 1).astype(np.float32),
        rng.random(length) < 0.85,
    )


@pytest.mark.parametrize("seed", range(5))
def test_td_lambda_is_a_mixture_of_n_step_returns(seed: int) -> None:
    """G_t = (1 - lambda) sum_n lambda^(n-1) G_t^(n), the last one taking the rest of the weight, per trajectory."""
    rewards, terminated, values, valid = _random_trajectory(seed)
    gamma, lambda_, length = 0.9, 0.7, len(rewards)
    expected = np.zeros(length)
    for t in range(length):
        if not valid[t]:
            continue
        weight, discount, total, mixture = 1.0, 1.0, 0.0, 0.0
        for k in range(t, length):
            total += discount * rewards[k]
            discount *= gamma
            if terminated[k]:
                mixture += weight * total
                break
            bootstrapped = total + discount * values[k + 1]
            if k + 1 == length or not valid[k + 1]:
                mixture += weight * bootstrapped
                break
            mixture += weight * (1 - lambda_) * bootstrapped
            weight *= lambda_
        expected[t] = mixture
    y = targets.td_lambda(rewards, terminated, values, valid, gamma, lambda_)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_lambda_zero_is_one_step(seed: int) -> None:
    rewards, terminated, values, valid = _random_trajectory(seed)
    expected = np.where(valid, rewards + 0.9 * (1 - np.asarray(terminated, float)) * values[1:], 0)
    np.testing.assert_allclose(targets.td_lambda(rewards, terminated, values, valid, 0.9, 0.0), expected, rtol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_without_a_slot_after_the_last_every_step_terminates(seed: int) -> None:
    rewards, _, values, valid = _random_trajectory(seed)
    ends, taken = jnp.ones_like(valid, bool), values[1:]
    for rule, known in ((targets.td_lambda, ()), (targets.sarsa_lambda, ()), (targets.q_lambda, (taken,))):
        given = rule(rewards, ends, values, *known, valid, 0.9, 0.7)
        np.testing.assert_array_equal(rule(rewards, ends, values[:-1], *known, valid, 0.9, 0.7), given)


def test_values_at_invalid_and_terminal_slots_have_no_influence() -> None:
    rewards, terminated = jnp.array([1.0, 2.0, 9.0, 3.0]), jnp.array([False, True, False, False])
    valid = jnp.array([True, True, False, True])
    values = jnp.array([5.0, 6.0, 7.0, 8.0, 4.0])
    changed = values.at[2].set(-1e6)
    before = targets.td_lambda(rewards, terminated, values, valid, 0.9, 0.5)
    np.testing.assert_array_equal(before, targets.td_lambda(rewards, terminated, changed, valid, 0.9, 0.5))
    assert before[2] == 0


def test_sarsa_and_q_lambda_differ_by_bootstrap_and_correction() -> None:
    rewards, terminated, values, valid = _random_trajectory(1)
    taken = values - 0.5
    sarsa = targets.sarsa_lambda(rewards, terminated, taken, valid, 0.9, 0.5)
    np.testing.assert_array_equal(sarsa, targets.td_lambda(rewards, terminated, taken, valid, 0.9, 0.5))
    # With greedy actions replayed, the correction of Q(lambda) vanishes.
    greedy = targets.q_lambda(rewards, terminated, values, values[:-1], valid, 0.9, 0.5)
    np.testing.assert_allclose(greedy, targets.td_lambda(rewards, terminated, values, valid, 0.9, 0.5), rtol=1e-6)
    corrected = targets.q_lambda(rewards, terminated, values, taken[:-1], valid, 0.9, 0.0)
    plain = targets.td_lambda(rewards, terminated, values, valid, 0.9, 0.0)
    np.testing.assert_allclose(corrected, np.where(valid, plain + 0.5, 0), rtol=1e-5)


def test_hyperparameters_are_an_axis() -> None:
    rewards, terminated, values, valid = _random_trajectory(2)
    lambdas = jnp.array([0.0, 0.3, 1.0])
    batched = jax.vmap(lambda l: targets.td_lambda(rewards, terminated, values, valid, 0.9, l))(lambdas)
    for row, lambda_ in zip(batched, lambdas, strict=True):
        np.testing.assert_allclose(row, targets.td_lambda(rewards, terminated, values, valid, 0.9, lambda_), rtol=1e-6)


@pytest.mark.parametrize("name", ["td_lambda", "q_lambda", "sarsa_lambda"])
def test_without_a_compiler_they_are_the_same(name: str) -> None:
    rewards, terminated, values, valid = map(jnp.asarray, _random_trajectory(0))
    taken = (values[:-1] - 0.5,) if name == "q_lambda" else ()
    arguments = (rewards, terminated, values, *taken, valid, 0.9, 0.6)
    compiled = jax.jit(getattr(targets, name))(*arguments)
    with jax.disable_jit():
        np.testing.assert_allclose(getattr(targets, name)(*arguments), compiled, rtol=1e-5, atol=1e-6)
