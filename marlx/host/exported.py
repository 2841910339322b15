"""Greedy episodes of exported agents: nothing but what `marlx export` wrote, and the environment that it names."""

import copy
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import marlx_envs
import numpy as np
import numpy.typing as npt
from marlx_envs.base import Environment
from marlx_envs.options import UsageError

from marlx.host import directory, portable


class Played(NamedTuple):
    """A team per episode while it is played; leading axis [E]."""

    state: Any
    memory: jax.Array  # [E N H]
    previous: jax.Array  # int32 [E N], n_actions before the first step
    alive: jax.Array  # bool [E]
    metrics: dict[str, jax.Array]  # [E]


def holds_policy(folder: str | Path) -> bool:
    """Whether a directory is one that `marlx export` wrote."""
    return os.path.isfile(directory.locate(folder) / portable.ABOUT)


def evaluate(folder: str | Path, episodes: int | None = None) -> dict[str, npt.NDArray[np.float32]]:
    """Means over greedy episodes, metric -> values [S] in the order of policy.json's seeds.

    Args:
        episodes: of each seed; None takes as many as an evaluation of the run had.

    Raises:
        UsageError: files that are missing, damaged or of an older version.
    """
    folder = directory.locate(folder)

    def one(of: tuple[Mapping[str, jax.Array], chex.PRNGKey]) -> dict[str, jax.Array]:
        params, key = of
        mine = copy.copy(policy)
        mine.params = dict(params)
        return play(environment, mine, key, count)

    try:
        policy = portable.Policy(folder, array=jnp)
        about = policy.about
        environment = marlx_envs.make(about["environment"], **about["environment_options"])
        count = episodes or about["episodes"]
        seeds = policy.stacked, jax.vmap(jax.random.key)(jnp.asarray(about["seeds"], jnp.uint32))
        traced = jax.jit(lambda seeds: jax.lax.map(one, seeds)).lower(seeds)  # arrays that are missing are missed here
    except (OSError, ValueError, KeyError, TypeError) as error:
        words = f"lacks {error}" if isinstance(error, KeyError) else str(error)
        raise UsageError(f"{folder} cannot be read as exported agents ({words}); export the run again") from error
    return {name: np.asarray(values) for name, values in traced.compile()(seeds).items()}


def play(environment: Environment, policy: portable.Policy, key: chex.PRNGKey, episodes: int) -> dict[str, jax.Array]:
    """Means over E greedy episodes, played side by side until all have ended; named as evaluations of a run."""
    spec = environment.spec
    names = (*spec.metrics, *(("won",) if spec.can_be_won else ()))
    reset_key, run_key = jax.random.split(key)
    begun = Played(
        jax.vmap(environment.reset)(jax.random.split(reset_key, episodes)),
        policy.initial_memory(episodes),
        jnp.full((episodes, spec.n_agents), spec.n_actions, jnp.int32),
        jnp.ones(episodes, bool),
        {name: jnp.zeros(episodes) for name in ("return", "length", *names)},
    )

    def step(now: Played, key: chex.PRNGKey) -> tuple[Played, None]:
        memory, utilities = policy.utilities(now.memory, jax.vmap(environment.observe)(now.state), now.previous)
        available = jax.vmap(environment.available_actions)(now.state)
        actions = policy.greedy(utilities, available).astype(jnp.int32)
        stepped = jax.vmap(environment.step)(jax.random.split(key, episodes), now.state, actions)
        state, reward, terminated, truncated, info = stepped
        ended = now.alive & (terminated | truncated)
        sums = {"return": now.alive * reward, "length": 1.0 * now.alive}
        metrics = {name: now.metrics[name] + value for name, value in sums.items()}
        metrics |= {name: jnp.where(ended, info[name], now.metrics[name]) for name in names}
        return Played(state, memory, actions, now.alive & ~ended, metrics), None

    last, _ = jax.lax.scan(step, begun, jax.random.split(run_key, spec.episode_limit))
    means = {f"evaluation_{name}": values.mean() for name, values in last.metrics.items()}
    if spec.can_be_won:
        means["evaluation_win_rate"] = means.pop("evaluation_won")
    return means
