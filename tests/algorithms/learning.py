"""A small team, a batch of random steps and a learner, for tests of losses."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from marlx_envs.base import Spec

from marlx.agents import AgentOptions
from marlx.algorithms import ALGORITHMS
from marlx.algorithms import value_factorization as vf
from marlx.settings import Training
from marlx.types import Batch, Progress, View

N, A, O, D, T, B = 2, 3, 4, 5, 2, 2
SPEC = Spec(N, A, O, D, T, False, None, optimum_known=True)
SLOTS = 3  # of `steps`
START = Progress(jnp.float32(0), jnp.float32(0), jnp.float32(0))


def learner(
    agent: dict[str, Any] | None = None,
    training: dict[str, Any] | None = None,
    n_agents: int = N,
    axis: str | None = None,
    **section: Any,
) -> vf.ValueFactorization:
    """A composition by the fields of its section."""
    values = {**ALGORITHMS["qmix"].section_defaults(section), **section}
    options, spec = AgentOptions(hidden_size=8, **(agent or {})), replace(SPEC, n_agents=n_agents)
    return vf.make(spec, options, values, Training(**(training or {})), axis)


def batch(seed: int = 0, slots: int = T, rows: int = B, n_agents: int = N) -> Batch:
    """Random rows with masks; the second row terminates in its last step."""
    keys = jax.random.split(jax.random.key(seed), 5)
    available = jax.random.uniform(keys[0], (slots + 1, rows, n_agents, A)) < 0.6
    available = available.at[..., 0].set(True)
    view = View(
        observation=jax.random.normal(keys[1], (slots + 1, rows, n_agents, O)),
        state=jax.random.normal(keys[2], (slots + 1, rows, D)),
        available=available,
        previous_actions=jnp.full((slots + 1, rows, n_agents), A, jnp.int32),
        starts=jnp.zeros((slots + 1, rows), bool).at[0].set(True),
    )
    actions = jnp.argmax(jax.random.uniform(keys[3], (slots + 1, rows, n_agents, A)) * available, axis=-1)
    rewards = jax.random.normal(keys[4], (slots, rows))
    terminated = jnp.zeros((slots, rows), bool).at[-1, 1].set(True)
    return Batch(view, actions, rewards, terminated, jnp.ones((slots, rows), bool), optimal=rewards > 0.5)


def steps() -> Batch:
    """Row 0: an episode of one step ends, another follows. Row 1: one is truncated after a step, another terminates."""
    made = batch(slots=SLOTS)
    return made._replace(
        terminated=made.terminated.at[0, 0].set(True),
        valid=made.valid.at[1, 1].set(False),
        view=made.view._replace(starts=made.view.starts.at[1, 0].set(True).at[2, 1].set(True)),
    )


def loss(method: vf.ValueFactorization, live: Any, target: Any, steps: Batch, key: int = 0) -> tuple[jax.Array, Any]:
    """The loss and its metrics for given live and target parameters."""
    state = method.init(jax.random.key(0))._replace(target=target)
    value, (metrics, *_) = method.loss(live, state, steps, jax.random.key(key), START)
    return value, metrics


def changed(data: Batch, t: int, row: int, names: str) -> Batch:
    """Other rewards, actions, observations or states in one slot."""
    view = data.view
    if "rewards" in names:
        data = data._replace(rewards=data.rewards.at[t, row].add(7))
    if "actions" in names:
        data = data._replace(actions=data.actions.at[t, row].set((data.actions[t, row] + 1) % A))
    if "view" in names:
        view = view._replace(
            observation=view.observation.at[t, row].add(7),
            state=view.state.at[t, row].add(7),
            available=view.available.at[t, row].set(True),
        )
    return data._replace(view=view)


def assert_padding_teaches_nothing(learn: Callable[[Batch], Any], data: Batch) -> None:
    """Slot 1 of row 1 is padding: what happens there changes no bit of what `learn` gives; what goes before does."""
    before = learn(data)

    def same(data: Batch) -> bool:
        return all(jax.tree.leaves(jax.tree.map(lambda a, b: bool((a == b).all()), learn(data), before)))

    assert same(changed(data, 1, 1, "rewards actions"))
    assert not same(changed(data, 1, 1, "view"))  # the step before bootstraps from it
    assert not same(changed(data, 0, 1, "rewards"))
    ended = data._replace(terminated=data.terminated.at[0, 1].set(True))
    before = learn(ended)
    assert same(changed(ended, 1, 1, "rewards actions view"))
