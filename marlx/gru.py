"""An encoder layer, a gated recurrent unit and a linear head, unrolled over a trajectory and written for XLA.

    x_t = relu(W_e u_t + b_e);   r, z = sigmoid(.);   n = tanh(W_n x + b_n + r (R_n h + c_n));   h' = (1 - z) n + z h
    q_t = W_q h' + b_q

The cell is PyTorch's (the papers' code). What makes it fast, measured on CPU against autodiff of the plain version:
arrays are feature-major, [H R] with the rows R last, so that gates are contiguous slices and no product needs a
transposed operand; the backward pass is our own and accumulates every weight gradient inside the loop, where its
operands are in cache, instead of storing the gates' cotangents for all slots. `reference_unroll` is the plain version.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_derivatives import CustomVJPPrimal, SymbolicZero


class GRUParams(NamedTuple):
    """Gates in the order r, z, n on the leading axis. Recurrent biases of r and z would be redundant."""

    encoder_kernel: jax.Array  # [H I]
    encoder_bias: jax.Array  # [H]
    input_kernel: jax.Array  # [3 H H], out x in
    input_bias: jax.Array  # [3 H]
    recurrent_kernel: jax.Array  # [3 H H], out x in
    recurrent_bias: jax.Array  # [H], of n
    head_kernel: jax.Array  # [A H]
    head_bias: jax.Array  # [A]


Outputs = tuple[jax.Array, jax.Array]  # of the head, float [T A R]; memory after each slot, float [T H R]


class _Gates(NamedTuple):
    """What the backward pass needs of a slot, each [H R]."""

    features: jax.Array  # x
    r: jax.Array
    z: jax.Array
    m: jax.Array  # R_n h + c_n
    n: jax.Array


def reference_unroll(params: GRUParams, hidden: jax.Array, inputs: jax.Array, keeps: jax.Array) -> Outputs:
    """The same arguments and result as `unroll`, differentiated by autodiff."""
    outputs, hiddens, _ = _forward(params, hidden, inputs, keeps)
    return outputs, hiddens


@jax.custom_vjp
def unroll(params: GRUParams, hidden: jax.Array, inputs: jax.Array, keeps: jax.Array) -> Outputs:
    """Outputs and memory of all slots.

    Args:
        hidden: float [H R], memory before the first slot, for R rows (batch x agents).
        inputs: float [T R I].
        keeps: float [T R], 0 where an episode starts (memory is cleared before that slot), else 1. Not differentiated.
    """
    return reference_unroll(params, hidden, inputs, keeps)


def _sigmoid(x: jax.Array) -> jax.Array:
    return 0.5 * jnp.tanh(0.5 * x) + 0.5  # one vectorised tanh; cheaper on CPU than exp and a division


def _rows_product(left: jax.Array, right: jax.Array) -> jax.Array:
    """[F R], [G R] -> [F G], summed over rows; neither operand is transposed in memory."""
    return jax.lax.dot_general(left, right, (((1,), (1,)), ((), ())))


def _cell(params: GRUParams, hidden: jax.Array, inputs: jax.Array) -> tuple[jax.Array, _Gates]:
    """One slot: hidden [H R], inputs [R I] -> hidden [H R] and what its derivative needs."""
    width = hidden.shape[0]
    bias = params.input_bias.reshape(-1, 1)
    features = jax.nn.relu(_rows_product(params.encoder_kernel, inputs) + params.encoder_bias[:, None])
    from_input = params.input_kernel.reshape(3 * width, width) @ features
    from_hidden = params.recurrent_kernel.reshape(3 * width, width) @ hidden
    parts = (slice(width), slice(width, 2 * width))  # one by one: loops over slices of both together are slower
    r, z = (_sigmoid(from_input[gate] + from_hidden[gate] + bias[gate]) for gate in parts)
    m = from_hidden[2 * width :] + params.recurrent_bias[:, None]
    n = jnp.tanh(from_input[2 * width :] + bias[2 * width :] + r * m)
    return n + z * (hidden - n), _Gates(features, r, z, m, n)


def _forward(
    params: GRUParams, hidden: jax.Array, inputs: jax.Array, keeps: jax.Array
) -> tuple[jax.Array, jax.Array, _Gates]:
    def slot(hidden: jax.Array, slot_inputs: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, tuple[Any, ...]]:
        inputs_t, keep_t = slot_inputs
        hidden, gates = _cell(params, hidden * keep_t, inputs_t)
        return hidden, (params.head_kernel @ hidden + params.head_bias[:, None], hidden, gates)

    return jax.lax.scan(slot, hidden, (inputs, keeps))[1]


def _save(params: Any, hidden: Any, inputs: Any, keeps: Any) -> tuple[Outputs, tuple[Any, ...]]:
    """With symbolic zeros, arguments say whether they are differentiated: gradients nobody needs are not computed."""
    values = [
        jax.tree.map(lambda x: x.value, argument, is_leaf=_is_primal) for argument in (params, hidden, inputs, keeps)
    ]
    outputs, hiddens, gates = _forward(*values)
    return (outputs, hiddens), (*values, hiddens, gates, inputs.perturbed or None)


def _is_primal(x: Any) -> bool:
    return isinstance(x, CustomVJPPrimal)


def _backward(
    residuals: tuple[Any, ...], cotangents: tuple[Any, ...]
) -> tuple[GRUParams, jax.Array, jax.Array | None, None]:
    params, initial, inputs, keeps, hiddens, all_gates, inputs_needed = residuals
    d_outputs, d_hiddens = (None if isinstance(d, SymbolicZero) else d for d in cotangents)
    if d_outputs is None:
        d_outputs = jnp.zeros((len(inputs), params.head_bias.shape[0], initial.shape[1]))
    to_features = [kernel.T for kernel in params.input_kernel]
    to_hidden = [kernel.T for kernel in params.recurrent_kernel]
    head_to_hidden = params.head_kernel.T

    def slot(carry: tuple[Any, ...], slot_inputs: tuple[Any, ...]) -> tuple[tuple[Any, ...], jax.Array | None]:
        d_hidden, kernels, biases = carry
        t, d_output, d_memory, inputs_t, keep_t, gates = slot_inputs
        before = jnp.where(t == 0, initial, hiddens[jnp.maximum(t - 1, 0)]) * keep_t
        d_hidden = d_hidden + head_to_hidden @ d_output
        if d_memory is not None:
            d_hidden = d_hidden + d_memory
        d_n = d_hidden * (1 - gates.z) * (1 - gates.n * gates.n)
        d_z = d_hidden * (before - gates.n) * gates.z * (1 - gates.z)
        d_m = d_n * gates.r
        d_r = d_n * gates.m * gates.r * (1 - gates.r)
        from_input, from_hidden = (d_r, d_z, d_n), (d_r, d_z, d_m)
        d_features = sum(kernel @ d for kernel, d in zip(to_features, from_input, strict=True))
        d_features = jnp.where(gates.features > 0, d_features, 0)
        d_before = d_hidden * gates.z + sum(kernel @ d for kernel, d in zip(to_hidden, from_hidden, strict=True))
        slot_kernels = (
            [_rows_product(d, gates.features) for d in from_input],
            [_rows_product(d, before) for d in from_hidden],
            d_features @ inputs_t,
            _rows_product(d_output, hiddens[t]),
        )
        # Biases are summed over slots here and over rows after the loop: a reduction of the last axis is slow on CPU.
        slot_biases = (from_input, d_m, d_features, d_output)
        d_inputs = None
        if inputs_needed:
            d_inputs = jax.lax.dot_general(d_features, params.encoder_kernel, (((0,), (0,)), ((), ())))
        carry = (d_before * keep_t, *jax.tree.map(jnp.add, (kernels, biases), (slot_kernels, slot_biases)))
        return carry, d_inputs

    square, rows = jnp.zeros_like(params.input_kernel[0]), jnp.zeros_like(initial)
    kernels = ([square] * 3, [square] * 3, jnp.zeros_like(params.encoder_kernel), jnp.zeros_like(params.head_kernel))
    carry = (rows, kernels, ((rows,) * 3, rows, rows, jnp.zeros_like(d_outputs[0])))
    slots = (jnp.arange(hiddens.shape[0]), d_outputs, d_hiddens, inputs, keeps, all_gates)
    (d_initial, kernels, biases), d_inputs = jax.lax.scan(slot, carry, slots, reverse=True)
    d_params = GRUParams(
        encoder_kernel=kernels[2],
        encoder_bias=biases[2].sum(-1),
        input_kernel=jnp.stack(kernels[0]),
        input_bias=jnp.stack(biases[0]).sum(-1),
        recurrent_kernel=jnp.stack(kernels[1]),
        recurrent_bias=biases[1].sum(-1),
        head_kernel=kernels[3],
        head_bias=biases[3].sum(-1),
    )
    return d_params, d_initial, d_inputs, None


unroll.defvjp(_save, _backward, symbolic_zeros=True)
