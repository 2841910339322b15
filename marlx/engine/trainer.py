"""Init, warm-up, training and evaluation of one seed, as pure functions; `jax.vmap` makes it many.

One iteration is a rollout of all environments, a write to the replay, and some updates. The number of the iteration is
shared by all seeds and is never part of a seed's state: slice writes stay in place under `vmap`, and a chunk may have
any length without another compilation.
"""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
from marlx_envs.base import Environment

from marlx.engine import replay
from marlx.engine.rollout import Episodes, Rollout, Team
from marlx.exploration import linear_schedule
from marlx.settings import Evaluation, Training
from marlx.types import Algorithm, Metrics, Progress


class Stream:
    """Names of a seed's streams of random numbers; a new stream never shifts another."""

    LEARNER, ENVIRONMENT, ROLLOUT, SAMPLE, UPDATE, EVALUATION = range(6)


class SeedState(NamedTuple):
    """Everything of one seed that a later step depends on."""

    key: chex.PRNGKey
    learner: Any
    team: Team
    replay: Any
    env_steps: jax.Array  # int32
    episodes: jax.Array  # int32
    updates: jax.Array  # int32


class Plan(NamedTuple):
    """Static lengths of a run, derived from the sections."""

    rollout_steps: int
    capacity: int  # rows
    steps_per_iteration: int  # environment slots
    warm_up: int  # iterations without learning
    iterations: int  # in all, warm-up included
    evaluations: tuple[int, ...]  # iterations after which an evaluation follows


