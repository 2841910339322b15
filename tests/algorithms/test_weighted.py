"""Weighted methods and ResQ: losses and gradients by hand, slopes of the mixer, what does not go together."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec
from marlx_envs.options import UsageError

import marlx
from marlx import joint_actions, weightings
from marlx.algorithms.value_factorization import ValueFactorization
from marlx.critics.recognition import Recognition
from marlx.engine.seeds import ROWS
from marlx.mixers import MIXERS
from marlx.types import Batch
from marlx.weightings import WEIGHTINGS
from marlx.weightings.base import Evidence, Weighting
from tests.algorithms.learning import START, A, B, N, T, batch, learner, loss

CENTRAL = {"mixer": "qmix", "critic": "central", "critic_width": 8}
CASES: dict[str, dict[str, Any]] = {
    "ow": {**CENTRAL, "weighting": "ow", "alpha": 0.3},
    "cw": {**CENTRAL, "weighting": "cw", "alpha": 0.3},
    "ideal_cw": {**CENTRAL, "weighting": "ideal_cw", "alpha": 0.3},
    "remix": {**CENTRAL, "weighting": "remix"},
    "pow": {**CENTRAL, "weighting": "pow", "alpha": 0.3, "tolerance": 0.1, "recognition_width": 8},
    "resq": {**CENTRAL, "residual": "constrained", "residual_width": 8},
    "resq_raw": {**CENTRAL, "residual": "raw", "residual_width": 8},
    "resq_penalised": {**CENTRAL, "residual": "penalised", "residual_width": 8},
}
SLOW = pytest.mark.slow
MLP = {"network": "mlp"}  # quicker; the memory of the agents has tests of its own
NUMBERS = {"gamma": 0.9, "td_lambda": 0.7, "loss_scale": 0.5}


def _two(method: ValueFactorization) -> tuple[Any, Any]:
    """Live and target parameters, different ones."""
    live, other = (method.init(jax.random.key(seed)).params for seed in (1, 2))
    return live, other


def _told(monkeypatch: pytest.MonkeyPatch, method: ValueFactorization, *others: Any) -> tuple[Evidence, jax.Array, Any]:
    """What the weighting is told in a loss, the weights that it gives, and the loss with its metrics."""
    seen: list[tuple[Evidence, jax.Array]] = []
    original = type(method.weighting).weights

    def recorded(self: Weighting, state: Any, evidence: Evidence) -> jax.Array:
        seen.append((evidence, original(self, state, evidence)))
        return seen[-1][1]

    with monkeypatch.context() as patch:
        patch.setattr(type(method.weighting), "weights", recorded)
        found = loss(method, *others)
    return *seen[-1], found


def _weight(name: str, x: Evidence, t: int, b: int) -> Any:
    """Weight of one step from the evidence, without those that need the whole batch or a network."""
    if name == "ow":
        return 1 if x.joint_value[t, b] < x.target[t, b] else 0.3
    if name == "cw":
        assert x.critic_greedy is not None
        is_greedy = all(x.actions[t, b, i] == x.greedy[t, b, i] for i in range(N))
        return 1 if is_greedy or x.target[t, b] > x.critic_greedy[t, b] else 0.3
    if name == "ideal_cw":
        assert x.optimal is not None
        return 1 if x.optimal[t, b] else 0.3
    return 1


def _pow_weight(params: Any, x: Evidence, t: int, b: int) -> float:
    """Of one step: Q_r(s, u) by the advantages of the actions taken against Q_r(s, greedy), where they are 0."""
    q, may, u = (np.asarray(y[t, b]) for y in (x.utilities, x.available, x.actions))
    lows = [q[i, u[i]] - max(q[i, a] for a in range(A) if may[i, a]) for i in range(N)]
    apply = Recognition(N, A, 5, width=8).apply
    here, _ = apply(params, x.state[t, b], x.actions[t, b], jnp.array(lows))
    best, _ = apply(params, x.state[t, b], x.greedy[t, b], jnp.zeros(N))
    return 1 if here > best - 0.1 else 0.3


def _looped(method: ValueFactorization, name: str, params: Any, steps: Batch, y: Any, weights: Any, greedy: Any) -> Any:
    """Sums over steps of the terms: weighted TD, critic, penalty. Targets, weights, greedy actions are constants."""
    view, state, actions = steps.view, steps.view.state, np.asarray(steps.actions)
    assert method.critic is not None
    q, values = method.play(params, view).utilities, method.critic.use(params["critic"], view)
    raws = method.residual.use(params["residual"], view) if method.residual else None
    td = critic = penalty = jnp.float32(0)
    for here in np.ndindex(T, B):
        u = actions[here]
        taken = jnp.stack([q[*here, i, u[i]] for i in range(N)])
        joint = method.mixer.apply(params["mixer"], taken, state[here])
        if method.residual:
            assert raws is not None
            extra = method.residual.at(params["residual"], raws[here], state[here], jnp.asarray(u))
            extra = -jnp.abs(extra) if name == "resq" else extra
            penalty += jnp.maximum(extra, 0) ** 2 if name == "resq_penalised" else 0
            joint += 0 if (u == greedy[here]).all() else extra
        td += weights[here] * (joint - y[here]) ** 2
        critic += (method.critic.at(params["critic"], values[here], state[here], jnp.asarray(u)) - y[here]) ** 2
    return td, critic, penalty


@pytest.mark.parametrize("name", CASES)
def test_loss_equals_loops(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The target's critic at the live greedy actions, TD(lambda), weights, masked residual, mean of each term."""
    method, steps = learner(MLP, NUMBERS, critic_loss_scale=0.25, **CASES[name]), batch(seed=3)
    live, other = _two(method)
    told, weights, (found, metrics) = _told(monkeypatch, method, live, other, steps)
    view, state = steps.view, steps.view.state
    assert method.critic is not None
    q = np.asarray(method.play(live, view).utilities)
    values, old = (method.critic.use(params["critic"], view) for params in (live, other))
    greedy = np.where(np.asarray(view.available), q, -np.inf).argmax(-1)
    assert (greedy[:T] != q[:T].argmax(-1)).any()  # the batch has agents whose best action is unavailable
    for mine, theirs in (
        (told.greedy, greedy[:T]), (told.utilities, q[:T]), (told.available, view.available[:T]),
        (told.actions, steps.actions[:T]), (told.state, state[:T]), (told.valid, steps.valid),
        (told.optimal, steps.optimal),
    ):  # fmt: skip
        assert mine is not None
        np.testing.assert_array_equal(mine, theirs)
    y = np.zeros((T, B))
    learnt, _ = method.weighting.fit(method.init(jax.random.key(0)).weighting, told)
    for b in range(B):
        at_greedy = [
            method.critic.at(other["critic"], old[t, b], state[t, b], jnp.asarray(greedy[t, b])) for t in range(T + 1)
        ]
        future = float(at_greedy[T])
        for t in reversed(range(T)):
            here, action = (t, b), steps.actions[t, b]
            discount = 0.9 * (1 - float(steps.terminated[here]))
            y[here] = future = float(steps.rewards[here]) + discount * (0.3 * float(at_greedy[t + 1]) + 0.7 * future)
            taken = jnp.array([q[t, b, i, action[i]] for i in range(N)])
            joint = float(method.mixer.apply(live["mixer"], taken, state[here]))
            believed = float(method.critic.at(live["critic"], values[here], state[here], action))
            before = float(method.critic.at(other["critic"], old[here], state[here], action))
            for mine, theirs in (
                (told.joint_value, joint), (told.target, future), (told.critic_value, believed),
                (told.critic_target, before), (told.critic_greedy, at_greedy[t]),
            ):  # fmt: skip
                assert mine is not None
                np.testing.assert_allclose(mine[here], theirs, rtol=1e-4, atol=1e-6)
            if name == "pow":
                np.testing.assert_allclose(weights[here], _pow_weight(learnt.params, told, t, b))
            elif name != "remix":  # of a whole batch: test_weightings.py
                np.testing.assert_allclose(weights[here], _weight(name, told, t, b))
    weights = jnp.broadcast_to(weights, (T, B))
    td, critic, penalty = _looped(method, name, live, steps, y, weights, greedy)
    np.testing.assert_allclose(metrics["td_loss"], 0.5 * td / (T * B), rtol=1e-5)
    np.testing.assert_allclose(metrics["critic_loss"], 0.25 * critic / (T * B), rtol=1e-5)
    np.testing.assert_allclose(found, (0.5 * td + 0.25 * critic + penalty) / (T * B), rtol=1e-5)
    if method.residual:
        same = (np.asarray(steps.actions)[:T] == greedy[:T]).all(-1)
        assert same.any() and not same.all()  # the batch shows both cases
        assert (penalty > 0) == (name == "resq_penalised")
    else:
        assert len(np.unique(weights)) > 1


