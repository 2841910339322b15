"""Packed rows: what ends, what is kept, and equality with the same episodes computed one by one."""

import dataclasses
import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from marlx_envs.base import Environment, Params, Spec, Step

import marlx
from marlx import targets
from marlx.agents import AgentOptions
from marlx.algorithms import value_factorization
from marlx.engine.rollout import Rollout, Rows, Team
from marlx.program import Program
from marlx.settings import Training
from marlx.types import Algorithm, Batch, Progress

LIMIT, STEPS, ENVS = 5, 23, 6


class Probe(NamedTuple):
    time: jax.Array
    serial: jax.Array  # drawn at reset, so that every episode can be told from the others


@dataclasses.dataclass(frozen=True)
class ProbeGame(Environment):
    """Two agents; the episode is terminated when both choose 2; reward is the time; the limit truncates, or not."""

    limit_is_terminal: bool = False

    @property
    def spec(self) -> Spec:
        return Spec(2, 3, 2, 2, LIMIT, self.limit_is_terminal, None, metrics=("clock",))

    def reset(self, key: Any, params: Params | None = None) -> Probe:
        return Probe(jnp.int32(0), jax.random.randint(key, (), 0, 1 << 20))

    def step(self, key: Any, state: Probe, actions: jax.Array, params: Params | None = None) -> Step:
        time = state.time + 1
        terminated = (actions == 2).all() | (self.limit_is_terminal & (time >= LIMIT))
        truncated = (time >= LIMIT) & ~terminated
        info = {"clock": time.astype(jnp.float32)}
        return Probe(time, state.serial), time.astype(jnp.float32), terminated, truncated, info

    def observe(self, state: Probe, params: Params | None = None) -> jax.Array:
        return jnp.broadcast_to(self.global_state(state), (2, 2))

    def global_state(self, state: Probe, params: Params | None = None) -> jax.Array:
        return jnp.stack([state.time, state.serial / (1 << 20)]).astype(jnp.float32)

    def available_actions(self, state: Probe, params: Params | None = None) -> jax.Array:
        return jnp.ones((2, 3), bool)


def _method(environment: Environment) -> value_factorization.ValueFactorization:
    section = marlx.ALGORITHMS["qmix"].section_defaults({"mixer": "qmix"})
    return value_factorization.make(environment.spec, AgentOptions(), section, Training())


def _run(limit_is_terminal: bool, rollouts: int = 1) -> tuple[Rollout, Algorithm, Any, Team, list[Rows], list[Any]]:
    environment = ProbeGame(limit_is_terminal)
    algorithm = _method(environment).algorithm()
    rollout = Rollout(environment, environment.params, algorithm)
    learner = algorithm.init(jax.random.key(0))
    team = rollout.reset(jax.random.key(1), ENVS)
    rows, episodes = [], []
    run = jax.jit(lambda team, key: rollout.run(learner, team, key, jnp.float32(1.0), STEPS))
    for index in range(rollouts):
        team, row, ended = run(team, jax.random.key(2 + index))
        rows.append(row)
        episodes.append(ended)
    return rollout, algorithm, learner, team, rows, episodes


@pytest.mark.parametrize("limit_is_terminal", [False, True])
def test_structure_of_packed_rows(limit_is_terminal: bool) -> None:
    _, _, _, _, all_rows, _ = _run(limit_is_terminal, rollouts=3)
    seen_truncation = seen_termination = False
    for rows in jax.tree.map(np.asarray, all_rows):
        both = (rows.actions[:, :-1] == 2).all(-1) & rows.valid
        for e in range(ENVS):
            for t in range(STEPS):
                time, serial = rows.packed.time[e, t], rows.packed.serial[e, t]
                following = rows.packed.time[e, t + 1], rows.packed.serial[e, t + 1], rows.starts[e, t + 1]
                if not rows.valid[e, t]:  # the last observation of a truncated episode, then a new episode
                    assert time == LIMIT and rows.rewards[e, t] == 0 and not rows.terminated[e, t]
                    assert following[0] == 0 and following[1] != serial and following[2]
                    seen_truncation = True
                    continue
                assert rows.rewards[e, t] == time + 1
                ends = both[e, t] or (limit_is_terminal and time + 1 == LIMIT)
                assert rows.terminated[e, t] == ends
                if ends:
                    assert following[0] == 0 and following[1] != serial and following[2]
                    seen_termination = True
                else:
                    assert following == (time + 1, serial, False)
    assert seen_termination and seen_truncation != limit_is_terminal


def test_the_action_at_the_last_slot_is_of_the_behaviour_policy_too() -> None:
    """SARSA targets bootstrap from it: chosen with the epsilon of the others, though it is not taken."""
    environment = ProbeGame()

    def act(learner: Any, memory: Any, view: Any, key: Any, epsilon: jax.Array) -> tuple[Any, jax.Array]:
        return memory, jnp.full((len(view.starts), 2), jnp.int32(10 * epsilon))

    rollout = Rollout(environment, environment.params, _method(environment).algorithm()._replace(act=act))
    team = rollout.reset(jax.random.key(0), 2)
    rows = rollout.run((), team, jax.random.key(1), jnp.float32(0.1), 4)[1]
    assert rows.actions.shape == (2, 5, 2) and (rows.actions == 1).all()


