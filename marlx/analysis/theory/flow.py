"""Gradient flow of a single-state game, and the curvature of its loss ("Beyond Monotonicity").

The loss is L(q) = sum_a mu(a; q) (y(a) - Q_tot(a; q))^2 with utilities q, a product softmax policy mu, and a mixer
Q_tot(a; q) = f(q_1(a_1), .., q_N(a_N)) of any shape. The paper states that a point of zero loss whose greedy joint
action is not the best one is a saddle. It is not: where every residual is 0, all terms with a derivative of mu vanish,
and what remains is

    H = 2 sum_a mu(a) grad Q_tot(a) grad Q_tot(a)^T,

which has no negative direction; as the temperature falls, directions that are no longer visited become flat. Here are
the two Hessians, to be compared, and the flow. Everything is computed in double precision.
"""

import itertools
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Mixer = Callable[[jax.Array], jax.Array]  # utilities of the actions taken [N] -> joint value


def interpolating_mixer(payoff: npt.ArrayLike, utilities: npt.ArrayLike) -> Mixer:
    """The polynomial of degree A - 1 in each agent's utility that gives every payoff at these utilities.

    With it the loss is 0 there, whatever the utilities' order says is greedy: what theorem 1 of "Beyond Monotonicity"
    says exists, by construction.

    Args:
        payoff: y, [A .. A].
        utilities: [N A]; those of an agent are all different.
    """
    truth, nodes = np.asarray(payoff, np.float64), np.asarray(utilities, np.float64)

    def basis(agent: int, x: jax.Array) -> jax.Array:
        gaps = nodes[agent]
        return jnp.stack([
            jnp.prod(jnp.stack([(x - other) / (own - other) for j, other in enumerate(gaps) if j != i]))
            for i, own in enumerate(gaps)
        ])  # fmt: skip

    def mix(taken: jax.Array) -> jax.Array:
        value: Any = jnp.asarray(truth)
        for agent in range(truth.ndim):
            value = jnp.tensordot(basis(agent, taken[agent]), value, axes=1)
        return value

    return mix


def loss(utilities: jax.Array, mixer: Mixer, payoff: jax.Array, temperature: float) -> jax.Array:
    """L(q) of utilities [N A], differentiable through the policy ("Beyond Monotonicity" eq. 14)."""
    joint = _joint_actions(np.shape(payoff))
    error = jnp.reshape(payoff, -1) - _values(utilities, mixer, joint)
    return (_policy(utilities, joint, temperature) * error**2).sum()


def hessian(mixer: Mixer, payoff: npt.ArrayLike, utilities: npt.ArrayLike, temperature: float) -> Floats:
    """The Hessian [N*A N*A] of the loss, policy terms and all, by automatic differentiation.

    It is what equations 19 and 21 of "Beyond Monotonicity" are meant to be, and are not.
    """
    with jax.enable_x64(True):
        truth, q = jnp.asarray(payoff, jnp.float64), jnp.asarray(utilities, jnp.float64)
        found = np.asarray(jax.jit(jax.hessian(loss), static_argnums=1)(q, mixer, truth, temperature))
    return found.reshape(q.size, q.size)


def hessian_of_zero_loss(mixer: Mixer, payoff: npt.ArrayLike, utilities: npt.ArrayLike, temperature: float) -> Floats:
    """2 sum_a mu(a) grad Q_tot grad Q_tot^T, [N*A N*A]: the Hessian wherever the loss is 0.

    Theorem 3 of "Beyond Monotonicity" speaks of such points, and says otherwise.
    """
    with jax.enable_x64(True):
        q = jnp.asarray(utilities, jnp.float64)
        values, slopes = _values_and_slopes(q, mixer, np.shape(payoff))
        visits = np.asarray(_policy(q, _joint_actions(np.shape(payoff)), temperature))
    slopes = np.asarray(slopes).reshape(len(values), -1)
    return 2 * (visits[:, None] * slopes).T @ slopes


@partial(jax.jit, static_argnums=(1, 2))
def _values_and_slopes(utilities: jax.Array, mixer: Mixer, shape: tuple[int, ...]) -> tuple[jax.Array, jax.Array]:
    joint = _joint_actions(shape)
    return _values(utilities, mixer, joint), jax.jacobian(_values)(utilities, mixer, joint)


def gradient_flow(
    mixer: Mixer, payoff: npt.ArrayLike, utilities: npt.ArrayLike, temperature: float, time: float, steps: int = 1000
) -> tuple[Floats, Floats]:
    """The flow dq/dt = -grad L of "Beyond Monotonicity" from given utilities, by Runge-Kutta steps of fourth order.

    Returns:
        Utilities [steps+1 N A] and losses [steps+1] along the way.
    """
    with jax.enable_x64(True):
        truth, start = jnp.asarray(payoff, jnp.float64), jnp.asarray(utilities, jnp.float64)
        width = time / steps

        def slope(q: jax.Array) -> jax.Array:
            return -jax.grad(loss)(q, mixer, truth, temperature)

        def step(q: jax.Array, _: Any) -> tuple[jax.Array, jax.Array]:
            first = slope(q)
            second = slope(q + width / 2 * first)
            third = slope(q + width / 2 * second)
            fourth = slope(q + width * third)
            q = q + width / 6 * (first + 2 * second + 2 * third + fourth)
            return q, q

        @jax.jit
        def follow(q: jax.Array) -> tuple[jax.Array, jax.Array]:
            path = jnp.concatenate([q[None], jax.lax.scan(step, q, None, length=steps)[1]])
            return path, jax.vmap(lambda x: loss(x, mixer, truth, temperature))(path)

        path, losses = follow(start)
        return np.asarray(path), np.asarray(losses)


def _values(utilities: jax.Array, mixer: Mixer, joint: npt.NDArray[np.int64]) -> jax.Array:
    """Q_tot of every joint action, [A^N]."""
    return jax.vmap(mixer)(utilities[np.arange(joint.shape[1]), joint])


def _policy(utilities: jax.Array, joint: npt.NDArray[np.int64], temperature: float) -> jax.Array:
    """The product of softmax policies, [A^N]."""
    log = jax.nn.log_softmax(utilities / temperature, axis=1)
    return jnp.exp(log[np.arange(joint.shape[1]), joint].sum(axis=1))


def _joint_actions(shape: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """All joint actions [A^N N], row-major."""
    return np.array(list(itertools.product(*map(range, shape))), np.int64).reshape(math.prod(shape), len(shape))
