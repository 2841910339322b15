"""Masked means, optimisers against PyTorch's rules written out in NumPy, clipping."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from marlx import losses
from marlx.settings import Training


def test_masked_mean_ignores_what_is_masked() -> None:
    values, mask = jnp.array([1.0, jnp.float32(1e30), 3.0]), jnp.array([True, False, True])
    assert losses.masked_mean(values, mask) == 2
    assert losses.masked_mean(values, jnp.zeros(3, bool)) == 0


def test_masked_mean_over_agents_divides_by_all_of_them() -> None:
    """qc = [0, 3], y = 1, one step: ((0-1)^2 + (3-1)^2) / 2 = 2.5, not 5."""
    q, step = jnp.array([[[0.0, 3.0]]]), jnp.ones((1, 1, 1), bool)
    assert losses.squared_error(q, jnp.ones((1, 1, 1)), step) == 2.5


def test_weights_do_not_enter_the_divisor() -> None:
    """Two valid steps of errors 2 and 1, weights 0.1 and 1: (0.4 + 1) / 2, and not over 1.1."""
    mask = jnp.array([True, True, False])
    found = losses.squared_error(jnp.array([3.0, 1, 9]), jnp.array([1.0, 2, 0]), mask, jnp.array([0.1, 1, 1]))
    np.testing.assert_allclose(found, 0.7, rtol=1e-6)


def _torch_rule(name: str, gradients: list[np.ndarray], rate: float) -> np.ndarray:
    x, m, v = np.zeros(3), np.zeros(3), np.zeros(3)
    for t, g in enumerate(gradients, start=1):
        if name == "rmsprop":
            v = 0.99 * v + 0.01 * g**2
            x = x - rate * g / (np.sqrt(v) + 1e-5)
        else:
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
            x = x - rate * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    return x


@pytest.mark.parametrize("name", losses.OPTIMISERS)
def test_optimisers_are_pytorchs(name: str) -> None:
    rng = np.random.default_rng(0)
    gradients = [rng.normal(size=3) * 10.0**-k for k in range(5)]
    rule = losses.optimiser(name, 0.01, 1e9)
    params = {"a": jnp.zeros(1), "b": jnp.zeros(2)}
    state = rule.init(params)
    for g in gradients:
        updates, state = rule.update({"a": jnp.asarray(g[:1]), "b": jnp.asarray(g[1:])}, state, params)
        params = jax.tree.map(jnp.add, params, updates)
    got = np.concatenate([params["a"], params["b"]])
    np.testing.assert_allclose(got, _torch_rule(name, gradients, 0.01), rtol=1e-4)


def test_clipping_is_by_the_norm_over_all_parameters() -> None:
    rule = losses.clip_by_norm(10.0)
    clipped, _ = rule.update({"a": jnp.array([30.0]), "b": jnp.array([40.0])}, rule.init({}))
    np.testing.assert_allclose([clipped["a"][0], clipped["b"][0]], [6, 8], rtol=1e-6)
    same, _ = rule.update({"a": jnp.array([3.0]), "b": jnp.array([4.0])}, rule.init({}))
    np.testing.assert_array_equal([same["a"][0], same["b"][0]], [3, 4])


def test_an_optimiser_of_its_own_for_all_but_the_agent() -> None:
    """RMSprop for the agent, Adam for the mixer, each clipped by its own norm; a mixer may have no parameters."""
    training = Training(optimiser="rmsprop", mixer_optimiser="adam", learning_rate=0.1, max_gradient_norm=1.0)
    params = {"agent": {"w": jnp.zeros(3)}, "mixer": {"w": jnp.zeros(3)}}
    gradients = {"agent": {"w": jnp.array([3.0, 0.0, 4.0])}, "mixer": {"w": jnp.array([0.0, 30.0, 40.0])}}
    rule = losses.optimisers(training)
    moved, _ = rule.update(gradients, rule.init(params), params)
    clipped = {name: np.asarray(g["w"]) / np.linalg.norm(g["w"]) for name, g in gradients.items()}
    np.testing.assert_allclose(moved["agent"]["w"], _torch_rule("rmsprop", [clipped["agent"]], 0.1), rtol=1e-4)
    np.testing.assert_allclose(moved["mixer"]["w"], _torch_rule("adam", [clipped["mixer"]], 0.1), rtol=1e-4)

    bare, slopes = {**params, "mixer": {}}, {**gradients, "mixer": {}}
    moved, _ = rule.update(slopes, rule.init(bare), bare)
    np.testing.assert_allclose(moved["agent"]["w"], _torch_rule("rmsprop", [clipped["agent"]], 0.1), rtol=1e-4)
    assert moved["mixer"] == {}
