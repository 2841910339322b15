"""One scan that serves training and evaluation: E environments of one seed, packed rows of T slots.

When an episode ends by `terminated`, the next slot begins a new one. When it ends by `truncated`, the next slot holds
its last observation, is marked not valid, and executes nothing; the slot after begins a new one. A row has one more
slot than it has steps, to bootstrap from, unless every step ends an episode by `terminated`. So no compute is
spent on finished episodes and every last observation is kept.
"""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
from marlx_envs.base import Environment

from marlx.types import Algorithm, Batch, View


class Team(NamedTuple):
    """The acting side of a seed between rollouts; leading axis [E], but for the memory."""

    environment: Any
    memory: Any  # the algorithm's own
    previous_actions: jax.Array  # int32 [E N]; A where there is none
    starts: jax.Array  # bool [E]
    returns: jax.Array  # float32 [E], of the running episodes


class Rows(NamedTuple):
    """E packed rows, as stored; leading axes [E T+1] (rewards and flags [E T]), [E T] where none bootstraps."""

    packed: Any
    first_actions: jax.Array  # uint8 [E N], previous actions at slot 0
    actions: jax.Array  # uint8 [E T+1 N]
    rewards: jax.Array  # float32 [E T]
    terminated: jax.Array  # bool [E T]
    valid: jax.Array  # bool [E T]
    starts: jax.Array  # bool [E T+1]


class Episodes(NamedTuple):
    """What ended during a rollout; leading axes [T E]."""

    ended: jax.Array  # bool
    returns: jax.Array  # float32, of the episode so far
    info: dict[str, jax.Array]


