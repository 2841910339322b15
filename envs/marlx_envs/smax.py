"""SMAX: battles of two small armies, allies against a scripted enemy (JaxMARL, Rutherford et al. 2023, after SMAC).

Rules, observations and scenarios are those of jaxmarl 0.2.0; numbers are not comparable with StarCraft II, nor with
jaxmarl before 0.2. Axis letters: N units, A allies, E enemies; the agents are the allies.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import chex
import jax
import jax.numpy as jnp

from marlx_envs import jaxmarl, smax_battle
from marlx_envs.base import Environment, Params, Spec, Step
from marlx_envs.discovery import Entry
from marlx_envs.options import UsageError, choice, flag, number, size, text
from marlx_envs.smax_battle import Battle
from marlx_envs.smax_engine import NativeEngine
from marlx_envs.smax_rules import SHOOT, STOP, statistics
from marlx_envs.smax_special import special
from marlx_envs.smax_units import (
    JAXMARL_KINDS,
    KNOWN_UNITS,
    SCENARIOS,
    UNITS,
    Scenario,
    kinds,
    n_kinds,
    team_of,
    unknown_scenario,
)

Entry(
    name="smax",
    summary="Battles of two small armies against a scripted enemy",
    source="JaxMARL (SMAX), after SMAC",
    factory="Smax",
)

KILL, WIN, BEST_RETURN = 10.0, 200.0, 20.0  # of SMAC's reward


@dataclass(frozen=True)
class Smax(Environment):
    """A scenario, or teams of one's own. `won`: all enemies are dead and an ally lives."""

    scenario: str = text("3m", "who fights whom, and where they begin")
    allies: str = text("", f"team in place of the scenario's, as 2s3Z; units: {KNOWN_UNITS}")
    enemies: str = text("", "enemies in place of the scenario's")
    episode_limit: int = size(100, "environment steps; 0 takes the limit of the StarCraft map", low=0, high=65535)
    limit_is_terminal: bool = flag(True, "the time limit terminates the episode instead of truncating it")
    reward: str = choice(
        "jaxmarl",
        "jaxmarl: mean share of health that enemies lose (as much where a medivac heals them), and 1 for a win; "
        "smac20: health, kills and win as in SMAC, at most 20 in all; smac20_absolute: its absolute value",
        ("jaxmarl", "smac20", "smac20_absolute"),
    )
    reward_scale: float = number(10.0, "factor of the reward `jaxmarl`, whose best return is 2")
    state: str = choice(
        "normalised",
        "global state: units as they see themselves and allies' latest actions, or jaxmarl's in cells and seconds",
        ("normalised", "jaxmarl"),
    )
    engine: str = choice("native", "this package's own, or jaxmarl's (slower; the reference)", ("native", "jaxmarl"))

    def __post_init__(self) -> None:
        if self.scenario not in SCENARIOS:
            raise unknown_scenario(self.scenario)
        if self.engine == "jaxmarl":
            jaxmarl.check_version()
            if special(kinds(self.battle.allies + self.battle.enemies)) is not None:
                ours = ", ".join(unit.name for unit in UNITS[JAXMARL_KINDS:])
                raise UsageError(f"environment.engine=jaxmarl does not have {ours}; take native")
        if self.battle.drawn and (self.allies or self.enemies):
            raise UsageError(f"environment.scenario={self.scenario} draws its units; name teams with another scenario")

    @classmethod
    def named_values(cls) -> dict[str, tuple[str, ...]]:
        """The scenarios."""
        return {"scenario": tuple(SCENARIOS)}

    @cached_property
    def battle(self) -> Scenario:
        """The scenario with the user's own teams in it."""
        named = SCENARIOS[self.scenario]
        allies = team_of(self.allies, "environment.allies") if self.allies else named.allies
        enemies = team_of(self.enemies, "environment.enemies") if self.enemies else named.enemies
        return replace(named, allies=allies, enemies=enemies)

    @cached_property
    def limit(self) -> int:
        """Environment steps of an episode."""
        return self.episode_limit or self.battle.smac_limit

    @cached_property
    def core(self) -> Any:
        """What resets, steps and looks."""
        if self.engine == "native":
            return NativeEngine(self.battle)
        from marlx_envs.smax_reference import ReferenceEngine

        return ReferenceEngine(self.battle, self.limit - 1)

    @cached_property
    def spec(self) -> Spec:
        """Static sizes; an episode is won or not."""
        allies, enemies = len(self.battle.allies), len(self.battle.enemies)
        units, n_actions = allies + enemies, SHOOT + enemies
        mends = any(UNITS[kind].heals for kind in kinds(self.battle.enemies))  # who is healed can lose more
        told_apart = n_kinds(kinds(self.battle.allies + self.battle.enemies))
        normalised = units * (4 + told_apart) + allies * n_actions
        return Spec(
            n_agents=allies,
            n_actions=n_actions,
            observation_size=(units - 1) * (7 + told_apart) + 4 + told_apart,
            state_size=normalised if self.state == "normalised" else units * (6 + told_apart),
            episode_limit=self.limit,
            limit_is_terminal=self.limit_is_terminal,
            return_max=None if mends else 2 * self.reward_scale if self.reward == "jaxmarl" else BEST_RETURN,
            can_be_won=True,
        )

    def reset(self, key: chex.PRNGKey, params: Params | None = None) -> Battle:
        """Teams apart, in good health."""
        battle: Battle = self.core.reset(key)
        return battle

    def step(self, key: chex.PRNGKey, state: Battle, actions: jax.Array, params: Params | None = None) -> Step:
        """Half a second. `info["won"]` tells whether the battle is won; actions that do not exist are stops."""
        exists = (actions >= 0) & (actions < self.spec.n_actions)
        after = self.core.step(key, state, jnp.where(exists, actions, STOP).astype(jnp.int32))
        return self.outcome(state, after, params)

    def outcome(self, before: Battle, after: Battle, params: Params | None = None) -> Step:
        """What a step gives, from the battle before and after it."""
        params = self.params if params is None else params
        allies = self.spec.n_agents
        lives = after.units.health > 0
        allies_left, enemies_left = lives[:allies].any(), lives[allies:].any()
        won = allies_left & ~enemies_left
        ended, late = ~(allies_left & enemies_left), after.time >= self.limit
        terminated = ended | late if self.limit_is_terminal else ended
        reward = self._reward(before, after, won, params)
        return after, reward, terminated, late & ~terminated, {"won": won}

    def _reward(self, before: Battle, after: Battle, won: jax.Array, params: Params) -> jax.Array:
        kinds, allies = self.core.kinds(before), self.spec.n_agents
        full = statistics(kinds).health[allies:]
        lost = (before.units.health - after.units.health)[allies:]
        if self.reward == "jaxmarl":
            return params["reward_scale"] * (jnp.abs(jnp.mean(lost / full)) + won)
        dead = (before.units.health > 0) & (after.units.health == 0)
        reward = lost.sum() + KILL * dead[allies:].sum() + WIN * won
        scaled = reward * BEST_RETURN / (full.sum() + KILL * full.shape[0] + WIN)
        return jnp.abs(scaled) if self.reward == "smac20_absolute" else scaled

    def observe(self, state: Battle, params: Params | None = None) -> jax.Array:
        """Float32 [A O], `smax_battle.observe`."""
        return self.core.observe(state)

    def global_state(self, state: Battle, params: Params | None = None) -> jax.Array:
        """Float32 [D], `smax_battle.normalised_state` or `raw_state`."""
        if self.state == "jaxmarl":
            return self.core.raw_state(state)
        return smax_battle.normalised_state(state, self.core.kinds(state), self.spec.n_agents)

    def available_actions(self, state: Battle, params: Params | None = None) -> jax.Array:
        """Stopping; moving while alive; attacking live enemies in range. Bool [A 5 + E]."""
        return self.core.available_actions(state)

    def pack(self, state: Battle) -> Battle:
        """Without what nobody sees. The health of jaxmarl's units is whole and at most 160."""
        health = state.units.health
        whole = special(self.core.fixed) is None
        packed = health.astype(jnp.uint8) if whole else health
        return state._replace(units=state.units._replace(health=packed), orders=None, time=None)

    def unpack(self, packed: Battle) -> Battle:
        """With health as a float32 again."""
        return packed._replace(units=packed.units._replace(health=packed.units.health.astype(jnp.float32)))
