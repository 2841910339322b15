"""What every registered environment must obey, whatever it is; a new one is tested by being registered."""

from functools import cache
from importlib.util import find_spec

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from marlx_envs import ENVIRONMENTS, UsageError, make

KEY = jax.random.key(7)
EPISODES = 8
absent = pytest.mark.skipif(find_spec("jaxmarl") is None, reason="needs jaxmarl: pip install '.[smax]'")
GAMES = [pytest.param(name, marks=absent) if name == "jaxmarl" else name for name in sorted(ENVIRONMENTS)]


@cache
def environment_of(name):
    return make(name)


def random_actions(environment, key, state, params):
    """One available action per agent, uniformly, int32 [N]."""
    available = environment.available_actions(state, params)
    return jax.random.categorical(key, jnp.where(available, 0.0, -jnp.inf)).astype(jnp.int32)


def features(environment, state, params):
    return (
        environment.observe(state, params),
        environment.global_state(state, params),
        environment.available_actions(state, params),
    )


def random_episode(environment, key, params):
    """Random play for as many steps as the limit; after the end the state stays as it is.

    Returns a dictionary of arrays [T ...] over the steps: what was seen before, what the step gave, whether it counted.
    """

    def step(carry, key):
        state, done = carry
        action_key, step_key = jax.random.split(key)
        actions = random_actions(environment, action_key, state, params)
        after, reward, terminated, truncated, info = environment.step(step_key, state, actions, params)
        chex.assert_trees_all_equal_shapes_and_dtypes(after, state)
        seen = features(environment, after, params)
        again = features(environment, environment.unpack(environment.pack(after)), params)
        out = {
            "seen": seen,
            "again": again,
            "reward": reward,
            "terminated": terminated,
            "truncated": truncated,
            "info": info,
            "counts": ~done,
            "packed": environment.pack(after),
        }
        after = jax.tree.map(lambda new, old: jnp.where(done, old, new), after, state)
        return (after, done | terminated | truncated), out

    reset_key, play_key = jax.random.split(key)
    state = environment.reset(reset_key, params)
    steps = jax.random.split(play_key, environment.spec.episode_limit)
    _, out = jax.lax.scan(step, (state, jnp.zeros((), bool)), steps)
    return {**out, "first": features(environment, state, params)}


@cache
def played(name):
    """Random episodes [E T ...], each with params of its own along a vmapped axis."""
    environment = environment_of(name)
    params = jax.tree.map(lambda x: jnp.broadcast_to(x, (EPISODES, *jnp.shape(x))), environment.params)
    run = jax.jit(jax.vmap(lambda key, params: random_episode(environment, key, params)))
    return jax.tree.map(np.asarray, run(jax.random.split(KEY, EPISODES), params))


@pytest.mark.parametrize("name", GAMES)
def test_shapes_and_dtypes(name):
    environment, spec = environment_of(name), environment_of(name).spec
    state = environment.reset(KEY)
    chex.assert_trees_all_equal(environment.reset(KEY), environment.reset(KEY, environment.params))
    observations, global_state, available = features(environment, state, None)
    chex.assert_shape(observations, (spec.n_agents, spec.observation_size))
    chex.assert_shape(global_state, (spec.state_size,))
    chex.assert_shape(available, (spec.n_agents, spec.n_actions))
    chex.assert_type([observations, global_state], jnp.float32)
    chex.assert_type(available, bool)
    _, reward, terminated, truncated, info = environment.step(KEY, state, jnp.zeros(spec.n_agents, jnp.int32))
    chex.assert_shape([reward, terminated, truncated, *info.values()], ())
    chex.assert_type([reward, terminated, truncated], [jnp.float32, bool, bool])
    assert set(spec.metrics) <= set(info)


@pytest.mark.parametrize("name", GAMES)
def test_an_action_is_always_available(name):
    out = played(name)
    assert out["first"][2].any(axis=-1).all()
    assert out["seen"][2].any(axis=-1)[out["counts"]].all()


@pytest.mark.parametrize("name", GAMES)
def test_uniform_actions_says_whether_masks_differ_by_agent(name):
    out = played(name)
    masks = np.concatenate([out["first"][2][:, None], out["seen"][2]], axis=1)  # [E T+1 N A]
    alike = (masks == masks[:, :, :1]).all(axis=(1, 2, 3))
    if environment_of(name).spec.uniform_actions:
        assert alike.all()
    elif name != "jaxmarl":  # its tasks do not say; False is always safe
        assert not alike.all()