class Rollout:
    """Rollouts of an algorithm in an environment with given params (which may be traced)."""

    def __init__(self, environment: Environment, params: Any, algorithm: Algorithm) -> None:
        self.environment, self.params, self.algorithm = environment, params, algorithm
        self.spec = environment.spec
        self.index_dtype = jnp.uint8 if self.spec.n_actions < 256 else jnp.int32

    def reset(self, key: chex.PRNGKey, count: int) -> Team:
        """`count` environments at the start of an episode."""
        return Team(
            environment=self._fresh(key, count),
            memory=self.algorithm.initial_carry(count),
            previous_actions=jnp.full((count, self.spec.n_agents), self.spec.n_actions, jnp.int32),
            starts=jnp.ones(count, bool),
            returns=jnp.zeros(count),
        )

    def no_rows(self, team: Team, steps: int) -> Rows:
        """Zeros in the shape of the rows of `steps` slots that `run` returns."""
        count = team.starts.shape[0]
        one = jax.eval_shape(jax.vmap(self.environment.pack), team.environment)
        agents, slots = self.spec.n_agents, steps + self.spec.bootstraps
        return Rows(
            packed=jax.tree.map(lambda x: jnp.zeros((count, slots, *x.shape[1:]), x.dtype), one),
            first_actions=jnp.zeros((count, agents), self.index_dtype),
            actions=jnp.zeros((count, slots, agents), self.index_dtype),
            rewards=jnp.zeros((count, steps)),
            terminated=jnp.zeros((count, steps), bool),
            valid=jnp.zeros((count, steps), bool),
            starts=jnp.zeros((count, slots), bool),
        )

    def run(
        self, learner: Any, team: Team, key: chex.PRNGKey, epsilon: jax.Array, steps: int
    ) -> tuple[Team, Rows, Episodes]:
        """`steps` slots in every environment."""
        count = team.starts.shape[0]
        slot_key, last_key = jax.random.split(key)

        def slot(carry: tuple[Team, jax.Array], key: chex.PRNGKey) -> tuple[tuple[Team, jax.Array], Any]:
            team, waiting = carry
            act_key, step_key, reset_key = jax.random.split(key, 3)
            memory, actions = self.algorithm.act(learner, team.memory, self.view(team), act_key, epsilon)
            stepped, rewards, terminated, truncated, info = jax.vmap(self.environment.step, (0, 0, 0, None))(
                jax.random.split(step_key, count), team.environment, actions, self.params
            )
            valid = ~waiting
            rewards = jnp.where(valid, rewards, 0.0)
            terminated, truncated = terminated & valid, truncated & valid
            returns = team.returns + rewards
            record = (
                jax.vmap(self.environment.pack)(team.environment),
                actions.astype(self.index_dtype),
                rewards,
                terminated,
                valid,
                team.starts,
                Episodes(terminated | truncated, returns, info),
            )
            renewed = terminated | waiting
            team = self._renew(stepped, renewed, reset_key, memory, actions, returns)
            return (team, truncated), record

        keys = jax.random.split(slot_key, steps)
        (after, waiting), record = jax.lax.scan(slot, (team, jnp.zeros(count, bool)), keys)
        packed, actions, rewards, terminated, valid, starts, episodes = record
        act_key, reset_key = jax.random.split(last_key)
        if self.spec.bootstraps:
            _, chosen = self.algorithm.act(learner, after.memory, self.view(after), act_key, epsilon)
            last = (jax.vmap(self.environment.pack)(after.environment), chosen.astype(self.index_dtype), after.starts)
            packed, actions, starts = jax.tree.map(_appended, (packed, actions, starts), last)
        packed, actions, starts = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), (packed, actions, starts))
        rows = Rows(
            packed, team.previous_actions.astype(self.index_dtype), actions, rewards.T, terminated.T, valid.T, starts
        )
        if not self.spec.limit_is_terminal:
            after = self._renew(
                after.environment, waiting, reset_key, after.memory, after.previous_actions, after.returns, after.starts
            )
        return after, rows, episodes

    def batch(self, rows: Rows) -> Batch:
        """What a learner sees of stored rows: observations, states and masks recomputed; time-major."""
        packed, actions, rewards, terminated, valid, starts = jax.tree.map(
            lambda x: jnp.swapaxes(x, 0, 1),
            (rows.packed, rows.actions, rows.rewards, rows.terminated, rows.valid, rows.starts),
        )
        actions = actions.astype(jnp.int32)
        previous = jnp.concatenate([rows.first_actions[None].astype(jnp.int32), actions[:-1]])
        previous = jnp.where(starts[..., None], self.spec.n_actions, previous)
        observe: Any = jax.vmap(jax.vmap(lambda packed: self._observe(self.environment.unpack(packed))))
        observation, state, available = observe(packed)
        view = View(observation, state, available, previous, starts)
        batch = Batch(view, actions, rewards, terminated, valid)
        return batch._replace(optimal=self._optimal(*batch.of_steps((packed, actions))))

    def _optimal(self, packed: Any, actions: jax.Array) -> jax.Array | None:
        """Whether stored joint actions are best ones, bool [T B], in environments that know."""
        if not self.spec.optimum_known:
            return None
        one: Any = lambda packed, actions: self.environment.is_optimal(  # noqa: E731
            self.environment.unpack(packed), actions, self.params
        )
        return jax.vmap(jax.vmap(one))(packed, actions)

    def _observe(self, state: Any) -> tuple[jax.Array, jax.Array, jax.Array]:
        environment, params = self.environment, self.params
        return (
            environment.observe(state, params),
            environment.global_state(state, params),
            environment.available_actions(state, params),
        )

    def view(self, team: Team) -> View:
        """What every team sees now, leading axis [E]."""
        return View(*jax.vmap(self._observe)(team.environment), team.previous_actions, team.starts)

    def _fresh(self, key: chex.PRNGKey, count: int) -> Any:
        return jax.vmap(self.environment.reset, (0, None))(jax.random.split(key, count), self.params)

    def _renew(
        self,
        environment: Any,
        renewed: jax.Array,
        key: chex.PRNGKey,
        memory: Any,
        actions: jax.Array,
        returns: jax.Array,
        starts: jax.Array | bool = False,
    ) -> Team:
        """The team after a slot, a new episode where `renewed` [E]. Memory is cleared by the agent, at `starts`."""
        count = renewed.shape[0]
        fresh = jax.lax.cond(renewed.any(), lambda: self._fresh(key, count), lambda: environment)
        return Team(
            environment=jax.tree.map(lambda new, old: _where(renewed, new, old), fresh, environment),
            memory=memory,
            previous_actions=_where(renewed, jnp.int32(self.spec.n_actions), actions),
            starts=renewed | starts,
            returns=jnp.where(renewed, 0.0, returns),
        )


def _appended(slots: jax.Array, last: jax.Array) -> jax.Array:
    """Slots [T E ...] and one more [E ...] -> [T+1 E ...]."""
    return jnp.concatenate([slots, last[None]])


def _where(condition: jax.Array, new: jax.Array, old: jax.Array) -> jax.Array:
    """Choice along the leading axis [E]."""
    return jnp.where(condition.reshape(-1, *(1,) * (old.ndim - 1)), new, old)
