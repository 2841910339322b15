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


def igm_gap(joint: jax.Array, chosen: jax.Array, possible: jax.Array) -> jax.Array:
    """max_u Q_tot(u) - Q_tot(u-hat), [..]: 0 where greedy agents are jointly greedy (IGM: POW eq. 2; MRVF eq. 1).

    Args:
        joint: Q_tot of all joint actions [.. K]; chosen: bool [.. K], u-hat alone.
        possible: bool [.. K], joint actions of which every agent may take its part.
    """
    return jnp.where(possible, joint, -jnp.inf).max(-1) - jnp.where(chosen, joint, 0).sum(-1)


def tables(rollout: Rollout, learner: Any) -> Metrics:
    """Both as metrics of each joint action: "table_joint/AB" a value, "greedy/AB" 1 for the one chosen and else 0.

    And `igm_gap` of Q_tot.
    """
    sizes = rollout.spec.n_agents, rollout.spec.n_actions
    believed, listed = joint_values(rollout, learner), joint_actions.listed(*sizes)
    chosen = (listed == greedy(rollout, learner)).all(-1)
    available = rollout.view(rollout.reset(jax.random.key(0), 1)).available[0]
    possible = available[jnp.arange(sizes[0]), listed].all(-1)
    found = {**{f"table_{name}": values for name, values in believed.items()}, "greedy": chosen.astype(jnp.float32)}
    names = joint_actions.names(*sizes)
    metrics = {f"{name}/{joint}": values[k] for name, values in found.items() for k, joint in enumerate(names)}
    return {"igm_gap": igm_gap(believed["joint"], chosen, possible), **metrics}
