"""QPLEX: hand-checked numbers, equality with loops, and where its gradients go."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import marlx
from marlx import exploration
from marlx.agents import take
from marlx.mixers.base import Context
from marlx.mixers.qplex import QPLEX, importances, mix
from tests.algorithms.learning import batch, learner, loss
from tests.parts.gradients import as_float64, assert_close, finite_differences

N, D, A, K, W, V = 3, 5, 4, 2, 4, 3  # heads, extractor width, hypernet width


def _context(best: jax.Array, actions: jax.Array) -> Context:
    shape = actions.shape
    return Context(best, actions, jnp.zeros((*shape, 1)), jnp.zeros((*shape, 1)))


def _all_actions() -> jax.Array:
    """Every joint action, int32 [A^N N]."""
    return jnp.stack(jnp.meshgrid(*[jnp.arange(A)] * N, indexing="ij"), axis=-1).reshape(-1, N)


NUMBERS = tuple(map(jnp.array, ([1.0, 0.5], [2.0, 0.5], [0.5, 2.0], [0.1, -0.2], [3.0, 0.2])))  # q, v, w, b, lambda


@pytest.mark.parametrize(
    "stop, expected",
    [
        (True, ([0.5, 2], [0, 0], [1, 0.5], [1, 1], [-0.5, 0])),
        # w lambda, w (1 - lambda), v + lambda (q - v), 1, w (q - v)
        (False, ([1.5, 0.4], [-1, 1.6], [-1, 0.5], [1, 1], [-0.5, 0])),
    ],
)
def test_numbers(stop: bool, expected: tuple[list[float], ...]) -> None:
    def value(*numbers: jax.Array) -> jax.Array:
        return mix(*numbers, stop=stop)

    found, gradients = jax.value_and_grad(value, argnums=tuple(range(5)))(*NUMBERS)
    np.testing.assert_allclose(found, 0.4, rtol=1e-6)
    for gradient, numbers in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(gradient, numbers, rtol=1e-6, atol=1e-7)


def test_a_negative_weight_counts_as_positive() -> None:
    q, v, w, b, lambdas = NUMBERS
    assert mix(q, v, -w, b, lambdas) == mix(q, v, w, b, lambdas)


def test_importance_numbers() -> None:
    """One head: 2 * 1/2 * 1/2 and 2 * 3/4 * 1/2. Heads add up."""
    key, agent, action = jnp.array([-2.0]), jnp.array([[0.0, math.log(3)]]), jnp.zeros((1, 2))
    np.testing.assert_allclose(importances(key, agent, action), [0.5, 0.75], rtol=1e-6)
    twice = importances(*(jnp.concatenate([x, x]) for x in (key, agent, action)))
    np.testing.assert_allclose(twice, [1.0, 1.5], rtol=1e-6)
    assert (importances(0 * key, agent, action) > 0).all()


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def _affine(layer: Any, x: np.ndarray, columns: slice = slice(None)) -> np.ndarray:
    return x @ layer["kernel"][:, columns] + layer["bias"][columns]


def _head(layer: Any, head: int, x: np.ndarray) -> np.ndarray:
    return x @ layer["kernel"][head] + layer["bias"][head]


def _reference(p: Any, q: np.ndarray, v: np.ndarray, s: np.ndarray, u: list[int], mixer: QPLEX) -> tuple[float, Any]:
    """The equations: sum v~ + sum lambda (q~ - v~), and for gradients that stop (sum q~, lambda, q~ - v~)."""
    weighted, layers = mixer.weighted_head, mixer.layers
    taken = np.zeros(N * A)
    for i in range(N):
        taken[i * A + u[i]] = 1
    w, b = np.ones(N), np.zeros(N)
    start = 0
    if weighted:
        relu = np.maximum(_affine(p["first"], s, slice(2 * V)), 0)
        w = np.abs(_head(p["transformation"], 0, relu[:V])) + 1e-10
        b = _head(p["transformation"], 1, relu[V:])
        start = 2 * V
    lambdas = np.zeros(N)
    for k in range(K):
        outputs = []
        for kind, (of_state, place, width) in enumerate(
            [(True, start, 1), (True, start + K * (1 if layers == 1 else W), N), (False, 0, N)]
        ):
            width = width if layers == 1 else W
            layer, x = (p["first"], s) if of_state else (p["first_joint"], np.concatenate([s, taken]))
            y = _affine(layer, x, slice(place + k * width, place + (k + 1) * width))
            if layers == 3:
                y = _head(p["second"], kind * K + k, np.maximum(y, 0))
            if layers > 1:
                last, head = (p["keys"], k) if kind == 0 else (p["last"], (kind - 1) * K + k)
                y = _head(last, head, np.maximum(y, 0))
            outputs.append(y)
        key, agent, action = outputs
        for i in range(N):
            lambdas[i] += (abs(key[0]) + 1e-10) * _sigmoid(agent[i]) * _sigmoid(action[i])
    taken_part = sum(w[i] * q[i] + b[i] for i in range(N))
    value = sum(w[i] * v[i] + b[i] + lambdas[i] * w[i] * (q[i] - v[i]) for i in range(N))
    return float(value), (taken_part, lambdas, w * (q - v))


@pytest.mark.parametrize("stop", [True, False])
@pytest.mark.parametrize(
    "layers, weighted", [(1, True), pytest.param(2, True, marks=pytest.mark.slow), (3, True), (2, False)]
)
def test_equals_loops(layers: int, weighted: bool, stop: bool) -> None:
    """The value, and its gradient to utilities, greedy utilities and parameters."""
    mixer = QPLEX(
        N, D, A, heads=K, layers=layers, extractor_width=W, hypernet_width=V, weighted_head=weighted,
        stop_advantage_gradient=stop,
    )  # fmt: skip
    params, keys = mixer.init(jax.random.key(1)), jax.random.split(jax.random.key(2), 3)
    q, s = jax.random.normal(keys[0], (N,)), jax.random.normal(keys[1], (D,))
    v = q + jax.random.exponential(keys[2], (N,))
    u = [3, 0, 2]

    def value(params: Any, q: jax.Array, v: jax.Array) -> jax.Array:
        return mixer.apply(params, q, s, _context(v, jnp.array(u)))

    found, gradients = jax.jit(jax.value_and_grad(value, argnums=(0, 1, 2)))(params, q, v)
    point, state = as_float64((params, q, v)), np.asarray(s, np.float64)
    expected, (_, _, advantages) = _reference(point[0]["params"], *point[1:], state, u, mixer)

    def reference(point: Any) -> float:
        whole, (taken, lambdas, _) = _reference(point[0]["params"], *point[1:], state, u, mixer)
        return float(taken + (lambdas - 1) @ advantages) if stop else whole

    np.testing.assert_allclose(reference(point), expected, rtol=1e-12)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert_close(gradients, finite_differences(reference, point))


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_number_of_parameters(layers: int) -> None:
    """S = 10, N = 3, A = 4: w and b are S-64-N; a head has a key S..1, agents S..N and actions (S+NA)..N."""
    params = QPLEX(3, 10, 4, layers=layers).init(jax.random.key(0))
    head = 11 + 11 * 3 + 23 * 3 if layers == 1 else (11 + 11 + 23) * 64 + 65 + 2 * 65 * 3 + (layers - 2) * 3 * 65 * 64
    assert sum(x.size for x in jax.tree.leaves(params)) == 2 * (11 * 64 + 65 * 3) + 4 * head


def _joint_values(seed: int | jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Joint values [A^N] and their slopes [A^N N] at every joint action, and the utilities [N A].

    Parameters are drawn larger than initial ones, so that lambda differs much between joint actions.
    """
    mixer = QPLEX(N, D, A)
    params = jax.tree.map(lambda x: 4 * x, mixer.init(jax.random.key(seed)))
    keys = jax.random.split(jax.random.key(seed), 2)
    utilities, state = jax.random.normal(keys[0], (N, A)), jax.random.normal(keys[1], (D,))
    actions = _all_actions()
    best = jnp.broadcast_to(utilities.max(-1), actions.shape)
    taken = take(utilities, actions)

    def values(q: jax.Array) -> jax.Array:
        return mixer.apply(params, q, jnp.broadcast_to(state, (len(actions), D)), _context(best, actions))

    return values(taken), jax.grad(lambda q: values(q).sum())(taken), utilities


