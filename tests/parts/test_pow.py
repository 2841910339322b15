"""POW: the spec's numbers, the recognition network against loops, its fixed points, and who learns what."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

import marlx
from marlx.critics.recognition import Recognition, recognise
from marlx.engine.seeds import ROWS
from marlx.types import Progress
from marlx.weightings.base import Evidence
from marlx.weightings.pow import POW
from tests.algorithms.learning import START, batch, learner
from tests.parts.gradients import as_float64, assert_close, finite_differences

N, A, D = 2, 3, 4
PAYOFF = np.array([[8, -12, -12], [-12, 0, 0], [-12, 0, 7.9]])


def test_recognised_value_of_hand_made_weights() -> None:
    w1, w2 = jnp.array([[1.0, -2.0], [-0.5, 0.0]]), jnp.array([-1.0, 3.0])
    value, gap = recognise(jnp.array([-1.0, -2.0]), w1, w2, jnp.float32(5.0))
    assert (float(value), float(gap)) == (-3.0, -8.0)
    slopes = jax.grad(lambda a: recognise(a, w1, w2, jnp.float32(5.0))[0])(jnp.array([-1.0, -2.0]))
    assert slopes.tolist() == [7, 0.5]  # lambda


@pytest.mark.parametrize(
    ("gap", "tolerance", "weight"), [(-8.0, 7.9, 0), (-0.02, 0.05, 1), (-0.1, 0.05, 0), (-0.1, 0.1, 0), (0.0, 0.05, 1)]
)
def test_weight_of_a_gap(gap: float, tolerance: float, weight: float) -> None:
    """Paper Figure 9, stages I and III; the comparison is strict."""
    found = marlx.weightings.potentially_optimal(jnp.float32(gap), jnp.float32(tolerance), jnp.array([0.0, 0.3]))
    np.testing.assert_allclose(found, [weight, weight or 0.3])


def _affine(layer: Any, x: np.ndarray) -> np.ndarray:
    return x @ np.asarray(layer["kernel"], np.float64) + np.asarray(layer.get("bias", 0.0), np.float64)


def _plain(params: Any, s: np.ndarray, u: np.ndarray, a: np.ndarray) -> float:
    """Spec 2.12 with every layer by itself: W1 and w2 read s and the joint one-hot, V reads s."""
    p, h = params["params"], 6
    both = np.concatenate([s, np.eye(A)[u].ravel()])
    kernel = np.concatenate([np.asarray(p["first"]["kernel"]), np.asarray(p["actions"]["kernel"])]).astype(np.float64)
    first = both @ kernel + np.asarray(p["first"]["bias"])
    relu = lambda x: np.maximum(x, 0)  # noqa: E731
    w1 = relu(_affine(p["w1_second"], relu(first[:h])))
    w2 = relu(_affine(p["w2_second"], relu(first[h:])))
    w1, w2 = np.abs(_affine(p["w1"], w1)).reshape(N, 64), np.abs(_affine(p["w2"], w2))
    value = _affine(p["value"], relu(_affine(p["value_second"], relu(_affine(p["value_first"], s)))))[0]
    return float(value + sum(a[i] * sum(w1[i, k] * w2[k] for k in range(64)) for i in range(N)))


def test_recognition_equals_loops_in_value_and_gradient() -> None:
    network = Recognition(N, A, D, width=6)
    params = network.init(jax.random.key(0))
    s, u = jax.random.normal(jax.random.key(1), (D,)), jnp.array([2, 0])
    a = -jax.random.exponential(jax.random.key(2), (N,))
    value, gradient = jax.value_and_grad(lambda p, a: network.apply(p, s, u, a)[0], argnums=(0, 1))(params, a)
    plain = lambda p, a: _plain(p, np.asarray(s, np.float64), np.asarray(u), a)  # noqa: E731
    np.testing.assert_allclose(value, plain(params, np.asarray(a, np.float64)), rtol=1e-5)
    assert_close(gradient, finite_differences(lambda point: plain(*point), as_float64((params, a))))


def test_value_alone_decides_at_the_greedy_action_and_nothing_lies_above_it() -> None:
    network = Recognition(N, A, D)
    params = network.init(jax.random.key(0))
    s = jax.random.normal(jax.random.key(1), (1000, D))
    u = jax.random.randint(jax.random.key(2), (1000, N), 0, A)
    at_greedy, gap = network.apply(params, s, u, jnp.zeros((1000, N)))
    elsewhere, _ = network.apply(params, s, u, -jax.random.exponential(jax.random.key(3), (1000, N)))
    assert (gap == 0).all() and (elsewhere <= at_greedy).all()


def test_no_advantage_counts_negatively() -> None:
    """lambda_i >= 0 at 1,000 draws of parameters, states and joint actions."""
    network = Recognition(N, A, D, width=16)

    def slopes(seed: jax.Array) -> jax.Array:
        keys = jax.random.split(jax.random.key(seed), 4)
        params = jax.tree.map(lambda x: 3 * x, network.init(keys[0]))
        s, u = jax.random.normal(keys[1], (D,)), jax.random.randint(keys[2], (N,), 0, A)
        return jax.grad(lambda a: network.apply(params, s, u, a)[0])(-jax.random.exponential(keys[3], (N,)))

    found = jax.jit(jax.vmap(slopes))(jnp.arange(1000))
    assert found.shape == (1000, N) and (found >= 0).all() and (found > 0).any()


def _game(utilities: list[list[float]], valid: int = 9) -> Evidence:
    """Every cell of the payoff once [1 row of 9 slots], the targets being the payoffs."""
    actions = jnp.array([(i, j) for i in range(A) for j in range(A)])[:, None]
    q = jnp.broadcast_to(jnp.array(utilities), (9, 1, N, A))
    y = jnp.asarray(PAYOFF.reshape(9, 1), jnp.float32)
    greedy = jnp.broadcast_to(q.argmax(-1), (9, 1, N)).astype(jnp.int32)
    valids = (jnp.arange(9) < valid)[:, None]
    return Evidence(y, y, actions, greedy, q, jnp.ones_like(q, bool), jnp.ones((9, 1, D)), valids, START)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("greedy", "value", "members"),
    [((0, 0), 8.0, {0}), ((2, 2), 7.95, {0, 8}), ((1, 1), 5.3, {0, 4, 8}), ((0, 1), 1.3, {0, 1, 8})],
)
def test_fixed_points_of_the_recognition(greedy: tuple[int, int], value: float, members: set[int]) -> None:
    """Spec 4.4: m = mean({Q*(greedy)} and all Q* above m); A_r is the greedy cell and those above."""
    utilities = [[1.0 if a == u else 0.1 * a for a in range(A)] for u in greedy]
    evidence, weighting = _game(utilities), POW(N, A, D, recognition_steps=500)
    state = weighting.init(jax.random.key(0))
    fit = jax.jit(lambda state: weighting.fit(state, evidence)[0])
    for _ in range(12):
        state = fit(state)
    table = weighting.joint_values(state, evidence)["recognition"][:, 0]
    np.testing.assert_allclose(table[greedy[0] * 3 + greedy[1]], value, atol=0.02)
    assert {int(u) for u in np.flatnonzero(weighting.weights(state, evidence)[:, 0])} == members


def test_steps_of_a_fit() -> None:
    """So many steps of Adam for each batch; the loss falls; slots that are not valid do not matter."""
    evidence, weighting = _game([[0.0, 1.0, 2.0]] * 2, valid=5), POW(N, A, D, recognition_steps=3)
    state = weighting.init(jax.random.key(0))
    poked = evidence._replace(target=evidence.target.at[5:].set(1e3), utilities=evidence.utilities.at[5:].mul(-7.0))
    losses = []
    for number in range(3):
        once, metrics = weighting.fit(state, evidence)
        other, _ = weighting.fit(state, poked)
        jax.tree.map(np.testing.assert_array_equal, once, other)
        losses.append(float(metrics["recognition_loss"]))
        state = once
        assert int(state.optimiser.cause) == 0
        counts = [int(x) for x in jax.tree.leaves(state.optimiser.inner) if x.dtype == jnp.int32]
        assert counts == [3 * (number + 1)] * len(counts) and counts
    assert losses[2] < losses[0]


def test_a_step_of_a_fit_equals_that_of_loops() -> None:
    """L_r = 1/2 mean (Q_r - y)^2 over valid steps, and Adam's memory of its gradient, a tenth of it."""
    evidence = _game([[0.0, 1.0, 2.0], [0.5, 0.0, -1.0]], valid=5)
    weighting = POW(N, A, D, recognition_steps=1, recognition_width=6)
    state = weighting.init(jax.random.key(0))
    y, actions, q = (np.asarray(x[:5, 0], np.float64) for x in (evidence.target, evidence.actions, evidence.utilities))
    rows = [(u := actions[t].astype(int), [q[t, i, u[i]] - q[t, i].max() for i in range(N)]) for t in range(5)]

    def reference(params: Any) -> float:
        errors = [_plain(params, np.ones(D), u, np.array(a)) - y[t] for t, (u, a) in enumerate(rows)]
        return 0.5 * float(np.mean(np.square(errors)))

    after, metrics = weighting.fit(state, evidence)
    np.testing.assert_allclose(metrics["recognition_loss"], reference(as_float64(after.params)), rtol=1e-5)
    slopes = finite_differences(reference, as_float64(state.params))
    norm = np.sqrt(sum((x**2).sum() for x in jax.tree.leaves(slopes)))
    clipped = jax.tree.map(lambda x: x * min(1, 10 / norm), slopes)
    moments = next(x for x in jax.tree.leaves(after.optimiser.inner) if x.ndim == 1)
    expected = 0.1 * np.concatenate([np.ravel(x) for x in jax.tree.leaves(clipped)])
    np.testing.assert_allclose(moments, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def test_parts_of_a_batch_are_taken_in_turn() -> None:
    """Two rows, two parts: the first step ignores the second row, a second step does not."""
    one = _game([[0.0, 1.0, 2.0]] * 2)
    double = jax.tree.map(lambda x: jnp.concatenate([x, x], 1) if jnp.ndim(x) > 1 else x, one)
    poked = double._replace(target=double.target.at[:, 1].set(50.0))
    for steps, ignored in ((1, True), (2, False)):
        weighting = POW(N, A, D, recognition_steps=steps, recognition_parts=2)
        state = weighting.init(jax.random.key(0))
        first, second = (weighting.fit(state, e)[0].params["params"]["first"]["kernel"] for e in (double, poked))
        assert bool((first == second).all()) == ignored


@pytest.mark.parametrize("parts", [2, 4])
def test_devices_that_share_a_batch_have_their_shares_of_the_same_parts(parts: int) -> None:
    """Two devices with two rows each; of four parts each then has half, and must sit out the other two steps."""
    one, rows = _game([[0.0, 1.0, 2.0], [0.5, 0.0, -1.0]], valid=5), PartitionSpec(None, ROWS)
    batch = jax.tree.map(lambda x: jnp.concatenate([x] * 4, 1) if jnp.ndim(x) > 1 else x, one)
    batch = batch._replace(target=batch.target * jnp.arange(1.0, 5.0), valid=batch.valid.at[2:, 1].set(False))
    weighting = POW(N, A, D, recognition_steps=3, recognition_parts=parts)
    state = weighting.init(jax.random.key(0))
    shared = replace(weighting, axis=ROWS)
    fit = jax.shard_map(
        lambda share: shared.fit(state, share)[0].params, mesh=Mesh(np.array(jax.devices()[:2]), (ROWS,)),
        in_specs=(jax.tree.map(lambda x: rows if jnp.ndim(x) > 1 else PartitionSpec(), batch),),
        out_specs=PartitionSpec(), check_vma=False,
    )  # fmt: skip
    whole = weighting.fit(state, batch)[0].params
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), jax.jit(fit)(batch), whole)


