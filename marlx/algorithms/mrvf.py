"""MRVF: factorization in rounds, each of which looks for a strict improvement on the joint action of the round before.

    L = L_jt + sum_k L_tot^k, masked means of
    L_jt    = (Q_jt(u) - y)^2,  y = r + gamma (1 - d) Q_jt-(u-bar') at the final greedy action u-bar'    (MRVF eq. 7)
    L_tot^k = (Q_tot^k(u^k) - sg(target))^2,  target = Q_jt(u^1) in round 1                              (MRVF eq. 6)
                                           and max(Q_jt(u^k) - Q_jt(u-bar^(k-1)), 0) in later ones       (MRVF eq. 5)

Q_jt is unrestricted and learns from L_jt alone; Q_tot^k mixes utilities that see u-bar^(k-1), and only ranks joint
actions. The paper leaves much of the wiring open: what is chosen here is an option.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
from marlx_envs.base import Spec
from marlx_envs.options import UsageError, choice, chosen, flag, number

from marlx import exploration, targets
from marlx.agents import Agent, AgentOptions, take
from marlx.algorithms import learner
from marlx.algorithms.composition import Common, intrinsic_of, parts_of_common, sized, sizes_of
from marlx.algorithms.learner import LearnerState
from marlx.algorithms.method import Method, Parts
from marlx.critics.mrvf import FeatureValue
from marlx.intrinsic.base import Intrinsic
from marlx.losses import drawn_by_row, masked_mean, squared_error
from marlx.mixers.qmix import QMIX
from marlx.rounds import Rounds
from marlx.settings import Training
from marlx.types import Algorithm, Batch, Metrics, Params, Progress, View

# Predator-prey at -2: with one update for 8 episodes it learnt nothing, with two it does. On risk-reward games rounds
# with last layers and a mixer of their own are at the optimum twice as often (both in experiments/findings).
Method(
    name="mrvf",
    summary="rounds of QMIX; each learns what joint actions gain over the greedy one of the round before",
    source="MRVF",
    rule="mrvf",
    defaults={"training.td_lambda": 0.0},
    environments={
        "predator_prey": {"training.updates_per_iteration": 2},
        "risk_reward": {"algorithm.share_rounds": False},
    },
)
Method(
    name="mrvf_single",
    summary="MRVF with one round, an ablation",
    source="MRVF, appendix F",
    rule="mrvf",
    composition={"rounds": 1},
    defaults={"training.td_lambda": 0.0},
    environments={"predator_prey": {"training.updates_per_iteration": 2}},
)
Method(
    name="mrvf_non_strict",
    summary="MRVF whose rounds all learn the joint value instead of gains, an ablation",
    source="MRVF, appendix F",
    rule="mrvf",
    composition={"strict": False},
    defaults={"training.td_lambda": 0.0},
    environments={
        "predator_prey": {"training.updates_per_iteration": 2},
        "risk_reward": {"algorithm.share_rounds": False},
    },
)


@dataclass(frozen=True)
class Composition(Common):
    """Section `algorithm`; the fields of the rounds, the mixer and the joint value join it."""

    exploration: str = choice(
        "centralised",
        "who draws epsilon: each agent or the team; softmax: each agent by the utilities of a round, epsilon being the "
        "temperature",
        tuple(exploration.EXPLORERS),
    )
    strict: bool = flag(True, "later rounds learn gains over the preceding greedy action; without, the joint value")
    critic_loss_scale: float = number(1, "factor of the joint value's squared error", low=0)
    preselection: float = number(
        0.2, "probability of a round's greedy action in place of the final one, where epsilon is not 0", low=0, high=1
    )
    preselected: str = choice(
        "uniform",
        "the round preselected: one drawn at every step, or for every episode, or the last",
        ("uniform", "episode", "last"),
    )
    preselection_first: bool = flag(
        False, "draw the preselection before epsilon, and play the greedy action of the round preselected as it is"
    )
    bootstrap: str = choice(
        "live", "rounds that choose the action bootstrapped from: those that learn, or the target's", ("live", "target")
    )
    learnt_actions: str = choice(
        "mixed",
        "joint actions that a round learns from: its greedy one, but with probability epsilon, drawn for the team, "
        "the recorded one (the paper's policy, exploring as the data did); or always the recorded one",
        ("mixed", "recorded"),
    )


def parts(values: Mapping[str, Any]) -> Parts:
    """What section `algorithm` is made of."""
    return [*((part, {}) for part in (Composition, Rounds, QMIX, FeatureValue)), *parts_of_common(values)]


def accepted_round(values: jax.Array) -> jax.Array:
    """The last round before the first without a strict improvement (MRVF, section 4.1), counted from 0.

    Args:
        values: Q_jt(u-bar^k) [K ..].

    Returns:
        int32 [..].
    """
    improves = (values[1:] > values[:-1]).astype(jnp.int32)
    return jnp.cumprod(improves, axis=0).sum(0, dtype=jnp.int32)


def of_round(arrays: jax.Array, number: jax.Array) -> jax.Array:
    """The entries of given rounds: joint actions [K .. N], int [..] -> [.. N]."""
    return jnp.take_along_axis(arrays, number[None, ..., None], axis=0)[0]


def gains(values: jax.Array, at_greedy: jax.Array) -> jax.Array:
    """What the rounds learn: Q_jt(u^1), then max(Q_jt(u^k) - Q_jt(u-bar^(k-1)), 0) (MRVF eq. 5 and 6).

    Args:
        values: Q_jt(u^k) [K ..]; at_greedy: Q_jt(u-bar^k) [K ..].
    """
    return jnp.concatenate([values[:1], jnp.maximum(values[1:] - at_greedy[:-1], 0)])


def build(
    spec: Spec, agent: AgentOptions, section: dict[str, Any], training: Training, axis: str | None = None
) -> Algorithm:
    """The functions of the method; arguments as for `make`."""
    return make(spec, agent, section, training, axis).algorithm()


def make(
    spec: Spec, agent: AgentOptions, section: dict[str, Any], training: Training, axis: str | None = None
) -> "MRVF":
    """The method bound to the sizes of a team. Numbers in `section` and `training` may be traced.

    Args:
        axis: mesh axis of the devices that share the rows of a batch; None: one device has them all.

    Raises:
        UsageError: agents with a head of their own, or a mixer without its constraint.
    """
    if agent.head != "shared":
        raise UsageError(f"the rounds of mrvf are the head of its agents: agent.head must be shared, not {agent.head}")
    if not section["monotone"]:
        raise UsageError("mrvf needs a monotone mixer: algorithm.monotone must be true")
    if section["exploration"] == "softmax" and section["learnt_actions"] == "mixed":
        raise UsageError(
            "algorithm.exploration=softmax has no probability of a random action, which learnt_actions=mixed asks for: "
            "algorithm.learnt_actions must be recorded"
        )
    sizes = sizes_of(spec, agent, axis)
    rounds, mixer, critic = (sized(part, sizes, section) for part in (Rounds, QMIX, FeatureValue))
    network = Agent(spec.n_agents, spec.n_actions, spec.observation_size, agent, headless=True)
    composition = Composition(**chosen(Composition, section))
    intrinsic = intrinsic_of(composition, sizes, section)
    return MRVF(network, rounds, mixer, critic, intrinsic, composition, training, axis)


class Carry(NamedTuple):
    """What an acting team remembers."""

    agent: jax.Array  # float [H R], rows R = E N
    critic: jax.Array  # float [H R], of the joint value; one round alone has no use for it
    taken: jax.Array  # int32 [E K], steps of its first episode whose final greedy action was that of a round
    begun: jax.Array  # int32 [E], episodes so far, the present one among them
    preselected: Any = ()  # int32 [E], the round of the episode, where one is drawn for each


class Played(NamedTuple):
    """All rounds over slots [..] (`[T B]`)."""

    utilities: jax.Array  # q^k [K .. N A]
    greedy: jax.Array  # u-bar^k, int32 [K .. N]
    at_greedy: jax.Array  # Q_jt(u-bar^k) [K ..], constant
    values: list[jax.Array]  # Q_jt [..] of the joint actions asked for
    number: jax.Array  # the round accepted, int32 [..] from 0
    final: jax.Array  # its greedy joint action, int32 [.. N]


@dataclass(frozen=True)
class MRVF:
    """The method bound to the sizes of a team."""

    agent: Agent  # without a head; the joint value has another of the same shape
    rounds: Rounds
    mixer: QMIX
    critic: FeatureValue
    intrinsic: Intrinsic | None
    composition: Composition
    training: Training
    axis: str | None = None

    def algorithm(self) -> Algorithm:
        """The functions that the engine knows."""
        return Algorithm(self.init, self.initial_carry, self.act, self.update, self.joint_values, report=self.report)

    def init(self, key: chex.PRNGKey) -> LearnerState:
        """Fresh parameters {"agent": {"memory", "rounds"}, "mixer", "critic": {"memory", "value"}}.

        The target starts as their copy. Rounds that share nothing have a mixer each, leading axis [K].
        """
        keys = jax.random.split(key, 5)
        mixer: Any = self.mixer.init
        params = {
            "agent": {"memory": self.agent.init(keys[0]), "rounds": self.rounds.init(keys[1])},
            "mixer": mixer(keys[2])
            if self.rounds.share_rounds
            else jax.vmap(mixer)(jax.random.split(keys[2], self.rounds.rounds)),
            "critic": {"memory": self.agent.init(keys[3]), "value": self.critic.init(keys[4])},
        }
        intrinsic_key = jax.random.fold_in(key, len(keys))  # beside those split, which stay as they are
        return learner.begin(params, self.training, self.intrinsic, intrinsic_key)

    def initial_carry(self, count: int) -> Carry:
        """Memories before any slot, of `count` teams."""
        memory = self.agent.initial_memory(count)
        nothing = jnp.zeros(count, jnp.int32)
        preselected = nothing if self.composition.preselected == "episode" else ()
        return Carry(memory, memory, jnp.zeros((count, self.rounds.rounds), jnp.int32), nothing, preselected)

    def act(
        self, state: LearnerState, carry: Carry, view: View, key: chex.PRNGKey, epsilon: jax.Array
    ) -> tuple[Carry, jax.Array]:
        """One slot: view [E] -> carry, actions int32 [E N].

        Exploration around the final greedy action or, with probability `preselection`, around that of a round
        preselected; epsilon first [CHOICE], unless `preselection_first`. Without epsilon (evaluation) none is
        preselected.
        """
        names, count = self.composition, self.rounds.rounds
        slot = jax.tree.map(lambda x: x[None], view)
        memories = self._remember(state.params, (carry.agent, carry.critic), slot)
        played = self._play(state.params, memories, slot)
        number, utilities = played.number[0], played.utilities[:, 0]
        explore_key, branch_key, round_key = jax.random.split(key, 3)
        branches = jax.random.uniform(branch_key, number.shape) < names.preselection * (epsilon > 0)
        preselected = jax.random.randint(round_key, number.shape, 0, count)
        if names.preselected == "episode":
            preselected = jnp.where(view.starts, preselected, carry.preselected)
        elif names.preselected == "last":
            preselected = jnp.full_like(preselected, count - 1)
        around = jnp.where(branches, preselected, number)[None, :, None, None]
        of_one = jnp.take_along_axis(utilities, around, axis=0)[0]  # of the round explored around
        actions = exploration.EXPLORERS[names.exploration](explore_key, of_one, view.available, epsilon)
        if names.preselection_first:  # then epsilon has no say in it
            actions = jnp.where(branches[:, None], of_round(played.greedy[:, 0], preselected), actions)
        agent, critic = map(self.agent.last_memory, memories)
        begun = carry.begun + view.starts
        taken = carry.taken + jax.nn.one_hot(number, count, dtype=jnp.int32) * (begun == 1)[:, None]
        kept = preselected if names.preselected == "episode" else ()
        return Carry(agent, critic if count > 1 else carry.critic, taken, begun, kept), actions

    def report(self, carry: Carry) -> Metrics:
        """Proportion of the final greedy actions of each round (MRVF, Figure 14), in the teams' first episodes."""
        taken = carry.taken.sum(0)
        return {f"round_share_{k + 1}": share for k, share in enumerate(taken / taken.sum())}

    def update(
        self, state: LearnerState, batch: Batch, key: chex.PRNGKey, progress: Progress
    ) -> tuple[LearnerState, Metrics]:
        """One gradient step, then the target sync if it is due."""
        state, batch, measured = learner.rewarded(self.intrinsic, state, batch, progress)
        epsilon = exploration.epsilon_at(self.training, progress.env_steps)
        stepped, (metrics,) = learner.descend(
            lambda params: self.loss(params, state.target, batch, key, epsilon), state, self.training, self.axis
        )
        return learner.sync(stepped, self.training, progress), {**metrics, **measured}

    def loss(
        self, params: Params, target: Params, batch: Batch, key: chex.PRNGKey, epsilon: jax.Array
    ) -> tuple[jax.Array, tuple[Metrics]]:
        """The loss above (MRVF eq. 5 to 7), this device's share; and metrics.

        `training.loss_scale` is a factor of every L_tot^k.
        """
        played = self.play(params, batch.view, batch.actions)
        y = self._targets(target, played.final, batch)[..., 0]
        every = (batch.view.state, batch.actions, played.number, played.values[0])
        state, stored, number, value = batch.of_steps(every)
        rounds = (played.utilities, played.greedy, played.at_greedy)
        utilities, greedy, at_greedy = jax.vmap(batch.of_steps)(rounds)
        recorded = self._recorded(key, epsilon, at_greedy.shape)
        actions = jnp.where(recorded[..., None], stored, greedy)
        learnt = jnp.where(recorded, jax.lax.stop_gradient(value), at_greedy)
        aims = gains(learnt, at_greedy) if self.composition.strict else learnt
        joint = self._mix(params, take(utilities, actions), state)
        mean = partial(masked_mean, mask=batch.valid, axis=self.axis)
        squared = partial(squared_error, mask=batch.valid, axis=self.axis)
        errors = {f"round_loss_{k + 1}": squared(*pair) for k, pair in enumerate(zip(joint, aims, strict=True))}
        terms = {name: self.training.loss_scale * error for name, error in errors.items()}
        terms["critic_loss"] = self.composition.critic_loss_scale * squared(value, y)
        loss = sum(terms.values(), jnp.float32(0))
        metrics = {
            "loss": loss,
            "joint_value": mean(joint[0]),
            "critic_value": mean(value),
            "target": mean(y),
            "absolute_error": mean(jnp.abs(value - y)),
            **terms,
            **{f"round_share_{k + 1}": mean(1.0 * (number == k)) for k in range(len(aims))},
        }
        return loss, (metrics,)

    def joint_values(self, state: LearnerState, view: View, actions: jax.Array) -> dict[str, jax.Array]:
        """What is believed of joint actions [E N] at the first slots of episodes, view [E]; each [E].

        "round_k" is Q_tot^k and "critic" Q_jt. "joint" is Q_tot^k of the round accepted, whose best joint action is the
        final one, plus the value that it is a gain over.
        """
        slot, one_action = jax.tree.map(lambda x: x[None], (view, actions))
        played = self.play(state.params, slot, one_action)
        aimed = jnp.broadcast_to(one_action, played.greedy.shape)
        rounds = self._mix(state.params, take(played.utilities, aimed), slot.state)
        base = jnp.concatenate([jnp.zeros_like(rounds[:1]), played.at_greedy[:-1]]) * self.composition.strict
        joint = of_round((rounds + base)[..., None], played.number)[0, :, 0]
        named = {f"round_{k + 1}": value for k, value in enumerate(rounds[:, 0])}
        return {"joint": joint, "critic": played.values[0][0], **named}

    def play(self, params: Params, view: View, *actions: jax.Array) -> Played:
        """All rounds over all slots of a view [T B] from cleared memories, and Q_jt of joint actions [T B N]."""
        empty = self.agent.initial_memory(view.starts.shape[1])
        return self._play(params, self._remember(params, (empty, empty), view), view, *actions)

    def _remember(self, params: Params, before: tuple[jax.Array, jax.Array], view: View) -> tuple[jax.Array, jax.Array]:
        """Memories of the agents and of the joint value after each slot of a view [T B], [T B N H] both."""
        agent, critic = before
        return (
            self.agent.unroll(params["agent"]["memory"], agent, view)[1],
            self.agent.unroll(params["critic"]["memory"], critic, view)[1],
        )

    def _play(self, params: Params, memories: tuple[jax.Array, jax.Array], view: View, *actions: jax.Array) -> Played:
        """Rounds and joint values from memories [T B N H]; the joint value is read at all joint actions together."""
        agent, critic = memories
        utilities, greedy = self.rounds.apply(params["agent"]["rounds"], agent, view.observation, view.available)
        values = self.critic.apply(params["critic"]["value"], critic, view.state, *actions, *greedy)
        at_greedy = jax.lax.stop_gradient(jnp.stack(values[len(actions) :]))
        number = accepted_round(at_greedy)
        return Played(utilities, greedy, at_greedy, values[: len(actions)], number, of_round(greedy, number))

    def _mix(self, params: Params, utilities: jax.Array, state: jax.Array) -> jax.Array:
        """Q_tot^k [K ..] from the utilities taken [K .. N]; shared hypernetworks read the states [.. D] once."""
        if self.rounds.share_rounds:
            return self.mixer.apply(params["mixer"], utilities, state)
        mix: Any = jax.vmap(self.mixer.apply, (0, 0, None))
        return mix(params["mixer"], utilities, state)

    def _targets(self, target: Params, final: jax.Array, batch: Batch) -> jax.Array:
        """y [T B 1] from the target copy of Q_jt at the live final actions [T+1 B N] [CHOICE], or at its own."""
        view, critic = batch.view, target["critic"]
        empty = self.agent.initial_memory(view.starts.shape[1])
        memory = self.agent.unroll(critic["memory"], empty, view)[1]
        if self.composition.bootstrap == "target":
            own = self.agent.unroll(target["agent"]["memory"], empty, view)[1]
            final = self._play(target, (own, memory), view).final
        (values,) = self.critic.apply(critic["value"], memory, view.state, final)
        numbers = {"gamma": self.training.gamma, "lambda_": self.training.td_lambda}
        return jax.lax.stop_gradient(learner.returns(targets.td_lambda, batch, values[..., None], **numbers))

    def _recorded(self, key: chex.PRNGKey, epsilon: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        """Where a round learns from the recorded joint action, bool [K T B]."""
        if self.composition.learnt_actions == "recorded":
            return jnp.ones(shape, bool)
        return drawn_by_row(jax.random.uniform, key, shape, axis=self.axis) < epsilon