# Slopes


def _qmix_slopes(mixer: Any, params: Any, utilities: np.ndarray, state: np.ndarray) -> np.ndarray:
    """f'_j = sum_k h'(z_k) |W1_jk| |w2_k|, h' = 1 above 0 and e^z below, of one step in double precision."""
    p = jax.tree.map(lambda x: np.asarray(x, np.float64), params["params"])

    def affine(name: str, x: np.ndarray) -> np.ndarray:
        return x @ p[name]["kernel"] + p[name]["bias"]

    k, e = mixer.hypernet_width, mixer.mixing_width
    first, second, _, b1 = np.split(affine("first", state), np.cumsum([k, k, e]))
    w1 = np.abs(affine("w1", np.maximum(first, 0))).reshape(N, e)
    w2 = np.abs(affine("w2", np.maximum(second, 0)))
    z = utilities @ w1 + b1
    slopes: np.ndarray = w1 @ (np.where(z > 0, 1, np.exp(z)) * w2)
    return slopes


def test_slopes_of_qmix(monkeypatch: pytest.MonkeyPatch) -> None:
    method, steps = learner(MLP, **CASES["remix"]), batch()
    live, other = _two(method)
    told, _, _ = _told(monkeypatch, method, live, other, steps)
    q = np.asarray(method.play(live, steps.view).utilities, np.float64)
    assert told.slopes is not None
    for t in range(T):
        for b in range(B):
            taken = np.array([q[t, b, i, steps.actions[t, b, i]] for i in range(N)])
            expected = _qmix_slopes(method.mixer, live["mixer"], taken, np.asarray(steps.view.state[t, b], np.float64))
            np.testing.assert_allclose(told.slopes[t, b], expected, rtol=1e-5)