def plan(training: Training, evaluation: Evaluation, episode_limit: int) -> Plan:
    """Lengths of a run. The last evaluation is at the end; the others at multiples of the interval."""
    steps = training.rollout_steps or episode_limit
    per_iteration = steps * training.num_envs
    iterations = -(-training.total_steps // per_iteration)
    warm_up = -(-training.batch_size // training.num_envs) - 1
    due = range(evaluation.interval, training.total_steps, evaluation.interval) if evaluation.interval else range(0)
    points = {max(warm_up, -(-steps_due // per_iteration)) for steps_due in due} | {iterations}
    return Plan(
        rollout_steps=steps,
        capacity=-(-training.buffer_size // training.num_envs) * training.num_envs,
        steps_per_iteration=per_iteration,
        warm_up=warm_up,
        iterations=iterations,
        evaluations=tuple(sorted(points)),
    )


class Trainer:
    """The phases of a run of one seed. Numbers inside `params`, `algorithm` and `training` may be traced."""

    def __init__(
        self, environment: Environment, params: Any, algorithm: Algorithm, training: Training, evaluation: Evaluation
    ) -> None:
        self.algorithm, self.training, self.evaluation = algorithm, training, evaluation
        self.rollout = Rollout(environment, params, algorithm)
        self.spec = environment.spec
        self.plan = plan(training, evaluation, environment.spec.episode_limit)

    def init(self, key: chex.PRNGKey) -> SeedState:
        """A seed before its first environment step."""
        learner = self.algorithm.init(self._key(key, Stream.LEARNER))
        team = self.rollout.reset(self._key(key, Stream.ENVIRONMENT), self.training.num_envs)
        rows = jax.eval_shape(
            lambda team: self.rollout.run(learner, team, key, jnp.float32(1), self.plan.rollout_steps)[1], team
        )
        empty = replay.init(jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), rows), self.plan.capacity)
        zero = jnp.int32(0)
        return SeedState(key, learner, team, empty, zero, zero, zero)

    def warm_up(self, state: SeedState) -> SeedState:
        """Rollouts until the next one completes the first batch. They are iterations 0 .. plan.warm_up - 1."""

        def iteration(index: jax.Array, state: SeedState) -> SeedState:
            return self._collect(index, state)[0]

        return jax.lax.fori_loop(0, self.plan.warm_up, iteration, state)

    def train(self, first: jax.Array, count: jax.Array, state: SeedState) -> tuple[SeedState, Metrics]:
        """`count` iterations from number `first` on; both int32 and shared by all seeds.

        Returns:
            state, and means over the chunk (`training_return` is NaN if no episode ended).
        """

        def iteration(index: jax.Array, carry: tuple[SeedState, Metrics]) -> tuple[SeedState, Metrics]:
            state, totals = carry
            state, ended = self._collect(index, state)
            state, metrics = self._learn(index, state)
            return state, jax.tree.map(jnp.add, totals, {**metrics, **ended})

        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(self._metrics, state))
        state, totals = jax.lax.fori_loop(first, first + count, iteration, (state, zeros))
        ended = totals.pop("ended")
        returns = totals.pop("return_sum")
        means = {name: total / count for name, total in totals.items()}
        means["training_return"] = jnp.where(ended > 0, returns / jnp.maximum(ended, 1), jnp.nan)
        means["epsilon"] = self._epsilon(state)
        return state, {**means, **self._counters(state)}

    def evaluate(self, index: jax.Array, state: SeedState) -> Metrics:
        """Means over `evaluation.episodes` greedy episodes in fresh environments; `index` names the random stream."""
        key = self._key(state.key, Stream.EVALUATION, index)
        reset_key, run_key = jax.random.split(key)
        team = self.rollout.reset(reset_key, self.evaluation.episodes)
        steps = self.spec.episode_limit
        _, _, episodes = self.rollout.run(state.learner, team, run_key, jnp.float32(0), steps)
        first = episodes.ended & (jnp.cumsum(episodes.ended, axis=0) == 1)
        metrics = {f"evaluation_{name}": episodes.info[name] for name in self.spec.metrics}
        metrics = {"evaluation_return": episodes.returns, **metrics}
        means = {name: jnp.where(first, value, 0).sum() / first.sum() for name, value in metrics.items()}
        lengths = (jnp.arange(1, steps + 1)[:, None] * first).sum() / first.sum()
        return {**means, "evaluation_length": lengths, **self._counters(state)}

    def _metrics(self, state: SeedState) -> Metrics:
        """What one iteration measures; traced only for its shapes."""
        state, ended = self._collect(jnp.int32(0), state)
        return {**self._learn(jnp.int32(0), state)[1], **ended}

    def _collect(self, index: jax.Array, state: SeedState) -> tuple[SeedState, Metrics]:
        key = self._key(state.key, Stream.ROLLOUT, index)
        team, rows, episodes = self.rollout.run(
            state.learner, state.team, key, self._epsilon(state), self.plan.rollout_steps
        )
        ring = replay.add(state.replay, rows, index * self.training.num_envs)
        state = state._replace(
            team=team,
            replay=ring,
            env_steps=state.env_steps + rows.valid.sum(dtype=jnp.int32),
            episodes=state.episodes + episodes.ended.sum(dtype=jnp.int32),
        )
        return state, _totals(episodes)

    def _learn(self, index: jax.Array, state: SeedState) -> tuple[SeedState, Metrics]:
        total = (index + 1) * self.training.num_envs
        updates = self.training.updates_per_iteration

        def update(state: SeedState, step: jax.Array) -> tuple[SeedState, Metrics]:
            number = index * updates + step
            key = self._key(state.key, Stream.SAMPLE, number)
            rows = replay.sample(state.replay, key, total, self.training.batch_size)
            learner, metrics = self.algorithm.update(
                state.learner,
                self.rollout.batch(rows),
                self._key(state.key, Stream.UPDATE, number),
                self._progress(state),
            )
            return state._replace(learner=learner, updates=state.updates + 1), metrics

        if updates == 1:
            return update(state, jnp.int32(0))
        # The replay stays outside the scan's carry: it is only read here.
        ring = state.replay

        def slim(carry: SeedState, step: jax.Array) -> tuple[SeedState, Metrics]:
            carry, metrics = update(carry._replace(replay=ring), step)
            return carry._replace(replay=None), metrics

        state, metrics = jax.lax.scan(slim, state._replace(replay=None), jnp.arange(updates))
        return state._replace(replay=ring), jax.tree.map(jnp.mean, metrics)

    def _epsilon(self, state: SeedState) -> jax.Array:
        training = self.training
        return linear_schedule(training.epsilon_start, training.epsilon_end, training.epsilon_steps, state.env_steps)

    def _progress(self, state: SeedState) -> Progress:
        return Progress(*(x.astype(jnp.float32) for x in (state.env_steps, state.episodes, state.updates)))

    def _counters(self, state: SeedState) -> Metrics:
        return {"env_steps": state.env_steps, "episodes": state.episodes, "updates": state.updates}

    @staticmethod
    def _key(key: chex.PRNGKey, stream: int, index: jax.Array | int = 0) -> chex.PRNGKey:
        return jax.random.fold_in(jax.random.fold_in(key, stream), index)


def _totals(episodes: Episodes) -> Metrics:
    """Number of episodes that ended and the sum of their returns."""
    return {
        "ended": episodes.ended.sum().astype(jnp.float32),
        "return_sum": jnp.where(episodes.ended, episodes.returns, 0.0).sum(),
    }
