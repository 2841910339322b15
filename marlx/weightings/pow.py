"""POW: full weight for joint actions that a recognition network holds to be potentially optimal (POW, section 3).

    A_r = {u : Q_r(s, u) > Q_r(s, greedy) - C},   w = 1 in A_r, else alpha                       (POW eq. 8 and 9)

Q_r is fitted to the same targets as the joint value, on the same batch and before its weights are asked for, by
`recognition_steps` steps of Adam. The base method may be any mixer that gives a joint value.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import chex
import jax
import jax.numpy as jnp
from marlx_envs.discovery import Entry
from marlx_envs.options import number, size

from marlx.agents import take
from marlx.critics.recognition import Recognition
from marlx.losses import optimiser, row_numbers, squared_error, stepped
from marlx.types import Metrics, Params
from marlx.weightings.base import Evidence, Weighting

Entry(name="pow", summary="potentially optimal joint actions, recognised by a network", source="POW", factory="POW")


def potentially_optimal(
    gap: jax.Array, tolerance: jax.Array | float = 0.05, alpha: jax.Array | float = 0.0
) -> jax.Array:
    """1 where |gap| < C, else alpha (POW eq. 8 and 9); gap [..] = Q_r(s, u) - Q_r(s, greedy) = lambda a."""
    return jnp.where(jnp.abs(gap) < tolerance, 1.0, alpha)


class Recogniser(NamedTuple):
    """What POW learns."""

    params: Params
    optimiser: Any


@dataclass(frozen=True)
class POW(Weighting):
    """`potentially_optimal` by a recognition network of its own."""

    alpha: float = number(0, "weight of joint actions outside the potentially optimal ones", low=0, high=1)
    # Not 0: the comparison is strict, and the greedy action itself would be left out.
    tolerance: float = number(0.05, "C: how far below the greedy action's recognised value still counts", low=1e-6)
    warm_up_steps: float = number(0, "environment steps before weights apply; the released code has 100,000", low=0)
    recognition_steps: int = size(10, "gradient steps of the recognition network for each batch", high=1000)
    recognition_parts: int = size(1, "equal parts of a batch's rows, at most this many, one in turn for each of these")
    recognition_width: int = size(128, "width of the recognition network", high=4096)
    recognition_learning_rate: float = number(1e-3, "its step size (Adam)", low=0)

    needs_critic: ClassVar[bool] = True

    @property
    def _network(self) -> Recognition:
        return Recognition(self.n_agents, self.n_actions, self.state_size, self.recognition_width)

    @property
    def _optimiser(self) -> Any:
        return optimiser("adam", self.recognition_learning_rate, 10.0)  # clipped by its own gradient alone

    def init(self, key: chex.PRNGKey) -> Recogniser:
        """A fresh network."""
        params = self._network.init(key)
        return Recogniser(params, self._optimiser.init(params))

    def fit(self, state: Recogniser, evidence: Evidence) -> tuple[Recogniser, Metrics]:
        """Steps on L_r = 1/2 mean (Q_r - y)^2 (POW eq. 4c and 7); only Q_r's parameters move."""
        advantages = _advantages(evidence)

        def loss(params: Params, rows: tuple[jax.Array, ...]) -> jax.Array:
            seen, actions, lows, y, valid = rows
            value, _ = self._network.apply(params, seen, actions, lows)
            return 0.5 * squared_error(value, y, valid, axis=self.axis)

        data = (evidence.state, evidence.actions, advantages, evidence.target, evidence.valid)
        part = self._parts(data)

        def step(number: jax.Array, learnt: Recogniser) -> Recogniser:
            share = jax.grad(loss)(learnt.params, part(number))
            return Recogniser(*stepped(self._optimiser, share, learnt.optimiser, learnt.params, self.axis))

        # A count that is the same for all seeds keeps the loop and its slices unbatched. (The released code has twice
        # as many steps for its very first batch.)
        state = jax.lax.fori_loop(0, self.recognition_steps, step, state)
        return state, {"recognition_loss": loss(state.params, data)}  # XLA has this pass and that of `weights` once

    def _parts(self, data: tuple[jax.Array, ...]) -> Callable[[jax.Array], tuple[jax.Array, ...]]:
        """Number of a step -> this device's rows [T B/P ..] of its part of a batch [T B ..]; `valid` is last of them.

        Every P-th row of the whole batch is of one part. A device with fewer rows than parts cuts what it has in fewer,
        and masks the rows that are of another one.
        """
        rows = data[0].shape[1]
        devices = 1 if self.axis is None else jax.lax.axis_size(self.axis)
        count = math.gcd(self.recognition_parts, rows * devices)
        held = math.gcd(count, rows)

        def cut(x: jax.Array) -> jax.Array:
            return jnp.moveaxis(x.reshape(x.shape[0], -1, held, *x.shape[2:]), 2, 0)

        *parts, valid, numbers = map(cut, (*data, row_numbers(rows, self.axis)[None]))

        def part(number: jax.Array) -> tuple[jax.Array, ...]:
            mine = valid[number % held]
            if held < count:
                mine &= numbers[number % held] % count == number % count
            return (*(x[number % held] for x in parts), mine)

        return part

    def weights(self, state: Recogniser, evidence: Evidence) -> jax.Array:
        """Weights [..]; 1 everywhere during warm-up."""
        _, gap = self._network.apply(state.params, evidence.state, evidence.actions, _advantages(evidence))
        found = potentially_optimal(gap, self.tolerance, self.alpha)
        return jnp.where(evidence.progress.env_steps < self.warm_up_steps, 1.0, found)

    def joint_values(self, state: Recogniser, evidence: Evidence) -> dict[str, jax.Array]:
        """Q_r of joint actions."""
        actions = evidence.actions
        return {"recognition": self._network.apply(state.params, evidence.state, actions, _advantages(evidence))[0]}


def _advantages(evidence: Evidence) -> jax.Array:
    """a_i = Q_i(u_i) - max over available actions, [.. N]."""
    return take(evidence.utilities, evidence.actions) - take(evidence.utilities, evidence.greedy)
