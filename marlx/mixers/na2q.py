"""NA2Q: a generalised additive model of single utilities and of pairs, with credits from states and semantics of agents
(Liu et al. 2023).

    Q_tot = sum_k alpha_k(s, z) f_k  +  b(s),      f_i(q_i) and f_ij(q_i, q_j) for i < j
"""

import math
from dataclasses import dataclass
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from marlx_envs.discovery import Entry
from marlx_envs.options import UsageError, needed, number, size

from marlx.initialisers import linear, stacked
from marlx.losses import drawn_by_row
from marlx.mixers.base import Context, Mixer
from marlx.types import Metrics, Params, Progress

Entry(
    name="na2q",
    summary="weighted sum of monotone functions of single utilities and of pairs, credits from agents' semantics",
    source="Liu et al. 2023 (NA2Q)",
    factory="NA2Q",
)

LARGEST = 50_000_000  # parameters of one layer


@dataclass(frozen=True)
class NA2Q(Mixer):
    """N + N (N - 1) / 2 shape functions, credits by attention, and the variational autoencoder that makes semantics.

    The autoencoder reads the agents' memories and explains their observations by a mask; it is trained, with the
    agents' memory, by its own losses alone. One draw of noise serves the credits and these losses. The released code
    averages the autoencoder's losses over padding too; here they are masked like every other loss. The layer of the
    credits' query has K_f^2 outputs, which grow as N^4.
    """

    observation_size: int
    memory_size: int
    axis: str | None = None

    first_width: int = size(8, "width of the shape functions' first layer", high=256)
    second_width: int = size(4, "width of the shape functions' second layer", high=256)
    embedding_width: int = size(64, "width of the credits' query and key, and of the bias's first layer", high=4096)
    vae_width: int = size(32, "width of the autoencoder's hidden layers, and of the bias's second layer", high=4096)
    latent_size: int = size(64, "width Z of an agent's semantics", high=4096)
    vae_loss_scale: float = number(0.1, "factor of the autoencoder's losses", low=0)

    def __post_init__(self) -> None:
        """Checks that the layer of the credits' query has a size that can be."""
        functions = self.n_agents * (self.n_agents + 1) // 2
        if functions**2 * self.embedding_width > LARGEST:
            raise UsageError(
                f"algorithm.mixer=na2q would need {functions**2 * self.embedding_width:,} parameters in one layer for "
                f"{self.n_agents} agents, at most {LARGEST:,} are allowed; choose another mixer"
            )

    @property
    def _orders(self) -> tuple[int, int]:
        """How many shape functions there are of one utility and of two."""
        return self.n_agents, self.n_agents * (self.n_agents - 1) // 2

    @property
    def _credits(self) -> "_Credits":
        return _Credits(sum(self._orders), self.embedding_width, self.vae_width)

    @property
    def _encoder(self) -> "_Encoder":
        return _Encoder(self.vae_width, self.latent_size)

    @property
    def _decoder(self) -> "_Decoder":
        return _Decoder(self.vae_width, self.observation_size)

    def init(self, key: chex.PRNGKey) -> Params:
        """Parameters {"shapes", "credits", "encoder", "decoder"}, the shape functions' weights not negative."""
        credits_key, encoder_key, decoder_key, *shape_keys = jax.random.split(key, 7)
        (singles, pairs), width = self._orders, self.first_width
        shapes = {
            "single": stacked(shape_keys[0], 1, width, singles),
            "pair": stacked(shape_keys[1], 2, width, pairs),
            "second": stacked(shape_keys[2], width, self.second_width, singles + pairs),
            "third": stacked(shape_keys[3], self.second_width, 1, singles + pairs),
        }
        state, latent = jnp.zeros((1, self.state_size)), jnp.zeros((1, self.latent_size))
        return self.constrain(
            {
                "shapes": shapes,
                "credits": self._credits.init(credits_key, state, jnp.tile(latent, self.n_agents)),
                "encoder": self._encoder.init(encoder_key, jnp.zeros((1, self.memory_size))),
                "decoder": self._decoder.init(decoder_key, latent),
            }
        )

    def constrain(self, params: Params) -> Params:
        """The shape functions' weights as absolute values (a step below zero is reflected); biases stay."""
        shapes = {name: {**layer, "kernel": jnp.abs(layer["kernel"])} for name, layer in params["shapes"].items()}
        return {**params, "shapes": shapes}

    def apply(
        self, params: Params, utilities: jax.Array, state: jax.Array, context: Context | None = None
    ) -> jax.Array:
        """Q_tot [..] from utilities [.. N], state [.. D] and the memories in `context`."""
        self.check_sizes(utilities, state)
        context = needed(context, self, "context")
        rows = state.reshape(-1, self.state_size)
        semantics, _, _ = jax.lax.stop_gradient(self._semantics(params, context))
        credit: Any = self._credits.apply(params["credits"], rows, semantics.reshape(len(rows), -1))
        values = shape_values(params["shapes"], utilities.reshape(len(rows), self.n_agents))
        return mix(values, *credit).reshape(state.shape[:-1])

    def auxiliary(self, params: Params, context: Context, progress: Progress) -> tuple[jax.Array, Metrics]:
        """The autoencoder's loss [..], its gradient also in the agents' memory; and its three parts, means over agents.

        With M = sigmoid(decoder(z)): mean (M o - o)^2, the divergence of z from a standard normal, and mean |M|.
        """
        latent, mean, log_std = self._semantics(params, context)
        mask: Any = self._decoder.apply(params["decoder"], latent)
        observation = context.observation.reshape(mask.shape)
        features = {
            "reconstruction_loss": (mask * observation - observation) ** 2,
            "divergence_loss": -0.5 * (1 + 2 * log_std - mean**2 - jnp.exp(2 * log_std)),
            "sparsity_loss": mask,
        }
        lead = context.actions.shape[:-1]
        slots = math.prod(lead)
        parts = {name: value.reshape(slots, -1).mean(-1).reshape(lead) for name, value in features.items()}
        return self.vae_loss_scale * sum(parts.values(), jnp.zeros(lead)), parts

    def _semantics(self, params: Params, context: Context) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Of memories [.. N H]: the draw z = mean + exp(log_std) noise, mean and log_std, each [R Z], R = .. x N."""
        encoded: Any = self._encoder.apply(params["encoder"], context.memory.reshape(-1, self.memory_size))
        mean, log_std = jnp.split(encoded, 2, axis=-1)
        if context.key is None:
            return mean, mean, log_std
        noise = self._noise(context.key, context.memory.shape[:-2] or (1,))
        return mean + jnp.exp(log_std) * noise.reshape(mean.shape), mean, log_std

    def _noise(self, key: chex.PRNGKey, lead: tuple[int, ...]) -> jax.Array:
        """Standard normal [.. N Z]."""
        return drawn_by_row(jax.random.normal, key, lead, (self.n_agents, self.latent_size), self.axis)


def shape_values(shapes: Params, utilities: jax.Array) -> jax.Array:
    """All shape functions, single utilities first, then pairs (0,1), (0,2), .., (1,2), ..: utilities [R N] -> [R K_f].

    Rows are the last axis inside, so that the functions' own small layers are products with long rows.
    """
    n = utilities.shape[-1]
    of_single, of_pair = np.eye(n), np.eye(n)[:, np.stack(np.triu_indices(n, 1))]  # which utilities: [N N], [N 2 P]
    single = of_single[..., None] * shapes["single"]["kernel"][:, 0]
    pair = jnp.einsum("ncp,pcw->npw", of_pair, shapes["pair"]["kernel"])
    first = jnp.concatenate([single, pair], 1)
    bias = jnp.concatenate([shapes["single"]["bias"], shapes["pair"]["bias"]])
    hidden = (first.reshape(n, -1).T @ utilities.T).reshape(*bias.shape, -1)
    hidden = nn.elu(hidden + bias[..., None])
    hidden = jnp.einsum("kio,kir->kor", shapes["second"]["kernel"], hidden)
    hidden = nn.elu(hidden + shapes["second"]["bias"][..., None])
    return ((shapes["third"]["kernel"] * hidden).sum(1) + shapes["third"]["bias"]).T


def mix(values: jax.Array, logits: jax.Array, bias: jax.Array) -> jax.Array:
    """sum_k softmax(logits)_k f_k + b: values and logits [.. K_f], bias [..] -> Q_tot [..]."""
    return (jax.nn.softmax(logits) * values).sum(-1) + bias


class _Credits(nn.Module):
    """State [R D], semantics [R N Z together] -> logits of the credits [R K_f], bias [R]."""

    functions: int
    width: int
    bias_width: int

    @nn.compact
    def __call__(self, state: jax.Array, semantics: jax.Array) -> tuple[jax.Array, jax.Array]:
        k, width = self.functions, self.width
        first = linear(2 * width, state.shape[-1], name="first")(state)  # of the query and of the bias, as one product
        query, bias = first[:, :width], nn.relu(first[:, width:])
        key = linear(width, semantics.shape[-1], name="key")(semantics)
        key = nn.relu(linear(k, width, name="key_functions", bias=False)(key))
        query = linear(k * k, width, name="query_functions", bias=False)(query).reshape(-1, k, k)
        logits = (query * key[:, None]).sum(-1) / math.sqrt(k)
        bias = nn.relu(linear(self.bias_width, width, name="bias_second")(bias))
        return logits, linear(1, self.bias_width, name="bias_third")(bias)[:, 0]


class _Encoder(nn.Module):
    """Memories [R H] -> mean and logarithm of the deviation of the semantics, side by side [R 2Z]."""

    width: int
    latent_size: int

    @nn.compact
    def __call__(self, memory: jax.Array) -> jax.Array:
        hidden = nn.relu(linear(self.width, memory.shape[-1], name="first")(memory))
        hidden = nn.relu(linear(self.width, self.width, name="second")(hidden))
        return linear(2 * self.latent_size, self.width, name="moments")(hidden)


class _Decoder(nn.Module):
    """Semantics [R Z] -> which features of the observation they stand for, in (0, 1) [R O]."""

    width: int
    observation_size: int

    @nn.compact
    def __call__(self, latent: jax.Array) -> jax.Array:
        hidden = nn.relu(linear(self.width, latent.shape[-1], name="first")(latent))
        hidden = nn.relu(linear(self.width, self.width, name="second")(hidden))
        return nn.sigmoid(linear(self.observation_size, self.width, name="mask")(hidden))
