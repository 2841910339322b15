"""Environment steps per second: environments alone, training with one and with several seeds and by the number
of environments, and where time goes.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import marlx_envs

import marlx
from benchmarks.common import GAME, REFERENCE, Table, seconds
from benchmarks.costs import best
from marlx.agents import AgentOptions
from marlx.engine.seeds import ROWS, Fleet
from marlx.exploration import uniform_available
from marlx.program import Program

ENVIRONMENTS = (1, 8, 32, 128)  # of one seed


def run(*, quick: bool) -> list[Table]:
    """All tables."""
    repeats = 3 if quick else 7
    return [
        _environments(repeats, 50 if quick else 400),
        _training(repeats, quick),
        _by_environments(repeats, quick),
        _breakdown(repeats),
    ]


def _environments(repeats: int, steps: int) -> Table:
    """Random available actions; at an episode's end a new one is selected, as training does."""
    rows = []
    for name, count, looks in [
        ("predator_prey", 8, False),
        ("predator_prey", 512, False),
        ("predator_prey", 512, True),
        ("predator_prey", 4096, False),
        ("matrix_game", 512, False),
        ("risk_reward", 512, False),
    ]:
        environment = marlx_envs.make(name)
        program = jax.jit(partial(play, environment, count, steps, looks))
        key = jax.random.key(0)
        time = seconds(partial(_wait, program, key), repeats)
        rows.append((name, count, "yes" if looks else "no", count * steps / time))
    return Table("Environments alone, random play", ("environment", "environments", "observations", "steps/s"), rows)


def play(environment: Any, count: int, steps: int, looks: bool, key: jax.Array) -> jax.Array:
    """Sum of what `steps` random steps of `count` environments give, and of what is seen if it `looks`."""
    params = environment.params
    reset = jax.vmap(environment.reset, (0, None))

    def slot(states: Any, key: jax.Array) -> tuple[Any, jax.Array]:
        act_key, step_key, reset_key = jax.random.split(key, 3)
        available = jax.vmap(environment.available_actions, (0, None))(states, params)
        actions = uniform_available(jax.random.uniform(act_key, available.shape[:-1]), available)
        keys = jax.random.split(step_key, count)
        stepped, rewards, terminated, truncated, _ = jax.vmap(environment.step, (0, 0, 0, None))(
            keys, states, actions, params
        )
        done = terminated | truncated
        fresh = jax.lax.cond(done.any(), lambda: reset(jax.random.split(reset_key, count), params), lambda: stepped)
        states = jax.tree.map(
            lambda new, old: jnp.where(done.reshape(-1, *(1,) * (old.ndim - 1)), new, old), fresh, stepped
        )
        total = rewards.sum()
        if looks:
            total += jax.vmap(environment.observe, (0, None))(states, params).sum()
        return states, total

    first, rest = jax.random.split(key)
    states = reset(jax.random.split(first, count), params)
    return jax.lax.scan(slot, states, jax.random.split(rest, steps))[1].sum()


def _training(repeats: int, quick: bool) -> Table:
    rows: list[tuple[str | float | int, ...]] = []
    for label, arguments, all_seeds in [
        ("QMIX, predator-prey", REFERENCE, ((1, 1), (1, 2), (4, 1))),
        ("VDN, predator-prey", ("vdn", *REFERENCE[1:]), ((1, 1), (4, 1))),
        ("QMIX, 3x3 game, 8 environments", GAME, ((1, 1),)),
    ]:
        for count, split in all_seeds:
            if split > jax.local_device_count():
                continue
            experiment = marlx.configure(*arguments)
            program = Program(experiment, ROWS if split > 1 else None)
            fleet = Fleet(program, experiment.numbers(), range(count), split=split)
            compile_seconds = fleet.compile()
            iterations = (2 if quick else 8) if "prey" in label else 2000
            per_second = rate(fleet, program, iterations, repeats)
            layout = fleet.layout
            shape = f"{layout.devices} x {layout.maps} x {layout.width}" + (", rows split" if split > 1 else "")
            rows.append(
                (label, count, shape, per_second, per_second / program.plan.steps_per_iteration, compile_seconds)
            )
    columns = ("work", "seeds", "devices x maps x width", "steps/s", "updates/s", "compile s")
    return Table("Training, all seeds together", columns, rows)


