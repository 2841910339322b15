"""What a learner believes of every joint action at an episode's first step, and which one its greedy agents choose."""

from typing import Any

import jax
import jax.numpy as jnp

from marlx import joint_actions
from marlx.engine.rollout import Rollout
from marlx.types import Metrics


def joint_values(rollout: Rollout, learner: Any) -> dict[str, jax.Array]:
    """What is believed of all joint actions, [A^N] by name: "joint" (Q_tot), "critic", ..."""
    joint = jnp.asarray(joint_actions.listed(rollout.spec.n_agents, rollout.spec.n_actions))
    team = rollout.reset(jax.random.key(0), 1)
    view = jax.tree.map(lambda x: jnp.repeat(x, len(joint), axis=0), rollout.view(team))
    return rollout.algorithm.joint_values(learner, view, joint)


def greedy(rollout: Rollout, learner: Any) -> jax.Array:
    """The joint action that the agents choose by their own utilities, int32 [N]."""
    key = jax.random.key(0)
    team = rollout.reset(key, 1)
    return rollout.algorithm.act(learner, team.memory, rollout.view(team), key, jnp.float32(0))[1][0]


def tables(rollout: Rollout, learner: Any) -> Metrics:
    """Both as metrics of each joint action: "table_joint/AB" a value, "greedy/AB" 1 for the one chosen and else 0.

    And "igm_gap", max_u Q_tot(u) - Q_tot(u-hat): 0 where greedy agents are jointly greedy (POW eq. 2; MRVF eq. 1).
    """
    sizes = rollout.spec.n_agents, rollout.spec.n_actions
    believed = joint_values(rollout, learner)
    chosen = (joint_actions.listed(*sizes) == greedy(rollout, learner)).all(-1)
    found = {**{f"table_{name}": values for name, values in believed.items()}, "greedy": chosen.astype(jnp.float32)}
    names = joint_actions.names(*sizes)
    metrics = {f"{name}/{joint}": values[k] for name, values in found.items() for k, joint in enumerate(names)}
    joint = believed["joint"]
    return {"igm_gap": joint.max() - jnp.where(chosen, joint, 0).sum(), **metrics}