def test_warm_up_is_without_weights() -> None:
    evidence, weighting = _game([[0.0, 1.0, 2.0]] * 2), POW(N, A, D, warm_up_steps=100.0)
    state, _ = weighting.fit(weighting.init(jax.random.key(0)), evidence)
    early = evidence._replace(progress=Progress(jnp.float32(99), *START[1:]))
    late = evidence._replace(progress=Progress(jnp.float32(100), *START[1:]))
    assert (weighting.weights(state, early) == 1).all()
    assert (weighting.weights(state, late) == 0).any()


@pytest.mark.parametrize("mixer", ["vdn", *(pytest.param(name, marks=pytest.mark.slow) for name in ("qmix", "qplex"))])
def test_an_update_trains_recognition_apart_from_the_rest(mixer: str) -> None:
    """Q_r moves by its own steps only, and the critic as if it was not there (constant weights: test_weighted.py)."""
    method, steps = learner(mixer=mixer, weighting="pow", critic="central", recognition_steps=2), batch()
    state = method.init(jax.random.key(0))
    after, metrics = jax.jit(method.update)(state, steps, jax.random.key(1), START)
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), after.weighting.params, state.weighting.params)
    assert all(jax.tree.leaves(moved))
    assert 0 <= metrics["weight"] <= 1 and np.isfinite(metrics["recognition_loss"])
    frozen = learner(mixer=mixer, weighting="pow", critic="central", recognition_steps=2, recognition_learning_rate=0.0)
    still, _ = jax.jit(frozen.update)(state, steps, jax.random.key(1), START)
    jax.tree.map(np.testing.assert_array_equal, still.weighting.params, state.weighting.params)
    critic = jax.tree.map(lambda a, b: bool((a == b).all()), after.params["critic"], still.params["critic"])
    assert all(jax.tree.leaves(critic))  # the critic's own error knows nothing of weights
