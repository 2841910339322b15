"""SHAQ: utilities of actions that are not greedy count more, by what the agents contribute to coalitions
(Wang et al. 2022).

    Q_tot = sum_i c_i q_i,   c_i = 1 where u_i is greedy, else 1 + alpha_i
    alpha_i = mean over K orders of the agents of |f(s, mean of the utilities before i, q_i)|

and targets bootstrap from sum_i q_i.
"""

from dataclasses import dataclass

import chex
import jax
import jax.numpy as jnp
from marlx_envs.discovery import Entry
from marlx_envs.options import needed, size

from marlx.losses import drawn_by_row
from marlx.mixers.base import Context, Mixer
from marlx.mixers.qmix import QMIX
from marlx.types import Params

Entry(
    name="shaq",
    summary="sum of the utilities, larger where not greedy, by contributions to coalitions",
    source="Wang et al. 2022 (SHAQ)",
    factory="SHAQ",
)


@dataclass(frozen=True)
class SHAQ(Mixer):
    """f is QMIX's network for two inputs. As |f| may fall where f rises, Q_tot may fall when a utility rises.

    Orders are drawn for each slot; without a key they are the N rotations of one order, in which each agent has each
    place once.
    """

    axis: str | None = None

    orders: int = size(10, "orders K of the agents that contributions are averaged over", high=1024)
    mixing_width: int = size(32, "width E of the mixing layer", high=4096)
    hypernet_width: int = size(64, "width K of the hypernetworks' hidden layer", high=4096)
    hypernet_layers: int = size(2, "layers of the hypernetworks of W1 and w2", high=2)

    @property
    def is_monotone(self) -> bool:
        """Never: |f| may fall where f rises."""
        return False

    @property
    def _network(self) -> QMIX:
        return QMIX(2, self.state_size, self.mixing_width, self.hypernet_width, self.hypernet_layers)

    def init(self, key: chex.PRNGKey) -> Params:
        """Parameters of f."""
        return self._network.init(key)

    def apply(
        self, params: Params, utilities: jax.Array, state: jax.Array, context: Context | None = None
    ) -> jax.Array:
        """Q_tot [..] from utilities [.. N], state [.. D] and the greedy utilities in `context`."""
        self.check_sizes(utilities, state)
        context = needed(context, self, "context")
        before = utilities_before(utilities, self._earlier(context.key, utilities.shape[:-1]))
        pairs = jnp.stack([before, jnp.broadcast_to(utilities[..., None, :], before.shape)], -1)  # [.. K N 2]
        inputs = jnp.moveaxis(pairs, (-3, -2), (0, 1))
        alpha = jnp.abs(self._network.apply(params, inputs, state)).mean(0)  # [N ..]
        return shaped(utilities, context.greedy_utilities, jnp.moveaxis(alpha, 0, -1))

    def bootstrap(
        self, params: Params, utilities: jax.Array, state: jax.Array, context: Context | None = None
    ) -> jax.Array:
        """The sum [..] of utilities [.. N], as every action is the greedy one."""
        return utilities.sum(-1)

    def _earlier(self, key: chex.PRNGKey | None, lead: tuple[int, ...]) -> jax.Array:
        """Whether agent j comes before agent i in an order, bool [.. K N(i) N(j)]; without a key [N N N]."""
        if key is None:
            places = jnp.arange(self.n_agents)
            places = (places + places[:, None]) % self.n_agents
        else:
            shape = (self.orders, self.n_agents)
            places = drawn_by_row(jax.random.uniform, key, lead or (1,), shape, self.axis).reshape(*lead, *shape)
        return places[..., None, :] < places[..., :, None]


def utilities_before(utilities: jax.Array, earlier: jax.Array) -> jax.Array:
    """Mean of the utilities [.. N] of those before an agent in an order; 0 for the first.

    Args:
        earlier: agent j is before agent i, bool [.. K N(i) N(j)].

    Returns:
        [.. K N].
    """
    return (earlier * utilities[..., None, None, :]).sum(-1) / jnp.maximum(earlier.sum(-1), 1)


def shaped(utilities: jax.Array, greedy_utilities: jax.Array, alpha: jax.Array) -> jax.Array:
    """sum_i c_i q_i: utilities taken, the greedy ones and alpha, each [.. N] -> Q_tot [..]."""
    return (jnp.where(utilities >= greedy_utilities, 1, 1 + alpha) * utilities).sum(-1)