def test_slopes_are_the_weights_whatever_the_action() -> None:
    _, slopes, _ = jax.jit(jax.vmap(_joint_values))(jnp.arange(1000))  # [1000 A^N N]
    assert (slopes > 0).all()
    np.testing.assert_array_equal(slopes, jnp.broadcast_to(slopes[:, :1], slopes.shape))


def test_utilities_do_not_order_the_joint_values() -> None:
    """Some agent has a better action by its own utility that is worse for the team, the others' actions being equal."""
    values, _, utilities = _joint_values(0)
    rising = np.asarray(values).reshape(A, A, A)[np.argsort(np.asarray(utilities[0]))]
    assert np.diff(rising, axis=0).min() < -0.1
    assert not QPLEX(N, D, A).is_monotone


@pytest.mark.parametrize("weighted, stop", [(True, True), (False, False)])
def test_gradient_reaches_every_live_parameter(weighted: bool, stop: bool) -> None:
    method, steps = learner(mixer="qplex", weighted_head=weighted, stop_advantage_gradient=stop), batch()
    live, other = (method.init(jax.random.key(seed)).params for seed in (1, 2))
    gradient = jax.jit(jax.grad(lambda p, t: loss(method, p, t, steps)[0], argnums=(0, 1)))
    ours, targets = gradient(live, other)
    assert all((jnp.abs(g) > 0).any() for g in jax.tree.leaves(ours))
    assert all((g == 0).all() for g in jax.tree.leaves(targets))


def test_the_target_takes_the_target_networks_own_maximum() -> None:
    """Selection by the live agent, so the target's advantage is not zero; both over available actions alone."""
    method, steps = learner(mixer="qplex", training={"gamma": 0.9, "td_lambda": 0.0}), batch()
    live, other = (method.init(jax.random.key(seed)).params for seed in (1, 2))
    live_values, old = (method.play(params, steps.view).utilities for params in (live, other))
    chosen = exploration.greedy(live_values, steps.view.available)
    best = jnp.where(steps.view.available, old, -jnp.inf).max(-1)
    assert (take(old, chosen) < best).any() and (best < old.max(-1)).any()
    values = method.mixer.apply(other["mixer"], take(old, chosen), steps.view.state, _context(best, chosen))
    expected = steps.rewards + 0.9 * (1 - steps.terminated) * values[1:]
    _, found = jax.jit(lambda: loss(method, live, other, steps))()
    np.testing.assert_allclose(found["target"], expected.mean(), rtol=1e-5)


def test_heads_and_layers_of_the_sources() -> None:
    game, hunt = (marlx.configure("qplex", name).algorithm for name in ("matrix_game", "predator_prey"))
    assert (game["heads"], game["layers"]) == (10, 3)
    assert (hunt["heads"], hunt["layers"]) == (4, 2)
