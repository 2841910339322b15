"""SHAQ: numbers by hand, equality with loops, orders, whom gradients reach, and what targets bootstrap from."""

import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from marlx.algorithms import value_factorization
from marlx.mixers.base import Context
from marlx.mixers.shaq import SHAQ, shaped, utilities_before
from tests.algorithms import learning
from tests.parts.slopes import check_slopes

N, D, R, E, W = 3, 4, 2, 3, 5
MIXER = SHAQ(N, D, orders=4, mixing_width=E, hypernet_width=W)
APPLY = jax.jit(MIXER.apply)


@functools.cache
def _params() -> Any:
    return jax.jit(MIXER.init)(jax.random.key(1))


@functools.cache
def _inputs(rows: int = R) -> tuple[jax.Array, jax.Array, Context]:
    """Utilities, state and context; every other utility is the greedy one."""
    keys = jax.random.split(jax.random.key(5), 3)
    utilities = 2 * jax.random.normal(keys[0], (1, rows, N))
    greedy = (jnp.arange(rows)[:, None] + jnp.arange(N)) % 2 == 0
    nothing = jnp.zeros((1, rows, N, 1))
    best = utilities + jnp.where(greedy, 0, 1)
    context = Context(best, jnp.zeros((1, rows, N), jnp.int32), nothing, nothing, key=jax.random.key(6))
    return utilities, 2 * jax.random.normal(keys[2], (1, rows, D)), context


def _alpha(params: Any, pair: np.ndarray, state: np.ndarray) -> float:
    """|f(s, mean before, q_i)|, unit by unit."""
    p = params["params"]

    def affine(name: str, x: np.ndarray) -> np.ndarray:
        return np.asarray(x @ p[name]["kernel"] + p[name]["bias"])

    w1, w2, v, b1 = np.split(affine("first", state), [W, 2 * W, 2 * W + E])
    w1, w2 = np.abs(affine("w1", np.maximum(w1, 0))).reshape(2, E), np.abs(affine("w2", np.maximum(w2, 0)))
    total = affine("value", np.maximum(v, 0))[0]
    for e in range(E):
        z = pair @ w1[:, e] + b1[e]
        total += (z if z > 0 else np.expm1(z)) * w2[e]
    return float(abs(total))


def _joint(params: Any, q: np.ndarray, s: np.ndarray, best: np.ndarray, orders: Any) -> float:
    """The sum over rows of Q_tot; `orders` [R K N], the agents as they come."""
    total = 0.0
    for r in range(len(q)):
        for i in range(N):
            count = 1.0
            if q[r, i] < best[r, i] - 0.5:
                before = [list(order[: list(order).index(i)]) for order in orders[r]]
                pairs = [np.array([q[r, js].mean() if js else 0.0, q[r, i]]) for js in before]
                count += np.mean([_alpha(params, pair, s[r]) for pair in pairs])
            total += count * q[r, i]
    return total


def test_numbers_by_hand() -> None:
    """q = (1, 2, -3) in the order 2, 0, 1: before 2 nobody, before 0 agent 2, before 1 agents 2 and 0."""
    places = jnp.array([[1, 2, 0]])
    before = utilities_before(jnp.array([1.0, 2.0, -3.0]), places[..., None, :] < places[..., :, None])
    np.testing.assert_array_equal(before, [[-3, -1, 0]])
    # The second agent alone is greedy: 1 (1 + 0.5) + 2 - 3 (1 + 0.25).
    joint = shaped(jnp.array([1.0, 2.0, -3.0]), jnp.array([1.5, 2.0, 0.0]), jnp.array([0.5, 9.0, 0.25]))
    assert joint == -0.25


@pytest.mark.parametrize("drawn", [True, False])
def test_joint_value_and_gradient_equal_loops(drawn: bool) -> None:
    """With orders drawn for each slot, and with the N rotations that there are without a key."""
    q, s, context = _inputs()
    context = context if drawn else context._replace(key=None)
    earlier = np.broadcast_to(MIXER._earlier(context.key, (1, R))[0 if drawn else ...], (R, 4 if drawn else N, N, N))
    orders = earlier.sum(-1).argsort(-1)  # an agent's place is how many come before it
    if not drawn:
        assert orders[0].tolist() == [[0, 1, 2], [2, 0, 1], [1, 2, 0]]
    best = np.asarray(context.greedy_utilities[0])

    def value(tree: dict[str, Any]) -> jax.Array:
        return MIXER.apply(tree["params"], tree["q"], tree["s"], context).sum()

    tree = {"params": _params(), "q": q, "s": s}
    check_slopes(value, lambda t: _joint(t["params"], t["q"][0], t["s"][0], best, orders), tree)