def _by_environments(repeats: int, quick: bool) -> Table:
    """One seed that plays in more and more environments for each update: steps cost less, updates come more rarely."""
    rows: list[tuple[str | float | int, ...]] = []
    for label, arguments, iterations in [
        ("QMIX, 3x3 game", GAME, 200 if quick else 2000),
        ("QMIX, predator-prey", REFERENCE, 1 if quick else 4),
    ]:
        for count in ENVIRONMENTS:
            experiment = marlx.configure(*arguments, f"training.num_envs={count}")
            program = Program(experiment)
            fleet = Fleet(program, experiment.numbers(), range(1))
            fleet.compile()
            per_second = rate(fleet, program, iterations, repeats)
            updates = experiment.training["updates_per_iteration"] / program.plan.steps_per_iteration
            rows.append((label, count, per_second, per_second * updates))
    columns = ("work", "environments", "steps/s", "updates/s")
    return Table("Training by the number of environments, one seed", columns, rows)


def rate(fleet: Fleet, program: Program, iterations: int, repeats: int) -> float:
    """Environment steps/s over all seeds, in the learning phase."""
    first = program.plan.warm_up
    state = fleet.train(0, first, fleet.init())

    def chunk() -> None:
        nonlocal state, first
        state = fleet.train(first, iterations, state)
        first += iterations

    per_chunk = iterations * program.plan.steps_per_iteration * len(fleet.seeds)
    return per_chunk / seconds(chunk, repeats, warm_up=2)


def _breakdown(repeats: int) -> Table:
    """One iteration of the reference work, part by part; each part repeated inside one program."""
    experiment = marlx.configure(*REFERENCE)
    program = Program(experiment)
    numbers = experiment.numbers()
    trainer = program.trainer(numbers)
    section = {**experiment.algorithm, **numbers["algorithm"]}
    method = program.rule.make(
        program.environment.spec, AgentOptions(**experiment.agent), section, trainer.training, None
    )
    rollout, plan = trainer.rollout, program.plan
    state = jax.jit(program.init)(jax.random.key(0), numbers)
    state = jax.jit(program.train)(0, plan.warm_up + 1, state, numbers)
    rows = jax.tree.map(lambda x: x[: experiment.training["batch_size"]], state.replay)
    batch = jax.jit(rollout.batch)(rows)
    key = jax.random.key(1)
    params, target = state.learner.params, state.learner.target
    progress = trainer._progress(state)

    def moved(tree: Any, x: jax.Array) -> Any:
        return jax.tree.map(lambda leaf: leaf + x if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf, tree)

    def learner(x: jax.Array) -> Any:
        return state.learner._replace(params=moved(params, x), target=moved(target, x))

    utility_size = batch.actions.shape[0] * batch.actions.shape[1] * batch.actions.shape[2]
    width, inputs = experiment.agent["hidden_size"], method.agent.input_size
    forward = 2 * utility_size * (inputs * width + 6 * width**2 + width * method.agent.n_actions)
    parts: list[tuple[str, Any, float]] = [
        ("rollout of 8 x 200 steps", lambda x: rollout.run(learner(x), state.team, key, x + 0.5, 200)[1].rewards, 0),
        ("batch from packed rows", lambda x: rollout.batch(rows._replace(rewards=rows.rewards + x)).view, 0),
        (
            "loss and gradient",
            lambda x: jax.grad(method.loss, has_aux=True)(moved(params, x), learner(x), batch, key, progress)[0],
            4 * forward,
        ),
        ("  of it utilities, forward", lambda x: method.play(moved(params, x), batch.view).utilities, forward),
        (
            "whole update",
            lambda x: trainer.algorithm.update(learner(x), batch, key, progress)[0].params,
            4 * forward,
        ),
    ]
    peak = best(jax.local_devices()[:1], repeats).flops
    found = []
    for name, part, flops in parts:
        time = seconds(partial(_wait, jax.jit(partial(_loop, part)), jnp.float32(0)), repeats) / 3
        found.append((name, 1e3 * time, flops / 1e9, 1e3 * flops / peak))
    columns = ("part", "ms", "GFLOP of the agents", f"ms at {peak / 1e9:.0f} GFLOP/s")
    return Table(f"Where an iteration goes (of {plan.steps_per_iteration:,} steps; one seed)", columns, found)


def _loop(part: Any, x: jax.Array) -> jax.Array:
    """The part three times in a row, each depending on the one before, so that nothing is hoisted or reused."""

    def body(x: jax.Array, _: None) -> tuple[jax.Array, None]:
        leaves = jax.tree.leaves(part(x))
        total = sum((jnp.sum(leaf.astype(jnp.float32)) for leaf in leaves), jnp.float32(0))
        return 1e-20 * total, None

    return jax.lax.scan(body, x, None, length=3)[0]


def _wait(program: Any, argument: jax.Array) -> None:
    jax.block_until_ready(program(argument))
