"""Predator-prey ("stag hunt") on a grid: prey is captured only together, and trying alone is punished.

The task of relative overgeneralisation in DCG (arXiv:1910.00091), weighted QMIX (arXiv:2006.10800) and PyMARL2. Who
moves first is random, and so is where prey goes. Axis letters: N agents, M prey (stags, then hares), A = 6 actions
(right, down, left, up, stay, catch), O observation features, S global-state features.
"""

from dataclasses import dataclass
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from marlx_envs import predator_prey_rules as rules
from marlx_envs import sampling
from marlx_envs.base import Environment, Params, Step
from marlx_envs.discovery import Entry
from marlx_envs.grid import BLIND, members, picture, settle, union, views, where_bits
from marlx_envs.predator_prey_options import N_ACTIONS, PRESETS, PredatorPreyOptions

__all__ = ["PRESETS", "PredatorPrey", "PredatorPreyState"]

Entry(
    name="predator_prey",
    summary="Stag hunt on a grid: prey is captured only together, and trying alone is punished",
    source="DCG, WQMIX, PyMARL2",
    factory="PredatorPrey",
)

STAY, CATCH = 4, 5


class PredatorPreyState(NamedTuple):
    """Cells are numbers of `Grid`, its `none` for what has left; uint8 where the grid allows, else uint16."""

    agents: jax.Array  # [N]
    prey: jax.Array  # [M]
    time: jax.Array  # [], environment steps done
    frozen: jax.Array | None  # bool [N], only where frozen agents stay on the grid