def test_every_order_is_drawn_as_often_as_any_other() -> None:
    earlier = MIXER._earlier(jax.random.key(0), (30, 50))
    orders = np.asarray(earlier.sum(-1)).reshape(-1, N) @ [9, 3, 1]
    counts = np.array([(orders == np.array(order) @ [9, 3, 1]).sum() for order in itertools.permutations(range(N))])
    assert counts.sum() == 30 * 50 * 4
    assert (abs(counts - 1000) < 5 * np.sqrt(1000)).all()


def test_orders_are_fresh_with_every_key_and_without_one_agents_are_alike() -> None:
    """The rotations favour no agent: where all have the same utility, all count the same."""
    q, s, context = _inputs()
    one, two, mean, again = (
        APPLY(_params(), q, s, context._replace(key=key)) for key in (*jax.random.split(context.key), None, None)
    )
    assert (one != two).all() and (one != mean).all()
    np.testing.assert_array_equal(mean, again)
    slopes = jax.grad(lambda q: APPLY(_params(), q, s, context._replace(key=None, greedy_utilities=q + 1)).sum())
    alike = slopes(jnp.ones_like(q))
    np.testing.assert_allclose(alike, jnp.broadcast_to(alike[..., :1], alike.shape), rtol=1e-5)


def test_whom_gradients_reach() -> None:
    """Contributions learn from actions that are not greedy alone; where all are, Q_tot is the sum."""
    q, s, context = _inputs(rows=16)
    gradient = jax.jit(jax.grad(lambda params, context: (MIXER.apply(params, q, s, context) ** 2).sum()))
    assert all((np.asarray(x) != 0).any() for x in jax.tree.leaves(gradient(_params(), context)))
    greedy = context._replace(greedy_utilities=q)
    assert all((np.asarray(x) == 0).all() for x in jax.tree.leaves(gradient(_params(), greedy)))
    np.testing.assert_array_equal(APPLY(_params(), q, s, greedy), q.sum(-1))


def test_targets_bootstrap_from_the_sum_of_the_target_utilities() -> None:
    """At the live greedy actions, which are not the target's own: y = r + gamma sum_i q-_i(u-hat_i)."""
    method = learning.learner({}, {"td_lambda": 0.0}, mixer="shaq")
    steps = learning.batch()
    state = method.init(jax.random.key(0))
    state = state._replace(target=method.init(jax.random.key(1)).params)
    live, copy = (np.asarray(method.play(params, steps.view).utilities) for params in (state.params, state.target))
    available = np.asarray(steps.view.available)
    greedy = np.where(available, live, -np.inf).argmax(-1)
    assert (greedy != np.where(available, copy, -np.inf).argmax(-1)).any()
    values = np.take_along_axis(copy, greedy[..., None], -1)[..., 0].sum(-1)
    played = method.play(state.params, steps.view)
    y = method._targets(state, state.params, played, jnp.asarray(greedy), steps, jax.random.key(2)).td
    bootstrap = np.where(steps.terminated, 0, values[1:])
    expected = np.asarray(steps.rewards) + method.training.gamma * bootstrap
    np.testing.assert_allclose(y[..., 0], np.where(steps.valid, expected, 0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("target, by_mixer", [("td_lambda", False), ("sarsa_lambda", True), ("softmax", True)])
def test_other_actions_than_greedy_ones_count_for_more_in_targets(target: str, by_mixer: bool) -> None:
    """So that the contributions matter to a target wherever it is of such actions."""
    method, steps = learning.learner({"network": "mlp"}, mixer="shaq", target=target), learning.batch()
    live, copy, other = (method.init(jax.random.key(seed)).params for seed in (0, 1, 2))
    one, two = (
        learning.loss(method, live, target, steps)[1]["target"] for target in (copy, copy | {"mixer": other["mixer"]})
    )
    assert (one != two) == by_mixer


def test_devices_that_share_a_batch_compute_the_same() -> None:
    """Halves of a batch, on the members of an axis, against the whole: orders belong to rows."""
    q, s, context = _inputs(rows=4)
    whole, shared = (SHAQ(N, D, axis, orders=4, mixing_width=E, hypernet_width=W) for axis in (None, "rows"))

    def half(q: jax.Array, s: jax.Array, best: jax.Array) -> jax.Array:
        return shared.apply(_params(), q, s, context._replace(greedy_utilities=best))

    parts = (x.reshape(1, 2, 2, -1) for x in (q, s, context.greedy_utilities))
    joint = jax.jit(jax.vmap(half, 1, 1, axis_name="rows"))(*parts)
    np.testing.assert_allclose(joint.reshape(1, 4), whole.apply(_params(), q, s, context), rtol=1e-5)


def test_it_is_no_mixer_for_weights_by_slopes() -> None:
    with pytest.raises(
        value_factorization.UsageError, match=r"needs a mixer that is monotone in every utility, not shaq;"
    ):
        learning.learner({}, {}, mixer="shaq", weighting="remix", critic="central")