def test_rows_continue_where_the_last_one_ended() -> None:
    _, _, _, _, (first, second), _ = _run(False, rollouts=2)
    truncated_at_end = (first.packed.time[:, -1] == LIMIT) & ~first.starts[:, -1]
    continues = ~truncated_at_end
    np.testing.assert_array_equal(second.packed.serial[continues, 0], first.packed.serial[continues, -1])
    assert (second.starts[truncated_at_end, 0]).all() and (second.packed.time[truncated_at_end, 0] == 0).all()
    going_on = continues & ~first.starts[:, -1]
    np.testing.assert_array_equal(second.first_actions[going_on], first.actions[going_on, -2])


def test_returns_of_ended_episodes() -> None:
    all_episodes = _run(False, rollouts=2)[-1]
    for episodes in all_episodes:
        lengths = episodes.info["clock"][episodes.ended]
        np.testing.assert_allclose(episodes.returns[episodes.ended], lengths * (lengths + 1) / 2)
        assert (lengths <= LIMIT).all() and (lengths == LIMIT).any()


def _segments(starts: np.ndarray) -> list[tuple[int, int]]:
    """[first, end) of each episode in a row of slots."""
    return list(itertools.pairwise([0, *[t for t in range(1, len(starts)) if starts[t]], len(starts)]))


def test_a_packed_row_equals_its_episodes_one_by_one() -> None:
    """Utilities and targets of packed rows against every episode unrolled alone, from a cleared memory."""
    rollout, _, learner, _, (rows,), _ = _run(False)
    method = _method(ProbeGame())
    batch = rollout.batch(rows)
    utilities = method.play(learner.params, batch.view).utilities
    values = utilities.max(-1).sum(-1)
    packed = jax.vmap(lambda r, d, v, m: targets.td_lambda(r, d, v, m, 0.9, 0.6), 1, 1)(
        batch.rewards, batch.terminated, values, batch.valid
    )
    for e in range(ENVS):
        for first, end in _segments(np.asarray(rows.starts[e])):
            # A terminated episode has its next slot in another episode; bootstrap slots belong to their own.
            own = slice(first, end)
            alone: Batch = jax.tree.map(lambda x, own=own, e=e: x[own, e : e + 1], batch)
            single = method.play(learner.params, alone.view).utilities
            np.testing.assert_allclose(single[:, 0], utilities[own, e], rtol=1e-5, atol=1e-6)
            steps = min(end, STEPS)
            v = np.append(np.asarray(values[own, e]), 0.0)[: steps - first + 1]
            y = targets.td_lambda(
                batch.rewards[first:steps, e], batch.terminated[first:steps, e], jnp.asarray(v),
                batch.valid[first:steps, e], 0.9, 0.6,
            )  # fmt: skip
            np.testing.assert_allclose(y, packed[first:steps, e], rtol=1e-5, atol=1e-6)


def test_acting_and_learning_see_the_same_utilities() -> None:
    """Greedy actions chosen slot by slot are the argmax of the learner's unroll over the same row."""
    environment = ProbeGame()
    algorithm = _method(environment).algorithm()
    rollout = Rollout(environment, environment.params, algorithm)
    learner = algorithm.init(jax.random.key(3))
    team = rollout.reset(jax.random.key(4), ENVS)
    _, rows, _ = rollout.run(learner, team, jax.random.key(5), jnp.float32(0.0), STEPS)
    batch = rollout.batch(rows)
    utilities = _method(environment).play(learner.params, batch.view).utilities
    np.testing.assert_array_equal(utilities.argmax(-1), batch.actions)


def test_masked_slots_and_values_after_the_end_do_not_move_loss_or_gradient() -> None:
    rollout, _, learner, _, (rows,), _ = _run(False)
    method = _method(ProbeGame())
    batch = rollout.batch(rows)

    def loss_and_gradient(batch: Batch) -> tuple[jax.Array, Any]:
        arguments = (learner, batch, jax.random.key(0), Progress(*(jnp.float32(0),) * 3))
        (loss, _), gradient = jax.value_and_grad(method.loss, has_aux=True)(learner.params, *arguments)
        return loss, gradient

    noise = 100 * jax.random.normal(jax.random.key(9), batch.rewards.shape)
    poked = batch._replace(rewards=jnp.where(batch.valid, batch.rewards, noise))
    before, after = loss_and_gradient(batch), loss_and_gradient(poked)
    assert (~batch.valid).any()
    jax.tree.map(np.testing.assert_array_equal, before, after)


def test_a_rollout_without_a_compiler_is_the_compiled_one() -> None:
    environment = ProbeGame()
    algorithm = _method(environment).algorithm()
    rollout = Rollout(environment, environment.params, algorithm)
    learner = jax.jit(algorithm.init)(jax.random.key(0))

    def play(key: Any) -> Any:
        return rollout.run(learner, rollout.reset(key, 2), key, jnp.float32(0.5), LIMIT + 2)[1:]

    compiled = jax.jit(play)(jax.random.key(1))
    with jax.disable_jit():
        eager = play(jax.random.key(1))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), eager, compiled)


@pytest.mark.parametrize(("terminal", "slots"), [("true", 1), ("false", 2)])
def test_a_row_has_a_slot_after_its_step_where_that_is_bootstrapped_from(terminal: str, slots: int) -> None:
    experiment = marlx.configure("vdn", "matrix_game", f"environment.limit_is_terminal={terminal}")
    state = jax.eval_shape(Program(experiment).init, jax.random.key(0), experiment.numbers())
    stored = state.replay
    assert {leaf.shape[1] for leaf in jax.tree.leaves((stored.packed, stored.actions, stored.starts))} == {slots}
    assert stored.rewards.shape[1] == 1
