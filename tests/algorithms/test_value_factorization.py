"""The learner: a loss computed by hand, double-Q with masks, whom gradients reach, and the target's sync."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from marlx_envs import Entry, UsageError

from marlx.mixers import MIXERS
from marlx.mixers.independent import Independent
from marlx.mixers.vdn import VDN
from marlx.types import Progress
from marlx.weightings import WEIGHTINGS
from marlx.weightings.uniform import Uniform
from tests.algorithms.learning import A, B, N, T, batch, learner, loss


@pytest.mark.parametrize("mixer", ["independent", "vdn", "qmix"])
@pytest.mark.parametrize("target", ["td_lambda", "sarsa_lambda", "q_lambda"])
def test_loss_and_gradient_equal_loops(mixer: str, target: str) -> None:
    """Every index written out: chosen utilities, double-Q over available actions, the target, the mean of squares."""
    training = {"gamma": 0.9, "td_lambda": 0.7}
    method, steps = learner({"network": "mlp"}, training, mixer=mixer, target=target), batch()
    live, other = (method.init(jax.random.key(seed)).params for seed in (1, 2))
    found, _ = loss(method, live, other, steps)
    q, old = (np.asarray(method.play(params, steps.view).utilities) for params in (live, other))
    actions, available = np.asarray(steps.actions), np.asarray(steps.view.available)
    groups = N if mixer == "independent" else 1

    def mixed(params: Any, utilities: np.ndarray, t: int, b: int) -> np.ndarray:
        value = method.mixer.apply(params["mixer"], jnp.asarray(utilities), steps.view.state[t, b])
        return np.asarray(value).reshape(groups)

    expected = np.zeros((T, B, groups))
    for b in range(B):
        values = []
        for t in range(T + 1):
            chosen = [
                actions[t, b, i]
                if target == "sarsa_lambda"
                else max((a for a in range(A) if available[t, b, i, a]), key=lambda a, i=i, t=t: q[t, b, i, a])
                for i in range(N)
            ]
            values.append(mixed(other, np.array([old[t, b, i, a] for i, a in enumerate(chosen)]), t, b))
        future = values[T]
        for t in reversed(range(T)):
            discount = 0.9 * (1 - float(steps.terminated[t, b]))
            reward = float(steps.rewards[t, b])
            if target == "q_lambda":  # off-policy correction V_t - Q(s_t, u_t), both of the target network
                replayed = mixed(other, np.array([old[t, b, i, actions[t, b, i]] for i in range(N)]), t, b)
                reward = reward + values[t] - replayed
            expected[t, b] = future = reward + discount * (0.3 * values[t + 1] + 0.7 * future)

    def mean(params: Any) -> jax.Array:
        """Of the squared errors, the targets being constants."""
        played, total = method.play(params, steps.view).utilities, jnp.float32(0)
        for t, b in np.ndindex(T, B):
            taken = jnp.stack([played[t, b, i, actions[t, b, i]] for i in range(N)])
            value = method.mixer.apply(params["mixer"], taken, steps.view.state[t, b])
            total += ((value.reshape(groups) - expected[t, b]) ** 2).sum()
        return total / expected.size

    np.testing.assert_allclose(found, mean(live), rtol=1e-5)
    if target == "td_lambda":
        gradients = (jax.jit(jax.grad(f))(live) for f in (lambda params: loss(method, params, other, steps)[0], mean))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), *gradients)


@pytest.mark.parametrize("target", ["td_lambda", "q_lambda"])
def test_where_every_step_terminates_the_slot_after_it_is_not_needed(target: str) -> None:
    """Of any target; Q(lambda)'s correction of a step is of that step alone."""
    method, steps = learner(training={"gamma": 0.9, "td_lambda": 0.7}, mixer="vdn", target=target), batch()
    steps = steps._replace(terminated=jnp.ones((T, B), bool))
    view, actions = steps.of_steps((steps.view, steps.actions))
    live, other = (method.init(jax.random.key(seed)).params for seed in (1, 2))
    without, _ = loss(method, live, other, steps._replace(view=view, actions=actions))
    np.testing.assert_allclose(without, loss(method, live, other, steps)[0], rtol=1e-6)


