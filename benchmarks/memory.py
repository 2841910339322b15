"""Bytes of one seed: the replay of packed rows against float32 arrays, and the rest of the state."""

from typing import Any

import jax
import marlx_envs

import marlx
from benchmarks.common import Table
from marlx.engine.memory import tree_bytes
from marlx.program import Program


def run(*, quick: bool) -> list[Table]:
    """Replay of 5,000 rows for each environment; sizes are those of the arrays, computed without allocating them."""
    rows = []
    for algorithm, environment in [("qmix", "predator_prey"), ("qmix", "matrix_game"), ("qmix", "risk_reward")]:
        experiment = marlx.configure(algorithm, environment, "training.buffer_size=5000", "training.num_envs=8")
        program = Program(experiment)
        state = jax.eval_shape(program.init, jax.random.key(0), experiment.numbers())
        replay = tree_bytes(state.replay)
        rest = tree_bytes(state) - replay
        slots = 5_000 * (program.plan.rollout_steps + 1)
        plain = slots * _plain_bytes(marlx_envs.make(environment).spec)
        rows.append((f"{algorithm}, {environment}", replay / 1e6, plain / 1e6, plain / replay, rest / 1e6))
    columns = ("work", "replay of 5,000 rows, MB", "as float32 arrays, MB", "ratio", "rest of the state, MB")
    return [Table("Memory of one seed", columns, rows)]


def _plain_bytes(spec: Any) -> int:
    """A slot as PyMARL2 keeps it: observations, state, masks, one-hot actions, reward and flags in 4 bytes each."""
    per_agent = spec.observation_size + 2 * spec.n_actions + 1
    return 4 * (spec.n_agents * per_agent + spec.state_size + 3)
