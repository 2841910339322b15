"""GoMARL: agents are mixed within groups, groups are mixed with each other, and groups are found while learning
(Zang et al. 2023).

    Q_j = elu(sum_{i in G_j} (q_i |W1(h_i)| + b1_j(h_i))) |w2_j(y_j)| + b2_j(y_j),    y_j = max_{i in G_j} g_i
    Q_tot = elu(sum_j (Q_j |W3(y_j)| + b3(y_j))) |w4(s)| + b4(s)
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
from marlx_envs.discovery import Entry
from marlx_envs.options import flag, needed, number, size

from marlx.initialisers import affine, stacked
from marlx.losses import masked_mean, over_devices
from marlx.mixers.base import Context, Mixer
from marlx.types import Metrics, Params, Progress

Entry(
    name="gomarl",
    summary="monotone mixing within groups and of groups, which are split while learning",
    source="Zang et al. 2023 (GoMARL)",
    factory="GoMARL",
)

_DECAY_STEPS = 100_000  # environment steps


class Groups(NamedTuple):
    """What GoMARL remembers. Groups are numbered without gaps; each has a member."""

    of: jax.Array  # int32 [N], group of each agent
    turn: jax.Array  # int32, the group whose weights the lasso shrinks
    regrouped_at: jax.Array  # float32, environment steps


@dataclass(frozen=True)
class GoMARL(Mixer):
    """Memories enter without gradient; group states g with it, which is how they are learnt.

    Networks of groups are stacked, for as many groups as there may ever be; those that do not exist are masked. The
    networks of W1 belong to agents, those of b1, w2 and b2 to groups, the others to all. Chosen here: regrouping
    averages W1 over the batch at hand (the released code draws 4 of 256 episodes); all groups are judged by their
    members before any of them moves, and leavers stay where there is no group left for them. The lasso and averages
    count valid slots alone. As an agent with W1 above its group's mean always stays, no group ever empties.
    """

    memory_size: int
    group_width: int
    axis: str | None = None

    mixing_width: int = size(32, "width E of both mixing layers", high=4096)
    hypernet_width: int = size(32, "width K of the hypernetworks' hidden layers", high=4096)
    max_groups: int = size(4, "groups there may be; never more than agents", high=4096)
    regroup_interval: float = number(100_000, "environment steps between regroupings", low=1)
    leave_ratio: float = number(0.7, "agents with W1 below this share of their group's mean leave it", low=0, high=1)
    lasso_scale: float = number(0.005, "first factor of the lasso on W1", low=0)
    lasso_decay: float = number(0.96, "what that factor is multiplied by every 100,000 environment steps", low=0)
    similarity_scale: float = number(0.005, "factor of the loss of group states: like in a group, unlike across", low=0)
    frozen_new_groups: bool = flag(False, "networks of later groups stay as drawn, as in the released code")

    agent_head: ClassVar[str | None] = "group_state"

    @property
    def _groups(self) -> int:
        """J, the number of groups there is room for."""
        return min(self.max_groups, self.n_agents)

    def init(self, key: chex.PRNGKey) -> Params:
        """Parameters {"agents" [N ..], "groups" [J ..], "all"}."""
        agents_key, *keys = jax.random.split(key, 11)
        e, k, g, j = self.mixing_width, self.hypernet_width, self.group_width, self._groups
        return {
            "agents": self._init_agents(agents_key),
            "groups": {
                "b1": stacked(keys[0], self.memory_size, e, j),
                "first": stacked(keys[1], g, 2 * k, j),  # hidden layers of w2 and b2
                "w2": stacked(keys[2], k, e, j),
                "b2": stacked(keys[3], k, 1, j),
            },
            "all": {
                "first": stacked(keys[4], g, k + e),  # the hidden layer of W3, and b3
                "w3": stacked(keys[5], k, e),
                "state": stacked(keys[6], self.state_size, 2 * k),  # hidden layers of w4 and b4
                "w4": stacked(keys[7], k, e),
                "b4": stacked(keys[8], k, 1),
            },
        }

    def _init_agents(self, key: chex.PRNGKey) -> Params:
        """The networks of W1, one for each agent."""
        first, second = jax.random.split(key)
        n, k = self.n_agents, self.hypernet_width
        return {"first": stacked(first, self.memory_size, k, n), "w1": stacked(second, k, self.mixing_width, n)}

    def variables(self) -> Groups:
        """One group of all agents."""
        return Groups(jnp.zeros(self.n_agents, jnp.int32), jnp.int32(0), jnp.float32(0))

    def apply(
        self, params: Params, utilities: jax.Array, state: jax.Array, context: Context | None = None
    ) -> jax.Array:
        """Q_tot [..] from utilities [.. N], state [.. D], and memories and group states in `context`."""
        self.check_sizes(utilities, state)
        context = needed(context, self, "context")
        group_state = needed(context.group_state, self, "context.group_state")
        groups, shared = self._trained(params["groups"]), params["all"]
        member = self._member(context)
        exists = (member.sum(0) > 0)[:, None, None]

        # Of agents, [N R ..]; an agent's b1 has the weights of its group.
        memory, w1 = self._w1(params, context)
        b1 = affine(jax.tree.map(lambda x: jnp.einsum("nj,j...->n...", member, x), groups["b1"]), memory)
        rows = utilities.reshape(-1, self.n_agents)
        hidden = nn.elu(jnp.einsum("nj,nre->jre", member, rows.T[..., None] * w1 + b1))

        # Of groups, [J R ..].
        states = jnp.moveaxis(group_state.reshape(-1, self.n_agents, self.group_width), 1, 0)
        inside = (member > 0).T[..., None, None]  # [J N 1 1]
        group = jnp.where(exists, jnp.where(inside, states, -jnp.inf).max(1), 0)
        of_w2, of_b2 = jnp.split(nn.relu(affine(groups["first"], group)), 2, axis=-1)
        w2, b2 = jnp.abs(affine(groups["w2"], of_w2)), affine(groups["b2"], of_b2)
        value = (hidden * w2).sum(-1, keepdims=True) + b2

        # Of all, [R ..].
        of_w3, b3 = jnp.split(affine(shared["first"], group), [self.hypernet_width], axis=-1)
        w3 = jnp.abs(affine(shared["w3"], nn.relu(of_w3)))
        of_w4, of_b4 = jnp.split(nn.relu(affine(shared["state"], state.reshape(-1, self.state_size))), 2, axis=-1)
        w4, b4 = jnp.abs(affine(shared["w4"], of_w4)), affine(shared["b4"], of_b4)
        total = nn.elu(jnp.where(exists, value * w3 + b3, 0).sum(0))
        return ((total * w4).sum(-1) + b4[:, 0]).reshape(state.shape[:-1])

    def auxiliary(self, params: Params, context: Context, progress: Progress) -> tuple[jax.Array, Metrics]:
        """The lasso on W1 of the group whose turn it is, and the (dis)similarity of group states; each [..]."""
        group_state = needed(context.group_state, self, "context.group_state")
        lead, groups = context.actions.shape[:-1], context.variables
        alpha = self.lasso_scale * self.lasso_decay ** jnp.floor(progress.env_steps / _DECAY_STEPS)
        turn = (groups.of == groups.turn).astype(jnp.float32)
        lasso = alpha * (turn @ self._w1(params, context)[1].mean(-1)).reshape(lead)
        alike = similarity(group_state, self._member(context))
        count = jnp.broadcast_to(groups.of.max() + 1.0, lead)
        parts = {"lasso_loss": lasso, "similarity_loss": alike, "groups": count}
        return lasso + self.similarity_scale * alike, parts

    def adapt(
        self, params: Params, context: Context, progress: Progress, key: chex.PRNGKey
    ) -> tuple[Params, Groups, jax.Array]:
        """Every `regroup_interval` environment steps: groups are split, and the W1 of those who moved starts afresh."""
        groups, lead = context.variables, context.actions.shape[:-1]
        due = progress.env_steps - groups.regrouped_at >= self.regroup_interval
        valid = jnp.ones(lead, bool) if context.valid is None else context.valid
        each = self._w1(params, context)[1].mean(-1)  # [N R]
        average = jax.vmap(lambda x: masked_mean(x, valid.reshape(-1), self.axis))(each)
        of, leaves = regroup(groups.of, over_devices(average, self.axis), self.leave_ratio, self._groups)
        leaves = leaves & due
        changed = leaves.any()
        fresh = self._init_agents(key)
        agents = jax.tree.map(
            lambda new, old: jnp.where(leaves.reshape(-1, *(1,) * (old.ndim - 1)), new, old), fresh, params["agents"]
        )
        groups = Groups(
            of=jnp.where(due, of, groups.of),
            turn=jnp.where(changed, (groups.turn + 1) % (of.max() + 1), groups.turn),
            regrouped_at=jnp.where(due, progress.env_steps, groups.regrouped_at),
        )
        return {**params, "agents": agents}, groups, changed

    def _w1(self, params: Params, context: Context) -> tuple[jax.Array, jax.Array]:
        """Memories without gradient, agents first [N R H], and weights of the agents' utilities |W1| [N R E]."""
        memory = jax.lax.stop_gradient(context.memory).reshape(-1, self.n_agents, self.memory_size)
        memory = jnp.moveaxis(memory, 1, 0)
        agents = params["agents"]
        return memory, jnp.abs(affine(agents["w1"], nn.relu(affine(agents["first"], memory))))

    def _member(self, context: Context) -> jax.Array:
        """Which group each agent is in, one-hot [N J]."""
        return jax.nn.one_hot(context.variables.of, self._groups)

    def _trained(self, groups: Params) -> Params:
        """Networks of groups, [J ..]; frozen ones without gradient."""
        if not self.frozen_new_groups:
            return groups
        return jax.tree.map(lambda x: jnp.concatenate([x[:1], jax.lax.stop_gradient(x[1:])]), groups)


