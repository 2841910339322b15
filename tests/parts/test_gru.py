"""The hand-written unroll against its plain version, and against the cell's equations in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from marlx import gru

T, R, I, H, A = 7, 5, 4, 6, 3


def _arguments(seed: int = 0) -> tuple[gru.GRUParams, jax.Array, jax.Array, jax.Array]:
    keys = jax.random.split(jax.random.key(seed), 11)
    shapes = ((H, I), (H,), (3, H, H), (3, H), (3, H, H), (H,), (A, H), (A,))
    params = gru.GRUParams(*(0.7 * jax.random.normal(k, s) for k, s in zip(keys, shapes, strict=False)))
    hidden, inputs = jax.random.normal(keys[8], (H, R)), jax.random.normal(keys[9], (T, R, I))
    keeps = (jax.random.uniform(keys[10], (T, R)) > 0.3).astype(jnp.float32)
    return params, hidden, inputs, keeps


def test_cell_is_the_equations() -> None:
    params, hidden, inputs, keeps = (jax.tree.map(np.asarray, x) for x in _arguments())
    h, expected = hidden.T, []
    for t in range(T):
        h = h * keeps[t][:, None]
        x = np.maximum(inputs[t] @ params.encoder_kernel.T + params.encoder_bias, 0)
        i = [x @ k.T + b for k, b in zip(params.input_kernel, params.input_bias, strict=True)]
        k = [h @ kernel.T for kernel in params.recurrent_kernel]
        r, z = 1 / (1 + np.exp(-(i[0] + k[0]))), 1 / (1 + np.exp(-(i[1] + k[1])))
        n = np.tanh(i[2] + r * (k[2] + params.recurrent_bias))
        h = (1 - z) * n + z * h
        expected.append((params.head_kernel @ h.T + params.head_bias[:, None], h.T))
    outputs, hiddens = gru.unroll(*_arguments())
    np.testing.assert_allclose(outputs, np.stack([pair[0] for pair in expected]), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(hiddens, np.stack([pair[1] for pair in expected]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("used", ["outputs", "memory", "both"])
@pytest.mark.parametrize("argnums", [(1,), (1, 2, 3)])
def test_gradients_equal_autodiff(used: str, argnums: tuple[int, ...]) -> None:
    params, hidden, inputs, keeps = _arguments(3)
    keys = jax.random.split(jax.random.key(99))
    of_outputs, of_memory = jax.random.normal(keys[0], (T, A, R)), jax.random.normal(keys[1], (T, H, R))

    def loss(unroll, params, hidden, inputs):  # type: ignore[no-untyped-def]
        outputs, hiddens = unroll(params, hidden, inputs, keeps)
        parts = {"outputs": (of_outputs * jnp.sin(outputs)).sum(), "memory": (of_memory * jnp.sin(hiddens)).sum()}
        return sum(parts.values()) if used == "both" else parts[used]

    ours = jax.jit(jax.grad(loss, argnums), static_argnums=0)(gru.unroll, params, hidden, inputs)
    plain = jax.grad(loss, argnums)(gru.reference_unroll, params, hidden, inputs)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5), ours, plain)


def test_episode_start_clears_memory() -> None:
    params, hidden, inputs, _ = _arguments()
    keeps = jnp.ones((T, R)).at[3].set(0)
    whole = gru.unroll(params, hidden, inputs, keeps)[1]
    second = gru.unroll(params, jnp.zeros_like(hidden), inputs[3:], jnp.ones((T - 3, R)))[1]
    np.testing.assert_allclose(whole[3:], second, rtol=1e-5, atol=1e-6)
