"""A gated recurrent unit unrolled over a trajectory, written for XLA.

The cell is PyTorch's (the papers' code): r, z = sigmoid(.), n = tanh(W_in x + b_in + r (W_hn h + b_hn)),
h' = (1 - z) n + z h. Three things make the unroll fast: the input's product for all T slots is a matrix product
outside the scan; the three gates are separate arrays (slicing one wide product inside the loop costs more than the
product); and the backward pass is our own, so that the weight gradients are matrix products after the loop and few
residuals are kept. `reference_unroll` is the plain version that tests compare with.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class GRUParams(NamedTuple):
    """Gates in the order r, z, n, stacked on the leading axis. Recurrent biases of r and z would be redundant."""

    input_kernel: jax.Array  # [3 F H]
    input_bias: jax.Array  # [3 H]
    recurrent_kernel: jax.Array  # [3 H H]
    recurrent_bias: jax.Array  # [H], of n


def _sigmoid(x: jax.Array) -> jax.Array:
    return 0.5 * jnp.tanh(0.5 * x) + 0.5  # one vectorised tanh; cheaper on CPU than exp and a division


def cell(params: GRUParams, hidden: jax.Array, features: jax.Array) -> jax.Array:
    """One step: hidden [.. H], features [.. F] -> hidden [.. H]."""
    kernels, biases = params.input_kernel, params.input_bias
    x_r, x_z, x_n = (features @ kernels[gate] + biases[gate] for gate in range(3))
    return _gates(params, hidden, x_r, x_z, x_n)[0]


def _gates(
    params: GRUParams, hidden: jax.Array, x_r: jax.Array, x_z: jax.Array, x_n: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    kernels = params.recurrent_kernel
    r = _sigmoid(x_r + hidden @ kernels[0])
    z = _sigmoid(x_z + hidden @ kernels[1])
    m = hidden @ kernels[2] + params.recurrent_bias
    n = jnp.tanh(x_n + r * m)
    return n + z * (hidden - n), (r, z, n, m)


def reference_unroll(params: GRUParams, hidden: jax.Array, features: jax.Array, keeps: jax.Array) -> jax.Array:
    """The plain unroll: the same arguments and result as `unroll`, differentiated by autodiff."""

    def slot(hidden: jax.Array, inputs: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        features_t, keep_t = inputs
        hidden = cell(params, hidden * keep_t[:, None], features_t)
        return hidden, hidden

    return jax.lax.scan(slot, hidden, (features, keeps))[1]


@jax.custom_vjp
def unroll(params: GRUParams, hidden: jax.Array, features: jax.Array, keeps: jax.Array) -> jax.Array:
    """Hidden states of all slots.

    Args:
        hidden: float [R H], memory before the first slot, for R rows (batch x agents).
        features: float [T R F].
        keeps: float [T R], 0 where an episode starts (memory is cleared before that slot), else 1. Not differentiated.

    Returns:
        Memory after each slot, float [T R H].
    """
    return _forward(params, hidden, features, keeps)[0]


def _forward(
    params: GRUParams, hidden: jax.Array, features: jax.Array, keeps: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    inputs = tuple(features @ params.input_kernel[gate] + params.input_bias[gate] for gate in range(3))

    def slot(hidden: jax.Array, inputs: tuple[jax.Array, ...]) -> tuple[jax.Array, tuple[jax.Array, ...]]:
        *gates_in, keep_t = inputs
        hidden, residuals = _gates(params, hidden * keep_t[:, None], *gates_in)
        return hidden, (hidden, *residuals)

    _, (hiddens, *residuals) = jax.lax.scan(slot, hidden, (*inputs, keeps))
    return hiddens, tuple(residuals)


def _save(params: GRUParams, hidden: jax.Array, features: jax.Array, keeps: jax.Array) -> tuple[jax.Array, tuple]:
    hiddens, gates = _forward(params, hidden, features, keeps)
    before = jnp.concatenate([hidden[None], hiddens[:-1]]) * keeps[..., None]
    return hiddens, (params, features, keeps, before, gates)


def _backward(residuals: tuple, cotangents: jax.Array) -> tuple:
    params, features, keeps, before, gates = residuals
    recurrent = [kernel.T for kernel in params.recurrent_kernel]

    def slot(d_hidden: jax.Array, inputs: tuple[jax.Array, ...]) -> tuple[jax.Array, tuple[jax.Array, ...]]:
        cotangent, keep_t, hidden, r, z, n, m = inputs
        d_hidden = d_hidden + cotangent
        d_n = d_hidden * (1 - z) * (1 - n * n)
        d_z = d_hidden * (hidden - n) * z * (1 - z)
        d_m = d_n * r
        d_r = d_n * m * r * (1 - r)
        d_before = d_hidden * z + d_r @ recurrent[0] + d_z @ recurrent[1] + d_m @ recurrent[2]
        return d_before * keep_t[:, None], (d_r, d_z, d_n, d_m)

    inputs = (cotangents, keeps, before, *gates)
    d_initial, (d_r, d_z, d_n, d_m) = jax.lax.scan(slot, jnp.zeros_like(cotangents[0]), inputs, reverse=True)

    def product(left: jax.Array, right: jax.Array) -> jax.Array:
        return jnp.einsum("trf,trh->fh", left, right)

    d_params = GRUParams(
        input_kernel=jnp.stack([product(features, d) for d in (d_r, d_z, d_n)]),
        input_bias=jnp.stack([d.sum((0, 1)) for d in (d_r, d_z, d_n)]),
        recurrent_kernel=jnp.stack([product(before, d) for d in (d_r, d_z, d_m)]),
        recurrent_bias=d_m.sum((0, 1)),
    )
    kernels = params.input_kernel
    d_features = d_r @ kernels[0].T + d_z @ kernels[1].T + d_n @ kernels[2].T
    return d_params, d_initial, d_features, jnp.zeros_like(keeps)


unroll.defvjp(_save, _backward)
