"""Qatten: hand-checked numbers, equality with loops, and what attention over agents must keep."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from marlx_envs.options import UsageError

import marlx
from marlx.mixers.base import Context
from marlx.mixers.qatten import Qatten, mix
from tests.algorithms.learning import batch, learner, loss
from tests.parts.gradients import as_float64, assert_close, finite_differences

N, D, O, H, E, K = 3, 7, 5, 2, 3, 4


def _context(observation: jax.Array) -> Context:
    shape = observation.shape[:-1]
    return Context(jnp.zeros(shape), jnp.zeros(shape, jnp.int32), jnp.zeros((*shape, 1)), observation)


def _draws(seed: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Utilities [N], state [D], observations [N O]."""
    keys = jax.random.split(jax.random.key(seed), 3)
    shapes: Any = ((N,), (D,), (N, O))
    return tuple(jax.random.normal(key, shape) for key, shape in zip(keys, shapes, strict=True))  # type: ignore[return-value]


def test_numbers() -> None:
    """Attention (.25, .75) and (.5, .5); the second head's weight -3 counts as 3."""
    logits = jnp.array([[0.0, math.log(3)], [0.0, 0.0]])
    value, slopes = jax.value_and_grad(mix)(jnp.array([1.0, -1.0]), logits, jnp.array([2.0, -3.0]), jnp.float32(0.1))
    np.testing.assert_allclose(value, -0.9, rtol=1e-6)
    np.testing.assert_allclose(slopes, [2 * 0.25 + 3 * 0.5, 2 * 0.75 + 3 * 0.5], rtol=1e-6)


def _reference(p: Any, q: np.ndarray, s: np.ndarray, o: np.ndarray, weighted: bool) -> float:
    """The equations, index by index; the keys have a bias of 0.7 here, which attention must not see."""
    hidden = np.array(
        [max(s @ p["first"]["kernel"][:, j] + p["first"]["bias"][j], 0) for j in range(len(p["first"]["bias"]))]
    )
    of_weights = hidden[H * K : H * K + K]
    joint = float(hidden[-E:] @ p["value"]["kernel"][:, 0] + p["value"]["bias"][0])
    for h in range(H):
        query = hidden[h * K : (h + 1) * K] @ p["queries"]["kernel"][h] + p["queries"]["bias"][h]
        logits = []
        for i in range(N):
            key = [sum(p["keys"][h, e, u] * o[i, u] for u in range(O)) + 0.7 for e in range(E)]
            logits.append(sum(query[e] * key[e] for e in range(E)) / math.sqrt(E))
        total = sum(math.exp(x) for x in logits)
        mean = sum(math.exp(x) / total * q[i] for i, x in enumerate(logits))
        weight = abs(of_weights @ p["weights"]["kernel"][:, h] + p["weights"]["bias"][h]) if weighted else 1.0
        joint += weight * mean
    return float(joint)


@pytest.mark.parametrize("weighted", [True, False])
def test_equals_loops(weighted: bool) -> None:
    """The value, and its gradient to utilities and parameters."""
    mixer = Qatten(N, D, O, heads=H, embedding_width=E, hidden_width=K, weighted_heads=weighted)
    params = mixer.init(jax.random.key(1))
    q, s, o = _draws(2)

    def value(params: Any, q: jax.Array) -> jax.Array:
        return mixer.apply(params, q, s, _context(o))

    found, slopes = jax.jit(jax.value_and_grad(value, argnums=(0, 1)))(params, q)
    point = as_float64((params, q))
    state, observation = as_float64((s, o))

    def reference(point: Any) -> float:
        return _reference(point[0]["params"], point[1], state, observation, weighted)

    np.testing.assert_allclose(found, reference(point), rtol=1e-5)
    assert_close(slopes, finite_differences(reference, point))


@pytest.mark.parametrize("weighted", [True, False])
def test_number_of_parameters(weighted: bool) -> None:
    """4 queries S-64-32 and keys U-32, weights S-64-4, c S-32-1; keys without their bias, which has no effect."""
    params = Qatten(3, 10, 5, weighted_heads=weighted).init(jax.random.key(0))
    expected = 4 * (11 * 64 + 65 * 32 + 5 * 32) + weighted * (11 * 64 + 65 * 4) + 11 * 32 + 33
    assert sum(x.size for x in jax.tree.leaves(params)) == expected


def test_agents_may_be_permuted() -> None:
    mixer = Qatten(N, D, O)
    for seed in range(5):
        params = mixer.init(jax.random.key(seed))
        q, s, o = _draws(seed)
        order = jnp.array([2, 0, 1])
        there, here = (mixer.apply(params, q[i], s, _context(o[i])) for i in (order, jnp.arange(N)))
        np.testing.assert_allclose(there, here, rtol=1e-5)
        alone = mixer.apply(params, q[order], s, _context(o))
        assert jnp.abs(alone - here) > 1e-4  # utilities alone: agents with other observations count otherwise


def test_attention_is_a_mean() -> None:
    """One more in every utility is one more in every head."""
    q, s, o = _draws(0)
    mixer = Qatten(N, D, O, weighted_heads=False)
    params = mixer.init(jax.random.key(0))
    low, high = (mixer.apply(params, x, s, _context(o)) for x in (q, q + 1))
    np.testing.assert_allclose(high - low, 4, rtol=1e-5)


def test_keys_may_read_the_front_of_the_state() -> None:
    front = Qatten(N, D, O, own_features=2)
    params = front.init(jax.random.key(0))
    q, s, _ = _draws(0)
    expected = Qatten(N, D, 2).apply(params, q, s, _context(s[:6].reshape(N, 2)))
    np.testing.assert_allclose(front.apply(params, q, s), expected, rtol=1e-6)


def test_a_state_too_short_for_the_keys_is_a_mistake_of_the_user() -> None:
    with pytest.raises(UsageError, match="own_features must be at most 2, .* 7 entries for 3 agents, not 3"):
        Qatten(N, D, O, own_features=3)
    with pytest.raises(UsageError, match="own_features"):
        marlx.configure("qatten", "predator_prey", "algorithm.own_features=1000")


def test_gradient_reaches_every_live_parameter() -> None:
    method, steps = learner(mixer="qatten"), batch()
    live, other = (method.init(jax.random.key(seed)).params for seed in (1, 2))
    gradient = jax.jit(jax.grad(lambda p, t: loss(method, p, t, steps)[0], argnums=(0, 1)))
    ours, targets = gradient(live, other)
    assert all((jnp.abs(g) > 0).any() for g in jax.tree.leaves(ours))
    assert all((g == 0).all() for g in jax.tree.leaves(targets))