@pytest.mark.parametrize("name", GAMES)
def test_episodes_end_once_and_in_time(name):
    out, spec = played(name), environment_of(name).spec
    terminated, truncated = out["terminated"] & out["counts"], out["truncated"] & out["counts"]
    assert not (out["terminated"] & out["truncated"]).any()
    np.testing.assert_array_equal((terminated | truncated).sum(axis=1), 1)
    assert not truncated[:, :-1].any()  # only the limit truncates
    assert not (spec.limit_is_terminal and truncated.any())


@pytest.mark.parametrize("name", GAMES)
def test_returns_are_finite_and_within_bounds(name):
    out, spec = played(name), environment_of(name).spec
    returns = np.where(out["counts"], out["reward"], 0.0).sum(axis=1)
    assert np.isfinite(out["reward"]).all()
    if spec.return_max is not None:
        assert (returns <= spec.return_max + 1e-3).all()
    if spec.return_min is not None:
        assert (returns >= spec.return_min - 1e-3).all()


@pytest.mark.parametrize("name", GAMES)
def test_packed_states_keep_what_is_seen(name):
    out = played(name)
    for seen, again in zip(out["seen"], out["again"], strict=True):
        np.testing.assert_array_equal(seen[out["counts"]], again[out["counts"]])
        assert np.isfinite(seen).all()


@pytest.mark.parametrize("name", GAMES)
def test_a_step_never_resets(name):
    environment = environment_of(name)
    out = played(name)
    packed_start = environment.pack(environment.reset(KEY))
    end = np.argmax(out["terminated"] | out["truncated"], axis=1)
    last = jax.tree.map(lambda x: x[np.arange(EPISODES), end], out["packed"])
    changed = jax.tree.map(lambda new, old: (new != old).reshape(EPISODES, -1).any(axis=1), last, packed_start)
    assert np.any(jax.tree.leaves(changed), axis=0).all()


@pytest.mark.parametrize("name", GAMES)
def test_illegal_actions_are_harmless(name):
    environment, spec = environment_of(name), environment_of(name).spec
    step = jax.jit(environment.step)
    state = environment.reset(KEY)
    unavailable = jnp.argmin(environment.available_actions(state), axis=-1)
    for actions in (unavailable, *(jnp.full(spec.n_agents, a) for a in (-1, spec.n_actions, 2**31 - 1, -(2**31)))):
        after, reward, *_ = step(KEY, state, actions.astype(jnp.int32))
        chex.assert_trees_all_equal_shapes_and_dtypes(after, state)
        chex.assert_tree_all_finite((reward, features(environment, after, None)))
        assert environment.available_actions(after).any(axis=-1).all()


@pytest.mark.parametrize("name", GAMES)
def test_compiled_and_eager_agree(name):
    environment = environment_of(name)

    def first_step(key):
        state = environment.reset(key)
        actions = random_actions(environment, key, state, None)
        return environment.step(key, state, actions), features(environment, state, None)

    chex.assert_trees_all_close(first_step(KEY), jax.jit(first_step)(KEY), rtol=1e-6)


@pytest.mark.parametrize("name", GAMES)
def test_an_episode_does_not_depend_on_its_neighbours(name):
    environment = environment_of(name)
    alone = jax.jit(lambda key: random_episode(environment, key, None))(jax.random.split(KEY, EPISODES)[2])
    together = jax.tree.map(lambda x: x[2], played(name))
    chex.assert_trees_all_close(jax.tree.map(np.asarray, alone), together, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", GAMES)
def test_unknown_options_are_named(name):
    with pytest.raises(UsageError, match=r"unknown field of \[environment\] 'no_such_option'"):
        make(name, no_such_option=1)


LONG = ("jaxmarl", "predator_prey", "smax")  # to run step by step


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in LONG else ()) for name in sorted(ENVIRONMENTS)]
)
def test_a_step_without_a_compiler_is_the_compiled_one(name):
    if name == "jaxmarl":
        pytest.importorskip("jaxmarl")
    environment = environment_of(name)

    def step(key):
        state = environment.reset(key)
        actions = random_actions(environment, key, state, environment.params)
        after, reward, terminated, truncated, info = environment.step(key, state, actions)
        return features(environment, after, None), reward, terminated, truncated, info

    compiled = jax.jit(step)(KEY)
    with jax.disable_jit():
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), step(KEY), compiled)