def test_an_unavailable_action_is_never_bootstrapped_from() -> None:
    """The live argmax is unavailable; raising its target value without bound changes nothing."""
    method, steps = learner(training={"gamma": 0.9, "td_lambda": 0.0}, mixer="vdn"), batch()
    live = method.init(jax.random.key(1)).params
    masked = steps._replace(
        view=steps.view._replace(available=steps.view.available.at[..., 2].set(False)),
        actions=jnp.minimum(steps.actions, 1) * 0,
    )

    def raised(by: float) -> Any:
        bias = live["agent"]["params"]["head_bias"].at[2].add(by)
        return {**live, "agent": {"params": {**live["agent"]["params"], "head_bias": bias}}}

    assert loss(method, raised(1e6), raised(1e9), masked)[0] == loss(method, live, live, masked)[0]


def test_gradient_reaches_live_parameters_only() -> None:
    method, steps = learner(), batch()
    live, other = (method.init(jax.random.key(seed)).params for seed in (1, 2))
    ours, targets = jax.grad(lambda p, t: loss(method, p, t, steps)[0], argnums=(0, 1))(live, other)
    assert all((jnp.abs(g) > 0).any() for g in jax.tree.leaves(ours))
    assert all((g == 0).all() for g in jax.tree.leaves(targets))


@pytest.mark.parametrize(
    "unit, expected",
    [("episodes", [0, 0, 1, 1, 2]), pytest.param("updates", [0, 0, 1, 1, 1], marks=pytest.mark.slow)],
)
def test_target_is_a_copy_every_interval(unit: str, expected: list[int]) -> None:
    """Episodes at the updates: 1, 2, 3, 4, 6; interval 3. Or updates 1..5, interval 3."""
    method, steps = learner(training={"target_update_interval": 3.0, "target_update_unit": unit}), batch()
    state = method.init(jax.random.key(0))
    copies, history = 0, []
    for number, episodes in enumerate([1, 2, 3, 4, 6]):
        progress = Progress(jnp.float32(0), jnp.float32(episodes), jnp.float32(number))
        before = state.target
        state, _ = method.update(state, steps, jax.random.key(number), progress)
        same = jax.tree.map(lambda a, b: bool((a == b).all()), state.target, before)
        if not all(jax.tree.leaves(same)):
            copies += 1
            jax.tree.map(np.testing.assert_array_equal, state.target, state.params)
        history.append(copies)
    assert history == expected


def test_loss_scale_matters_through_clipping_only() -> None:
    steps = batch()
    whole, half = (learner(training={"loss_scale": scale, "max_gradient_norm": 1e9}) for scale in (1.0, 0.5))
    state = whole.init(jax.random.key(0))
    progress = Progress(*(jnp.float32(0),) * 3)
    one, two = (m.update(state, steps, jax.random.key(0), progress)[0].params for m in (whole, half))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), one, two)
    live, other = (whole.init(jax.random.key(seed)).params for seed in (1, 2))
    np.testing.assert_allclose(loss(half, live, other, steps)[0], 0.5 * loss(whole, live, other, steps)[0], rtol=1e-6)


