"""SMAX battles computed by this package's own implementation of the rules; needs no jaxmarl."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from marlx_envs import sampling, smax_battle, smax_rules, smax_starts
from marlx_envs.batch_last import batch_last
from marlx_envs.smax_battle import NO_ACTION, Battle
from marlx_envs.smax_enemy import enemy_turn
from marlx_envs.smax_rules import COOLDOWN_NOISE, NO_TARGET, TICKS, Orders, Units, fight, statistics
from marlx_envs.smax_special import special
from marlx_envs.smax_units import LETTERS, Kinds, Scenario, kinds


def play(
    kinds: Kinds, units: Units, orders: Orders, actions: jax.Array, pick: jax.Array, noise: jax.Array
) -> tuple[Units, Orders, jax.Array]:
    """One step with its randomness given.

    Args:
        kinds: uint8 [N L] or [N 1].
        units: before.
        orders: before.
        actions: int32 [A L], of allies, STOP where they are none of theirs.
        pick: float32 [E L] in [0, 1), chooses the ally that an enemy walks towards, among those it sees.
        noise: float32 [8 N L], seconds, added to the cooldown of a unit that shoots at that tick.

    Returns:
        units, orders, actions of all units int32 [N L], enemies' being SHOOT + j to attack ally A - 1 - j.
    """
    numbers, facts, n_allies = statistics(kinds), special(kinds), actions.shape[0]
    enemy_actions, target = enemy_turn(numbers, units, orders, pick, n_allies, facts)
    actions = jnp.concatenate([actions, enemy_actions])
    after = fight(numbers, units, actions, n_allies, noise, facts)
    return after, Orders(orders.goal, target), actions


@dataclass(frozen=True)
class NativeEngine:
    """Resets and steps of one scenario."""

    scenario: Scenario

    @property
    def n_allies(self) -> int:
        """Units of the team that learns."""
        return len(self.scenario.allies)

    @property
    def n_enemies(self) -> int:
        """Units of the other team."""
        return len(self.scenario.enemies)

    @property
    def n_units(self) -> int:
        """Units of both teams."""
        return self.n_allies + self.n_enemies

    @cached_property
    def fixed(self) -> np.ndarray:
        """Kinds of the units where they are not drawn, uint8 [N]."""
        return kinds(self.scenario.allies + self.scenario.enemies)

    def kinds(self, battle: Battle) -> Kinds:
        """Kinds of the units, uint8 [N]."""
        return self.fixed if battle.kinds is None else battle.kinds

    @cached_property
    def _step(self) -> Any:
        fixed = self.fixed[:, None]
        return batch_last(lambda drawn, *rest: play(fixed if drawn is None else drawn, *rest))

    @cached_property
    def _push(self) -> Any:
        fixed = self.fixed[:, None]

        def push(drawn: Any, position: jax.Array) -> jax.Array:
            numbers = statistics(fixed if drawn is None else drawn)
            facts = special(fixed) if drawn is None else None
            return smax_rules.push(position, jnp.ones(position.shape[1:], bool), numbers.radius, facts)

        return batch_last(push)

    def reset(self, key: chex.PRNGKey) -> Battle:
        """Draws places, and kinds where the scenario leaves them to chance."""
        place_key, more_key, kind_key = jax.random.split(key, 3)
        uniforms = sampling.fraction(sampling.words(place_key, 2 * self.n_units)).reshape(2, self.n_units)
        if not self.scenario.drawn:
            return self.begin(smax_starts.facing(uniforms, self.n_allies), None)
        words = sampling.words(more_key, 6 + self.n_units)
        mirrors, allies_inside = words[0] >> 31 == 0, words[1] >> 31 == 0
        groups, _ = sampling.digit(words[6:], 4)
        surrounding = smax_starts.surrounding(
            uniforms, groups, sampling.fraction(words[2:6]), allies_inside, self.n_allies, self.scenario.inside
        )
        position = jnp.where(mirrors, smax_starts.mirrored(uniforms, self.n_allies), surrounding)
        choice, _ = sampling.digit(sampling.words(kind_key, self.n_allies), len(self.scenario.drawn))
        allies = sum(jnp.where(choice == i, LETTERS.index(c), 0) for i, c in enumerate(self.scenario.drawn))
        drawn = jnp.concatenate([allies, allies]).astype(jnp.uint8)
        return self.begin(position, drawn)

    def begin(self, position: jax.Array, drawn: jax.Array | None) -> Battle:
        """The first state with units placed at `position` float32 [2 N], once they have pushed each other apart."""
        position = self._push(drawn, position)
        health = statistics(self.fixed if drawn is None else drawn).health
        goal = smax_rules.MAP - position[:, self.n_allies :]
        return Battle(
            units=Units(position, health, jnp.zeros(self.n_units)),
            actions=jnp.full(self.n_units, NO_ACTION, jnp.uint8),
            kinds=drawn,
            orders=Orders(goal, jnp.full(self.n_enemies, NO_TARGET, jnp.int32)),
            time=jnp.int32(0),
        )

    def step(self, key: chex.PRNGKey, battle: Battle, actions: jax.Array) -> Battle:
        """Draws the random inputs of `transition`. No unit shoots twice in a step, so it needs one number."""
        uniforms = sampling.fraction(sampling.words(key, self.n_units + self.n_enemies))
        low, high = COOLDOWN_NOISE
        noise = jnp.broadcast_to(low + (high - low) * uniforms[: self.n_units], (TICKS, self.n_units))
        return self.transition(battle, actions, uniforms[self.n_units :], noise)

    def transition(self, battle: Battle, actions: jax.Array, pick: jax.Array, noise: jax.Array) -> Battle:
        """One step with its randomness given.

        Args:
            battle: before.
            actions: int32 [A], of the allies, each one of theirs.
            pick: float32 [E] in [0, 1), chooses the ally that an enemy walks towards, among those it sees.
            noise: float32 [8 N], seconds, added to the cooldown of a unit that shoots at that tick.
        """
        units, orders, every = self._step(battle.kinds, battle.units, battle.orders, actions, pick, noise)
        return Battle(units, every.astype(jnp.uint8), battle.kinds, orders, battle.time + 1)

    def observe(self, battle: Battle) -> jax.Array:
        """Observations, float32 [A O]."""
        return smax_battle.observe(battle, self.kinds(battle), self.n_allies)

    def raw_state(self, battle: Battle) -> jax.Array:
        """Global state in jaxmarl's form, float32 [D]."""
        return smax_battle.raw_state(battle, self.kinds(battle), self.n_allies)

    def available_actions(self, battle: Battle) -> jax.Array:
        """Bool [A 5 + E]."""
        return smax_battle.available_actions(battle, self.kinds(battle), self.n_allies)