@pytest.mark.parametrize(
    "mixer", ["vdn", "qmix", "qatten", *(pytest.param(name, marks=SLOW) for name in ("na2q", "gomarl"))]
)
def test_slopes_are_differences_of_the_joint_value(mixer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every mixer that ReMIX may have; each agent's utility moved by itself at one step."""
    head = MIXERS[mixer].load().agent_head or "shared"
    method, steps = learner({**MLP, "head": head}, **{**CASES["remix"], "mixer": mixer}), batch()
    live, other = _two(method)
    told, _, _ = _told(monkeypatch, method, live, other, steps)
    state = method.init(jax.random.key(0))._replace(target=other)
    context = method.loss(live, state, steps, jax.random.key(0), START)[1][2]
    taken = jnp.take_along_axis(told.utilities, told.actions[..., None], -1)[..., 0]
    assert told.slopes is not None
    for i in range(N):
        up, down = (
            method.mixer.apply(live["mixer"], taken.at[..., i].add(step), told.state, context) for step in (0.02, -0.02)
        )
        np.testing.assert_allclose(told.slopes[..., i], (up - down) / 0.04, rtol=2e-3, atol=1e-4)
    # And closer, by the mixer's own gradient, which the tests of mixers hold to references in double precision.
    own = jax.grad(lambda q: method.mixer.apply(live["mixer"], q, told.state, context).sum())(taken)
    np.testing.assert_allclose(told.slopes, own, rtol=1e-5)
    if mixer == "vdn":
        np.testing.assert_array_equal(told.slopes, jnp.ones((T, B, N)))


# Whom gradients reach: live parameters only, which `_gradient` asserts


def _gradient(method: ValueFactorization, live: Any, other: Any, steps: Batch) -> Any:
    """Of the live parameters; the target's is zero everywhere."""
    gradients = jax.jit(jax.grad(lambda params, target: loss(method, params, target, steps)[0], argnums=(0, 1)))
    ours, targets = gradients(live, other)
    assert all((g == 0).all() for g in jax.tree.leaves(targets))
    return ours


def _same(one: Any, other: Any) -> None:
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), one, other)


