"""Risk-reward random games of MRVF (appendix E.1): one step, paid for agreement and fined for all else.

The payoff is a function of the drawn game, never a tensor: 5 agents with 8 actions have 32,768 joint actions, 8 of them
not negative. The game is part of `params`, so each seed of one program may play another one.
"""

from dataclasses import dataclass
from functools import cached_property, partial
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from marlx_envs.base import Environment, Params, Spec, Step
from marlx_envs.discovery import Entry
from marlx_envs.options import choice, size

Entry(
    name="risk_reward",
    summary="Random one-step game: agreement on an action pays, disagreement costs as much (MRVF's 3x5, 5x5 and 5x8)",
    source="MRVF",
    factory="RiskReward",
)

NORMALISATIONS = ("corrected", "eq30_literal")


@partial(jax.jit, static_argnums=(1, 2))
def draw_game(key: chex.PRNGKey, n_agents: int, n_actions: int) -> Params:
    """A random game; `jax.vmap` over keys draws many.

    Returns:
        r: float32 [N A], uniform on [0, 10 / N], what each (permuted) action is worth.
        perm: int32 [N A], for each agent a permutation of its actions.
    """
    reward_key, permutation_key = jax.random.split(key)
    r = jax.random.uniform(reward_key, (n_agents, n_actions), jnp.float32) / n_agents * 10
    # 32 random bits tie too rarely to matter, and compile in a fraction of the time of `jax.random.permutation`
    perm = jnp.argsort(jax.random.bits(permutation_key, (n_agents, n_actions), jnp.uint32), axis=1)
    return {"r": r, "perm": perm.astype(jnp.int32)}


def payoff(game: Params, actions: jax.Array) -> jax.Array:
    """Payoff [] of a joint action, int [N], in a game of `draw_game`.

    With v_i = perm[i, u_i], it is the sum of r[i, v_i], positive if all v_i are the same and negative otherwise. (The
    text of MRVF 5.1 says average; its Table 10 is a sum.)
    """
    agents = jnp.arange(actions.shape[0])
    mapped = game["perm"][agents, actions]
    total = game["r"][agents, mapped].sum()
    return jnp.where((mapped == mapped[0]).all(), total, -total)


def payoff_bounds(game: Params) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Closed forms of the best payoff max+, the least non-negative one min+ and the worst one min-, each [] float32.

    Needs at least 2 agents and 2 actions. The non-negative payoffs are the agreements. The worst is that of every
    agent's best action, unless that is an agreement: then the agent that loses least by it takes its second best.
    """
    r = game["r"]
    agreements = r.sum(axis=0)
    (best, second), favourites = jax.lax.top_k(r, 2)[0].T, jnp.argmax(r, axis=1)
    concession = jnp.where((favourites == favourites[0]).all(), (best - second).min(), 0.0)
    return agreements.max(), agreements.min(), concession - best.sum()


def normalised_return(game: Params, value: jax.Array, literal: bool = False) -> jax.Array:
    """MRVF eq. 30: a payoff [] in the range of its own sign, [0, 1] or [-1, 0).

    Negative payoffs become Q / |min-|, the worst of them -1, as the paper's caption promises; the formula as printed
    (`literal`) sends the worst to 0 and those near zero to -1. If all agreements pay the same, each counts as 1.
    """
    largest, smallest, worst = payoff_bounds(game)
    spread = largest - smallest
    reward = jnp.where(spread > 0, (value - smallest) / jnp.where(spread > 0, spread, 1.0), 1.0)
    scale = jnp.where(worst < 0, worst, -1.0)  # no negative payoff exists where it would matter
    risk = (value - scale) / scale if literal else -value / scale
    return jnp.where(value >= 0, reward, risk)


class RiskRewardState(NamedTuple):
    """Environment steps done, uint8 []: 0 or 1."""

    time: jax.Array


@dataclass(frozen=True)
class RiskReward(Environment):
    """One step, then terminated. Observations and the global state are [1.0]; all actions are available."""

    n_agents: int = size(3, "agents", low=2, high=1000)
    n_actions: int = size(5, "actions of each agent", low=2, high=10_000)
    game_seed: int = size(0, "which game is drawn for the default params", low=0, high=2**31 - 1)
    normalisation: str = choice("corrected", "form of `normalised_return` for negative payoffs", NORMALISATIONS)

    @cached_property
    def _game(self) -> dict[str, np.ndarray]:
        with jax.ensure_compile_time_eval():  # first use may be under a trace, whose values must not be kept
            return {k: np.asarray(v) for k, v in draw_game(jax.random.key(self.game_seed), *self._sizes).items()}

    @property
    def _sizes(self) -> tuple[int, int]:
        return self.n_agents, self.n_actions

    @cached_property
    def spec(self) -> Spec:
        """Static sizes, and the payoff's bounds in the default game."""
        with jax.ensure_compile_time_eval():
            largest, _, worst = payoff_bounds(self.params)
        return Spec(
            n_agents=self.n_agents,
            n_actions=self.n_actions,
            observation_size=1,
            state_size=1,
            episode_limit=1,
            limit_is_terminal=True,
            return_max=float(largest),
            return_min=float(worst),
            optimum_known=True,
            uniform_actions=True,
            metrics=("normalised_return",),
        )

    @property
    def params(self) -> Params:
        """The game of `game_seed`, as drawn by `draw_game`."""
        return {name: jnp.asarray(value) for name, value in self._game.items()}

    def reset(self, key: chex.PRNGKey, params: Params | None = None) -> RiskRewardState:
        """The only decision; nothing is random but the game itself."""
        return RiskRewardState(jnp.zeros((), jnp.uint8))

    def step(self, key: chex.PRNGKey, state: RiskRewardState, actions: jax.Array, params: Params | None = None) -> Step:
        """Pays the joint action, int32 [N]; `info["normalised_return"]` is its payoff by eq. 30."""
        game = self.params if params is None else params
        reward = payoff(game, jnp.clip(actions, 0, self.n_actions - 1))
        normalised = normalised_return(game, reward, literal=self.normalisation == "eq30_literal")
        done = jnp.ones((), bool)
        return RiskRewardState(jnp.ones_like(state.time)), reward, done, ~done, {"normalised_return": normalised}

    def is_optimal(self, state: RiskRewardState, actions: jax.Array, params: Params | None = None) -> jax.Array:
        """Whether no joint action pays more, bool []."""
        game = self.params if params is None else params
        return (
            payoff(game, jnp.clip(actions, 0, self.n_actions - 1)) >= payoff_bounds(game)[0] - 1e-5
        )  # rounding of sums

    def observe(self, state: RiskRewardState, params: Params | None = None) -> jax.Array:
        """Ones, float32 [N 1]."""
        return jnp.ones((self.n_agents, 1), jnp.float32)

    def global_state(self, state: RiskRewardState, params: Params | None = None) -> jax.Array:
        """One, float32 [1]."""
        return jnp.ones((1,), jnp.float32)

    def available_actions(self, state: RiskRewardState, params: Params | None = None) -> jax.Array:
        """All of them, bool [N A]."""
        return jnp.ones((self.n_agents, self.n_actions), bool)
