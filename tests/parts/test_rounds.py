"""Rounds: batches against NumPy one by one, what a round is conditioned on, and what passes no gradient."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from marlx.rounds import Rounds
from tests.parts import mrvf_reference as reference
from tests.parts.qtran_reference import doubles

N, A, O, H, K = 3, 4, 5, 6, 3
Case = tuple[Rounds, Any, jax.Array, jax.Array, jax.Array]


def _case(lead: tuple[int, ...] = (2, 3), **options: Any) -> Case:
    """Rounds, parameters, memory, observation and masks [lead ..]."""
    rounds = Rounds(N, A, O, H, **{"round_width": 7, "embedding_width": 4, **options})
    keys = jax.random.split(jax.random.key(1), 4)
    memory, observation = (2 * jax.random.normal(k, (*lead, N, s)) for k, s in zip(keys, (H, O), strict=False))
    available = (jax.random.uniform(keys[2], (*lead, N, A)) < 0.6).at[..., 1].set(True)
    return rounds, rounds.init(keys[3]), memory, observation, available


@pytest.mark.parametrize("options", [{}, {"share_rounds": False}, {"embedding": "index"}, {"rounds": 1}])
def test_a_batch_of_rounds_equals_one_by_one(options: dict[str, Any]) -> None:
    """And the greedy joint action of a round, over available actions, is what the next one is conditioned on."""
    rounds, params, memory, observation, available = _case(**options)
    utilities, greedy = jax.jit(rounds.apply)(params, memory, observation, available)
    assert utilities.shape == (rounds.rounds, 2, 3, N, A) and greedy.shape == (rounds.rounds, 2, 3, N)
    p = doubles(params)["params"]
    for place in np.ndindex(2, 3):
        preceding = None
        for k in range(rounds.rounds):
            h, o = (np.asarray(x[place], float) for x in (memory, observation))
            expected = reference.utilities(p, rounds, k, h, o, preceding)
            np.testing.assert_allclose(utilities[k][place], expected, rtol=1e-5, atol=1e-6)
            preceding = np.where(available[place], expected, -np.inf).argmax(-1)
            np.testing.assert_array_equal(greedy[k][place], preceding)


def test_shared_rounds_depend_on_the_preceding_action_alone() -> None:
    """If rounds 1 and 2 choose alike, rounds 2 and 3 say the same; else they do not."""
    rounds, params, memory, observation, available = _case(lead=(200,))
    utilities, greedy = rounds.apply(params, memory, observation, available)
    alike = (greedy[0] == greedy[1]).all(-1)
    assert alike.any() and not alike.all()
    np.testing.assert_allclose(utilities[1][alike], utilities[2][alike], rtol=1e-6)
    assert (utilities[1] != utilities[2]).any((1, 2))[~alike].all()


def test_agents_may_be_permuted() -> None:
    """With features for actions: what an agent thinks moves with it. (Indices name the agents.)"""
    rounds, params, memory, observation, available = _case()
    order = jnp.array([2, 0, 1])
    moved = rounds.apply(params, *(x[..., order, :] for x in (memory, observation, available)))
    utilities, greedy = rounds.apply(params, memory, observation, available)
    np.testing.assert_allclose(moved[0], utilities[..., order, :], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(moved[1], greedy[..., order])


def test_a_later_round_sees_what_others_did() -> None:
    """Only agent 1's first choice changes; what the others think in the next round changes too."""
    for embedding in ("features", "index"):
        rounds, params, memory, observation, _ = _case(lead=(), rounds=2, embedding=embedding)
        free = jnp.zeros((N, A), bool).at[:, 0].set(True)
        before, after = (
            rounds.apply(params, memory, observation, free.at[1].set(jnp.arange(A) == a))[0] for a in (0, 2)
        )
        np.testing.assert_array_equal(before[0], after[0])
        assert (before[1] != after[1]).any(-1).all()


def test_unavailable_actions_have_no_influence() -> None:
    """However good a round thinks an action that nobody has, later rounds do not hear of it."""
    rounds, params, memory, observation, available = _case(share_rounds=False)
    available = available.at[..., 2].set(False)
    p = params["params"]
    bias = p["last_1"]["utilities"]["bias"].at[2].add(1e6)
    last = {**p["last_1"], "utilities": {**p["last_1"]["utilities"], "bias": bias}}
    moved = {"params": {**p, "last_1": last}}
    before, after = (rounds.apply(x, memory, observation, available) for x in (params, moved))
    np.testing.assert_array_equal(before[1], after[1])
    np.testing.assert_array_equal(before[0][1:], after[0][1:])


def test_a_preceding_action_passes_no_gradient() -> None:
    """The last round teaches its own layers and the embedding; nothing of the rounds before it."""
    rounds, params, memory, observation, available = _case(share_rounds=False)
    loss = lambda p: (rounds.apply(p, memory, observation, available)[0][2] ** 2).sum()  # noqa: E731
    gradient = jax.grad(loss)(params)["params"]
    size = {name: max(float(jnp.abs(x).max()) for x in jax.tree.leaves(tree)) for name, tree in gradient.items()}
    assert size["last_3"] > 0 and size["embedding"] > 0
    assert size["last_1"] == size["last_2"] == size["default_row"] == 0
