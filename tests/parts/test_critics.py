"""Joint critics: the mixer against a reference in double precision, reading many joint actions, ResQ's numbers."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from marlx.agents import Agent, AgentOptions
from marlx.critics.central import JointCritic, beside_greedy, residual
from marlx.mixers.feed_forward import FeedForward
from marlx.types import View

N, A, O, D, W, T, B = 3, 4, 5, 6, 7, 3, 2
Arrays = dict[str, Any]


def _mixer() -> tuple[FeedForward, Any, np.ndarray, np.ndarray]:
    """The mixer, its parameters, utilities [5 N] and states [5 D]."""
    mixer = FeedForward(N, D, width=W)
    utilities, state = (3 * jax.random.normal(jax.random.key(i), (5, size)) for i, size in enumerate((N, D)))
    return mixer, mixer.init(jax.random.key(2)), np.asarray(utilities, np.float64), np.asarray(state, np.float64)


def _reference(params: Any, utilities: np.ndarray, state: np.ndarray) -> float:
    """Q(s, q) of one row: an input s || q_1..q_N, three hidden layers; and V(s) with one hidden layer."""
    p = jax.tree.map(lambda x: np.asarray(x, np.float64), params["params"])
    relu = lambda x: np.maximum(x, 0)  # noqa: E731
    of_state, bias, of_utilities = p["first"]["kernel"], p["first"]["bias"], p["first_utilities"]["kernel"]
    kernel = np.concatenate([of_state[:, :W], of_utilities])
    hidden = relu(np.concatenate([state, utilities]) @ kernel + bias[:W])
    for layer in ("second", "third"):
        hidden = relu(hidden @ p[layer]["kernel"] + p[layer]["bias"])
    joint = hidden @ p["joint"]["kernel"] + p["joint"]["bias"]
    value = relu(state @ of_state[:, W:] + bias[W:]) @ p["value"]["kernel"] + p["value"]["bias"]
    return float((joint + value)[0])


def _slope(function: Any, at: np.ndarray, direction: np.ndarray, step: float = 1e-6) -> float:
    return float((function(at + step * direction) - function(at - step * direction)) / (2 * step))


def test_mixer_equals_a_reference() -> None:
    mixer, params, utilities, state = _mixer()
    found = mixer.apply(params, jnp.asarray(utilities, jnp.float32), jnp.asarray(state, jnp.float32))
    expected = [_reference(params, q, s) for q, s in zip(utilities, state, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_gradient_of_the_mixer_equals_differences_of_the_reference() -> None:
    mixer, params, utilities, state = _mixer()
    for q, s in zip(utilities, state, strict=True):
        inputs = jnp.asarray(q, jnp.float32), jnp.asarray(s, jnp.float32)
        by_params, by_q = jax.grad(mixer.apply, argnums=(0, 1))(params, *inputs)
        slopes = [_slope(lambda q, s=s: _reference(params, q, s), q, e) for e in np.eye(N)]
        np.testing.assert_allclose(by_q, slopes, rtol=1e-5, atol=1e-6)
        for layer, leaves in params["params"].items():
            for name, leaf in leaves.items():
                direction = np.random.default_rng(0).normal(size=leaf.shape)

                def moved(leaf: np.ndarray, layer: str = layer, name: str = name, q: Any = q, s: Any = s) -> float:
                    inner: Arrays = {**params["params"], layer: {**params["params"][layer], name: leaf}}
                    return _reference({"params": inner}, q, s)

                slope = _slope(moved, np.asarray(leaf, np.float64), direction)
                along = float((np.asarray(by_params["params"][layer][name], np.float64) * direction).sum())
                np.testing.assert_allclose(along, slope, rtol=1e-5, atol=1e-6, err_msg=f"{layer}.{name}")


def test_mixer_has_the_published_number_of_parameters() -> None:
    """Linear(S+N -> 256), twice Linear(256 -> 256), Linear(256 -> 1); V: Linear(S -> 256), Linear(256 -> 1)."""
    params = FeedForward(3, 10).init(jax.random.key(0))
    expected = (13 + 1) * 256 + 2 * (256 + 1) * 256 + (256 + 1) + (10 + 1) * 256 + (256 + 1)
    assert sum(x.size for x in jax.tree.leaves(params)) == expected


def test_mixer_is_not_constrained() -> None:
    mixer, params, utilities, state = _mixer()
    inputs = jnp.asarray(utilities, jnp.float32), jnp.asarray(state, jnp.float32)
    slopes = jax.grad(lambda q, s: mixer.apply(params, q, s).sum())(*inputs)
    assert (slopes < 0).any() and not mixer.is_monotone


def test_one_pass_reads_any_joint_actions() -> None:
    """Values of the single actions come from one pass; the mixer then sees those of each joint action asked for."""
    critic = JointCritic(Agent(N, A, O, AgentOptions(hidden_size=8)), FeedForward(N, D, width=W))
    params, keys = critic.init(jax.random.key(0)), jax.random.split(jax.random.key(1), 4)
    view = View(
        observation=jax.random.normal(keys[0], (T, B, N, O)),
        state=jax.random.normal(keys[1], (T, B, D)),
        available=jnp.ones((T, B, N, A), bool),
        previous_actions=jnp.full((T, B, N), A, jnp.int32),
        starts=jnp.zeros((T, B), bool).at[0].set(True),
    )
    values = critic.use(params, view)
    assert values.shape == (T, B, N, A)
    for key in keys[2:]:
        actions = jax.random.randint(key, (T, B, N), 0, A)
        found = critic.at(params, values, view.state, actions)
        for t in range(T):
            for b in range(B):
                taken = np.array([values[t, b, i, actions[t, b, i]] for i in range(N)], np.float64)
                expected = _reference(params["mixer"], taken, np.asarray(view.state[t, b], np.float64))
                np.testing.assert_allclose(found[t, b], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("actions, raw, squared", [((0, 1), False, 0.64), ((0, 1), True, 10.24), ((0, 2), False, 4.0)])
def test_resq_numbers(actions: tuple[int, int], raw: bool, squared: float) -> None:
    """Q_mon = 3, raw residual 1.2, y = 1, greedy (0, 2)."""
    value = jnp.float32(1.2) if raw else residual(jnp.float32(1.2))
    joint = 3 + beside_greedy(jnp.array(actions), jnp.array([0, 2])) * value
    np.testing.assert_allclose((joint - 1) ** 2, squared, rtol=1e-6)


def test_a_constrained_residual_is_never_positive() -> None:
    np.testing.assert_allclose(residual(jnp.array([1.2, -0.5, 0.0])), [-1.2, -0.5, 0])
    np.testing.assert_allclose(jax.vmap(jax.grad(residual))(jnp.array([1.2, -0.5])), [-1, 1])