@pytest.mark.parametrize(
    "mixer, agent, scales",
    [
        ("gomarl", {"head": "group_state", "group_width": 4}, {"lasso_scale": None, "similarity_scale": 0.5}),
        ("na2q", {"head": "individual"}, {"vae_loss_scale": 0.5}),
    ],
)
def test_a_mixers_own_losses_are_part_of_the_loss(mixer: str, agent: dict[str, Any], scales: dict[str, Any]) -> None:
    """Over the valid steps, beside the error: the difference to a learner that scales them to 0."""
    own = {name: scale for name, scale in scales.items() if scale is not None}
    method, none = (
        learner({**agent, "network": "mlp"}, mixer=mixer, **section) for section in (own, dict.fromkeys(scales, 0.0))
    )
    steps = batch()
    steps = steps._replace(valid=steps.valid.at[0, 0].set(False))
    live, other = (method.init(jax.random.key(seed)).params for seed in (1, 2))
    (whole, metrics), (bare, _) = (jax.jit(partial(loss, m))(live, other, steps) for m in (method, none))
    if mixer == "gomarl":  # the lasso's part is scaled already
        expected = metrics["lasso_loss"] + 0.5 * metrics["similarity_loss"]
    else:
        names = ("reconstruction_loss", "divergence_loss", "sparsity_loss")
        expected = 0.5 * sum(metrics[name] for name in names)
    assert abs(expected) > 1e-3
    np.testing.assert_allclose(whole - bare, expected, rtol=1e-4)


def named(registry: Any, factory: type, monkeypatch: pytest.MonkeyPatch) -> None:
    """Registered as "mine" for this test alone."""
    monkeypatch.setitem(registry._all(), "mine", Entry(name="mine", summary="", source="", factory=factory))


def first_loss(**section: Any) -> None:
    """Traces one loss, in which every part is called."""
    method = learner(**section)
    params = method.init(jax.random.key(0)).params
    jax.eval_shape(partial(loss, method), params, params, batch())


@pytest.mark.parametrize(
    "returns, told",
    [
        (lambda q: q.sum(-1, keepdims=True), f"float32 [{T + 1} {B} 1]"),
        (lambda q: q, f"float32 [{T + 1} {B} {N}]"),
        (lambda q: q.sum(), "float32 []"),
        (lambda q: q.sum(-1).T[:1], f"float32 [1 {T + 1}]"),
        (lambda q: q.sum(-1).astype(jnp.int32), f"int32 [{T + 1} {B}]"),
        (lambda q: (q.sum(-1), {}), "a tuple"),
        (lambda q: None, "None"),
    ],
)
def test_what_a_mixer_returns_is_checked(
    returns: Callable[[jax.Array], Any], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    @dataclass(frozen=True)
    class Mine(VDN):
        def apply(self, params: Any, utilities: jax.Array, state: jax.Array, context: Any = None) -> Any:
            return returns(utilities)

    named(MIXERS, Mine, monkeypatch)
    with pytest.raises(UsageError) as error:
        first_loss(mixer="mine")
    assert str(error.value) == f"algorithm.mixer=mine returned {told}; a joint value is floating, [{T + 1} {B}]"


@pytest.mark.parametrize(
    "returns, told",
    [
        (lambda error: None, "None"),
        (lambda error: 1.0, "1.0"),
        (lambda error: error.mean(), "float32 []"),
        (lambda error: error[..., None], f"float32 [{T} {B} 1]"),
        (lambda error: jnp.stack([error] * N, -1), f"float32 [{T} {B} {N}]"),
        (lambda error: error > 0, f"bool [{T} {B}]"),
    ],
)
def test_what_a_weighting_returns_is_checked(
    returns: Callable[[jax.Array], Any], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    @dataclass(frozen=True)
    class Mine(Uniform):
        def weights(self, state: Any, evidence: Any) -> Any:
            return returns(evidence.target - evidence.joint_value)

    named(WEIGHTINGS, Mine, monkeypatch)
    with pytest.raises(UsageError) as error:
        first_loss(weighting="mine")
    assert str(error.value) == f"algorithm.weighting=mine returned {told}; a weight is floating, [{T} {B}]"


def test_a_mixer_of_the_users_own_may_keep_values_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """By saying so; then there is nothing that a weighting could weight."""

    @dataclass(frozen=True)
    class Mine(Independent):
        pass

    named(MIXERS, Mine, monkeypatch)
    first_loss(mixer="mine")
    with pytest.raises(UsageError, match="algorithm.mixer=mine has no joint value"):
        learner(mixer="mine", weighting="ow", critic="central")