@dataclass(frozen=True)
class PredatorPrey(PredatorPreyOptions, Environment):
    """Predators of `n_agents`, prey that moves at random; rules as options say."""

    def reset(self, key: chex.PRNGKey, params: Params | None = None) -> PredatorPreyState:
        """Agents and prey in distinct cells; all placements are equally likely."""
        count = self.n_agents + self.n_prey
        index = sampling.sample_distinct(key, self.height * self.width, count)
        cells = self.grid.cell(index // self.width, index % self.width).astype(self.grid.dtype)
        stays = self.hunt.freezes and not self.hunt.removes
        return PredatorPreyState(
            agents=cells[: self.n_agents],
            prey=cells[self.n_agents :],
            time=jnp.zeros((), self.time_dtype),
            frozen=jnp.zeros(self.n_agents, bool) if stays else None,
        )

    def step(
        self, key: chex.PRNGKey, state: PredatorPreyState, actions: jax.Array, params: Params | None = None
    ) -> Step:
        """Draws the random inputs of `transition`."""
        words = sampling.words(key, max(self.n_agents, self.n_prey))
        agent_order, words = sampling.permutation(words, self.n_agents)
        prey_order, words = sampling.permutation(words, self.n_prey)
        uniforms = sampling.fraction(words[: self.n_prey])
        return self.transition(state, actions, agent_order, prey_order, uniforms, params)

    def transition(
        self,
        state: PredatorPreyState,
        actions: jax.Array,
        agent_order: jax.Array,
        prey_order: jax.Array,
        uniforms: jax.Array,
        params: Params | None = None,
    ) -> Step:
        """One step with its randomness given.

        Agents move, then prey is captured or moves; the captures of a step are judged after the agents' moves.

        Args:
            state: before the step.
            actions: int32 [N]; what cannot be done leaves the agent in place.
            agent_order: int32 [N], agents from first to last; unused if moves are simultaneous.
            prey_order: int32 [M], prey from first to last; unused if moves are simultaneous.
            uniforms: float32 [M] in [0, 1), for the first prey to the last: below `prey_rest` it rests; its free
                directions, as right, down, left, up, share the interval above equally.
            params: numbers among the options.

        Returns:
            As `step`; info has `captured`, int32 [], how many prey the team has captured so far.
        """
        params = self.params if params is None else params
        active, none = self._active(state), self.grid.none
        prey = state.prey.astype(jnp.int32)
        agents, collisions = self._move_agents(state, actions, agent_order)
        catching = active & (actions == CATCH)
        hunted = rules.prey_turns(
            self.hunt,
            prey,
            agents,
            settle(where_bits(self.n_agents, lambda i: catching[i])),
            prey_order if self.hunt.in_turn else jnp.arange(self.n_prey),
            _above(uniforms, params["prey_rest"]),
        )
        prey, caught, frozen = hunted.cells, members(hunted.caught, self.n_agents), state.frozen
        if self.hunt.removes:
            agents = jnp.where(caught, none, agents)
        elif frozen is not None:
            frozen = frozen | caught
        time = jnp.minimum(state.time.astype(jnp.int32) + 1, self.episode_limit)
        after = PredatorPreyState(
            agents.astype(self.grid.dtype), prey.astype(self.grid.dtype), time.astype(self.time_dtype), frozen
        )
        ended = jnp.all(prey == none) | ~jnp.any(self._active(after))
        limit = time == self.episode_limit
        terminated = ended | limit if self.limit_is_terminal else ended
        captured = jnp.sum(prey == none, dtype=jnp.int32)
        reward = self._reward(hunted, collisions, params)
        return after, reward, terminated, limit & ~terminated, {"captured": captured}

    def _active(self, state: PredatorPreyState) -> jax.Array:
        """Bool [N], agents that can act and are seen."""
        present = state.agents != np.asarray(self.grid.none, self.grid.dtype)
        return present if state.frozen is None else present & ~state.frozen

    def _move_agents(
        self, state: PredatorPreyState, actions: jax.Array, order: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """New cells int32 [N], and how many agents found their way occupied, int32 []."""
        agents, prey = state.agents.astype(jnp.int32), state.prey.astype(jnp.int32)
        target = agents + union([jnp.where(actions == d, offset, 0) for d, offset in enumerate(self.grid.moves)])
        target = settle(jnp.where(self._active(state) & self.grid.inside(target), target, agents))
        barriers = prey if self.hunt.adjacent else prey[:0]
        if self.hunt.in_turn:
            moved = rules.agents_in_turn(agents, target, barriers, order, self.hunt.capacity)
        else:
            moved = rules.agents_at_once(agents, target, barriers, self.hunt.capacity)
        cells = jnp.where(members(moved, self.n_agents), target, agents)
        return settle(cells), jnp.sum(cells != target, dtype=jnp.int32)

    def _reward(self, hunted: rules.Hunted, collisions: jax.Array, params: Params) -> jax.Array:
        """Counts times numbers: sums of floats would be a kernel of their own."""
        stag = np.arange(self.n_prey) < self.n_stags
        captured = hunted.outcomes == rules.CAPTURED
        if self.penalty_scope == "team":
            misses = jnp.sum(hunted.outcomes >= rules.MISSED, dtype=jnp.int32)
        else:
            misses = lax.population_count(hunted.tried & ~hunted.caught)
        return (
            params["time_reward"]
            + params["collision_reward"] * collisions
            + params["capture_reward"] * jnp.sum(captured & stag, dtype=jnp.int32)
            + params["hare_reward"] * jnp.sum(captured & ~stag, dtype=jnp.int32)
            + params["miss_penalty"] * misses
        )

    def available_actions(self, state: PredatorPreyState, params: Params | None = None) -> jax.Array:
        """Moves within the grid, staying, and catching where prey is near; only staying for the frozen. Bool [N A]."""
        agents, prey = state.agents.astype(jnp.int32), state.prey.astype(jnp.int32)
        action = np.arange(N_ACTIONS)
        target = agents[:, None] + np.array([*self.grid.moves, 0, 0])
        allowed = self.grid.inside(target)
        if self.mask_occupied_moves:
            crowd = jnp.sum(target[..., None] == agents, axis=-1)
            occupied = [crowd >= self.hunt.capacity]
            if self.hunt.adjacent:
                occupied += [target == prey[i] for i in range(self.n_prey)]
            allowed &= ~union(occupied) | (action >= STAY)
        reach = self.grid.moves if self.hunt.adjacent else (0,)
        near = settle(union([agents + offset == prey[i] for i in range(self.n_prey) for offset in reach]))
        allowed = jnp.where(action == CATCH, near[:, None], allowed)
        return jnp.where(self._active(state)[:, None], allowed, action == STAY)

    def observe(self, state: PredatorPreyState, params: Params | None = None) -> jax.Array:
        """Float32 [N O], the square of `view_radius` around each agent, row by row, a channel for each kind of entity.

        Channels are active agents, stags and hares, the fastest axis. Walls are not seen; a frozen agent sees nothing.
        """
        active, agents = self._active(state), state.agents.astype(jnp.int32)
        layers = self._layers(jnp.where(active, agents, self.grid.none), state.prey)
        return views(self.grid, self.view_radius, jnp.where(active, agents, BLIND), layers)

    def global_state(self, state: PredatorPreyState, params: Params | None = None) -> jax.Array:
        """Float32 [D], the whole grid with the channels of an observation, frozen agents that stay on it included."""
        cells = self.grid.cell(*np.divmod(np.arange(self.height * self.width), self.width))
        return picture(cells, self._layers(state.agents, state.prey))

    def _layers(self, agents: jax.Array, prey: jax.Array) -> list[list[jax.Array]]:
        """Cells of the entities of each channel, int32 []."""
        agents, prey = agents.astype(jnp.int32), prey.astype(jnp.int32)
        return [[agents[i] for i in range(self.n_agents)], *([prey[i] for i in kind] for kind in self.kinds)]


def _above(uniforms: jax.Array, rest: jax.Array) -> jax.Array:
    """Uniforms above `rest` stretched to [0, 1), 1 for those below."""
    stretched = (uniforms - rest) / jnp.maximum(1 - rest, 1e-6)
    return jnp.where(uniforms < rest, 1.0, jnp.minimum(stretched, np.float32(1 - 2.0**-24)))
