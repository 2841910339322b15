"""SMAX battles computed by jaxmarl's `HeuristicEnemySMAX.step_env`: what this package's own engine is compared with."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from marlx_envs import jaxmarl
from marlx_envs.smax_battle import NO_ACTION, Battle
from marlx_envs.smax_engine import NativeEngine
from marlx_envs.smax_rules import MAP, SHOOT, Orders, Units

SMAX = "jaxmarl.environments.smax"
DIRECTIONS = np.array([[0, 1], [1, 0], [0, -1], [-1, 0]], np.float32)  # north, east, south, west


@dataclass(frozen=True)
class ReferenceEngine(NativeEngine):
    """Resets, steps and looks by jaxmarl; the state is the same `Battle`.

    jaxmarl reads its clock before it advances it, so that an episode of T steps is `max_steps = T - 1`.
    """

    max_steps: int = 99

    @cached_property
    def inner(self) -> Any:
        """The environment of jaxmarl. It is kept: every new one would be compiled anew."""
        drawn = bool(self.scenario.drawn)
        with jax.ensure_compile_time_eval():
            scenario = jaxmarl.load(f"{SMAX}.smax_env").Scenario(
                jnp.asarray(self.fixed), self.n_allies, self.n_enemies, drawn, drawn
            )
            return jaxmarl.load().make("HeuristicEnemySMAX", scenario=scenario, max_steps=self.max_steps)

    def reset(self, key: chex.PRNGKey) -> Battle:
        """As `NativeEngine.reset`, placed and drawn by jaxmarl."""
        if self.scenario.inside:
            return super().reset(key)  # jaxmarl places some units outside the map, and draws from all kinds
        battle = self.from_inner(self.inner.reset(key)[1], jnp.full(self.n_units, NO_ACTION, jnp.uint8))
        goal = MAP - battle.units.position[:, self.n_allies :]  # jaxmarl sets it at the first step
        return battle._replace(orders=battle.orders._replace(goal=goal))

    def step(self, key: chex.PRNGKey, battle: Battle, actions: jax.Array) -> Battle:
        """One step of `step_env`, without an automatic reset."""
        return self.told(key, battle, actions)[0]

    def told(self, key: chex.PRNGKey, battle: Battle, actions: jax.Array) -> tuple[Battle, jax.Array, jax.Array]:
        """As `step`, with the reward float32 [] and the end bool [] of which jaxmarl tells."""
        by_agent = {agent: actions[i] for i, agent in enumerate(self.inner.agents)}
        _, after, rewards, dones, _ = self.inner.step_env(key, self.to_inner(battle), by_agent)
        moved, attacks = after.state.prev_movement_actions, after.state.prev_attack_actions
        walks = jnp.argmax(moved @ DIRECTIONS.T, axis=-1)
        enemies = jnp.where(attacks >= SHOOT, attacks, walks)[self.n_allies :]  # their heuristic never stops
        every = jnp.concatenate([actions, enemies]).astype(jnp.uint8)
        return self.from_inner(after, every), rewards[self.inner.agents[0]], dones["__all__"]

    def to_inner(self, battle: Battle) -> Any:
        """jaxmarl's state of a battle."""
        modules = [jaxmarl.load(f"{SMAX}.{name}") for name in ("smax_env", "heuristic_enemy_smax_env")]
        smax, enemy = modules[0].State, modules[1].State
        policy = jaxmarl.load(f"{SMAX}.heuristic_enemy").HeuristicPolicyState
        walks = battle.actions[:, None] == np.arange(len(DIRECTIONS))
        attacks = (battle.actions >= SHOOT) & (battle.actions != NO_ACTION)
        orders = Orders(jnp.zeros((2, self.n_enemies)), jnp.zeros(self.n_enemies, jnp.int32))
        orders = battle.orders or orders  # a packed battle is only looked at
        time = jnp.int32(0) if battle.time is None else battle.time
        state = smax(
            unit_positions=battle.units.position.T,
            unit_alive=battle.units.health > 0,
            unit_teams=jnp.asarray(np.arange(self.n_units) >= self.n_allies, jnp.float32),
            unit_health=battle.units.health,
            unit_types=jnp.asarray(self.kinds(battle)),
            unit_weapon_cooldowns=battle.units.cooldown,
            prev_movement_actions=walks.astype(jnp.float32) @ DIRECTIONS,
            prev_attack_actions=jnp.where(attacks, battle.actions, 0).astype(jnp.int32),
            done=jnp.zeros((), bool),
            step=time,
        )
        return enemy(state=state, enemy_policy_state=policy(orders.goal.T, orders.target))

    def from_inner(self, state: Any, actions: jax.Array) -> Battle:
        """The battle of a state of jaxmarl, with the latest actions uint8 [N] of all units."""
        units, policy = state.state, state.enemy_policy_state
        return Battle(
            units=Units(units.unit_positions.T, units.unit_health, units.unit_weapon_cooldowns),
            actions=actions,
            kinds=units.unit_types if self.scenario.drawn else None,
            orders=Orders(policy.default_target.T, policy.last_attacked_enemy.astype(jnp.int32)),
            time=jnp.asarray(units.step, jnp.int32),
        )

    def observe(self, battle: Battle) -> jax.Array:
        """Observations, float32 [A O]."""
        observations = self.inner.get_obs(self.to_inner(battle))
        return jnp.stack([observations[agent] for agent in self.inner.agents])

    def raw_state(self, battle: Battle) -> jax.Array:
        """Global state, float32 [D]."""
        return self.inner.get_world_state(self.to_inner(battle))

    def available_actions(self, battle: Battle) -> jax.Array:
        """Bool [A 5 + E]."""
        masks = self.inner.get_avail_actions(self.to_inner(battle))
        return jnp.stack([masks[agent] for agent in self.inner.agents]).astype(bool)