def similarity(states: jax.Array, member: jax.Array) -> jax.Array:
    """1/N^2 sum_ik +-cos(g_i, g_k), minus within a group (i = k too), plus across groups.

    Args:
        states: g [.. N G]; member: one-hot groups [N J].

    Returns:
        [..], from sums of unit vectors: |sum_i u_i|^2 - 2 sum_j |sum_{i in G_j} u_i|^2.
    """
    units = states * jax.lax.rsqrt(jnp.maximum((states**2).sum(-1, keepdims=True), 1e-16))
    sums = jnp.einsum("nj,...ng->...jg", member, units)
    everyone = (sums.sum(-2) ** 2).sum(-1)
    return (everyone - 2 * (sums**2).sum((-2, -1))) / states.shape[-2] ** 2


def regroup(
    groups: jax.Array, averages: jax.Array, ratio: jax.Array | float, max_groups: int
) -> tuple[jax.Array, jax.Array]:
    """Agents far below the mean of their group of three or more leave it for the next, a new one after the last.

    Args:
        groups: int32 [N], without gaps; averages: float [N], W1 of each agent; ratio: of the group's mean.

    Returns:
        groups int32 [N], and who left, bool [N].
    """
    member = jax.nn.one_hot(groups, max_groups)
    count = member.sum(0)
    mean = member @ (averages @ member / jnp.maximum(count, 1))
    leaves = (averages < ratio * mean) & (member @ count >= 3) & (groups + 1 < max_groups)
    return groups + leaves, leaves