# The three that are left to the slow tier differ from cw and resq in what is a constant here, or in one sign.
@pytest.mark.parametrize(
    "name", [pytest.param(x, marks=SLOW if x in ("ow", "ideal_cw", "resq_raw") else ()) for x in CASES]
)
def test_gradient_equals_that_of_loops(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Targets, weights and the mask of the residual are constants to it; every parameter learns."""
    method, steps = learner(MLP, NUMBERS, critic_loss_scale=0.25, **CASES[name]), batch(seed=3)
    live, other = _two(method)
    told, weights, _ = _told(monkeypatch, method, live, other, steps)
    constants = (np.asarray(told.target), np.broadcast_to(weights, (T, B)), np.asarray(told.greedy))

    def total(params: Any) -> jax.Array:
        td, critic, penalty = _looped(method, name, params, steps, *constants)
        return (0.5 * td + 0.25 * critic + penalty) / (T * B)

    found = _gradient(method, live, other, steps)
    _same(found, jax.jit(jax.grad(total))(live))
    assert all((jnp.abs(g) > 0).any() for g in jax.tree.leaves(found))


@SLOW
def test_residual_is_masked_at_the_greedy_action() -> None:
    """There it learns nothing, and the error is that of QMIX alone; elsewhere both learn."""
    method, plain, steps = learner(MLP, **CASES["resq"]), learner(MLP, **CENTRAL), batch(seed=3)
    live, other = _two(method)
    greedy = jnp.where(steps.view.available, method.play(live, steps.view).utilities, -jnp.inf).argmax(-1)
    at_greedy = _gradient(method, live, other, steps._replace(actions=greedy))
    assert all((g == 0).all() for g in jax.tree.leaves(at_greedy["residual"]))
    alone = {name: live[name] for name in ("agent", "mixer", "critic")}
    targets = {name: other[name] for name in alone}
    expected = _gradient(plain, alone, targets, steps._replace(actions=greedy))
    _same({name: at_greedy[name] for name in alone}, expected)
    elsewhere = _gradient(method, live, other, steps)
    assert all((jnp.abs(g) > 0).any() for g in jax.tree.leaves(elsewhere["residual"]["mixer"]))


@pytest.mark.parametrize("name", ["resq", "resq_penalised"])
def test_greedy_agents_are_jointly_greedy_with_a_residual(name: str) -> None:
    """Q_mon + w_r Q_r over all joint actions that are available; IGM holds where Q_r is never positive."""
    method, steps = learner(MLP, **CASES[name]), batch(seed=3)
    state, play, joint_values = method.init(jax.random.key(1)), jax.jit(method.play), jax.jit(method.joint_values)
    view = jax.tree.map(lambda x: x[0, 0], steps.view)
    joint = jnp.asarray(joint_actions.listed(N, A))
    held = 0
    for seed in range(20):
        keys = jax.random.split(jax.random.key(seed), 3)
        observation = 3 * jax.random.normal(keys[0], view.observation.shape)
        available = (jax.random.uniform(keys[1], (N, A)) < 0.7).at[:, 1].set(True)
        here = view._replace(observation=observation, available=available, state=jax.random.normal(keys[2], (5,)))
        seen = jax.tree.map(lambda x: jnp.broadcast_to(x, (len(joint), *x.shape)), here)
        found = joint_values(state, seen, joint)
        q = np.asarray(play(state.params, jax.tree.map(lambda x: x[None, None], here)).utilities)[0, 0]
        greedy = np.where(available, q, -np.inf).argmax(-1)
        legal = np.asarray(available)[np.arange(N), joint].all(-1)
        assert method.residual is not None
        values = method.residual.use(state.params["residual"], jax.tree.map(lambda x: x[None], seen))
        raw = method.residual.at(state.params["residual"], values, seen.state[None], joint[None])[0]
        rest = np.where((joint == greedy).all(-1), 0, -abs(raw) if name == "resq" else raw)
        np.testing.assert_allclose(found["explained"], found["joint"] + rest, rtol=1e-5, atol=1e-6)
        best = joint[np.where(legal, found["explained"], -np.inf).argmax()]
        held += (best == greedy).all()
    assert (held == 20) == (name == "resq")


def test_residual_agent_starts_as_a_copy_of_the_agent() -> None:
    params = learner(MLP, **CASES["resq"]).init(jax.random.key(0)).params
    jax.tree.map(np.testing.assert_array_equal, params["residual"]["agent"], params["agent"])
    leaves = [jax.tree.leaves(params[name]["agent"]) for name in ("critic", "residual")]
    assert any((a != b).any() for a, b in zip(*leaves, strict=True))


@pytest.mark.slow
def test_an_update_on_devices_that_share_a_batch() -> None:
    """ReMIX's range over the batch is exchanged inside the gradient."""
    method, steps = learner(MLP, **CASES["remix"]), batch(seed=3)
    state = method.init(jax.random.key(0))
    whole, expected = method.update(state, steps, jax.random.key(1), START)
    shared = replace(method, axis=ROWS, weighting=replace(method.weighting, axis=ROWS))
    rows, same = PartitionSpec(None, ROWS), PartitionSpec()
    update = jax.shard_map(
        lambda share: shared.update(state, share, jax.random.key(1), START),
        mesh=Mesh(np.array(jax.devices()[:2]), (ROWS,)), in_specs=(rows,), out_specs=same, check_vma=False,
    )  # fmt: skip
    found, metrics = jax.jit(update)(steps)
    np.testing.assert_allclose(metrics["weight"], expected["weight"], rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), found.params, whole.params)


