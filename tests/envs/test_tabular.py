"""The tabular engine on a hand-made game of three agents, two states and an action that is not always available."""

import dataclasses
from dataclasses import dataclass
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from marlx_envs.tables import Tables
from marlx_envs.tabular import TabularEnvironment, TabularState

KEY = jax.random.key(0)


def small_tables(**changes) -> Tables:
    rewards = np.arange(16, dtype=np.float32).reshape(2, 2, 2, 2)
    transitions = np.zeros((2, 2, 2, 2), np.int32)
    transitions[0, 1] = 1  # agent 0's action 1 leads from state 0 to state 1
    terminal = np.zeros((2, 2, 2, 2), bool)
    terminal[1, 1, 1, 1] = True
    available = np.ones((2, 3, 2), bool)
    available[1, 2, 0] = False
    tables = Tables(
        rewards=rewards,
        transitions=transitions,
        terminal=terminal,
        observations=np.arange(12, dtype=np.float32).reshape(2, 3, 2),
        states=np.eye(2, dtype=np.float32),
        episode_limit=3,
        limit_is_terminal=False,
        available=available,
    )
    return dataclasses.replace(tables, **changes)


@dataclass(frozen=True)
class Small(TabularEnvironment):
    limit: int = 3
    terminal_limit: bool = False

    @cached_property
    def tables(self) -> Tables:
        return small_tables(episode_limit=self.limit, limit_is_terminal=self.terminal_limit)


def play(environment, joint_actions, params=None):
    state, rewards, ends = environment.reset(KEY), [], []
    for actions in joint_actions:
        state, reward, terminated, truncated, _ = environment.step(KEY, state, jnp.array(actions, jnp.int32), params)
        rewards.append(float(reward))
        ends.append((bool(terminated), bool(truncated)))
    return state, rewards, ends


def test_lookups_follow_the_tables():
    state, rewards, ends = play(Small(), [(0, 1, 1), (1, 0, 1), (0, 1, 0)])
    assert rewards == [3, 5, 8 + 2]
    assert int(state.current) == 0
    assert ends == [(False, False), (False, False), (False, True)]


def test_termination_wins_over_truncation():
    _, _, ends = play(Small(limit=2), [(1, 0, 0), (1, 1, 1)])
    assert ends[-1] == (True, False)


def test_limit_is_a_switch():
    assert play(Small(terminal_limit=True), [(0, 0, 0)] * 3)[2][-1] == (True, False)
    assert play(Small(terminal_limit=False), [(0, 0, 0)] * 3)[2][-1] == (False, True)


@pytest.mark.parametrize("limit", [255, 256, 300])
def test_small_time_dtype_never_wraps(limit):
    environment = Small(limit=limit)
    state = TabularState(jnp.uint8(0), jnp.asarray(limit - 1, environment.reset(KEY).time.dtype))
    for _ in range(2):  # a step past the end still says that it is the end
        state, _, _, truncated, _ = environment.step(KEY, state, jnp.zeros(3, jnp.int32))
        assert truncated
        assert int(state.time) == limit


def test_state_takes_two_bytes():
    state = Small().reset(KEY)
    assert (state.current.dtype, state.time.dtype) == (jnp.uint8, jnp.uint8)
    assert Small().pack(state) is state


@pytest.mark.parametrize("action, counts_as", [(-1, 0), (-(2**31), 0), (2, 1), (2**31 - 1, 1)])
def test_actions_out_of_range_count_as_the_nearest(action, counts_as):
    assert play(Small(), [(action,) * 3])[1] == play(Small(), [(counts_as,) * 3])[1]


def test_features_of_each_state():
    environment, state = Small(), TabularState(jnp.uint8(1), jnp.uint8(0))
    np.testing.assert_array_equal(environment.observe(state), [[6, 7], [8, 9], [10, 11]])
    np.testing.assert_array_equal(environment.global_state(state), [0, 1])
    np.testing.assert_array_equal(environment.available_actions(state), [[1, 1], [1, 1], [0, 1]])


def test_payoffs_vary_over_a_vmapped_axis():
    environment = Small()
    params = {"rewards": environment.params["rewards"] * jnp.arange(4.0)[:, None, None, None, None]}
    step = jax.jit(jax.vmap(environment.step, in_axes=(None, None, None, 0)))
    _, reward, *_ = step(KEY, environment.reset(KEY), jnp.array([1, 1, 0]), params)
    np.testing.assert_array_equal(reward, [0, 6, 12, 18])


def test_axes_of_size_one_make_no_difference():
    whole = small_tables()
    full = (2, 2, 2, 2)
    wide = {"rewards": whole.rewards[:1], "transitions": whole.transitions[:, :, :1, :1]}
    narrow = small_tables(**wide, terminal=np.zeros((1, 1, 1, 1), bool))
    broad = small_tables(
        rewards=np.broadcast_to(wide["rewards"], full),
        transitions=np.broadcast_to(wide["transitions"], full),
        terminal=np.zeros(full, bool),
    )

    class Fixed(TabularEnvironment):
        tables = narrow

    class Stored(TabularEnvironment):
        tables = broad

    for joint in np.ndindex(2, 2, 2):
        assert play(Fixed(), [joint] * 3)[1:] == play(Stored(), [joint] * 3)[1:]
    assert Fixed().spec == Stored().spec


def test_return_bounds_come_from_the_solver():
    # best: to state 1, back by the best action that does not end the episode, to state 1; worst: action 0 throughout
    spec = Small().spec
    assert (spec.return_max, spec.return_min) == (7 + 13 + 7, 0)


def test_bounds_are_unknown_where_solving_would_take_long(monkeypatch):
    monkeypatch.setattr("marlx_envs.tabular.SOLVABLE", 10)
    assert Small().spec.return_max is None


@pytest.mark.parametrize(
    "changes, word",
    [
        ({"rewards": np.zeros((2, 2, 3), np.float32)}, "rewards"),
        ({"transitions": np.zeros((2, 2), np.int32)}, "transitions"),
        ({"transitions": np.full((1, 1, 1, 1), 2, np.int32)}, "transitions"),
        ({"terminal": np.zeros((2, 3, 1, 1), bool)}, "terminal"),
        ({"observations": np.zeros((2, 2, 1), np.float32)}, "observations"),
        ({"states": np.zeros((3, 1), np.float32)}, "states"),
        ({"start": 2}, "start"),
        ({"episode_limit": 0}, "episode_limit"),
        ({"available": np.ones((2, 3, 3), bool)}, "available"),
        ({"available": np.zeros((2, 3, 2), bool)}, "available action"),
    ],
)
def test_tables_that_do_not_fit_are_refused(changes, word):
    with pytest.raises(ValueError, match=word):
        small_tables(**changes)
