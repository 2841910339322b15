"""What two updates of every method, and the first two iterations of a run, gave when that was last meant to change;
`python -m tests.algorithms.golden` writes them anew.

A changed number shows a changed behaviour. Write the file anew only with a change that is meant, and say so.
"""

import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import marlx
from marlx.agents import AgentOptions
from marlx.engine.seeds import UNOPTIMISED
from marlx.program import Program
from marlx.settings import Training
from marlx.types import Algorithm, Batch, Progress
from tests.algorithms.learning import SPEC, batch

FILE = Path(__file__).with_name("golden.json")
RUNS = Path(__file__).with_name("golden_runs.json")
SMALL = (
    "training.total_steps=400", "training.num_envs=4", "training.batch_size=4", "training.buffer_size=8",
    "agent.hidden_size=8", "evaluation.interval=200", "evaluation.episodes=2",
)  # fmt: skip
PADDED = 2  # the first slot of the last two that a row has here is its episode's last observation
PROGRESS = Progress(*jax.tree.map(jnp.float32, (10.0, 2.0, 0.0)))


class Subject(NamedTuple):
    """A method before its first update, and steps to learn from."""

    state: Any
    steps: Batch
    update: Any  # (state, steps) -> state, metrics
    target: str


def built(method: str, network: str, **section: Any) -> tuple[Algorithm, Batch]:
    """A small learner of a method, and steps to learn from, whose row 0 has a slot of padding.

    Args:
        section: fields of section `algorithm` that are other than the method's.
    """
    return _built(marlx.configure(method, "matrix_game"), network, section)


def _built(experiment: marlx.Experiment, network: str, section: dict[str, Any]) -> tuple[Algorithm, Batch]:
    agent = AgentOptions(**{**experiment.agent, "hidden_size": 8, "network": network})
    rule = marlx.ALGORITHMS[experiment.algorithm_name].load_rule()
    algorithm = rule.build(SPEC, agent, {**experiment.algorithm, **section}, Training(batch_size=3, epsilon_end=1.0))
    steps = batch(slots=4, rows=3)
    valid = jnp.ones(steps.valid.shape, bool).at[PADDED, 0].set(False)
    starts = steps.view.starts.at[PADDED + 1, 0].set(True)
    steps = steps._replace(valid=valid, view=steps.view._replace(starts=starts))
    return algorithm, steps


def subject(method: str) -> Subject:
    """A small learner of a method without memory; row 0 of its steps has a slot of padding."""
    experiment = marlx.configure(method, "matrix_game")
    algorithm, steps = _built(experiment, "mlp", {})
    compiled: Any = jax.jit(algorithm.update)

    def update(state: Any, steps: Batch) -> Any:
        with jax.debug_nans(True):
            return compiled(state, steps, jax.random.key(1), PROGRESS)

    state = jax.jit(algorithm.init)(jax.random.key(0))
    return Subject(state, steps, update, str(experiment.algorithm.get("target")))


def summary(state: Any, metrics: Any) -> dict[str, float]:
    """The metrics of an update, and the norm of all parameters after it."""
    leaves = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(state.params)]
    norm = float(np.sqrt(sum((leaf**2).sum() for leaf in leaves)))
    return {"norm of parameters": norm, **{name: float(value) for name, value in metrics.items()}}


def run(method: str) -> dict[str, float]:
    """Two iterations of a small run from its start, and its record. Raises if a number is none on the way out."""
    game = "matrix_game" if method == "ideal_cw_qmix" else "two_step_game"  # it asks the game for the best joint action
    experiment = marlx.configure(method, game, *SMALL)
    program, numbers = Program(experiment), experiment.numbers()

    def phases(key: Any, numbers: Any) -> Any:
        state = program.train(0, 2, program.init(key, numbers), numbers)
        return state.learner, program.record(2, state, numbers)[1]

    arguments = (jax.random.key(0), numbers)
    with jax.debug_nans(True):
        return summary(*jax.jit(phases).lower(*arguments).compile(UNOPTIMISED)(*arguments))


def write() -> None:
    """Writes the files."""
    RUNS.write_text(json.dumps({method: run(method) for method in marlx.ALGORITHMS}, indent=1) + "\n")
    found = {}
    for method in marlx.ALGORITHMS:
        state, steps, update, _ = subject(method)
        found[method] = summary(*update(update(state, steps)[0], steps))
    FILE.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(write())
