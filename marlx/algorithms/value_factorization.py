"""Most methods: agent x mixer x weighting x target, trained end to end on the squared error of the joint value.

    L = 1/M sum_t m_t w_t (Q_tot(s_t, u_t) - y_t)^2

with y from target copies of agent and mixer, selection by the live agent (double-Q), and w a constant.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
from marlx_envs.base import Spec
from marlx_envs.options import Option, choice, chosen, defaults_of, options_of

from marlx import exploration, targets
from marlx.agents import Agent, AgentOptions
from marlx.algorithms.profiles import PROFILES
from marlx.losses import masked_mean, optimiser, over_devices, where_tree
from marlx.mixers import MIXERS
from marlx.mixers.base import Context, Mixer
from marlx.settings import Training
from marlx.types import Algorithm, Batch, Metrics, Params, Progress, View
from marlx.weightings import WEIGHTINGS

TARGETS = ("td_lambda", "sarsa_lambda", "q_lambda")


@dataclass(frozen=True)
class Composition:
    """What section `algorithm` names; the fields of the parts it names join the section."""

    profile: str = choice("house", "published set of training numbers to start from", tuple(PROFILES))
    mixer: str = choice("qmix", "how utilities become a joint value", tuple(MIXERS))
    weighting: str = choice("uniform", "weights of the squared errors", tuple(WEIGHTINGS))
    target: str = choice("td_lambda", "bootstrap and return; td_lambda=0 is one-step double-Q", TARGETS)
    exploration: str = choice(
        "decentralised", "who draws epsilon: each agent or the team", tuple(exploration.EXPLORERS)
    )


class LearnerState(NamedTuple):
    """Everything a learner remembers."""

    params: Params  # {"agent", "mixer"}
    target: Params  # the copy that targets are computed with
    optimiser: Any
    synced_at: jax.Array  # episodes (or updates) at the last hard copy


def options(values: dict[str, Any]) -> dict[str, Option]:
    """The fields of section `algorithm` for a composition: its own and those of its mixer."""
    composition = Composition(**chosen(Composition, values))
    return {**options_of(Composition), **options_of(MIXERS[composition.mixer].load())}


def defaults(values: dict[str, Any]) -> dict[str, Any]:
    """Default of every field of the section."""
    entry = MIXERS[Composition(**chosen(Composition, values)).mixer]
    return {**defaults_of(Composition), **defaults_of(entry.load()), **entry.options}


def build(
    spec: Spec, agent: AgentOptions, section: dict[str, Any], training: Training, axis: str | None = None
) -> Algorithm:
    """The functions of a composition. Numbers in `section` and `training` may be traced.

    Args:
        axis: mesh axis of the devices that share the rows of a batch; None: one device has them all.
    """
    composition = Composition(**chosen(Composition, section))
    mixer_class = MIXERS[composition.mixer].load()
    mixer = mixer_class(spec.n_agents, spec.state_size, **chosen(mixer_class, section))
    network = Agent(spec.n_agents, spec.n_actions, spec.observation_size, agent)
    return ValueFactorization(network, mixer, composition, training, axis).algorithm()


@dataclass(frozen=True)
class ValueFactorization:
    """A composition bound to the sizes of a team."""

    agent: Agent
    mixer: Mixer
    composition: Composition
    training: Training
    axis: str | None = None

    def algorithm(self) -> Algorithm:
        """The functions that the engine knows."""
        return Algorithm(self.init, self.agent.initial_memory, self.act, self.update, self.joint_value)

    @property
    def _optimiser(self) -> Any:
        training = self.training
        return optimiser(training.optimiser, training.learning_rate, training.max_gradient_norm)

    def init(self, key: chex.PRNGKey) -> LearnerState:
        """Fresh parameters; the target starts as their copy."""
        agent_key, mixer_key = jax.random.split(key)
        params = {"agent": self.agent.init(agent_key), "mixer": self.mixer.init(mixer_key)}
        return LearnerState(params, params, self._optimiser.init(params), jnp.float32(0))

    def act(
        self, state: LearnerState, memory: jax.Array, view: View, key: chex.PRNGKey, epsilon: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """One slot: memory [E N H], view [E] -> memory, actions int32 [E N]."""
        one_slot = jax.tree.map(lambda x: x[None], view)
        utilities, memories = self.agent.unroll(state.params["agent"], memory, one_slot)
        explore = exploration.EXPLORERS[self.composition.exploration]
        return memories[0], explore(key, utilities[0], view.available, epsilon)

    def update(
        self, state: LearnerState, batch: Batch, key: chex.PRNGKey, progress: Progress
    ) -> tuple[LearnerState, Metrics]:
        """One gradient step, then the target sync if it is due."""
        shares = jax.grad(self.loss, has_aux=True)(state.params, state.target, batch)
        gradients, metrics = over_devices(shares, self.axis)
        updates, optimiser_state = self._optimiser.update(gradients, state.optimiser, state.params)
        params = jax.tree.map(jnp.add, state.params, updates)
        now = progress.episodes if self.training.target_update_unit == "episodes" else progress.updates + 1
        due = now - state.synced_at >= self.training.target_update_interval
        target = where_tree(due, params, state.target)
        synced_at = jnp.where(due, now, state.synced_at)
        return LearnerState(params, target, optimiser_state, synced_at), metrics

    def joint_value(self, state: LearnerState, memory: jax.Array, view: View, actions: jax.Array) -> jax.Array:
        """Q_tot [E] of joint actions [E N] at a slot; for agents without a mixer, the mean of their own values."""
        one_slot = jax.tree.map(lambda x: x[None], view)
        utilities, memories = self.agent.unroll(state.params["agent"], memory, one_slot)
        best = jnp.where(one_slot.available, utilities, -jnp.inf).max(-1)
        context = Context(best, actions[None], memories, one_slot.observation)
        return self._mix(state.params, take(utilities, actions[None]), one_slot.state, context).mean(-1)[0]

    def utilities(self, params: Params, batch: Batch) -> tuple[jax.Array, jax.Array]:
        """Utilities [T+1 B N A] and memories [T+1 B N H] of all slots, from a cleared memory."""
        memory = self.agent.initial_memory(batch.actions.shape[1])
        return self.agent.unroll(params["agent"], memory, batch.view)

    def loss(self, params: Params, target: Params, batch: Batch) -> tuple[jax.Array, Metrics]:
        """The loss above; gradient reaches agent and mixer through Q_tot(s, u) only."""
        utilities, memories = self.utilities(params, batch)
        available = batch.view.available
        chosen = take(utilities, batch.actions)
        greedy = exploration.greedy(jax.lax.stop_gradient(utilities), available)
        context = Context(take(utilities, greedy), batch.actions, memories, batch.view.observation)
        joint = self._mix(params, *jax.tree.map(lambda x: x[:-1], (chosen, batch.view.state, context)))
        y = self._targets(target, greedy, batch)
        error = joint - y
        valid = batch.valid[..., None]
        weights = jax.lax.stop_gradient(WEIGHTINGS[self.composition.weighting](joint, y))
        mean = partial(masked_mean, mask=valid, axis=self.axis)
        loss = self.training.loss_scale * mean(weights * error**2)
        metrics = {
            "loss": loss,
            "joint_value": mean(joint),
            "target": mean(y),
            "absolute_error": mean(jnp.abs(error)),
        }
        return loss, metrics

    def _mix(self, params: Params, utilities: jax.Array, state: jax.Array, context: Context) -> jax.Array:
        """Joint values [T B G]: one value (G = 1), or one for each agent when the mixer keeps them apart."""
        values = self.mixer.apply(params["mixer"], utilities, state, context)
        return values.reshape(*utilities.shape[:2], -1)

    def _targets(self, target: Params, greedy: jax.Array, batch: Batch) -> jax.Array:
        """y [T B G] from the target copies: double-Q at the live greedy actions, or SARSA at the actions replayed."""
        training = self.training
        utilities, memories = self.utilities(target, batch)

        def value_at(actions: jax.Array) -> jax.Array:
            best = jnp.where(batch.view.available, utilities, -jnp.inf).max(-1)
            context = Context(best, actions, memories, batch.view.observation)
            return self._mix(target, take(utilities, actions), batch.view.state, context)

        def trajectories(function: Any, *values: jax.Array) -> jax.Array:
            one = jax.vmap(function, (None, None, *(1,) * len(values), None), 1)  # over G
            every = jax.vmap(one, (1, 1, *(1,) * len(values), 1), 1)  # over B
            return every(batch.rewards, batch.terminated, *values, batch.valid)

        numbers: dict[str, Any] = {"gamma": training.gamma, "lambda_": training.td_lambda}
        rule: Callable[..., jax.Array]
        values: tuple[jax.Array, ...]
        if self.composition.target == "sarsa_lambda":
            rule, values = targets.sarsa_lambda, (value_at(batch.actions),)
        elif self.composition.target == "q_lambda":
            rule, values = targets.q_lambda, (value_at(greedy), value_at(batch.actions)[:-1])
        else:
            rule, values = targets.td_lambda, (value_at(greedy),)
        return jax.lax.stop_gradient(trajectories(lambda *a: rule(*a, **numbers), *values))


def take(utilities: jax.Array, actions: jax.Array) -> jax.Array:
    """Utilities of given actions: [.. A], int [..] -> [..]. A one-hot sum: on CPU its gradient beats a scatter."""
    return (utilities * jax.nn.one_hot(actions, utilities.shape[-1])).sum(-1)
