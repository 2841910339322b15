"""Weightings: the hand-checked numbers from the specification, loops, and what holds for every one of the registry."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec
from marlx_envs.options import UsageError

from marlx import exploration, weightings
from marlx.algorithms.composition import sized
from marlx.engine.seeds import ROWS
from marlx.types import UNIFORM, Progress, Sampling
from marlx.weightings import WEIGHTINGS
from marlx.weightings.base import Evidence, Weighting

N, A, D, T, B = 2, 3, 4, 6, 4
SIZES = {"n_agents": N, "n_actions": A, "state_size": D, "axis": None}


def _made(name: str, axis: str | None = None, **options: Any) -> Weighting:
    entry = WEIGHTINGS[name]
    part: Weighting = sized(entry.load(), {**SIZES, "axis": axis}, {**entry.options, **options})
    return part


def _evidence(seed: int = 0, scale: float = 3.0) -> Evidence:
    """Random steps [T B], a third of which are not valid; some exponents, slopes and G need their bounds."""
    keys = jax.random.split(jax.random.key(seed), 12)
    joint, target, value, at_greedy = (scale * jax.random.normal(key, (T, B)) for key in keys[:4])
    actions = jax.random.randint(keys[4], (T, B, N), 0, A)
    available = (jax.random.uniform(keys[5], (T, B, N, A)) < 0.6) | (actions[..., None] == jnp.arange(A))
    return Evidence(
        joint_value=joint,
        target=target,
        actions=actions,
        greedy=jnp.where(jax.random.uniform(keys[6], (T, B, 1)) < 0.5, actions, (actions + 1) % A),
        utilities=scale * jax.random.normal(keys[7], (T, B, N, A)),
        available=available,
        state=jax.random.normal(keys[8], (T, B, D)),
        valid=jax.random.uniform(keys[9], (T, B)) < 0.67,
        progress=Progress(*(jnp.float32(1e6),) * 3),
        slopes=3 * jax.random.uniform(keys[10], (T, B, N)) ** 4,
        critic_value=value,
        critic_target=value[::-1],
        critic_greedy=at_greedy,
        optimal=jax.random.uniform(keys[11], (T, B)) < 0.3,
    )


def _weights(part: Weighting, evidence: Evidence) -> np.ndarray:
    """Of a part that has learnt from the same steps, as in an update."""
    state, _ = part.fit(part.init(jax.random.key(0)), evidence)
    return np.asarray(part.weights(state, evidence))


# The numbers of the specification


def test_ow_numbers() -> None:
    np.testing.assert_allclose(weightings.ow(jnp.array([1.0, 3.0, 2.0]), jnp.full(3, 2.0), 0.1), [1, 0.1, 0.1])
    np.testing.assert_allclose(weightings.ideal_cw(jnp.array([True, False]), 0.2), [1, 0.2])


def test_cw_numbers() -> None:
    actions, greedy = jnp.array([[0, 1], [0, 1], [0, 1], [0, 1]]), jnp.array([[1, 1], [1, 1], [0, 1], [0, 0]])
    found = weightings.cw(actions, greedy, jnp.array([2.0, 2.6, 2.0, 2.5]), jnp.full(4, 2.5), 0.1)
    np.testing.assert_allclose(found, [0.1, 1, 1, 0.1])


def test_regret_numbers() -> None:
    utilities, actions = jnp.array([[1.0, 0, 0], [0, 0, 0]]), jnp.array([0, 1])
    factor = weightings.policy(utilities, jnp.ones((2, 3), bool), actions, jnp.array([0.5, 0.25]))
    np.testing.assert_allclose(factor, 2.514433, rtol=1e-6)
    for joint, expected in ((1.0, 4.145599), (3.0, 0.0)):
        q, y, critic = jnp.float32(joint), jnp.float32(2), jnp.float32(1.5)
        found = weightings.regret(q, y, weightings.gap(q, y), weightings.exponential(critic, q), factor)
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_agents_may_be_permuted() -> None:
    """G and the comparison with the greedy joint action do not know which agent is which."""
    keys = jax.random.split(jax.random.key(0), 4)
    utilities, available = jax.random.normal(keys[0], (5, 3, 4)), jax.random.uniform(keys[1], (5, 3, 4)) < 0.7
    actions, slopes = jax.random.randint(keys[2], (5, 3), 0, 4), jax.random.exponential(keys[3], (5, 3))
    available |= jax.nn.one_hot(actions, 4) > 0
    order, y = jnp.array([2, 0, 1]), jnp.arange(5.0)
    factors, weights = [], []
    for i in (jnp.arange(3), order):
        factors.append(weightings.policy(utilities[:, i], available[:, i], actions[:, i], slopes[:, i]))
        greedy = exploration.greedy(utilities, available).at[0].set(actions[0])[:, i]
        weights.append(weightings.cw(actions[:, i], greedy, y, jnp.full(5, 2.5)))
    np.testing.assert_allclose(*factors, rtol=1e-6)
    np.testing.assert_array_equal(*weights)
    assert len(np.unique(weights[0])) == 2


@pytest.mark.parametrize(
    "name, options, field",
    [
        ("cw", {}, "critic_greedy"),
        ("ideal_cw", {}, "optimal"),
        ("remix", {}, "slopes"),
        ("remix", {}, "critic_value"),
        ("remix", {"critic_copy": "target"}, "critic_target"),
    ],
)
def test_evidence_that_is_missing_is_one_line(name: str, options: dict[str, Any], field: str) -> None:
    part = _made(name, **options)
    with pytest.raises(UsageError, match=rf"^{type(part).__name__} needs evidence\.{field}, which is None$"):
        part.weights((), _evidence()._replace(**{field: None}))


def test_regret_of_a_payoff_table() -> None:
    payoff, zeros = jnp.array([[8.0, -12, -12], [-12, 3, 0], [-12, 0, 5]]), jnp.zeros((3, 3))
    actions = jnp.stack(jnp.meshgrid(jnp.arange(3), jnp.arange(3), indexing="ij"), -1)
    shape = (3, 3, 2)
    factor = weightings.policy(jnp.zeros((*shape, 3)), jnp.ones((*shape, 3), bool), actions, jnp.ones(shape))
    np.testing.assert_allclose(factor, 1 / 3, rtol=1e-6)
    optimism = weightings.exponential(payoff, zeros, limit=10)
    regrets = weightings.regret(zeros, payoff, weightings.gap(zeros, payoff), optimism, factor)
    expected = np.zeros((3, 3))
    expected[[0, 1, 2], [0, 1, 2]] = [7949.2213, 20.0855, 247.3553]
    np.testing.assert_allclose(regrets, expected, rtol=1e-5)
    expected[:] = 0.1
    expected[[0, 1, 2], [0, 1, 2]] = [1, 0.102274, 0.128005]
    np.testing.assert_allclose(weightings.rescale(regrets, jnp.ones((3, 3), bool)), expected, rtol=1e-5)


def test_unavailable_actions_have_no_part_in_the_policy() -> None:
    """Agent 1 has two actions left, equally good: pi = 1/2; agent 2 one: pi = 1. G = 0.5 / 1 + 0 - 1."""
    utilities, available = jnp.array([[2.0, 2, 9], [1, 5, 7]]), jnp.array([[True, True, False], [True, False, False]])
    found = weightings.policy(utilities, available, jnp.array([1, 0]), jnp.ones(2))
    np.testing.assert_allclose(found, -0.5, rtol=1e-6)
    assert jnp.isfinite(weightings.policy(utilities, jnp.zeros((2, 3), bool), jnp.array([1, 0]), jnp.zeros(2)))


# Loops


def _remix_by_loops(e: Evidence, off: str | None = None) -> np.ndarray:
    """Every index and factor of the equation written out, in double precision; `off` is left out."""
    x = jax.tree.map(lambda a: np.asarray(a, np.float64), e)
    regrets = np.zeros((T, B))
    for t in range(T):
        for b in range(B):
            q, y = x.joint_value[t, b], x.target[t, b]
            if q > y:
                continue
            factor = -1.0
            for j in range(N):
                exponents = [np.exp(u) if x.available[t, b, j, a] else 0 for a, u in enumerate(x.utilities[t, b, j])]
                probability = exponents[int(x.actions[t, b, j])] / sum(exponents)
                factor += (1 - probability) / max(x.slopes[t, b, j], 1e-3)
            parts = {
                "gap_factor": y - q,
                "exponential_factor": np.exp(min(max(x.critic_value[t, b] - q, -5), 5)),
                "policy_factor": max(factor, 0),
            }
            regrets[t, b] = np.prod([value for name, value in parts.items() if name != off])
    of_valid = [regrets[t, b] for t in range(T) for b in range(B) if x.valid[t, b]]
    return 0.1 + 0.9 * (regrets - min(of_valid)) / (max(of_valid) - min(of_valid))


@pytest.mark.parametrize("off", [None, "gap_factor", "exponential_factor", "policy_factor"])
def test_remix_equals_loops(off: str | None) -> None:
    evidence = _evidence()
    found = _weights(_made("remix", **({off: False} if off else {})), evidence)
    valid = np.asarray(evidence.valid)
    np.testing.assert_allclose(found[valid], _remix_by_loops(evidence, off)[valid], rtol=1e-5)
    assert len(np.unique(found[valid])) > 3  # neither all nor nothing: the factors are seen


def test_wqmix_equals_loops() -> None:
    e = _evidence()
    found = {name: _weights(_made(name, alpha=0.3), e) for name in ("ow", "cw", "ideal_cw")}
    for t in range(T):
        for b in range(B):
            is_greedy = all(e.actions[t, b, i] == e.greedy[t, b, i] for i in range(N))
            better = e.target[t, b] > e.critic_greedy[t, b]  # type: ignore[index]
            high = {
                "ow": e.joint_value[t, b] < e.target[t, b],
                "cw": is_greedy or better,
                "ideal_cw": e.optimal[t, b],  # type: ignore[index]
            }
            for name, is_high in high.items():
                np.testing.assert_allclose(found[name][t, b], 1 if is_high else 0.3, rtol=1e-6)


# What ReMIX decides where the paper is silent


def test_equal_regrets() -> None:
    """No step stands out: all get the highest weight, but an E of 0 the lowest, as it always does."""
    valid = jnp.array([True, True, False])
    np.testing.assert_allclose(weightings.rescale(jnp.array([2.0, 2, 7]), valid)[:2], 1)
    np.testing.assert_allclose(weightings.rescale(jnp.zeros(3), valid)[:2], 0.1)
    assert jnp.isfinite(weightings.rescale(jnp.ones(3), jnp.zeros(3, bool))).all()


def test_regrets_cut_to_the_range() -> None:
    evidence = _evidence()
    cut = _made("remix", rescale="clip", weight_low=0.2, weight_high=2.0)
    found = _weights(cut, evidence)
    x, valid = evidence, np.asarray(evidence.valid)
    factor = weightings.policy(x.utilities, x.available, x.actions, x.slopes)
    optimism = weightings.exponential(x.critic_value, x.joint_value)
    expected = weightings.regret(x.joint_value, x.target, weightings.gap(x.joint_value, x.target), optimism, factor)
    np.testing.assert_allclose(found[valid], np.clip(expected, 0.2, 2)[valid], rtol=1e-6)


def test_the_exponent_may_be_of_the_targets_critic() -> None:
    evidence, part = _evidence(), _made("remix", critic_copy="target")
    other = evidence._replace(critic_value=evidence.critic_target, critic_target=None)
    np.testing.assert_array_equal(_weights(part, evidence), _weights(_made("remix"), other))
    assert not np.array_equal(_weights(part, evidence), _weights(_made("remix"), evidence))
    shares = (p.fit((), e)[1]["clipped_exponents"] for p, e in ((part, evidence), (_made("remix"), other)))
    np.testing.assert_array_equal(*shares)


def test_share_of_clipped_exponents() -> None:
    evidence = _evidence()._replace(valid=jnp.ones((T, B), bool).at[0, 0].set(False))
    exponents = jnp.zeros((T, B)).at[0].set(jnp.array([9.0, 9, -9, 4.9]))  # the first is not valid
    evidence = evidence._replace(critic_value=evidence.joint_value + exponents)
    _, metrics = _made("remix").fit((), evidence)
    np.testing.assert_allclose(metrics["clipped_exponents"], 2 / (T * B - 1), rtol=1e-6)
    assert not _made("remix", exponential_factor=False, policy_factor=False).fit((), evidence)[1]


def test_share_of_vanished_policy_factors() -> None:
    """Slopes of 2 or more: G <= N / 2 - 1 = 0 for these two agents; slopes near 0: G is large unless pi = 1."""
    valid = jnp.ones((T, B), bool).at[0, 0].set(False)
    slopes = jnp.full((T, B, N), 0.01).at[0].set(2.0)
    evidence = _evidence()._replace(valid=valid, slopes=slopes, available=jnp.ones((T, B, N, A), bool))
    _, metrics = _made("remix").fit((), evidence._replace(utilities=jnp.zeros((T, B, N, A))))
    np.testing.assert_allclose(metrics["vanished_policy_factors"], (B - 1) / (T * B - 1), rtol=1e-6)


def test_recent_rows_of_a_batch() -> None:
    assert _made("remix").sampling(32) == Sampling(recent=16, window=256)
    assert _made("remix", recent_percent=33, recent_rows=20).sampling(10) == Sampling(recent=3, window=20)
    assert _made("remix", recent_percent=100).sampling(7) == Sampling(recent=7, window=256)
    for off in ({"recent_factor": False}, {"recent_percent": 0}):
        assert _made("remix", **off).sampling(32) == UNIFORM


def test_the_range_is_that_of_all_devices_which_share_a_batch() -> None:
    evidence, part = _evidence(), _made("remix", axis=ROWS)

    def on_device(share: Evidence) -> tuple[jax.Array, jax.Array]:
        return part.weights((), share), jax.lax.psum(part.fit((), share)[1]["clipped_exponents"], ROWS)

    rows, same = PartitionSpec(None, ROWS), PartitionSpec()
    specs = jax.tree.map(lambda x: rows if x.ndim else same, evidence)
    mesh = Mesh(np.array(jax.devices()[:2]), (ROWS,))
    halves = jax.shard_map(on_device, mesh=mesh, in_specs=(specs,), out_specs=(rows, same), check_vma=False)
    weights, clipped = jax.jit(halves)(evidence)
    np.testing.assert_allclose(weights, _weights(_made("remix"), evidence), rtol=1e-6)
    np.testing.assert_allclose(clipped, _made("remix").fit((), evidence)[1]["clipped_exponents"], rtol=1e-6)


# Every weighting


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_weights_are_finite_and_within_bounds(name: str) -> None:
    """Also of steps that are not valid, and where values are so large that exponents and products would overflow."""
    for scale in (3.0, 1e5):
        found = _weights(_made(name), _evidence(scale=scale))
        assert found.shape == (T, B)
        assert (found >= 0).all() and (found <= 1).all()
    assert (_weights(_made(name), _evidence()) == 1).any()


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_steps_that_are_not_valid_have_no_influence(name: str) -> None:
    """All that is known of them is replaced: the weights of the others stay."""
    evidence, other = _evidence(), _evidence(seed=1, scale=9.0)
    hidden = jax.tree.map(
        lambda ours, theirs: (
            jnp.where(evidence.valid.reshape(T, B, *(1,) * (ours.ndim - 2)), ours, theirs) if ours.ndim else ours
        ),
        evidence,
        other,
    )._replace(valid=evidence.valid)
    valid = np.asarray(evidence.valid)
    np.testing.assert_allclose(
        _weights(_made(name), hidden)[valid], _weights(_made(name), evidence)[valid], rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name == "pow" else ()) for name in WEIGHTINGS]
)
def test_without_a_compiler_it_is_the_same(name: str) -> None:
    part, evidence = _made(name), _evidence()

    def learnt(evidence: Evidence) -> jax.Array:
        state, _ = part.fit(part.init(jax.random.key(0)), evidence)
        return part.weights(state, evidence)

    compiled = jax.jit(learnt)(evidence)
    with jax.disable_jit():
        np.testing.assert_allclose(learnt(evidence), compiled, rtol=1e-4, atol=1e-5)
