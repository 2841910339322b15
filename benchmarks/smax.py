"""SMAX: random play in jaxmarl's `step` and in ours, in turn; training in the setting of JaxMARL's QMIX script."""

import statistics
import time
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import marlx_envs
from marlx_envs import jaxmarl

import marlx
from benchmarks.common import BATTLE, Table
from benchmarks.throughput import play, rate
from marlx.engine.memory import tree_bytes
from marlx.engine.seeds import ROWS, Fleet
from marlx.exploration import uniform_available
from marlx.program import Program

# Environments, and steps of each in one timing.
PLAY = [("2s3z", 16, 1000), ("2s3z", 256, 100), ("3s_vs_5z", 16, 1000), ("3s_vs_5z", 256, 100)]
PLAY += [("27m_vs_30m", 16, 100), ("27m_vs_30m", 256, 10)]


def run(*, quick: bool) -> list[Table]:
    """Both tables."""
    if quick:
        return [_random_play(PLAY[:1], 3), _training(1, ((1, 1),))]
    return [_random_play(PLAY, 7), _training(3, ((1, 1), (1, 2), (4, 1)))]


def _random_play(works: list[tuple[str, int, int]], repeats: int) -> Table:
    """Random available actions; observations of every step are computed, and a new episode begins after an end."""
    rows = []
    for scenario, count, steps in works:
        environment = marlx_envs.make("smax", scenario=scenario)
        theirs = jaxmarl.load().make(
            "HeuristicEnemySMAX", scenario=jaxmarl.load("jaxmarl.environments.smax").map_name_to_scenario(scenario)
        )
        programs = {
            "jaxmarl": jax.jit(partial(_jaxmarl_play, theirs, count, steps)),
            "marlx": jax.jit(partial(play, environment, count, steps, True)),
        }
        times: dict[str, list[float]] = {name: [] for name in programs}
        compiling = {}
        for repeat in range(repeats + 1):
            for name, program in programs.items():
                started = time.perf_counter()
                jax.block_until_ready(program(jax.random.key(repeat)))
                if repeat:
                    times[name].append(time.perf_counter() - started)
                else:
                    compiling[name] = time.perf_counter() - started
        rates = {name: count * steps / statistics.median(times[name]) for name in programs}
        ratio = rates["marlx"] / rates["jaxmarl"]
        rows.append(
            (scenario, count, rates["jaxmarl"], rates["marlx"], ratio, compiling["jaxmarl"], compiling["marlx"])
        )
    columns = (
        "scenario",
        "environments",
        "jaxmarl steps/s",
        "marlx steps/s",
        "ratio",
        "jaxmarl compile s",
        "compile s",
    )
    return Table("SMAX alone, random play with observations, in turn", columns, rows)


def _jaxmarl_play(environment: Any, count: int, steps: int, key: jax.Array) -> jax.Array:
    def slot(states: Any, key: jax.Array) -> tuple[Any, jax.Array]:
        act_key, step_key = jax.random.split(key)
        masks = jax.vmap(environment.get_avail_actions)(states)
        available = jnp.stack([masks[agent] for agent in environment.agents], axis=1) > 0
        actions = uniform_available(jax.random.uniform(act_key, available.shape[:-1]), available)
        by_agent = {agent: actions[:, i] for i, agent in enumerate(environment.agents)}
        seen, states, rewards, _, _ = jax.vmap(environment.step)(jax.random.split(step_key, count), states, by_agent)
        return states, sum(seen[agent].sum() + rewards[agent].sum() for agent in environment.agents)

    first, rest = jax.random.split(key)
    _, states = jax.vmap(environment.reset)(jax.random.split(first, count))
    states = jax.tree.map(lambda x: jnp.asarray(x, x.dtype), states)  # reset gives a weakly typed leaf, step does not
    return jax.lax.scan(slot, states, jax.random.split(rest, steps))[1].sum()


def _training(repeats: int, layouts: tuple[tuple[int, int], ...]) -> Table:
    """QMIX on 2s3z with the amounts of JaxMARL's script: 16 x 128 steps, then 8 updates of 32 rows x 128 steps.

    Args:
        layouts: pairs of seeds, and devices that share the rows of each.
    """
    rows = []
    for count, split in layouts:
        if split > jax.local_device_count():
            continue
        experiment = marlx.configure(*BATTLE)
        program = Program(experiment, ROWS if split > 1 else None)
        fleet = Fleet(program, experiment.numbers(), range(count), split=split)
        compiling = fleet.compile()
        per_second = rate(fleet, program, 4, repeats)
        update = count / per_second * program.plan.steps_per_iteration / experiment.training["updates_per_iteration"]
        state = jax.eval_shape(Program(experiment).init, jax.random.key(0), experiment.numbers())
        replay = tree_bytes(state.replay) / 1e6
        rows.append((count, "yes" if split > 1 else "no", per_second, 1e3 * update, replay, compiling))
    columns = ("seeds", "rows split", "steps/s", "ms an update, with rollout", "replay MB a seed", "compile s")
    return Table("QMIX on 2s3z, learning phase, all seeds together", columns, rows)
