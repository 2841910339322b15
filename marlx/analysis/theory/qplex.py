"""QPLEX on one payoff, by simulation: where gradient steps on utilities and tabular weights come to rest.

Q_tot(u) = sum_i max Q_i + sum_i w_i(u) (Q_i(u_i) - max Q_i) with w_i(u) >= 0 free for every joint action (MRVF,
equation 27). First-order conditions alone cannot tell an attractor from a point that is only marginally at rest.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax.flatten_util import ravel_pytree

Floats = npt.NDArray[np.float64]


class Duplex(NamedTuple):
    """The parameters of one learner."""

    utilities: tuple[jax.Array, ...]  # Q_i [A_i], an array for each agent
    weights: jax.Array  # w_i(u) >= 0, [N A_1 .. A_N]


class Rest(NamedTuple):
    """Where S learners are after their last step."""

    greedy: npt.NDArray[np.int64]  # [S N]
    tables: npt.NDArray[np.float32]  # Q_tot, [S A_1 .. A_N]
    losses: npt.NDArray[np.float32]  # sums of squared errors, [S]


@partial(jax.jit, static_argnums=1)
def joint_values(params: Duplex, released: bool = False) -> jax.Array:
    """Q_tot [A_1 .. A_N] (MRVF, equation 27).

    Args:
        released: gradients as in the released code, where the advantages are constants and the value part is the sum of
            the utilities of the actions taken; False: of the equation as it is printed (MRVF, equation 29).
    """
    grid = jnp.meshgrid(*params.utilities, indexing="ij")
    advantages = jnp.stack([own - q.max() for own, q in zip(grid, params.utilities, strict=True)])
    if released:
        return sum(grid, jnp.zeros(())) + (jax.lax.stop_gradient(advantages) * (params.weights - 1)).sum(axis=0)
    return sum((q.max() for q in params.utilities), jnp.zeros(())) + (advantages * params.weights).sum(axis=0)


def gradients(params: Duplex, payoff: npt.ArrayLike, released: bool = False) -> Duplex:
    """Of half the sum of squared errors: the left sides of MRVF's first-order conditions (equations 28 and 29)."""
    return _gradients(params, jnp.asarray(payoff, jnp.float32), released)


def simulate(
    payoff: npt.ArrayLike,
    starts: int,
    seed: int = 0,
    steps: int = 20_000,
    step_size: float = 0.01,
    noise: float = 0.0,
    released: bool = False,
) -> Rest:
    """Gradient steps from random starts: utilities uniform in [-1, 1], weights in [0, 2], uniform data.

    Args:
        payoff: [A_1 .. A_N].
        starts: S.
        noise: standard deviation of what is added to every gradient at every step.
    """
    truth = jnp.asarray(payoff, jnp.float32)
    keys = jax.random.split(jax.random.key(seed), starts)
    params = jax.vmap(partial(_descend, truth, steps, step_size, noise, released))(keys)
    tables = jax.vmap(joint_values)(params)
    greedy = np.stack([np.asarray(q.argmax(axis=1), np.int64) for q in params.utilities], axis=1)
    losses = ((tables - truth) ** 2).reshape(starts, -1).sum(axis=1)
    return Rest(greedy, np.asarray(tables), np.asarray(losses))


def _half_loss(params: Duplex, payoff: jax.Array, released: bool) -> jax.Array:
    return 0.5 * ((joint_values(params, released) - payoff) ** 2).sum()


_gradients = jax.jit(jax.grad(_half_loss), static_argnums=2)


@partial(jax.jit, static_argnums=4)
def _descend(payoff: jax.Array, steps: int, step_size: float, noise: float, released: bool, key: jax.Array) -> Duplex:
    def step(index: jax.Array, params: Duplex) -> Duplex:
        flat, unflat = ravel_pytree(params)
        slopes, _ = ravel_pytree(jax.grad(_half_loss)(params, payoff, released))
        shaken = slopes + noise * jax.random.normal(jax.random.fold_in(third, index), flat.shape)
        moved: Duplex = unflat(flat - step_size * shaken)
        return moved._replace(weights=jnp.maximum(moved.weights, 0))

    first, second, third = jax.random.split(key, 3)
    drawn = jax.random.uniform(first, (sum(payoff.shape),), minval=-1, maxval=1)
    ends = np.cumsum(payoff.shape)[:-1].tolist()
    weights = jax.random.uniform(second, (payoff.ndim, *payoff.shape), maxval=2)
    return jax.lax.fori_loop(0, steps, step, Duplex(tuple(jnp.split(drawn, ends)), weights))
