"""QTRAN (Son et al. 2019): a free joint value Q_jt, and utilities whose sum must not fall short of it anywhere.

    L = L_td + lambda_opt L_opt + lambda_nopt L_nopt, masked means of squares (`base_errors`, `alt_errors`)

Q_jt and its encoder learn from L_td alone; L_td also reaches the agents, through what they remember. The other two
train agents and V against a constant Q_jt. One pass of the agents serves all three.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
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
from marlx.algorithms.learner import LearnerState, Played
from marlx.algorithms.method import Method, Parts
from marlx.critics.qtran import Counterfactual, JointNet, JointValue, StateValue
from marlx.intrinsic.base import Intrinsic
from marlx.losses import masked_mean
from marlx.settings import Training
from marlx.types import Algorithm, Batch, Metrics, Params, Progress, View

Method(
    name="qtran",
    summary="a free joint value, which the sum of the utilities must match where greedy and exceed elsewhere",
    source="Son et al. 2019 (QTRAN-base, in pymarl's form)",
    rule="qtran",
    composition={"form": "base"},
    defaults={"training.td_lambda": 0.0},
)
Method(
    name="qtran_alt",
    summary="QTRAN whose joint value says of each agent what its other actions would have been worth",
    source="Son et al. 2019 (QTRAN-alt)",
    rule="qtran",
    composition={"form": "alt"},
    defaults={"training.td_lambda": 0.0},
)


class Errors(NamedTuple):
    """What the loss squares, [.. G] each with G estimates of the joint value."""

    td: jax.Array  # Q_jt(u) - y
    opt: jax.Array  # how far the sum of the utilities is from Q_jt at the greedy joint action
    nopt: jax.Array  # how far it falls short of Q_jt elsewhere


def base_errors(
    joint: jax.Array,
    joint_greedy: jax.Array,
    target: jax.Array,
    utilities: jax.Array,
    available: jax.Array,
    actions: jax.Array,
    greedy: jax.Array,
    value: jax.Array,
) -> Errors:
    """QTRAN-base (eq. 4): sum_i max q_i - Q_jt(u-hat) + V, and min(sum_i q_i(u_i) - Q_jt(u) + V, 0).

    Args:
        joint, joint_greedy: Q_jt(u), Q_jt(u-hat) [.. 1]; target: y [.. 1].
        utilities: q [.. N A]; available: bool [.. N A].
        actions, greedy: u, u-hat int [.. N]; value: V [..].
    """
    opt = _excess(take(utilities, greedy), joint_greedy, value)
    nopt = jnp.minimum(_excess(take(utilities, actions), joint, value), 0)
    return Errors(joint - target, opt, nopt)


def alt_errors(
    joint: jax.Array,
    joint_greedy: jax.Array,
    target: jax.Array,
    utilities: jax.Array,
    available: jax.Array,
    actions: jax.Array,
    greedy: jax.Array,
    value: jax.Array,
) -> Errors:
    """QTRAN-alt (eq. 6): as base, but for each agent i, and

        nopt_i = min_a [ q_i(a) + sum_(j != i) q_j(u_j) - F_i(u_-i, a) + V ], which may be positive.

    [CHOICE] The minimum is over available actions: F_i of the others is never trained.

    Args:
        joint, joint_greedy: F of u and of u-hat [.. N A]; target: y [.. N], or [.. 1] for all; others as in base.
    """
    taken = take(utilities, actions)
    opt = _excess(take(utilities, greedy), take(joint_greedy, greedy), value)
    others = (taken.sum(-1, keepdims=True) - taken)[..., None]
    switched = others + utilities - jax.lax.stop_gradient(joint) + value[..., None, None]
    nopt = jnp.where(available, switched, switched.max(-1, keepdims=True)).min(-1)  # finite without any available
    return Errors(take(joint, actions) - target, opt, nopt)


def _excess(utilities: jax.Array, joint: jax.Array, value: jax.Array) -> jax.Array:
    """Sum of the utilities [.. N] plus V [..] beyond a constant joint value [.. G]."""
    return utilities.sum(-1, keepdims=True) - jax.lax.stop_gradient(joint) + value[..., None]


FORMS: dict[str, tuple[type[JointNet], Callable[..., Errors]]] = {
    "base": (JointValue, base_errors),
    "alt": (Counterfactual, alt_errors),
}


@dataclass(frozen=True)
class Composition(Common):
    """Section `algorithm`; the fields of the joint value join it."""

    form: str = choice("base", "QTRAN-base or QTRAN-alt (counterfactual)", tuple(FORMS))
    bootstrap: str = choice(
        "joint",
        "what targets bootstrap from: the joint value at the live greedy action (pymarl), or the sum of the largest "
        "target utilities (the authors' base)",
        ("joint", "sum_of_max"),
    )
    state_value: bool = flag(True, "have V(s) beside the sum of the utilities (pymarl); the authors' base has none")
    lambda_opt: float = number(1, "weight of the error at the greedy joint action", low=0)
    lambda_nopt: float = number(0.1, "weight of the errors elsewhere; the authors have 1", low=0)


def parts(values: Mapping[str, Any]) -> Parts:
    """What section `algorithm` is made of for a form."""
    net, _ = FORMS.get(values.get("form", "base"), FORMS["base"])  # another word is refused where it is checked
    return [(Composition, {}), (net, {}), *parts_of_common(values)]


def build(
    spec: Spec, agent: AgentOptions, section: dict[str, Any], training: Training, axis: str | None = None
) -> Algorithm:
    """The functions of a form; arguments as for `make`."""
    return make(spec, agent, section, training, axis).algorithm()


def make(
    spec: Spec, agent: AgentOptions, section: dict[str, Any], training: Training, axis: str | None = None
) -> "QTRAN":
    """A form bound to the sizes of a team. Numbers in `section` and `training` may be traced.

    Args:
        axis: mesh axis of the devices that share the rows of a batch; None: one device has them all.
    """
    if agent.head == "group_state":
        raise UsageError("agent.head=group_state needs algorithm gomarl; for qtran it must be shared or individual")
    composition = Composition(**chosen(Composition, section))
    net, errors = FORMS[composition.form]
    sizes = sizes_of(spec, agent, axis)
    joint: JointNet = sized(net, sizes, section)
    network = Agent(spec.n_agents, spec.n_actions, spec.observation_size, agent)
    value = StateValue(spec.state_size, joint.joint_width, joint.joint_layers) if composition.state_value else None
    intrinsic = intrinsic_of(composition, sizes, section)
    return QTRAN(network, joint, value, errors, intrinsic, composition, training, axis)


@dataclass(frozen=True)
class QTRAN:
    """A form bound to the sizes of a team."""

    agent: Agent
    joint: JointNet
    value: StateValue | None
    errors: Callable[..., Errors]
    intrinsic: Intrinsic | None
    composition: Composition
    training: Training
    axis: str | None = None

    def algorithm(self) -> Algorithm:
        """The functions that the engine knows."""
        return Algorithm(self.init, self.agent.initial_memory, self.act, self.update, self.joint_values)

    def init(self, key: chex.PRNGKey) -> LearnerState:
        """Fresh parameters {"agent", "joint"}, with V "value"; the target starts as their copy."""
        agent_key, joint_key, value_key = jax.random.split(key, 3)
        intrinsic_key = jax.random.fold_in(key, 3)  # beside those split, which stay as they are
        params = {"agent": self.agent.init(agent_key), "joint": self.joint.init(joint_key)}
        if self.value:
            params["value"] = self.value.init(value_key)
        return learner.begin(params, self.training, self.intrinsic, intrinsic_key)

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
        state, batch, measured = learner.rewarded(self.intrinsic, state, batch, progress)
        stepped, (metrics,) = learner.descend(
            lambda params: self.loss(params, state.target, batch), state, self.training, self.axis
        )
        return learner.sync(stepped, self.training, progress), {**metrics, **measured}

    def loss(self, params: Params, target: Params, batch: Batch) -> tuple[jax.Array, tuple[Metrics]]:
        """The loss above, this device's share; and metrics. `training.loss_scale` is a factor of all of it."""
        played = self.play(params, batch.view)
        greedy = exploration.greedy(jax.lax.stop_gradient(played.utilities), batch.view.available)
        y = self._targets(target, greedy, batch)
        steps, actions, greedy = batch.of_steps((played, batch.actions, greedy))
        state = steps.view.state
        joint, joint_greedy = self.joint.apply(params["joint"], steps.memories, state, actions, greedy)
        errors = self.errors(
            joint,
            joint_greedy,
            y,
            steps.utilities,
            steps.view.available,
            actions,
            greedy,
            self._state_value(params, state),
        )

        def mean(values: jax.Array) -> jax.Array:
            return masked_mean(values, batch.valid[..., None], self.axis)

        terms = {f"{name}_loss": mean(error**2) for name, error in errors._asdict().items()}
        names = self.composition
        loss = terms["td_loss"] + names.lambda_opt * terms["opt_loss"] + names.lambda_nopt * terms["nopt_loss"]
        loss = self.training.loss_scale * loss
        metrics = {
            "loss": loss,
            "joint_value": mean(take(steps.utilities, actions).sum(-1, keepdims=True)),
            "critic_value": mean(self.joint.taken(joint, actions)),
            "target": mean(y),
            "absolute_error": mean(jnp.abs(errors.td)),
            **terms,
        }
        return loss, (metrics,)

    def joint_values(self, state: LearnerState, view: View, actions: jax.Array) -> dict[str, jax.Array]:
        """What is believed of joint actions [E N] at the first slots of episodes, view [E]; each [E].

        "joint" is the sum of the utilities, "critic" Q_jt (alt: the mean of F_i), "transformed" the sum plus V.
        """
        params = state.params
        played = self.play(params, jax.tree.map(lambda x: x[None], view))
        (table,) = self.joint.apply(params["joint"], played.memories[0], view.state, actions)
        total = take(played.utilities[0], actions).sum(-1)
        found = {"joint": total, "critic": self.joint.taken(table, actions).mean(-1)}
        return {**found, "transformed": total + self._state_value(params, view.state)} if self.value else found

    def play(self, params: Params, view: View) -> Played:
        """The agents over all slots of a view [T B], from a cleared memory."""
        return learner.play(self.agent, params["agent"], view)

    def _state_value(self, params: Params, state: jax.Array) -> jax.Array:
        """V [..] of states [.. D]; 0 without one."""
        return self.value.apply(params["value"], state) if self.value else jnp.zeros(state.shape[:-1])

    def _targets(self, target: Params, greedy: jax.Array, batch: Batch) -> jax.Array:
        """y [T B G] from the target copies; `greedy` [T+1 B N] are the live greedy actions.

        [CHOICE] In alt each F_i bootstraps from its own copy, F_i(u-hat_i) at u-hat. The authors' sum is over the
        largest available target utilities, chosen by the target itself.
        """
        view, played = batch.view, self.play(target, batch.view)
        if self.composition.bootstrap == "sum_of_max":
            best = take(played.utilities, exploration.greedy(played.utilities, view.available))
            values = best.sum(-1, keepdims=True)
        else:
            (table,) = self.joint.apply(target["joint"], played.memories, view.state, greedy)
            values = self.joint.taken(table, greedy)
        numbers = {"gamma": self.training.gamma, "lambda_": self.training.td_lambda}
        return jax.lax.stop_gradient(learner.returns(targets.td_lambda, batch, values, **numbers))
