"""Most methods: agent x mixer x weighting x target, and where a method has them a joint critic and a residual.

    L = 1/M sum_t m_t w_t (Q_jt(s_t, u_t) - y_t)^2  +  1/M sum_t m_t (Q-hat*(s_t, u_t) - y_t)^2  +  the mixer's own

with Q_jt = Q_tot, or Q_tot plus a masked residual; y from target copies, selection by the live agent (double-Q); and
w a constant (ReMIX eq. 7; POW eq. 4a, 4b and 10). Everything is trained end to end by one optimiser. A forward pass is
computed once and shared by all terms. With an intrinsic reward the same holds for r_ext + beta r_int in place of the
rewards.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
from marlx_envs.base import Spec
from marlx_envs.options import UsageError, chosen, described

from marlx import exploration
from marlx.agents import Agent, AgentOptions, take
from marlx.algorithms import learner
from marlx.algorithms.compatibility import check_together
from marlx.algorithms.composition import Composition, intrinsic_of, parts, sized, sizes_of
from marlx.algorithms.learner import LearnerState, Played
from marlx.algorithms.softmax import SoftmaxOptions, deviations, softmax_value
from marlx.critics.central import JointCritic, beside_greedy, residual
from marlx.intrinsic.base import Intrinsic
from marlx.losses import masked_mean, squared_error
from marlx.mixers import MIXERS
from marlx.mixers.base import Context, Mixer
from marlx.mixers.feed_forward import FeedForward
from marlx.settings import Training
from marlx.targets import q_lambda, sarsa_lambda, td_lambda
from marlx.types import Algorithm, Batch, Metrics, Params, Progress, View
from marlx.weightings import WEIGHTINGS
from marlx.weightings.base import Evidence, Weighting
from marlx.weightings.record import recorded

__all__ = ["ValueFactorization", "build", "make", "parts"]


def build(
    spec: Spec, agent: AgentOptions, section: dict[str, Any], training: Training, axis: str | None = None
) -> Algorithm:
    """The functions of a composition; arguments as for `make`."""
    return make(spec, agent, section, training, axis).algorithm()


def make(
    spec: Spec, agent: AgentOptions, section: dict[str, Any], training: Training, axis: str | None = None
) -> "ValueFactorization":
    """A composition bound to the sizes of a team. Numbers in `section` and `training` may be traced.

    Args:
        axis: mesh axis of the devices that share the rows of a batch; None: one device has them all.

    Raises:
        UsageError: parts that do not go together.
    """
    composition = Composition(**chosen(Composition, section))
    sizes = sizes_of(spec, agent, axis)
    network = Agent(spec.n_agents, spec.n_actions, spec.observation_size, agent)
    mixer = sized(MIXERS[composition.mixer].load(), sizes, section)
    weighting = sized(WEIGHTINGS[composition.weighting].load(), sizes, section)
    critic = extra = None
    own = Agent(spec.n_agents, spec.n_actions, spec.observation_size, agent.plain())
    if composition.critic != "none":
        critic = JointCritic(own, FeedForward(spec.n_agents, spec.state_size, section["critic_width"]))
    if composition.residual != "none":
        extra = JointCritic(own, FeedForward(spec.n_agents, spec.state_size, section["residual_width"]))
    scale = section.get("critic_loss_scale", 1.0)
    intrinsic = intrinsic_of(composition, sizes, section)
    softmax = SoftmaxOptions(**chosen(SoftmaxOptions, section)) if composition.target == "softmax" else None
    made = ValueFactorization(
        network, mixer, weighting, critic, extra, intrinsic, scale, composition, training, axis, softmax
    )
    check_together(made, spec)
    return made


class Targets(NamedTuple):
    """What errors are measured from; constants."""

    td: jax.Array  # y [T B G]
    critic: jax.Array | None = None  # [T B], the target critic's values of the actions replayed
    critic_greedy: jax.Array | None = None  # [T B], and of the greedy ones
    returns: Any = None  # R_t [T B G], of RES


def _check_returned(part: str, value: Any, what: str, shape: tuple[int, ...]) -> None:
    """Raises `UsageError` unless a part has returned an array of floats of this shape; asked while it is traced."""
    dtype = getattr(value, "dtype", None)
    if dtype is None or not jnp.issubdtype(dtype, jnp.floating) or value.shape != shape:
        sizes = " ".join(map(str, shape))
        raise UsageError(f"{part} returned {described(value)}; {what} is floating, [{sizes}]")


@dataclass(frozen=True)
class ValueFactorization:
    """A composition bound to the sizes of a team."""

    agent: Agent
    mixer: Mixer
    weighting: Weighting
    critic: JointCritic | None
    residual: JointCritic | None
    intrinsic: Intrinsic | None
    critic_loss_scale: float
    composition: Composition
    training: Training
    axis: str | None = None
    softmax: SoftmaxOptions | None = None

    def algorithm(self) -> Algorithm:
        """The functions that the engine knows."""
        sampling = self.weighting.sampling(self.training.batch_size)
        return Algorithm(self.init, self.agent.initial_memory, self.act, self.update, self.joint_values, sampling)

    def init(self, key: chex.PRNGKey) -> LearnerState:
        """Fresh parameters; the target starts as their copy, and ResQ's residual agent as a copy of the agent."""
        agent_key, mixer_key, critic_key, residual_key, weighting_key, intrinsic_key = jax.random.split(key, 6)
        params = {"agent": self.agent.init(agent_key), "mixer": self.mixer.constrain(self.mixer.init(mixer_key))}
        if self.critic:
            params["critic"] = self.critic.init(critic_key)
        if self.residual:
            params["residual"] = self.residual.init(residual_key)
            if self.residual.agent == self.agent:
                params["residual"]["agent"] = params["agent"]
        begun = learner.begin(params, self.training, self.intrinsic, intrinsic_key)
        return begun._replace(weighting=self.weighting.init(weighting_key), variables=self.mixer.variables())

    def act(
        self, state: LearnerState, memory: jax.Array, view: View, key: chex.PRNGKey, epsilon: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """One slot: memory [H R], view [E] -> memory, actions int32 [E N]."""
        explorer = self.composition.exploration
        return learner.act(self.agent, explorer, state.params["agent"], memory, view, key, epsilon)

    def update(
        self, state: LearnerState, batch: Batch, key: chex.PRNGKey, progress: Progress
    ) -> tuple[LearnerState, Metrics]:
        """One gradient step, then the target sync if it is due."""
        loss_key, adapt_key = jax.random.split(key)
        state, batch, measured = learner.rewarded(self.intrinsic, state, batch, progress)
        loss = partial(self.loss, state=state, batch=batch, key=loss_key, progress=progress)
        state, (metrics, weighting, context) = learner.descend(loss, state, self.training, self.axis)
        mixer = self.mixer.constrain(state.params["mixer"])
        mixer, variables, changed = self.mixer.adapt(mixer, context, progress, adapt_key)
        params = {**state.params, "mixer": mixer}
        state = state._replace(params=params, weighting=weighting, variables=variables)
        return learner.sync(state, self.training, progress, at_once=changed), {**metrics, **measured}

    def loss(
        self, params: Params, state: LearnerState, batch: Batch, key: chex.PRNGKey, progress: Progress
    ) -> tuple[jax.Array, tuple[Metrics, Any, Context]]:
        """The loss above, from the target copies and what the weighting knows in `state` (POW eq. 10; ReMIX eq. 7).

        Slopes dQ_tot/dq_i (ReMIX, lemma 1) are the mixer's exact ones, by reverse differentiation.

        Returns:
            This device's share of the loss; (metrics, what the weighting has learnt, the context of the slots).
        """
        live_key, target_key = jax.random.split(key)
        played = self.play(params, batch.view)
        greedy = exploration.greedy(jax.lax.stop_gradient(played.utilities), batch.view.available)
        targets = jax.lax.stop_gradient(self._targets(state, params, played, greedy, batch, target_key))
        y = targets.td
        steps, actions, greedy = batch.of_steps((played, batch.actions, greedy))
        context = self._context(state, steps, actions, live_key, greedy)._replace(valid=batch.valid)
        taken = take(steps.utilities, actions)
        joint, slopes = jax.vjp(lambda q: self._mix(params, q, steps.view.state, context), taken)
        mean = partial(masked_mean, mask=batch.valid[..., None], axis=self.axis)
        squared = partial(squared_error, mask=batch.valid[..., None], axis=self.axis)
        terms: Metrics = {}
        critic_value = None
        if self.critic:
            values = batch.of_steps(self.critic.use(params["critic"], batch.view))
            critic_value = self.critic.at(params["critic"], values, steps.view.state, actions)
            terms["critic_loss"] = self.critic_loss_scale * squared(critic_value[..., None], y)
        evidence = Evidence(
            joint_value=joint.mean(-1),
            target=y.mean(-1),
            actions=actions,
            greedy=greedy,
            utilities=steps.utilities,
            available=steps.view.available,
            state=steps.view.state,
            valid=batch.valid,
            progress=progress,
            slopes=slopes(jnp.ones_like(joint))[0] if self.weighting.needs_slopes else None,
            critic_value=critic_value,
            critic_target=targets.critic,
            critic_greedy=targets.critic_greedy,
            optimal=batch.optimal,
        )
        evidence = jax.lax.stop_gradient(evidence)
        learnt, fitted = self.weighting.fit(state.weighting, evidence)
        weights = self._weights(learnt, evidence)
        rest, penalty = self._residual(params, batch.view, steps.view.state, actions, greedy)
        own, parts = self.mixer.auxiliary(params["mixer"], context, progress)
        scale = self.training.loss_scale
        terms |= {"td_loss": scale * squared(joint + rest, y, weights=weights)}
        terms |= {"residual_loss": mean(penalty)} if self.composition.residual == "penalised" else {}
        if self.softmax:
            terms["return_loss"] = scale * self.softmax.return_loss_scale * squared(joint + rest, targets.returns)
        loss = sum(terms.values()) + mean(own[..., None])
        metrics = {
            "loss": loss,
            "joint_value": mean(joint),
            "target": mean(y),
            "absolute_error": mean(jnp.abs(joint + rest - y)),
            "weight": mean(weights),
            **(terms if len(terms) > 1 else {}),
            **{name: mean(part[..., None]) for name, part in parts.items()},
            **fitted,
        }
        if self.training.record_weights:
            believed = {"joint": evidence.joint_value, **self.weighting.joint_values(learnt, evidence)}
            believed |= {} if critic_value is None else {"critic": critic_value}
            believed |= {"explained": (joint + rest).mean(-1)} if self.residual else {}
            errors = {name: jnp.abs(value - evidence.target) for name, value in believed.items()}
            errors = jax.lax.stop_gradient(errors)
            rewards, valid, n_actions = batch.rewards, batch.valid, self.agent.n_actions
            metrics |= recorded(weights[..., 0], actions, rewards, valid, n_actions, errors, self.axis)
        return loss, (metrics, learnt, jax.lax.stop_gradient(context))

    def joint_values(self, state: LearnerState, view: View, actions: jax.Array) -> dict[str, jax.Array]:
        """What is believed of joint actions [E N] at the first slots of episodes, view [E]; each [E].

        "joint" is Q_tot, or for agents without a mixer the mean of their own values; "explained" has the residual.
        """
        one_slot, one_action = jax.tree.map(lambda x: x[None], (view, actions))
        played = self.play(state.params, one_slot)
        greedy = exploration.greedy(played.utilities, one_slot.available)
        context = self._context(state, played, one_action, None, greedy)
        joint = self._mix(state.params, take(played.utilities, one_action), one_slot.state, context).mean(-1)
        found = {"joint": joint}
        if self.critic:
            values = self.critic.use(state.params["critic"], one_slot)
            found["critic"] = self.critic.at(state.params["critic"], values, one_slot.state, one_action)
        if self.residual:
            rest, _ = self._residual(state.params, one_slot, one_slot.state, one_action, greedy)
            found["explained"] = joint + rest[..., 0]
        zero = jnp.float32(0)
        evidence = Evidence(
            joint, joint, one_action, greedy, played.utilities, one_slot.available, one_slot.state,
            jnp.ones_like(joint, bool), Progress(zero, zero, zero),
        )  # fmt: skip
        found |= self.weighting.joint_values(state.weighting, evidence)
        return {name: value[0] for name, value in found.items()}

    def play(self, params: Params, view: View) -> Played:
        """The agents over all slots of a view [T B], from a cleared memory."""
        return learner.play(self.agent, params["agent"], view)

    def _context(
        self,
        state: LearnerState,
        played: Played,
        actions: jax.Array,
        key: chex.PRNGKey | None,
        greedy: jax.Array | None = None,
    ) -> Context:
        """What mixers need beside utilities and state, for joint actions [T B N]; `greedy`: of these very utilities."""
        if greedy is None:
            greedy = exploration.greedy(played.utilities, played.view.available)
        best, observation = take(played.utilities, greedy), played.view.observation
        return Context(best, actions, played.memories, observation, played.group_state, state.variables, key)

    def _mix(
        self, params: Params, utilities: jax.Array, state: jax.Array, context: Context, bootstrap: bool = False
    ) -> jax.Array:
        """Joint values [T B G]: one value (G = 1), or one for each agent when the mixer keeps them apart."""
        mix = self.mixer.bootstrap if bootstrap else self.mixer.apply
        values = mix(params["mixer"], utilities, state, context)
        apart = self.mixer.keeps_apart
        shape = utilities.shape if apart else utilities.shape[:-1]
        _check_returned(f"algorithm.mixer={self.composition.mixer}", values, "a joint value", shape)
        return values if apart else values[..., None]

    def _weights(self, learnt: Any, evidence: Evidence) -> jax.Array:
        """Weights of the steps, constant [T B 1]."""
        weights = self.weighting.weights(learnt, evidence)
        _check_returned(f"algorithm.weighting={self.composition.weighting}", weights, "a weight", evidence.target.shape)
        return jax.lax.stop_gradient(weights)[..., None]

    def _residual(
        self, params: Params, view: View, state: jax.Array, actions: jax.Array, greedy: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """ResQ's masked residual w_r Q_r, and max(Q_r, 0)^2, the penalty of a positive one; [T B 1] each.

        `view` may have a bootstrap slot more than states, actions and greedy actions [T B ..].
        """
        if self.residual is None:
            return jnp.zeros(()), jnp.zeros(())
        values = self.residual.use(params["residual"], view)[: len(actions)]
        raw = self.residual.at(params["residual"], values, state, actions)[..., None]
        value = residual(raw) if self.composition.residual == "constrained" else raw
        return beside_greedy(actions, greedy)[..., None] * value, jnp.maximum(value, 0) ** 2

    def _targets(
        self,
        state: LearnerState,
        params: Params,
        live: Played,
        greedy: jax.Array,
        batch: Batch,
        key: chex.PRNGKey,
    ) -> Targets:
        """Targets from the target copies: double-Q at the live greedy actions, or SARSA at the actions replayed.

        With a joint critic the bootstrap is its target copy, whose values of the actions replayed and of the greedy
        ones come along (POW eq. 11; its eq. 5 lacks gamma). RES averages over the other actions of one agent; its
        returns are those of TD(1), so that a row or an episode that is cut off is bootstrapped from, as everywhere.

        Args:
            params, live: the live parameters, and their pass over the slots.
            greedy: its greedy actions [T+1 B N].
        """
        training, target = self.training, state.target
        if self.critic:
            critic, values = self.critic, self.critic.use(target["critic"], batch.view)

            def value_at(actions: jax.Array, bootstrap: bool = False) -> jax.Array:
                return critic.at(target["critic"], values, batch.view.state, actions)[..., None]
        else:
            played = self.play(target, batch.view)

            def value_at(actions: jax.Array, bootstrap: bool = False) -> jax.Array:
                context = self._context(state, played, actions, key)
                return self._mix(target, take(played.utilities, actions), batch.view.state, context, bootstrap)

        numbers = {"gamma": training.gamma, "lambda_": training.td_lambda}
        if self.softmax:
            now, copy = (self._deviations(state, *of, greedy, key) for of in ((params, live), (target, played)))
            average = softmax_value(now, copy, batch.view.available, self.softmax.softmax_beta)[..., None]
            y = learner.returns(td_lambda, batch, average, **numbers)
            return Targets(y, returns=learner.returns(td_lambda, batch, average, gamma=training.gamma, lambda_=1.0))
        at_greedy = value_at(greedy, bootstrap=True)
        if self.composition.target == "sarsa_lambda":
            y = learner.returns(sarsa_lambda, batch, value_at(batch.actions), **numbers)
        elif self.composition.target == "q_lambda":
            at_taken = batch.of_steps(value_at(batch.actions))
            y = learner.returns(q_lambda, batch, at_greedy, at_taken, **numbers)
        else:
            y = learner.returns(td_lambda, batch, at_greedy, **numbers)
        if self.critic is None:
            return Targets(y)
        return Targets(y, *batch.of_steps((value_at(batch.actions)[..., 0], at_greedy[..., 0])))

    def _deviations(
        self, state: LearnerState, params: Params, played: Played, greedy: jax.Array, key: chex.PRNGKey
    ) -> jax.Array:
        """Joint values [T+1 B N A] where agent i takes a and all others their greedy actions [T+1 B N]."""
        n_actions = played.utilities.shape[-1]
        context = self._context(state, played, greedy, key)
        taken = deviations(played.utilities, take(played.utilities, greedy))
        others = jnp.broadcast_to(jnp.arange(n_actions), (*greedy.shape, n_actions))
        actions = deviations(others, greedy)

        def joint(taken: jax.Array, actions: jax.Array) -> jax.Array:
            values = self._mix(params, taken, played.view.state, context._replace(actions=actions))
            return values[..., 0]

        return jnp.moveaxis(jax.vmap(jax.vmap(joint))(taken, actions), (0, 1), (-2, -1))
