"""QPLEX: a duplex dueling of joint and individual values, complete for IGM (Wang et al. 2021, section 3.2).

    Q_tot = sum_i v~_i + sum_i lambda_i(s, u) (q~_i - v~_i),    q~_i = w_i q_i + b_i,  v~_i = w_i max q_i + b_i

with w_i, lambda_i > 0: no joint action has more than the greedy one. Gradients are those of the code released: the
advantage q~_i - v~_i is a constant, so utilities learn through sum_i q~_i, and lambda alone through the second term.
"""

from dataclasses import dataclass
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from marlx_envs.discovery import Entry
from marlx_envs.options import flag, needed, size

from marlx.initialisers import linear, linear_heads
from marlx.mixers.base import Context, Mixer
from marlx.types import Params

Entry(
    name="qplex",
    summary="duplex dueling: advantages weighted by state and joint action",
    source="Wang et al. 2021",
    factory="QPLEX",
)

_LEAST = 1e-10  # added to weights that must be positive


@dataclass(frozen=True)
class QPLEX(Mixer):
    """Q_tot of a transformation by the state and of importances lambda_i(s, u)."""

    n_actions: int

    heads: int = size(4, "heads of the importances lambda", high=256)
    layers: int = size(2, "layers of each head's extractors", high=3)
    extractor_width: int = size(64, "width of the extractors' hidden layers", high=4096)
    hypernet_width: int = size(64, "width of the hidden layers of w and b", high=4096)
    weighted_head: bool = flag(True, "transform utilities by w(s) > 0 and b(s); False takes them as they are")
    stop_advantage_gradient: bool = flag(
        True, "advantages are constants, as in the code released; False: utilities and maxima learn through them too"
    )

    @property
    def is_monotone(self) -> bool:
        """IGM holds, but lambda is another for every joint action: utilities do not order the joint values."""
        return False

    @property
    def _network(self) -> "_Extractors":
        hypernet_width = self.hypernet_width if self.weighted_head else 0
        return _Extractors(self.n_agents, self.heads, self.layers, self.extractor_width, hypernet_width)

    def init(self, key: chex.PRNGKey) -> Params:
        """Parameters of the transformation and of the importances."""
        return self._network.init(key, jnp.zeros((1, self.state_size)), jnp.zeros((1, self.n_agents * self.n_actions)))

    def apply(
        self, params: Params, utilities: jax.Array, state: jax.Array, context: Context | None = None
    ) -> jax.Array:
        """Q_tot [..] from utilities [.. N], state [.. D], and the actions and greedy utilities of the context."""
        self.check_sizes(utilities, state)
        context = needed(context, self, "context")
        rows = state.reshape(-1, self.state_size)
        actions = jax.nn.one_hot(context.actions, self.n_actions).reshape(len(rows), -1)
        parts: Any = self._network.apply(params, rows, actions)
        weights, biases, *extracted = parts
        q, best = (x.reshape(len(rows), self.n_agents) for x in (utilities, context.greedy_utilities))
        joint = mix(q, best, weights, biases, importances(*extracted), stop=self.stop_advantage_gradient)
        return joint.reshape(state.shape[:-1])


def mix(
    utilities: jax.Array,
    best: jax.Array,
    weights: jax.Array,
    biases: jax.Array,
    lambdas: jax.Array,
    *,
    stop: bool = True,
) -> jax.Array:
    """The dueling itself, from the side of the actions taken: sum q~ + sum (lambda - 1) (q~ - v~), with |w| for w.

    Args:
        utilities: q of the actions taken [.. N]; best: the greatest q of each agent [.. N]; weights: raw w [.. N];
        biases: b [.. N]; lambdas: [.. N].
        stop: advantages q~ - v~ are constants.

    Returns:
        Q_tot [..].
    """
    weights = jnp.abs(weights) + _LEAST
    advantages = weights * (utilities - best)  # b cancels
    if stop:
        advantages = jax.lax.stop_gradient(advantages)
    return (weights * utilities + biases + (lambdas - 1) * advantages).sum(-1)


def importances(keys: jax.Array, agents: jax.Array, actions: jax.Array) -> jax.Array:
    """lambda_i = sum_k |key_k(s)| sigma(agent_{k,i}(s)) sigma(action_{k,i}(s, u)) > 0.

    Args:
        keys: raw [.. K]; agents, actions: raw [.. K N].

    Returns:
        lambda [.. N].
    """
    heads = (jnp.abs(keys) + _LEAST)[..., None] * nn.sigmoid(agents) * nn.sigmoid(actions)
    return heads.sum(-2)


class _Extractors(nn.Module):
    """State [R D], one-hot joint action [R N*A] -> raw w, b [R N]; raw keys [R K], agents, actions [R K N].

    The layers that read the state alone are one product, `first`: hidden layers of w and b, first layers of keys and
    agents in all heads. So are those that read the action too, `first_joint`. Hypernet width 0: w = 1, b = 0.
    """

    n_agents: int
    heads: int
    layers: int
    width: int
    hypernet_width: int

    @nn.compact
    def __call__(self, state: jax.Array, actions: jax.Array) -> tuple[jax.Array, ...]:
        rows, n, k, width = len(state), self.n_agents, self.heads, self.width
        both = jnp.concatenate([state, actions], axis=-1)
        of_key, of_agent = (k, k * n) if self.layers == 1 else (k * width, k * width)
        widths = (2 * self.hypernet_width, of_key, of_agent)
        first = linear(sum(widths), state.shape[-1], name="first")(state)
        transform, keys, agents = jnp.split(first, np.cumsum(widths[:-1]), axis=-1)
        joint = linear(of_agent, both.shape[-1], name="first_joint")(both)
        if self.layers > 1:
            hidden = nn.relu(jnp.concatenate([keys, agents, joint], axis=-1)).reshape(rows, 3 * k, width)
            if self.layers == 3:
                hidden = nn.relu(linear_heads(3 * k, width, width, name="second")(hidden))
            keys = linear_heads(k, 1, width, name="keys")(hidden[:, :k])[..., 0]
            agents, joint = jnp.split(linear_heads(2 * k, n, width, name="last")(hidden[:, k:]), 2, axis=1)
        return *self._transformation(transform), keys, agents.reshape(rows, k, n), joint.reshape(rows, k, n)

    def _transformation(self, hidden: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Raw w and b [R N] from their hidden layers [R 2*hypernet_width]."""
        shape = (len(hidden), self.n_agents)
        if not self.hypernet_width:
            return jnp.ones(shape), jnp.zeros(shape)
        layer = linear_heads(2, self.n_agents, self.hypernet_width, name="transformation")
        both = layer(nn.relu(hidden).reshape(len(hidden), 2, self.hypernet_width))
        return both[:, 0], both[:, 1]
