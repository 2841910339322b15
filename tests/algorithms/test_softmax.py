"""RES: its average by hand, the loss against loops, what is left out, and what it does not go with."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from marlx import UsageError
from marlx.algorithms.softmax import deviations, softmax_value
from tests.algorithms.learning import A, B, N, T, assert_padding_teaches_nothing, batch, learner, loss


def test_deviations_by_hand() -> None:
    """Greedy utilities 5 and 7: agent 0 may take 1, 5 or 3 beside 7, agent 1 2, 0 or 7 beside 5."""
    found = deviations(jnp.array([[1.0, 5, 3], [2, 0, 7]]), jnp.array([5.0, 7]))
    np.testing.assert_array_equal(found, [[[1, 7], [5, 7], [3, 7]], [[5, 2], [5, 0], [5, 7]]])


@pytest.mark.parametrize("beta, expected", [(0, 7.75), (np.log(2), 2 / 9 * 1 + 1 / 9 * 2 + 4 / 9 * 8 + 2 / 9 * 20)])
def test_average_by_hand(beta: float, expected: float) -> None:
    """Live values 1, 0, 2, 1: weights 2, 1, 4, 2 at beta = log 2. What is not available has none, at any value."""
    live, copy = jnp.array([[1.0, 0, 1e4], [2, 1, -1e4]]), jnp.array([[1.0, 2, 1e9], [8, 20, -1e9]])
    available = jnp.array([[True, True, False]] * 2)
    np.testing.assert_allclose(softmax_value(live, copy, available, beta), expected, 1e-6)
    assert softmax_value(live, jnp.ones_like(copy), jnp.zeros((2, 3), bool), beta) == 0


@pytest.mark.parametrize("mixer", ["vdn", "qmix", "qplex"])
def test_loss_and_gradient_equal_loops(mixer: str) -> None:
    """Every deviation written out as a joint action, and the return as TD(1)."""
    method = learner(
        {"network": "mlp"}, {"gamma": 0.9, "td_lambda": 0.7}, mixer=mixer, target="softmax",
        softmax_beta=2.0, return_loss_scale=0.3,
    )  # fmt: skip
    steps = batch()
    live, copy = (method.init(jax.random.key(seed)).params for seed in (1, 2))
    found, metrics = loss(method, live, copy, steps)
    q, old = (np.asarray(method.play(params, steps.view).utilities) for params in (live, copy))
    available = np.asarray(steps.view.available)
    state = method.init(jax.random.key(0))

    @jax.jit
    def joint(params: Any, actions: Any) -> jax.Array:
        """Q_tot [T+1 B] of joint actions [T+1 B N]."""
        played = method.play(params, steps.view)
        taken = jnp.take_along_axis(played.utilities, actions[..., None], -1)[..., 0]
        return method._mix(params, taken, steps.view.state, method._context(state, played, actions, None))[..., 0]

    greedy = np.where(available, q, -np.inf).argmax(-1)
    assert (greedy != np.where(available, old, -np.inf).argmax(-1)).any()
    weights, total = np.zeros((T + 1, B)), np.zeros((T + 1, B))
    for i in range(N):
        for a in range(A):
            actions = greedy.copy()
            actions[..., i] = a
            weight = np.where(available[..., i, a], np.exp(2.0 * np.asarray(joint(live, actions), np.float64)), 0)
            weights, total = weights + weight, total + weight * np.asarray(joint(copy, actions))
    values = total / weights
    targets = np.zeros((2, T, B))
    for k, trace in enumerate((0.7, 1.0)):
        future = values[T]
        for t in reversed(range(T)):
            ahead = (1 - trace) * values[t + 1] + trace * future
            future = targets[k, t] = np.asarray(steps.rewards[t]) + 0.9 * (1 - np.asarray(steps.terminated[t])) * ahead

    def mean(params: Any) -> jax.Array:
        value = joint(params, steps.actions)[:T]
        return ((value - targets[0]) ** 2 + 0.3 * (value - targets[1]) ** 2).mean()

    np.testing.assert_allclose(found, mean(live), rtol=1e-5)
    np.testing.assert_allclose(metrics["td_loss"] + metrics["return_loss"], found, rtol=1e-6)
    gradients = (jax.jit(jax.grad(f))(live) for f in (lambda params: loss(method, params, copy, steps)[0], mean))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), *gradients)


def test_sharp_and_without_returns_it_is_the_maximum_under_a_monotone_mixer() -> None:
    """The live greedy joint action then has all the weight: double-Q."""
    training = {"gamma": 0.9, "td_lambda": 0.7}
    sharp = learner(None, training, mixer="qmix", target="softmax", softmax_beta=1e6, return_loss_scale=0.0)
    plain, steps = learner(None, training, mixer="qmix"), batch()
    live, copy = (plain.init(jax.random.key(seed)).params for seed in (1, 2))
    np.testing.assert_allclose(loss(sharp, live, copy, steps)[0], loss(plain, live, copy, steps)[0], rtol=1e-5)


def test_padding_has_no_influence() -> None:
    method = learner({"network": "mlp"}, mixer="qmix", target="softmax", return_loss_scale=1.0)
    live, copy = (method.init(jax.random.key(seed)).params for seed in (1, 2))
    data = batch()
    data = data._replace(valid=data.valid.at[1, 1].set(False))
    assert_padding_teaches_nothing(jax.jit(lambda steps: loss(method, live, copy, steps)[0]), data)


def test_gradient_reaches_live_parameters_only() -> None:
    method, steps = learner({"network": "mlp"}, mixer="qmix", target="softmax"), batch()
    live, copy = (method.init(jax.random.key(seed)).params for seed in (1, 2))
    ours, targets = jax.jit(jax.grad(lambda p, t: loss(method, p, t, steps)[0], argnums=(0, 1)))(live, copy)
    assert all((jnp.abs(g) > 0).any() for g in jax.tree.leaves(ours))
    assert all((g == 0).all() for g in jax.tree.leaves(targets))


def test_both_losses_are_scaled_alike() -> None:
    once, half = (learner(None, {"loss_scale": scale}, mixer="qmix", target="softmax") for scale in (1.0, 0.5))
    live, copy = (once.init(jax.random.key(seed)).params for seed in (1, 2))
    (_, whole), (_, part) = (loss(method, live, copy, batch()) for method in (once, half))
    for name in ("td_loss", "return_loss"):
        np.testing.assert_allclose(part[name], 0.5 * whole[name], rtol=1e-6)


@pytest.mark.parametrize(
    "part, words",
    [
        ({"mixer": "independent"}, "mixer=independent has no joint value, which a .* softmax needs; valid: .*qmix"),
        ({"critic": "central"}, "target=softmax averages joint values of a mixer, and needs algorithm.critic=none"),
    ],
)
def test_what_it_does_not_go_with(part: dict[str, str], words: str) -> None:
    with pytest.raises(UsageError, match=f"^algorithm.{words}"):
        learner(target="softmax", **part)
