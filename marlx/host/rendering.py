"""`marlx render`: a greedy episode of a trained run as a moving picture."""

import os
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from marlx_envs.options import UsageError, shown
from marlx_envs.smax import Smax

from marlx.engine.rollout import Team
from marlx.host import directory
from marlx.host.files import write_whole
from marlx.host.results import Run
from marlx.host.shares import load_run
from marlx.program import Program

FRAME_MILLISECONDS = 250  # half the half second that a step is


def render(run_path: str, out: str | None, seed: int | None, episode: int) -> Path:
    """Draws an episode of one seed to a GIF; returns where it lies.

    Args:
        out: None writes episode.gif beside the run's metrics.
        seed: id of the seed; None takes the run's first.
        episode: number of the episode; names its random stream.

    Raises:
        UsageError: an environment that cannot be drawn, no such run or seed, or a disk that refuses.
    """
    run = load_run(run_path)
    path = directory.locate(out) if out is not None else run.path / "episode.gif"
    if path.suffix.lower() != ".gif" or os.path.isdir(path):
        raise UsageError(f"a moving picture must be a file that ends in .gif, not {path.name}")
    if run.experiment.environment_name != "smax":
        raise UsageError(f"only battles of smax are drawn, not {run.experiment.environment_name}")
    if seed is not None and seed not in run.seeds:
        raise UsageError(f"{run.path} has no seed {shown(seed)}; its seeds: {run.record['seeds']}")
    images = _episode(run, 0 if seed is None else run.seeds.index(seed), episode)
    write_whole(
        path,
        lambda file: images[0].save(
            file, format="gif", save_all=True, append_images=images[1:], duration=FRAME_MILLISECONDS, loop=0
        ),
    )
    return path


def _episode(run: Run, lane: int, episode: int) -> list[Any]:
    """Pictures of one greedy episode, the last state included."""
    from PIL import Image

    from marlx.analysis.battles import frames

    program, numbers = Program(run.experiment), run.experiment.numbers()
    params = jax.tree.map(lambda x: x[lane], run.params)
    key = jax.random.fold_in(jax.random.key(run.record["base_seed"]), episode)

    @jax.jit
    def play(params: Any) -> Any:
        trainer = program.trainer(numbers)
        rollout, algorithm = trainer.rollout, trainer.algorithm
        learner = algorithm.init(key)._replace(params=params)
        first = rollout.reset(key, 1)

        def step(team: Team, key: jax.Array) -> tuple[Team, Any]:
            act_key, step_key = jax.random.split(key)
            memory, actions = algorithm.act(learner, team.memory, rollout.view(team), act_key, jnp.float32(0))
            stepped, _, terminated, truncated, _ = jax.vmap(rollout.environment.step, (0, 0, 0, None))(
                step_key[None], team.environment, actions, rollout.params
            )
            team = team._replace(
                environment=stepped, memory=memory, previous_actions=actions, starts=jnp.zeros(1, bool)
            )
            return team, (stepped, terminated | truncated)

        keys = jax.random.split(key, rollout.spec.episode_limit)
        return first.environment, *jax.lax.scan(step, first, keys)[1]

    first, after, ended = play(params)
    length = int(np.argmax(ended[:, 0])) + 1
    battles = jax.tree.map(lambda x, y: np.concatenate([x, y[:length, 0]]), first, after)
    environment = program.environment
    assert isinstance(environment, Smax)
    kinds = np.asarray(environment.core.fixed if battles.kinds is None else battles.kinds[0])
    return [Image.fromarray(image) for image in frames(battles, kinds, environment.spec.n_agents)]
