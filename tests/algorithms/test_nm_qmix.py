"""NM-QMIX and the intrinsic reward of any composition: the loss on rewards changed by hand, and what it is made of."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from marlx_envs.options import UsageError

import marlx
from experiments.nm_slopes import slopes_and_gain
from marlx.intrinsic.base import Steps
from marlx.intrinsic.rnd import RND
from marlx.types import Batch, Progress
from tests.algorithms.golden import built
from tests.algorithms.learning import SPEC, START, batch, learner

NM = {"mixer": "qmix", "monotone": False, "target": "sarsa_lambda"}
COMPOSITIONS: list[dict[str, Any]] = [
    NM,
    {"mixer": "independent"},
    {"mixer": "qplex", "target": "q_lambda"},
    {"mixer": "qmix", "critic": "central", "residual": "constrained"},
    {"mixer": "qmix", "critic": "central", "weighting": "pow", "recognition_steps": 2},
]
MLP = {"network": "mlp"}  # compiles sooner
EITHER_WAY = pytest.mark.parametrize("compiled", [True, pytest.param(False, marks=pytest.mark.slow)])
HALFWAY = Progress(jnp.float32(50_000), jnp.float32(0), jnp.float32(3))


def same(ours: Any, theirs: Any) -> None:
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def agree(ours: Any, theirs: Any, compiled: bool, rtol: float = 1e-5) -> None:
    """To the bit where operations run one by one; two programs may round differently."""
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol / 10)  # noqa: E731
    jax.tree.map(close if compiled else np.testing.assert_array_equal, ours, theirs)


def test_what_the_method_is() -> None:
    experiment = marlx.configure("nm_qmix", "predator_prey")
    expected = {
        "mixer": "qmix", "monotone": False, "target": "sarsa_lambda", "intrinsic": "rnd", "weighting": "uniform",
        "critic": "none", "intrinsic_start": 0.5, "intrinsic_end": 0.05, "intrinsic_steps": 100_000.0,
        "predictor_width": 64, "predictor_features": 64, "predictor_learning_rate": 1e-4,
    }  # fmt: skip
    assert {name: experiment.algorithm[name] for name in expected} == expected
    assert experiment.training["td_lambda"] == 0.5 and experiment.training["optimiser"] == "adam"
    assert marlx.configure("nm_qmix", "predator_prey", "algorithm.profile=nm").training["batch_size"] == 128


@pytest.mark.parametrize("environment", ["matrix_game", "risk_reward"])
def test_games_of_one_step_have_no_intrinsic_reward(environment: str) -> None:
    """Unless the user asks for it; the method's other parts stay."""
    experiment = marlx.configure("nm_qmix", environment)
    assert experiment.algorithm["intrinsic"] == "none" and "intrinsic_start" not in experiment.algorithm
    assert experiment.algorithm["monotone"] is False and experiment.algorithm["target"] == "sarsa_lambda"
    assert experiment.replace("algorithm.intrinsic=count").algorithm["intrinsic"] == "count"


@pytest.mark.parametrize(
    "method, overrides",
    [
        ("nm_qmix", ("algorithm.target=td_lambda",)),
        ("nm_qmix", ("algorithm.intrinsic=none", "algorithm.exploration=softmax")),
        ("nm_qmix", ("algorithm.intrinsic=count", "algorithm.intrinsic_end=0")),
        ("nm_qmix", ("algorithm.mixer=vdn",)),  # the sign goes with the mixer
        ("qmix", ("algorithm.target=sarsa_lambda",)),
    ],
)
def test_ablations_are_options(method: str, overrides: tuple[str, ...]) -> None:
    section = marlx.configure(method, "two_step_game", *overrides).algorithm
    for override in overrides:
        name, _, value = override.removeprefix("algorithm.").partition("=")
        assert str(section[name]).removesuffix(".0") == value
    with pytest.raises(UsageError, match="predictor_width"):
        marlx.configure("qmix", "two_step_game", "algorithm.predictor_width=8")


