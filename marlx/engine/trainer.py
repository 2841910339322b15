"""Init, training and evaluation of one seed, as pure functions; `jax.vmap` makes it many.

One iteration is a rollout of all environments, a write to the replay, and some updates: none until the replay holds a
batch. The number of the iteration is shared by all seeds and is never part of a seed's state: slice writes stay in
place under `vmap`, loops keep unbatched bounds, and a chunk may have any length without another compilation.
"""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
from marlx_envs.base import Environment
from marlx_envs.options import UsageError

from marlx.engine import beliefs, replay
from marlx.engine.rollout import Rollout, Team
from marlx.exploration import epsilon_at
from marlx.guard import Fault, no_fault, watched
from marlx.settings import Evaluation, Training
from marlx.types import Algorithm, Metrics, Params, Progress

MOST_EVALUATIONS = 100_000


class Stream:
    """Names of a seed's streams of random numbers; a new stream never shifts another."""

    LEARNER, ENVIRONMENT, ROLLOUT, SAMPLE, UPDATE, EVALUATION, REFILL = range(7)


class Best(NamedTuple):
    """What acting depended on at the highest evaluation so far, of two equal ones the earlier."""

    params: Params
    score: jax.Array  # float32, the return of that evaluation; -inf before the first


class SeedState(NamedTuple):
    """Everything of one seed that a later step depends on."""

    key: chex.PRNGKey
    learner: Any
    team: Team
    replay: Any
    env_steps: jax.Array  # int32
    episodes: jax.Array  # int32
    updates: jax.Array  # int32
    fault: Fault  # of the first update in which something was not finite
    totals: Metrics  # sums over the iterations since the last record
    best: Best | None  # None where nothing is ever evaluated


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
    interval = max(evaluation.interval, per_iteration)  # at most one after each iteration
    due = range(interval, training.total_steps, interval) if evaluation.interval else range(0)
    if len(due) > MOST_EVALUATIONS:
        raise UsageError(f"evaluation.interval gives {len(due):,} evaluations; raise it, at most {MOST_EVALUATIONS:,}")
    points = {max(warm_up + 1, -(-steps_due // per_iteration)) for steps_due in due} | {iterations}
    return Plan(
        rollout_steps=steps,
        capacity=-(-training.buffer_size // training.num_envs) * training.num_envs,
        steps_per_iteration=per_iteration,
        warm_up=warm_up,
        iterations=iterations,
        evaluations=tuple(sorted(points)),
    )


class Trainer:
    """The phases of a run of one seed. Numbers inside `params`, `algorithm` and `training` may be traced.

    Args:
        axis: mesh axis of devices that share the rows of every batch; all else each of them computes for itself.
    """

    def __init__(
        self,
        environment: Environment,
        params: Any,
        algorithm: Algorithm,
        training: Training,
        evaluation: Evaluation,
        axis: str | None = None,
    ) -> None:
        self.axis = axis
        self.algorithm, self.training, self.evaluation = algorithm, training, evaluation
        self.rollout = Rollout(environment, params, algorithm)
        self.spec = environment.spec
        self.plan = plan(training, evaluation, environment.spec.episode_limit)

    def init(self, key: chex.PRNGKey) -> SeedState:
        """A seed before its first environment step, iteration 0."""
        learner = self.algorithm.init(self._key(key, Stream.LEARNER))
        team = self.rollout.reset(self._key(key, Stream.ENVIRONMENT), self.training.num_envs)
        empty = replay.init(self.rollout.no_rows(team, self.plan.rollout_steps), self.plan.capacity)
        zero = jnp.int32(0)
        best = Best(_zeros(learner.params), jnp.float32(-jnp.inf)) if self.evaluation.interval else None
        state = SeedState(key, learner, team, empty, zero, zero, zero, no_fault(), {}, best)
        measured = jax.eval_shape(lambda state: self._update(zero, state, learner)[1], state)
        counted = {"updates": zero, "ended": zero, "returns": jnp.float32(0)}
        return state._replace(totals={**_zeros(measured), **counted})

    def train(self, first: jax.Array, count: jax.Array, state: SeedState) -> SeedState:
        """`count` iterations from number `first` on; both int32 and shared by all seeds."""

        def iteration(index: jax.Array, state: SeedState) -> SeedState:
            return self._learn(index, self._collect(index, state))

        return jax.lax.fori_loop(first, first + count, iteration, state)

    def refill(self, iteration: jax.Array, state: SeedState) -> SeedState:
        """A seed whose replay holds fresh play by its learner, as many rows as before `iteration`; all else stays."""
        envs = self.training.num_envs
        first = jnp.maximum(0, iteration - self.plan.capacity // envs)
        team = self.rollout.reset(self._key(state.key, Stream.REFILL), envs)

        def collect(index: jax.Array, carry: tuple[Team, Any]) -> tuple[Team, Any]:
            team, ring = carry
            key = self._key(state.key, Stream.REFILL, index)
            team, rows, _ = self.rollout.run(state.learner, team, key, self._epsilon(state), self.plan.rollout_steps)
            return team, replay.add(ring, rows, index * envs)

        return state._replace(replay=jax.lax.fori_loop(first, iteration, collect, (team, state.replay))[1])

    def record(self, index: jax.Array, state: SeedState) -> tuple[SeedState, Metrics]:
        """Means since the last record (`training_return` is NaN if no episode ended), and a greedy evaluation.

        Sums are part of the state, so that a record does not depend on the chunks that led to it. Of a seed with a
        fault (`fault_step` not -1, `fault_cause` an index into `marlx.guard.CAUSES`) every mean is NaN.
        """
        totals = dict(state.totals)
        updates, ended, returns = (totals.pop(name) for name in ("updates", "ended", "returns"))
        metrics = {name: total / updates for name, total in totals.items()}
        metrics["training_return"] = jnp.where(ended > 0, returns / jnp.maximum(ended, 1), jnp.nan)
        if self.evaluation.interval:
            metrics |= self.evaluate(index, state.key, state.learner)
        if self.evaluation.record_tables:
            metrics |= beliefs.tables(self.rollout, state.learner)
        metrics = {name: jnp.where(state.fault.cause == 0, value, jnp.nan) for name, value in metrics.items()}
        metrics |= {"env_steps": state.env_steps, "episodes": state.episodes, "updates": state.updates}
        metrics |= {"fault_step": state.fault.env_steps, "fault_cause": state.fault.cause}
        metrics["epsilon"] = self._epsilon(state)
        best = state.best and _better(state.best, state.learner.params, metrics["evaluation_return"])
        return state._replace(totals=_zeros(state.totals), best=best), metrics

    def evaluate(self, index: jax.Array, key: chex.PRNGKey, learner: Any) -> Metrics:
        """Means over `evaluation.episodes` greedy episodes in fresh environments; `index` names the random stream."""
        reset_key, run_key = jax.random.split(self._key(key, Stream.EVALUATION, index))
        team = self.rollout.reset(reset_key, self.evaluation.episodes)
        steps = self.spec.episode_limit
        team, _, episodes = self.rollout.run(learner, team, run_key, jnp.float32(0), steps)
        first = episodes.ended & (jnp.cumsum(episodes.ended, axis=0) == 1)
        metrics = {f"evaluation_{name}": episodes.info[name] for name in self.spec.metrics}
        metrics = {"evaluation_return": episodes.returns, **metrics}
        if self.spec.can_be_won:
            metrics["evaluation_win_rate"] = episodes.info["won"]
        means = {name: jnp.where(first, value, 0).sum() / first.sum() for name, value in metrics.items()}
        lengths = (jnp.arange(1, steps + 1)[:, None] * first).sum() / first.sum()
        told = {f"evaluation_{name}": value for name, value in self.algorithm.report(team.memory).items()}
        return {**means, "evaluation_length": lengths, **told}

    def _collect(self, index: jax.Array, state: SeedState) -> SeedState:
        """A rollout of all environments, written to the replay."""
        key = self._key(state.key, Stream.ROLLOUT, index)
        team, rows, episodes = self.rollout.run(
            state.learner, state.team, key, self._epsilon(state), self.plan.rollout_steps
        )
        return state._replace(
            team=team,
            replay=replay.add(state.replay, rows, index * self.training.num_envs),
            env_steps=state.env_steps + rows.valid.sum(dtype=jnp.int32),
            episodes=state.episodes + episodes.ended.sum(dtype=jnp.int32),
            totals=_added(
                state.totals,
                ended=episodes.ended.sum(dtype=jnp.int32),
                returns=jnp.where(episodes.ended, episodes.returns, 0.0).sum(),
            ),
        )

    def _learn(self, index: jax.Array, state: SeedState) -> SeedState:
        """The updates of an iteration; a loop of no rounds during warm-up, so that nothing passes a `cond`."""
        each = self.training.updates_per_iteration
        rounds = jnp.where(index < self.plan.warm_up, 0, each)

        def update(step: jax.Array, carry: tuple[Any, Fault, Metrics]) -> tuple[Any, Fault, Metrics]:
            learner, fault, totals = carry
            seed = state._replace(updates=state.updates + step)
            learner, metrics = self._update(index * each + step, seed, learner)
            fault, learner = watched(fault, metrics["loss"], learner, state.env_steps)
            return learner, fault, _added(totals, updates=jnp.int32(1), **metrics)

        learner, fault, totals = jax.lax.fori_loop(0, rounds, update, (state.learner, state.fault, state.totals))
        return state._replace(learner=learner, fault=fault, totals=totals, updates=state.updates + rounds)

    def _update(self, number: jax.Array, state: SeedState, learner: Any) -> tuple[Any, Metrics]:
        """One learning step on a batch of its own; `number` names its random streams."""
        rows_added = (number // self.training.updates_per_iteration + 1) * self.training.num_envs
        key = self._key(state.key, Stream.SAMPLE, number)
        chosen = replay.draw(state.replay, key, rows_added, self.training.batch_size, self.algorithm.sampling)
        if self.axis is not None:
            mine = self.training.batch_size // jax.lax.axis_size(self.axis)
            chosen = jax.lax.dynamic_slice_in_dim(chosen, jax.lax.axis_index(self.axis) * mine, mine)
        rows = replay.take(state.replay, chosen)
        update_key = self._key(state.key, Stream.UPDATE, number)
        return self.algorithm.update(learner, self.rollout.batch(rows), update_key, self._progress(state))

    def _epsilon(self, state: SeedState) -> jax.Array:
        return epsilon_at(self.training, state.env_steps)

    def _progress(self, state: SeedState) -> Progress:
        return Progress(*(x.astype(jnp.float32) for x in (state.env_steps, state.episodes, state.updates)))

    @staticmethod
    def _key(key: chex.PRNGKey, stream: int, index: jax.Array | int = 0) -> chex.PRNGKey:
        return jax.random.fold_in(jax.random.fold_in(key, stream), index)


def _zeros(shapes: Any) -> Any:
    return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)


def _better(best: Best, params: Params, score: jax.Array) -> Best:
    """The best of what there was and what there is; a score of NaN is never better."""
    better = score > best.score
    return jax.tree.map(lambda new, old: jnp.where(better, new, old), Best(params, score), best)


def _added(totals: Metrics, **values: jax.Array) -> Metrics:
    return {**totals, **{name: totals[name] + value for name, value in values.items()}}
