"""The adapter of jaxmarl's environments, against jaxmarl itself."""

from importlib import metadata

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from marlx_envs import UsageError, jaxmarl, make

KEY = jax.random.key(2)


def needs_jaxmarl():
    pytest.importorskip("jaxmarl", reason="an adapter of jaxmarl: pip install '.[smax]'")


def test_simple_spread_steps_as_jaxmarl_does():
    needs_jaxmarl()
    environment = make("jaxmarl", name="MPE_simple_spread_v3", reward="sum", limit_is_terminal=False)
    inner, step = environment.inner, jax.jit(environment.step)
    observations, theirs = inner.reset(KEY)
    ours = environment.reset(KEY)
    for number in range(25):
        key, actions = jax.random.key(number), jnp.array([number % 5, 1, 2])
        observations, theirs, rewards, *_ = inner.step_env(key, theirs, dict(zip(inner.agents, actions, strict=True)))
        ours, reward, terminated, truncated, _ = step(key, ours, actions)
        np.testing.assert_allclose(environment.observe(ours), jnp.stack([*observations.values()]), rtol=1e-5)
        np.testing.assert_allclose(reward, sum(rewards.values()), rtol=1e-5)
        assert (bool(terminated), bool(truncated)) == (False, number == 24)
    np.testing.assert_array_equal(environment.global_state(ours), environment.observe(ours).ravel())


def test_switch_riddle_ends_when_somebody_tells():
    needs_jaxmarl()
    environment = make("jaxmarl", name="switch_riddle", arguments={"num_agents": 4}, limit_is_terminal=False)
    assert (environment.spec.n_agents, environment.spec.n_actions, environment.spec.episode_limit) == (4, 3, 10)
    step = jax.jit(environment.step)
    state = environment.reset(KEY)
    after, reward, terminated, truncated, _ = step(KEY, state, jnp.full(4, 2))
    assert (float(reward), bool(terminated), bool(truncated)) == (-1.0, True, False)
    assert int(after.time) == 1  # no reset
    for number in range(10):
        state, reward, terminated, truncated, _ = step(jax.random.key(number), state, jnp.zeros(4, jnp.int32))
        assert (bool(terminated), bool(truncated)) == (False, number == 9)


def test_smaller_agents_are_filled_up():
    needs_jaxmarl()
    environment = make("jaxmarl", name="MPE_simple_speaker_listener_v4")
    state = environment.reset(KEY)
    np.testing.assert_array_equal(environment.available_actions(state).sum(1), [3, 5])
    np.testing.assert_array_equal(environment.observe(state)[0, 3:], 0)


@pytest.mark.parametrize(
    "options, words",
    [
        ({"name": "MPE_simple_spred_v3"}, "unknown value of environment.name 'MPE_simple_spred_v3'; did you mean"),
        ({"name": "coin_game"}, "environment.episode_limit must be given: coin_game has no limit of its own"),
        ({"name": "switch_riddle", "arguments": {"num_agents": 2}}, "jaxmarl cannot make switch_riddle with"),
        ({"name": "switch_riddle", "arguments": "x"}, "environment.arguments must be a table, not 'x'"),
        ({"name": "MPE_simple_facmac_v1"}, "environment.name MPE_simple_facmac_v1 has actions that are not discrete"),
    ],
)
def test_mistakes_are_one_line(options, words):
    needs_jaxmarl()
    with pytest.raises(UsageError) as caught:
        _ = make("jaxmarl", **options).spec
    assert str(caught.value).startswith(words)
    assert "\n" not in str(caught.value)


def test_a_missing_or_another_jaxmarl_is_named(monkeypatch):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(jaxmarl.metadata, "version", missing)
    with pytest.raises(UsageError, match="jaxmarl is not installed: pip install '\\.\\[smax\\]'"):
        _ = make("jaxmarl").spec
    monkeypatch.setattr(jaxmarl.metadata, "version", lambda name: "0.1.0")
    with pytest.raises(UsageError, match=r"jaxmarl 0\.1\.0 is installed, but 0\.2\.0 is needed"):
        make("smax", engine="jaxmarl")
    monkeypatch.setattr(jaxmarl.metadata, "version", lambda name: jaxmarl.VERSION)
    with pytest.raises(UsageError, match=r"jaxmarl 0\.2\.0 cannot be imported: No module named 'no_such'"):
        jaxmarl.load("no_such")
