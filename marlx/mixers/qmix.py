"""QMIX: a two-layer network, monotone in every utility, whose weights come from the state (Rashid et al. 2018)."""

from dataclasses import dataclass
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from marlx_envs.discovery import Entry
from marlx_envs.options import flag, size

from marlx.initialisers import linear
from marlx.mixers.base import Context, Mixer
from marlx.types import Params

Entry(name="qmix", summary="monotone two-layer hypernetwork of the state", source="Rashid et al. 2018", factory="QMIX")


@dataclass(frozen=True)
class QMIX(Mixer):
    """Q_tot = elu(q |W1(s)| + b1(s)) |w2(s)| + V(s)."""

    mixing_width: int = size(32, "width E of the mixing layer", high=4096)
    hypernet_width: int = size(64, "width K of the hypernetworks' hidden layer", high=4096)
    hypernet_layers: int = size(2, "layers of the hypernetworks of W1 and w2", high=2)
    monotone: bool = flag(True, "take |W1| and |w2|; False is the unconstrained mixer of NM-QMIX")

    @property
    def is_monotone(self) -> bool:
        """With the constraint."""
        return self.monotone

    @property
    def _network(self) -> "_Hypernetworks":
        width = self.hypernet_width if self.hypernet_layers == 2 else 0
        return _Hypernetworks(self.n_agents, self.mixing_width, width)

    def init(self, key: chex.PRNGKey) -> Params:
        """Parameters of the hypernetworks."""
        return self._network.init(key, jnp.zeros((1, self.state_size)))

    def apply(
        self, params: Params, utilities: jax.Array, state: jax.Array, context: Context | None = None
    ) -> jax.Array:
        """Q_tot [..] from utilities [.. N] and state [.. D], which may lack the utilities' first axes."""
        self.check_sizes(utilities, state)
        # Two axes: the weight gradients of more leading axes would be products over two axes, which XLA transposes for.
        rows = state.reshape(-1, self.state_size)
        weights: Any = self._network.apply(params, rows)
        more = utilities.shape[: utilities.ndim - state.ndim]
        joint = mix(utilities.reshape(*more, len(rows), self.n_agents), *weights, monotone=self.monotone)
        return joint.reshape(utilities.shape[:-1])


def mix(
    utilities: jax.Array, w1: jax.Array, b1: jax.Array, w2: jax.Array, value: jax.Array, *, monotone: bool = True
) -> jax.Array:
    """The mixing network itself: elu(q |W1| + b1) |w2| + V, which never falls (QMIX eq. 5-6; POW eq. 3; ReMIX eq. 1).

    Args:
        utilities: q [.. N]; w1: raw [.. N E]; b1 [.. E]; w2: raw [.. E]; value: V [..].
        monotone: take absolute values of the raw w1 and w2; biases are never constrained.

    Returns:
        Q_tot [..].
    """
    if monotone:
        w1, w2 = jnp.abs(w1), jnp.abs(w2)
    hidden = nn.elu((utilities[..., None] * w1).sum(-2) + b1)
    return (hidden * w2).sum(-1) + value


class _Hypernetworks(nn.Module):
    """State [R D] -> raw W1 [R N E], b1 [R E], raw w2 [R E], V [R]. Width 0: W1 and w2 are one affine layer.

    The layers that read the state are one product, `first`: hidden layers of W1, w2 and V, and b1.
    """

    n_agents: int
    mixing_width: int
    hypernet_width: int

    @nn.compact
    def __call__(self, state: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
        n, e, k, d = self.n_agents, self.mixing_width, self.hypernet_width, state.shape[-1]
        widths = (k, k, e, e) if k else (n * e, e, e, e)
        first = linear(sum(widths), d, name="first")(state)
        w1, w2, value, b1 = jnp.split(first, np.cumsum(widths[:-1]), axis=-1)
        if k:
            w1 = linear(n * e, k, name="w1")(nn.relu(w1))
            w2 = linear(e, k, name="w2")(nn.relu(w2))
        value = linear(1, e, name="value")(nn.relu(value))
        return w1.reshape(-1, n, e), b1, w2, value[:, 0]
