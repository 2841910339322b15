"""Random network distillation: what a trained network cannot yet say of a fixed random one is new (Burda et al. 2019;
"Beyond Monotonicity" without the divisor, which is an option).

    r_int = ||g^(s') - g(s')||^2 / max(sigma, c mu)

g is never trained; g^ takes one step of Adam on the mean of these errors for each batch; sigma and mu are the standard
deviation and the mean of all errors met so far. A batch is rewarded by the g^ from before its step, and by the sigma
and mu that count it.

[CHOICE] c = 1. States are much alike to a fresh network: in predator-prey sigma is at first less than mu / 10, and
sigma alone (c = 0) would give every step a reward of more than 10, about the same everywhere.

[CHOICE] A step that terminates has no reward and teaches nothing: rows are packed, so that the state after it is the
first of another episode, and its own last state is not kept. (There would be nothing to explore from there.) In games
of one step r_int is therefore 0 throughout. A truncated step has both, its last state being kept.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
from marlx_envs.discovery import Entry
from marlx_envs.options import flag, number, size

from marlx.initialisers import linear
from marlx.intrinsic.base import Intrinsic, Steps
from marlx.losses import masked_mean, optimiser, over_devices, stepped
from marlx.types import Metrics, Params

Entry(name="rnd", summary="error of predicting a random network", source="Burda et al. 2019 (RND)", factory="RND")


class Moments(NamedTuple):
    """Running moments, float32 scalars."""

    seen: jax.Array  # how many values
    mean: jax.Array
    squares: jax.Array  # sum of squared deviations from the mean

    @property
    def deviation(self) -> jax.Array:
        """Standard deviation; 0 before the first value."""
        return jnp.sqrt(self.squares / jnp.maximum(self.seen, 1))


def gather(moments: Moments, values: jax.Array, mask: jax.Array, axis: str | None = None) -> Moments:
    """Moments with the values [..] where mask [..], those of all devices on `axis`, taken in (Chan et al. 1979)."""
    mask = mask.astype(values.dtype)
    count = over_devices(mask.sum(), axis)
    mean = over_devices(masked_mean(values, mask, axis), axis)
    squares = over_devices((mask * (values - mean) ** 2).sum(), axis)
    total, apart = moments.seen + count, mean - moments.mean
    share = count / jnp.maximum(total, 1)
    return Moments(total, moments.mean + share * apart, moments.squares + squares + moments.seen * share * apart**2)


class Distillation(NamedTuple):
    """What RND remembers."""

    fixed: Params  # of g
    predictor: Params  # of g^
    optimiser: Any
    moments: Moments  # of the errors


@dataclass(frozen=True)
class RND(Intrinsic):
    """Distillation of the global state that a step leads to. [CHOICE] sizes, step size, and what divides."""

    predictor_width: int = size(64, "width of the two hidden layers of both networks", high=4096)
    predictor_features: int = size(64, "outputs of both networks", high=4096)
    predictor_learning_rate: float = number(1e-4, "step size of the predictor (Adam)", low=0)
    divide_errors: bool = flag(True, "divide errors by their running deviation; False: r_int is the error itself")
    deviation_floor: float = number(1, "c: errors are divided by no less than c times their running mean", low=0)

    @property
    def _network(self) -> "_Features":
        return _Features(self.predictor_width, self.predictor_features)

    @property
    def _optimiser(self) -> Any:
        return optimiser("adam", self.predictor_learning_rate, math.inf)

    def init(self, key: chex.PRNGKey) -> Distillation:
        """Two networks drawn apart."""
        row = jnp.zeros((1, self.state_size))
        fixed, predictor = (self._network.init(one, row) for one in jax.random.split(key))
        zero = jnp.float32(0)
        return Distillation(fixed, predictor, self._optimiser.init(predictor), Moments(zero, zero, zero))

    def fit(self, state: Distillation, steps: Steps) -> tuple[Distillation, jax.Array, Metrics]:
        """Errors ||g^(s') - g(s')||^2 of a batch ("Beyond Monotonicity"), then one step of the predictor on them."""
        rows = steps.next_state.reshape(-1, self.state_size)
        truth = self._network.apply(state.fixed, rows)

        def loss(predictor: Params) -> tuple[jax.Array, jax.Array]:
            found: Any = self._network.apply(predictor, rows)
            errors = ((found - truth) ** 2).sum(-1).reshape(steps.valid.shape)
            return masked_mean(errors, steps.continues, self.axis), errors

        (mean, errors), share = jax.value_and_grad(loss, has_aux=True)(state.predictor)
        predictor, moves = stepped(self._optimiser, share, state.optimiser, state.predictor, self.axis)
        moments = gather(state.moments, errors, steps.continues, self.axis)
        sigma = jnp.maximum(moments.deviation, self.deviation_floor * moments.mean)
        rewards = jnp.where(steps.continues, errors / jnp.maximum(sigma, 1e-8) if self.divide_errors else errors, 0)
        return Distillation(state.fixed, predictor, moves, moments), rewards, {"predictor_loss": mean}


class _Features(nn.Module):
    """States [R D] -> features [R F]."""

    width: int
    features: int

    @nn.compact
    def __call__(self, state: jax.Array) -> jax.Array:
        first = nn.relu(linear(self.width, state.shape[-1], name="first")(state))
        second = nn.relu(linear(self.width, self.width, name="second")(first))
        return linear(self.features, self.width, name="features")(second)
