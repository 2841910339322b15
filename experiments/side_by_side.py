"""One method on many games at once: the game is an axis, so that one compilation serves them all."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax.sharding import Mesh, PartitionSpec

import marlx
from marlx.engine.seeds import cpu_width
from marlx.program import Program


def train(experiment: "marlx.Experiment", games: Any, seeds: int) -> dict[str, npt.NDArray[Any]]:
    """Trains `seeds` seeds on each of G games, spread over the devices.

    Args:
        games: environment params with a leading axis [G].

    Returns:
        Metrics by name, for each evaluation [G S K]. A seed has the same random numbers in every game.
    """
    count = len(jax.tree.leaves(games)[0]) * seeds
    numbers, learn = experiment.numbers(), marlx.make_train(experiment)
    split = _divisor(count, len(jax.local_devices()))
    width = _divisor(count // split, cpu_width(Program(experiment).rows))

    def one(run: tuple[Any, Any]) -> Any:
        key, game = run
        return learn(key, {**numbers, "environment": game}).metrics

    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(0), jnp.arange(count) % seeds)
    runs = keys, jax.tree.map(lambda x: jnp.repeat(jnp.asarray(x), seeds, axis=0), games)
    alone = None if width == 1 else width  # a group of one would be vmapped too, and its products are slow
    mesh, spec = Mesh(np.array(jax.local_devices()[:split]), ("run",)), PartitionSpec("run")
    spread: Any = jax.shard_map(
        lambda runs: jax.lax.map(one, runs, batch_size=alone), mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False
    )
    return {name: np.asarray(x).reshape(-1, seeds, *x.shape[1:]) for name, x in jax.jit(spread)(runs).items()}


def _divisor(number: int, most: int) -> int:
    """The largest divisor of a number that is at most `most`: nothing is left over, which would compile twice."""
    return max(n for n in range(1, most + 1) if number % n == 0)
