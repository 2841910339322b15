"""`marlx render`: a greedy episode of a trained run as an animated GIF or a page of HTML."""

from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from marlx_envs.options import UsageError

from marlx.analysis.scenes import Episode, check_drawn, scene
from marlx.engine.rollout import Rollout
from marlx.experiment import Experiment
from marlx.host import directory
from marlx.host.files import write_whole
from marlx.host.shares import load_run
from marlx.program import Program
from marlx.types import Params

FORMATS = (".gif", ".html")


def render(path: str, out: str | None, seed: int | None, number: int) -> Path:
    """Plays one greedy episode with the parameters of a run and draws it; returns where the film lies.

    Args:
        out: a .gif or .html file; None writes episode.gif into the run.
        seed: id of the seed whose agents play; None takes the first.
        number: which episode; each has a beginning of its own.

    Raises:
        UsageError: no run, no such seed, an environment that cannot be drawn, another kind of file.
    """
    run = load_run(path)
    where = directory.file_place(out if out is not None else run.path / "episode.gif", "a film", FORMATS)
    check_drawn(run.experiment.environment_name)
    if run.record.get("grid"):
        raise UsageError(f"{run.path} is a grid over {', '.join(run.record['grid'])}; render runs of one setting each")
    if seed is not None and seed not in run.seeds:
        raise UsageError(f"{run.path} has no seed {seed}; it has {run.record['seeds']}")
    chosen = run.seeds[0] if seed is None else seed
    experiment = run.experiment
    title = f"{experiment.algorithm_name} on {experiment.environment_name}, seed {chosen}, greedy episode {number}"
    params = jax.tree.map(lambda x: x[run.seeds.index(chosen)], run.params)
    episode = play(experiment, params, run.record["base_seed"], number)
    film = scene(experiment.environment_name, experiment.make_environment(), episode, title)
    from marlx.analysis.film import gif, page

    if where.suffix.lower() == ".gif":
        write_whole(where, lambda file: gif(film, file))
    else:
        text = page(film).encode()
        write_whole(where, lambda file: file.write(text))
    return where


def play(experiment: Experiment, params: Params, base_seed: int, number: int) -> Episode:
    """One greedy episode with the parameters of a seed, from its first state to the one that ends it."""
    trainer = Program(experiment).trainer(experiment.numbers())
    key = jax.random.fold_in(jax.random.key(base_seed), number)
    states, actions, rewards, ended = jax.jit(partial(_steps, trainer.rollout))(params, key)
    length = int(np.argmax(ended)) + 1 if bool(np.any(ended)) else len(ended)
    states = jax.tree.map(lambda x: np.asarray(x[: length + 1]), states)
    return Episode(states, np.asarray(actions[:length]), np.asarray(rewards[:length]))


def _steps(rollout: Rollout, params: Params, key: Any) -> Any:
    """States [T+1 ..], actions [T N], rewards [T] and whether the episode has ended [T], of the longest episode."""
    learner = rollout.algorithm.init(key)._replace(params=params)
    first, key = jax.random.split(key)
    team = rollout.reset(first, 1)

    def step(team: Any, key: Any) -> tuple[Any, Any]:
        act_key, step_key = jax.random.split(key)
        memory, actions = rollout.algorithm.act(learner, team.memory, rollout.view(team), act_key, jnp.float32(0))
        after, rewards, terminated, truncated, _ = jax.vmap(rollout.environment.step, (0, 0, 0, None))(
            step_key[None], team.environment, actions, rollout.params
        )
        alone = jax.tree.map(lambda x: x[0], (after, actions, rewards, terminated | truncated))
        now = team._replace(environment=after, memory=memory, previous_actions=actions, starts=jnp.zeros(1, bool))
        return now, alone

    keys = jax.random.split(key, rollout.spec.episode_limit)
    _, (states, actions, rewards, ended) = jax.lax.scan(step, team, keys)
    states = jax.tree.map(lambda x, more: jnp.concatenate([x, more]), team.environment, states)
    return states, actions, rewards, ended