# What does not go together


@pytest.mark.parametrize(
    "method, environment, overrides, words",
    [
        ("remix", "matrix_game", ("algorithm.mixer=feed_forward",), "not feed_forward; valid: na2q, qatten, qmix, vdn"),
        ("remix", "matrix_game", ("algorithm.mixer=qplex",), "not qplex; valid: na2q, qatten, qmix, vdn"),
        ("remix", "matrix_game", ("algorithm.monotone=false",), "in every utility: algorithm.monotone must be"),
        ("remix", "matrix_game", ("algorithm.recent_rows=15",), "recent_rows must be at least the 16 rows"),
        ("remix", "matrix_game", ("algorithm.recent_percent=101",), "recent_percent must be at most 100"),
        ("remix", "matrix_game", ("algorithm.critic=none",), "weighting=remix needs algorithm.critic=central"),
        ("cw_qmix", "matrix_game", ("algorithm.critic=none",), "weighting=cw needs algorithm.critic=central"),
        ("qmix", "matrix_game", ("algorithm.weighting=ow",), "weighting=ow needs algorithm.critic=central"),
        ("cw_qmix", "matrix_game", ("algorithm.alpha=1.5",), "algorithm.alpha must be at most 1, not 1.5"),
        ("ow_qmix", "matrix_game", ("algorithm.alpha=-0.1",), "algorithm.alpha must be at least 0, not -0.1"),
        ("pow_qmix", "matrix_game", ("algorithm.tolerance=0",), "algorithm.tolerance must be at least 1e-06, not 0"),
        ("pow_qmix", "matrix_game", ("algorithm.tolerance=-1",), "algorithm.tolerance must be at least 1e-06, not -1"),
        ("qpro", "matrix_game", ("algorithm.weight_low=1.5",), "algorithm.weight_low must be at most 1"),
        ("qpro", "matrix_game", ("algorithm.weight_high=0.5",), "algorithm.weight_high must be at least 1, not 0.5"),
        ("iql", "matrix_game", ("agent.head=group_state",), "learns its groups through algorithm.mixer=gomarl alone"),
        ("qpro", "matrix_game", ("algorithm.slope_floor=0",), "algorithm.slope_floor must be at least 1e-06"),
        ("ideal_cw_qmix", "predator_prey", (), "needs an environment that knows its best joint action"),
        ("resq", "matrix_game", ("algorithm.mixer=independent",), "mixer=independent has no joint value"),
        *(
            ("iql", "matrix_game", (f"algorithm.weighting={name}",), "mixer=independent has no joint value")
            for name in WEIGHTINGS
            if name != "uniform"
        ),
    ],
)
def test_mistakes_are_one_line(method: str, environment: str, overrides: tuple[str, ...], words: str) -> None:
    with pytest.raises(UsageError) as error:
        marlx.configure(method, environment, *overrides)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_qpro_is_remix_on_uniform_batches() -> None:
    remix, qpro = (marlx.configure(name, "matrix_game") for name in ("remix", "qpro"))
    differ = {name for name, value in remix.algorithm.items() if qpro.algorithm[name] != value}
    assert differ == {"recent_factor"} and qpro.training == remix.training
    fewer = marlx.configure("remix", "matrix_game", "algorithm.recent_rows=8", "algorithm.recent_percent=25")
    assert weightings.ReMIX(2, 3, 1, None, **_options(fewer)).sampling(32) == (8, 8)
    assert weightings.ReMIX(2, 3, 1, None, **_options(qpro)).sampling(32) == (0, 0)


def _options(experiment: marlx.Experiment) -> dict[str, Any]:
    names = ("recent_rows", "recent_percent", "recent_factor")
    return {name: experiment.algorithm[name] for name in names}
