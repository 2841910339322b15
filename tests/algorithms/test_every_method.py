"""What holds for each registered method: an update trains all of it, and padding does not matter to it."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import marlx
from marlx.agents import AgentOptions
from marlx.settings import Training
from marlx.types import Progress
from tests.algorithms.learning import SPEC, batch

PADDED = 2  # the first slot of the last two that a row has here is its episode's last observation


@pytest.mark.parametrize("method", marlx.ALGORITHMS)
def test_an_update_trains_it_and_padding_has_no_influence(method: str) -> None:
    experiment = marlx.configure(method, "matrix_game")
    agent = AgentOptions(**{**experiment.agent, "hidden_size": 8, "network": "mlp"})
    rule = marlx.ALGORITHMS[method].load_rule()
    training = Training(batch_size=3, epsilon_end=1.0)
    algorithm = rule.build(SPEC, agent, dict(experiment.algorithm), training)
    state = jax.jit(algorithm.init)(jax.random.key(0))
    steps = batch(slots=4, rows=3)
    valid = jnp.ones(steps.valid.shape, bool).at[PADDED, 0].set(False)
    starts = steps.view.starts.at[PADDED + 1, 0].set(True)
    steps = steps._replace(valid=valid, view=steps.view._replace(starts=starts))
    update: Any = jax.jit(algorithm.update)
    progress = jax.tree.map(jnp.float32, (10.0, 2.0, 0.0))

    def updated(steps: Any) -> tuple[Any, Any]:
        return update(state, steps, jax.random.key(1), Progress(*progress))

    after, metrics = updated(steps)
    assert all(np.isfinite(value).all() for value in jax.tree.leaves((after.params, metrics)))
    changed = jax.tree.map(lambda a, b: bool((a != b).any()), state.params, after.params)
    still = [jax.tree_util.keystr(path) for path, leaf in jax.tree.leaves_with_path(changed) if not leaf]
    assert not still, f"not trained: {still}"

    padding = ~valid
    poked = steps._replace(
        rewards=jnp.where(padding, 1e3, steps.rewards),
        terminated=steps.terminated | padding,
        optimal=steps.optimal ^ padding,
    )
    if experiment.algorithm.get("target") != "sarsa_lambda":  # which bootstraps from the action selected there
        other = (steps.actions[PADDED, 0] + 1) % SPEC.n_actions
        poked = poked._replace(actions=steps.actions.at[PADDED, 0].set(other))
    again, measured = updated(poked)
    jax.tree.map(np.testing.assert_array_equal, (after.params, metrics), (again.params, measured))