@pytest.mark.parametrize("name", ["rnd", pytest.param("count", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "section",
    [COMPOSITIONS[1], *(pytest.param(section, marks=pytest.mark.slow) for section in (NM, *COMPOSITIONS[2:]))],
    ids=lambda s: "-".join(map(str, s.values())),
)
@EITHER_WAY
def test_update_is_that_of_rewards_changed_by_hand(compiled: bool, section: dict[str, Any], name: str) -> None:
    """r_ext + beta r_int put into the batch of the same method without an intrinsic reward: all else is the same."""
    method, plain = learner(**section, intrinsic=name), learner(**section)
    state = method.init(jax.random.key(4))
    assert method.intrinsic is not None
    without = state._replace(intrinsic=())
    same(without, plain.init(jax.random.key(4)))
    learnt, reward, _ = method.intrinsic.fit(state.intrinsic, _steps_of(batch()))
    rewarded = batch()._replace(rewards=batch().rewards + jnp.float32(0.275) * reward)
    assert (jnp.abs(rewarded.rewards - batch().rewards) > 0.01).any()
    with jax.disable_jit(not compiled):
        after, metrics = jax.jit(method.update)(state, batch(), jax.random.key(5), HALFWAY)
        expected, rest = jax.jit(plain.update)(without, rewarded, jax.random.key(5), HALFWAY)
    agree(after.intrinsic, learnt, compiled)
    agree(after._replace(intrinsic=()), expected, compiled)
    agree({name: metrics[name] for name in rest}, rest, compiled)
    extra = {"intrinsic_reward", "intrinsic_coefficient"} | ({"predictor_loss"} if name == "rnd" else set())
    assert metrics.keys() - rest.keys() == extra


@pytest.mark.parametrize("method", [pytest.param("qtran", marks=pytest.mark.slow), "mrvf"])
def test_a_method_with_a_loop_of_its_own_is_handed_other_rewards(method: str) -> None:
    section = marlx.configure(method, "matrix_game", "algorithm.intrinsic=rnd", "algorithm.predictor_width=8").algorithm
    curious, steps = built(method, "mlp", **section)
    plain, _ = built(method, "mlp")
    state, key = curious.init(jax.random.key(0)), jax.random.key(1)
    bonus = RND(SPEC.n_agents, SPEC.state_size, predictor_width=8)
    remembered, rewarded, extra = bonus.reward(state.intrinsic, steps, HALFWAY)
    assert (rewarded.rewards > steps.rewards).any()
    expected, rest = jax.jit(plain.update)(state._replace(intrinsic=()), rewarded, key, HALFWAY)
    found, metrics = jax.jit(curious.update)(state, steps, key, HALFWAY)
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)  # noqa: E731
    jax.tree.map(close, found, expected._replace(intrinsic=remembered))
    jax.tree.map(close, metrics, {**rest, **extra})


def _steps_of(rows: Batch) -> Steps:
    seen = rows.view.state
    return Steps(seen[:-1], rows.actions[:-1], seen[1:], rows.valid, rows.valid & ~rows.terminated)


@pytest.mark.parametrize("name", ["rnd", pytest.param("count", marks=pytest.mark.slow)])
@EITHER_WAY
def test_without_beta_nothing_changes(compiled: bool, name: str) -> None:
    """Rewards to the bit, and so what is learnt, but for rounding in another program; nothing of it is remembered."""
    off, on = learner(MLP, **NM), learner(MLP, **NM, intrinsic=name, intrinsic_start=0.0, intrinsic_end=0.0)
    states = [off.init(jax.random.key(0)), on.init(jax.random.key(0))]
    updates = jax.jit(off.update), jax.jit(on.update)
    assert on.intrinsic is not None
    same(on.intrinsic.reward(states[1].intrinsic, batch(), START)[1].rewards, batch().rewards)
    for number in range(2):
        steps, key = batch(number), jax.random.key(number)
        with jax.disable_jit(not compiled):
            (first, expected), (second, found) = (
                update(s, steps, key, START) for update, s in zip(updates, states, strict=True)
            )
        agree(first[:4], second[:4], compiled, 1e-6)
        agree(expected, {name: found[name] for name in expected}, compiled, 1e-6)
        states = [first, second]
    assert states[0].intrinsic == () and not [name for name in expected if "intrinsic" in name]


def test_intrinsic_state_has_no_gradient_and_is_not_what_acting_depends_on() -> None:
    """Predictor and fixed network are outside of what the joint loss trains, saves and copies to the target."""
    method = learner(**NM, intrinsic="rnd")
    state, _ = method.update(method.init(jax.random.key(0)), batch(), jax.random.key(1), START)
    assert state.params.keys() == state.target.keys() == {"agent", "mixer"}
    other = state._replace(intrinsic=jax.tree.map(jnp.zeros_like, state.intrinsic))
    gradients = [
        jax.grad(lambda p, s=s: method.loss(p, s, batch(), jax.random.key(1), START)[0])(state.params)
        for s in (state, other)
    ]
    same(*gradients)


@pytest.mark.slow
def test_unconstrained_mixer_recovers_a_payoff_that_is_not_monotone() -> None:
    """Game A under uniform data: the mean learned table is the payoff to within 0.1, where QMIX cannot have it."""
    from experiments.payoff import study

    outcome = study("nm_qmix", "game_a", 8, 60_000)
    payoff = np.array([[12, -12, -12], [-12, 0, 0], [-12, 0, 0]])
    np.testing.assert_allclose(outcome.table, payoff, atol=0.1)
    assert outcome.igm_broken > 0  # and greedy agents still need not find the best of it (specification, 4.5)


@pytest.mark.parametrize("may, gain", [([[True, True], [True, True]], 1), ([[True, True], [True, False]], 0)])
def test_slopes_and_gain_by_hand(may: list[list[bool]], gain: float) -> None:
    """Q_tot = 2 q_1 - q_2: agent 2 would do better with its other action, where it may choose it."""
    utilities, greedy = jnp.array([[1.0, 3], [5, 4]]), jnp.array([1, 0])
    found = slopes_and_gain(lambda q: 2 * q[..., 0] - q[..., 1], utilities, greedy, jnp.array(may))
    assert [x.tolist() for x in found] == [[2, -1], gain]
