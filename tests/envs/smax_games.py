"""What tests of SMAX share: jaxmarl's random numbers of a step, players, and both engines side by side."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from marlx_envs.smax import Smax
from marlx_envs.smax_rules import SHOOT, TICK, TICKS
from marlx_envs.smax_units import UNITS


def jaxmarl_noise(key, n_enemies, n_units):
    """What `HeuristicEnemySMAX.step_env(key, ..)` draws, as `NativeEngine.transition` takes it: (pick, noise)."""
    key, enemy_key = jax.random.split(key)
    walk_keys = jax.vmap(lambda k: jax.random.split(k)[0])(jax.random.split(enemy_key, n_enemies))

    def tick(key, _):
        key, world_key = jax.random.split(key)
        draw = partial(jax.random.uniform, minval=-TICK, maxval=2 * TICK)
        return key, jax.vmap(draw)(jax.random.split(world_key, n_units))

    return jax.vmap(jax.random.uniform)(walk_keys), jax.lax.scan(tick, key, None, TICKS)[1]


def random_player(key, available):
    return jax.random.categorical(key, jnp.where(available, 0.0, -jnp.inf)).astype(jnp.int32)


def scripted_player(key, available):
    """Shoots the first enemy in range; else mostly goes east, where enemies begin."""
    shoot = available[:, SHOOT:]
    walks = jnp.where(jax.random.uniform(key, available.shape[:1]) < 0.8, 1, random_player(key, available))
    walks = jnp.where(available[:, 1], walks, SHOOT - 1)
    return jnp.where(shoot.any(-1), SHOOT + jnp.argmax(shoot, -1), walks)


def side_by_side(scenario, steps, games, resync):
    """Plays `games` in jaxmarl, half of them at random, half scripted, and every step in the native engine too.

    The native engine is given jaxmarl's noise, and jaxmarl's state at each reset, or at each step if `resync`.
    Returns a dictionary of arrays [steps games]: greatest absolute differences, and what happened.
    """
    reference, native = (Smax(scenario=scenario, engine=engine) for engine in ("jaxmarl", "native"))
    allies, units = native.spec.n_agents, native.core.n_units

    def looks(engine, battle, aside):
        available = engine.available_actions(battle)
        attacks = available[:, SHOOT:] & ~aside
        seen = (engine.observe(battle), engine.raw_state(battle), available[:, :SHOOT], attacks)
        return tuple(x.astype(jnp.float32) for x in seen)

    def undecided(battle):
        """Attacks [A E] whose target is as far as some unit reaches, up to rounding: either answer is right."""
        x, y = (line[:allies, None] - line[allies:] for line in battle.units.position)
        reach = np.array([unit.range for unit in UNITS], np.float32)
        return (jnp.abs(jnp.hypot(x, y)[..., None] - reach) < 1e-5).any(-1)

    def difference(one, other):
        pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
        return jnp.max(jnp.stack([jnp.max(jnp.abs(x - y)) for x, y in pairs]))

    def hidden(battle):
        """What matters later and is not in a global state: orders of live enemies."""
        alive = battle.units.health[allies:] > 0
        return (jnp.where(alive, battle.orders.goal, 0), jnp.where(alive, battle.orders.target, 0).astype(jnp.float32))

    def step(carry, key):
        theirs, ours, scripted = carry
        act_key, step_key, reset_key = jax.random.split(key, 3)
        available = reference.core.available_actions(theirs)
        actions = jnp.where(scripted, scripted_player(act_key, available), random_player(act_key, available))
        after, told_reward, told_end = reference.core.told(step_key, theirs, actions)
        mine = native.core.transition(ours, actions, *jaxmarl_noise(step_key, units - allies, units))
        _, reward, terminated, truncated, info = native.outcome(ours, mine)
        ended = terminated | truncated
        aside = undecided(after)
        out = {
            "undecided": aside.sum(),
            "seen": difference(looks(reference.core, after, aside), looks(native.core, mine, aside)),
            "hidden": difference(hidden(after), hidden(mine)),
            "reward": jnp.abs(reward - 10 * told_reward),
            "ended": ended,
            "done": told_end,
            "won": info["won"] & ended,
            "steps": mine.time,
        }
        mine = after if resync else mine
        fresh = reference.core.reset(reset_key)
        theirs = jax.tree.map(lambda new, old: jnp.where(ended, new, old), fresh, after)
        ours = jax.tree.map(lambda new, old: jnp.where(ended, new, old), fresh, mine)
        return (theirs, ours, scripted), out

    def play(key, scripted):
        first = reference.core.reset(key)
        return jax.lax.scan(step, (first, first, scripted), jax.random.split(key, steps))[1]

    run = jax.jit(jax.vmap(play, out_axes=1))
    return jax.tree.map(np.asarray, run(jax.random.split(jax.random.key(3), games), np.arange(games) % 2 == 1))


def episodes(environment, count):
    """Scripted episodes: return, length, whether won, units left and the first distance of the armies, [count] each."""

    def episode(key):
        reset_key, play_key = jax.random.split(key)
        first = environment.reset(reset_key)

        def step(carry, key):
            battle, done, total, won = carry
            act_key, step_key = jax.random.split(key)
            actions = scripted_player(act_key, environment.available_actions(battle))
            after, reward, terminated, truncated, info = environment.step(step_key, battle, actions)
            kept = jax.tree.map(lambda new, old: jnp.where(done, old, new), after, battle)
            carry = kept, done | terminated | truncated, total + jnp.where(done, 0, reward), won | (info["won"] & ~done)
            return carry, None

        start = (first, jnp.zeros((), bool), jnp.float32(0), jnp.zeros((), bool))
        (last, _, total, won), _ = jax.lax.scan(step, start, jax.random.split(play_key, environment.spec.episode_limit))
        place, allies = first.units.position, environment.spec.n_agents
        apart = jnp.linalg.norm(place[:, :allies].mean(1) - place[:, allies:].mean(1))
        left = (last.units.health > 0).sum()
        return {"return": total, "length": last.time, "won": won, "left": left, "apart": apart}

    return jax.jit(jax.vmap(episode))(jax.random.split(jax.random.key(11), count))
