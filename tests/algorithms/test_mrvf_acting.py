"""MRVF acts: slot by slot as over all slots, rounds explored around, and how often each joint action is taken."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from marlx.algorithms import mrvf
from marlx.algorithms.mrvf import MRVF
from tests.algorithms.learning import SLOTS, A, B, N, batch, steps
from tests.algorithms.mrvf_learner import learner, parameters


def test_acting_slot_by_slot_is_the_pass_over_all_slots() -> None:
    """Without epsilon: the final actions, the memories of both nets, and from which rounds those of an episode came."""
    method, data = learner(preselection=1.0), steps()
    live, _ = parameters(method)
    state, carry = method.init(jax.random.key(0))._replace(params=live), method.initial_carry(B)
    played = method.play(live, data.view)
    act = jax.jit(method.act)
    for t in range(SLOTS + 1):
        slot = jax.tree.map(lambda x, t=t: x[t], data.view)
        carry, actions = act(state, carry, slot, jax.random.key(t), jnp.float32(0))
        np.testing.assert_array_equal(actions, played.final[t])
    first = np.cumsum(data.view.starts, axis=0) == 1
    assert not first.all()
    counts = np.array([[((np.asarray(played.number) == k) & first)[:, b].sum() for k in range(3)] for b in range(B)])
    np.testing.assert_array_equal(carry.taken, counts)
    shares = method.report(carry)
    np.testing.assert_allclose([shares[f"round_share_{k}"] for k in (1, 2, 3)], counts.sum(0) / counts.sum(), rtol=1e-6)
    assert (counts.sum(0)[:2] > 0).all()


@pytest.mark.parametrize("preselected", ["uniform", pytest.param("last", marks=pytest.mark.slow)])
def test_frequencies_of_actions(preselected: str) -> None:
    """Epsilon first: uniform with 0.3; else with p = 0.4 a round's greedy action (all differ); else the final one."""
    method = learner(preselection=0.4, preselected=preselected)
    live, _ = parameters(method)
    state, play = method.init(jax.random.key(0))._replace(params=live), jax.jit(method.play)
    for seed in range(200):
        view = jax.tree.map(lambda x: x[0, :1], batch(seed).view)
        view = view._replace(available=jnp.ones_like(view.available))
        played = play(live, jax.tree.map(lambda x: x[None], view))
        codes = [int(np.ravel_multi_index(tuple(x[0, 0]), (A,) * N)) for x in played.greedy]
        if len({*codes}) == 3 and int(played.number[0, 0]) < 2:
            break
    else:
        pytest.fail("no view whose rounds all differ")
    counts = _frequencies(method, state, view, 0.3)
    expected = np.full(A**N, 0.3 / A**N)
    expected[codes[int(played.number[0, 0])]] += 0.7 * 0.6
    for code in codes if preselected == "uniform" else codes[2:]:
        expected[code] += 0.7 * 0.4 / (3 if preselected == "uniform" else 1)
    np.testing.assert_allclose(counts, expected, atol=0.012)


def _frequencies(method: MRVF, state: Any, view: Any, epsilon: float, draws: int = 20_000) -> np.ndarray:
    """Of all joint actions, at the slot of a view [1]."""
    many = jax.tree.map(lambda x: jnp.repeat(x, draws, 0), view)
    _, actions = jax.jit(method.act)(state, method.initial_carry(draws), many, jax.random.key(1), jnp.float32(epsilon))
    return np.bincount(np.ravel_multi_index(tuple(np.asarray(actions).T), (A,) * N), minlength=A**N) / draws


def test_a_round_preselected_for_an_episode_stays() -> None:
    """Of each team its own; another in the next episode."""
    method, count = learner(preselection=1.0, preselected="episode", preselection_first=True), 300
    live, _ = parameters(method)
    state, view = method.init(jax.random.key(0))._replace(params=live), jax.tree.map(lambda x: x[0, :1], batch(3).view)
    many, act = jax.tree.map(lambda x: jnp.repeat(x, count, 0), view), jax.jit(method.act)
    carry, rounds = method.initial_carry(count), []
    for slot, starts in enumerate((True, False, False, True)):
        several = many._replace(starts=jnp.full(count, starts))
        greedy = jax.jit(method._play)(
            live,
            method._remember(live, (carry.agent, carry.critic), jax.tree.map(lambda x: x[None], several)),
            jax.tree.map(lambda x: x[None], several),
        ).greedy[:, 0]
        carry, actions = act(state, carry, several, jax.random.key(slot), jnp.float32(0.5))
        rounds.append(np.asarray(carry.preselected))
        np.testing.assert_array_equal(actions, mrvf.of_round(greedy, carry.preselected))  # epsilon does not touch it
    np.testing.assert_array_equal(rounds[1], rounds[0])
    np.testing.assert_array_equal(rounds[2], rounds[0])
    assert (rounds[3] != rounds[0]).mean() > 0.5 and (np.bincount(rounds[0], minlength=3) > 60).all()


def test_preselection_comes_first_where_asked_for() -> None:
    """With p = 0.4 the last round's greedy action as it is; else uniform with 0.3, or the final one."""
    method = learner(preselection=0.4, preselected="last", preselection_first=True)
    live, _ = parameters(method)
    state, view = method.init(jax.random.key(0))._replace(params=live), jax.tree.map(lambda x: x[0, :1], batch(3).view)
    view = view._replace(available=jnp.ones_like(view.available))
    played = jax.jit(method.play)(live, jax.tree.map(lambda x: x[None], view))
    last, final = (int(np.ravel_multi_index(tuple(x[0, 0]), (A,) * N)) for x in (played.greedy[2], played.final))
    expected = np.full(A**N, 0.6 * 0.3 / A**N)
    expected[last] += 0.4
    expected[final] += 0.6 * 0.7
    np.testing.assert_allclose(_frequencies(method, state, view, 0.3), expected, atol=0.012)
    assert last != final


@pytest.mark.parametrize("preselection, number", [(0.0, 1), (1.0, 2)])
def test_softmax_is_of_the_round_explored_around(preselection: float, number: int) -> None:
    """Each agent by the utilities of the round accepted or of that preselected, epsilon being the temperature."""
    options = {"exploration": "softmax", "learnt_actions": "recorded", "preselected": "last"}
    method = learner(preselection=preselection, **options)
    live, _ = parameters(method)
    state, view = method.init(jax.random.key(0))._replace(params=live), jax.tree.map(lambda x: x[0, :1], batch(3).view)
    played = jax.jit(method.play)(live, jax.tree.map(lambda x: x[None], view))
    assert played.number[0, 0] == 1
    utilities = np.asarray(played.utilities[number, 0, 0], float)
    odds = np.exp(utilities / 0.5) * np.asarray(view.available[0])
    first, second = odds / odds.sum(-1, keepdims=True)
    np.testing.assert_allclose(_frequencies(method, state, view, 0.5), np.outer(first, second).ravel(), atol=0.012)
