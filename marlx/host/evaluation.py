"""Greedy episodes of a run on disk, on the same seed axis that trained it."""

from dataclasses import replace
from typing import Any

import jax
import numpy as np
from marlx_envs.options import UsageError

from marlx.engine.memory import is_exhaustion
from marlx.engine.seeds import Fleet
from marlx.host import parameters
from marlx.host.results import Run
from marlx.program import Program
from marlx.types import Metrics, Params


class _Greedy:
    """The phases of an evaluation: a seed's state is its key and its parameters."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.rows = program.rows

    def init(self, key: Any, numbers: Any) -> Any:
        """A fresh learner; only its shapes are used."""
        return self.program.trainer(numbers).algorithm.init(key)

    def train(self, first: Any, count: Any, state: Any, numbers: Any) -> Any:
        """Nothing is trained here."""
        raise NotImplementedError

    def refill(self, iteration: Any, state: Any, numbers: Any) -> Any:
        """There is no replay here."""
        raise NotImplementedError

    def record(self, index: Any, state: Any, numbers: Any) -> tuple[Any, Metrics]:
        """Metrics of one seed."""
        key, params = state
        trainer = self.program.trainer(numbers)
        learner = trainer.algorithm.init(key)._replace(params=params)
        return state, trainer.evaluate(index, key, learner)


def load_params(run: Run, best: bool = False) -> Params:
    """Parameters [S ...] of a run, of the end or the best. Raises `UsageError` if it has none that fit."""
    program, numbers = Program(run.experiment), run.experiment.numbers()
    shapes = jax.eval_shape(lambda key: _Greedy(program).init(key, numbers), jax.random.key(0)).params
    return parameters.load(run.path, shapes, len(run.lanes), best)


def evaluate(run: Run, episodes: int, best: bool = False) -> dict[str, Any]:
    """Metrics [S] of so many episodes of each seed; those of the best parameters are none that they were chosen by.

    A seed whose parameters are not finite, because it never had a finite evaluation to choose them by, has NaN.

    Raises:
        UsageError: so many episodes do not fit memory.
    """
    lanes = run.lanes
    lanes = replace(lanes, experiment=lanes.experiment.replace({"evaluation.episodes": episodes}))
    program = Program(lanes.experiment)
    numbers, base_seed = lanes.numbers(), run.record["base_seed"]
    index = program.plan.iterations + best  # of the stream of random numbers; no training has come so far
    params = run.best_params if best else run.params
    try:
        fleet = Fleet(_Greedy(program), numbers, lanes.ids(), base_seed, _width(run), varied=lanes.varied)
        metrics = fleet.record(index, (fleet.keys, fleet.pad(params)))[1]
    except Exception as error:
        if is_exhaustion(error):
            raise UsageError(f"{episodes:,} episodes side by side do not fit memory; give fewer --episodes") from error
        raise
    finite = [np.isfinite(leaf).reshape(len(leaf), -1).all(axis=1) for leaf in jax.tree.leaves(params)]
    sound = np.all(finite, axis=0) if finite else True
    return {name: np.where(sound, values, np.nan) for name, values in metrics.items()}


def _width(run: Run) -> int | None:
    """The width that the run was trained with, so that batched products round as they did then."""
    width = run.record.get("layout", {}).get("width")
    return width if isinstance(width, int) and width > 0 else None
