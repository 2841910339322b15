"""What holds for each registered method, found by being registered: it trains, and padding does not matter to it."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import marlx
from marlx.program import Program

# Rows of 12 slots hold an episode of 5 steps, its last observation, and part of the next one.
GAME = (
    "environment.episode_limit=5", "environment.n_agents=2", "environment.n_stags=1", "environment.height=3",
    "environment.width=3", "training.rollout_steps=12", "training.num_envs=8", "training.batch_size=8",
    "training.buffer_size=64", "training.total_steps=960", "agent.hidden_size=8", "evaluation.episodes=2",
    "evaluation.interval=0",
)  # fmt: skip
METHODS = [name for name in marlx.ALGORITHMS if name != "ideal_cw_qmix"]  # predator-prey does not know its optimum


def _changed(before: Any, after: Any) -> list[bool]:
    return jax.tree.leaves(jax.tree.map(lambda a, b: bool((np.asarray(a) != np.asarray(b)).any()), before, after))


@pytest.mark.parametrize("method", METHODS)
def test_it_trains_and_padding_has_no_influence(method: str) -> None:
    program = Program(experiment := marlx.configure(method, "predator_prey", *GAME))
    numbers = experiment.numbers()

    def begin(key: Any) -> tuple[Any, Any]:
        trainer = program.trainer(numbers)
        state = trainer.train(jnp.int32(0), jnp.int32(2), trainer.init(key))
        return state, trainer.rollout.batch(jax.tree.map(lambda x: x[:8], state.replay))

    def update(state: Any, batch: Any) -> tuple[Any, Any]:
        trainer = program.trainer(numbers)
        return trainer.algorithm.update(state.learner, batch, jax.random.key(1), trainer._progress(state))

    state, batch = jax.jit(begin)(jax.random.key(0))
    update = jax.jit(update)
    after, metrics = update(state, batch)
    assert all(np.isfinite(value).all() for value in jax.tree.leaves((after.params, metrics)))
    assert all(_changed(state.learner.params, after.params)), "some parameters are not trained"

    padding = ~np.asarray(batch.valid)
    assert padding.any() and not padding.all()
    noise = jax.random.normal(jax.random.key(2), batch.rewards.shape)
    poked = batch._replace(
        rewards=jnp.where(padding, 1e3 * noise, batch.rewards),
        actions=batch.actions.at[:-1].set(jnp.where(padding[..., None], 4, batch.actions[:-1])),
    )
    # An action at a padding slot is not the previous action of a slot of the same episode, so nothing else knows it.
    again, measured = update(state, poked)
    jax.tree.map(np.testing.assert_array_equal, (after, metrics), (again, measured))
