"""Metrics of weights: shares, and weights of joint actions, by hand and out of training."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from marlx_envs.options import UsageError

import marlx
from marlx.engine.beliefs import igm_gap, tables
from marlx.program import Program
from marlx.weightings.record import SIGNS, recorded

WEIGHTS = jnp.array([[0.1, 1.0, 0.1], [0.5, 7.0, 0.1]])
ACTIONS = jnp.array([[[0, 0], [0, 1], [0, 0]], [[0, 1], [1, 1], [1, 0]]])
REWARDS = jnp.array([[0.0, -2.0, 0.0], [10.0, -4.0, 10.0]])
VALID = jnp.array([[True, True, True], [True, True, False]])


def test_by_hand() -> None:
    errors = {"joint": jnp.array([[1.0, 2.0, 4.0], [8.0, 16.0, 32.0]])}
    found = {name: float(x) for name, x in recorded(WEIGHTS, ACTIONS, REWARDS, VALID, 2, errors).items()}
    shares = {name: x for name, x in found.items() if name.startswith("weight_share/") and x}
    assert shares == pytest.approx({"weight_share/10": 0.4, "weight_share/50": 0.2, "weight_share/95": 0.4})
    assert [found[f"data_share/{u}"] for u in ("AA", "AB", "BA", "BB")] == pytest.approx([0.4, 0.4, 0, 0.2])
    assert [found[f"weight_mass/{u}"] for u in ("AA", "AB", "BA", "BB")] == pytest.approx([0.04, 0.3, 0, 1.4])
    assert [found[f"reward_share/{sign}"] for sign in SIGNS] == pytest.approx([0.4, 0.4, 0.2])
    assert [found[f"reward_mass/{sign}"] for sign in SIGNS] == pytest.approx([1.6, 0.04, 0.1])
    assert [found[f"error_joint/{sign}"] for sign in SIGNS] == pytest.approx([3.6, 1, 1.6])


def test_errors_by_loops() -> None:
    """Each of those named, over the steps that count, by the sign of what is paid there."""
    draw = np.random.default_rng(0)
    rewards, valid = draw.integers(-1, 2, (4, 5)).astype(float), draw.random((4, 5)) < 0.7
    errors = {name: draw.random((4, 5)) for name in ("joint", "critic", "recognition")}
    actions = jnp.zeros((4, 5, 2), jnp.int32)
    as_arrays = {name: jnp.asarray(x) for name, x in errors.items()}
    found = recorded(jnp.ones((4, 5)), actions, jnp.asarray(rewards), jnp.asarray(valid), 11, as_arrays)
    for name, sign in itertools.product(errors, (-1, 0, 1)):
        paid = [errors[name][t, b] for t, b in np.ndindex(4, 5) if valid[t, b] and rewards[t, b] == sign]
        assert paid and float(found[f"error_{name}/{SIGNS[sign + 1]}"]) == pytest.approx(sum(paid) / valid.sum())


def test_where_joint_actions_are_many_shares_are_all() -> None:
    found = recorded(WEIGHTS, ACTIONS, REWARDS, VALID, 11, {})
    assert len(found) == 20 + 2 * len(SIGNS)
    assert {name.partition("/")[0] for name in found} == {"weight_share", "reward_share", "reward_mass"}


def test_no_valid_step_is_no_weight() -> None:
    assert all(float(x) == 0 for x in recorded(WEIGHTS, ACTIONS, REWARDS, jnp.zeros((2, 3), bool), 2, {}).values())


@pytest.mark.parametrize("mixer, igm", [("vdn", True), pytest.param("feed_forward", False, marks=pytest.mark.slow)])
def test_a_run_that_records(mixer: str, igm: bool) -> None:
    """Parts add up to the whole; tables are those of the last learner, and one joint action is greedy."""
    small = ("training.total_steps=96", "training.num_envs=8", "training.batch_size=16", "training.buffer_size=32")
    flags = ("training.record_weights=true", "evaluation.record_tables=true", "evaluation.interval=48")
    words = (*small, *flags, "agent.network=mlp", f"algorithm.mixer={mixer}")
    experiment = marlx.configure("resq", "matrix_game", *words, "algorithm.weighting=ow")
    metrics = jax.jit(jax.vmap(marlx.make_train(experiment)))(jax.random.split(jax.random.key(0), 4)).metrics
    found = {name: np.asarray(x) for name, x in metrics.items()}

    def parts(name: str) -> np.ndarray:
        return np.stack([x for other, x in found.items() if other.startswith(f"{name}/")], axis=-1)

    np.testing.assert_allclose(parts("weight_share").sum(-1), 1, rtol=1e-5)
    np.testing.assert_allclose(parts("data_share").sum(-1), 1, rtol=1e-5)
    np.testing.assert_allclose(parts("weight_mass").sum(-1), found["weight"], rtol=1e-5)
    np.testing.assert_allclose(parts("reward_share").sum(-1), 1, rtol=1e-5)
    np.testing.assert_allclose(parts("reward_mass").sum(-1), found["weight"], rtol=1e-5)
    np.testing.assert_allclose(parts("error_explained").sum(-1), found["absolute_error"], rtol=1e-4)
    assert parts("data_share").shape == parts("table_critic").shape == (4, 2, 9)
    greedy, table = parts("greedy"), parts("table_joint")
    np.testing.assert_array_equal(greedy.sum(-1), 1)
    np.testing.assert_array_equal(found["igm_gap"] == 0, greedy.argmax(-1) == table.argmax(-1))
    assert (found["igm_gap"] == 0).all() == igm


def test_joint_actions_that_nobody_may_take_are_no_gap() -> None:
    """The best joint action of a table is not chosen: because it may not be, and although it may."""
    joint, chosen = jnp.array([1.0, 5.0, 3.0]), jnp.array([False, False, True])
    assert igm_gap(joint, chosen, jnp.array([True, False, True])) == 0
    assert igm_gap(joint, chosen, jnp.ones(3, bool)) == 2
    experiment = marlx.configure(
        "vdn", "predator_prey", "environment.n_agents=2", "environment.n_stags=1", "environment.height=4",
        "environment.width=4", "evaluation.record_tables=true", "agent.network=mlp",
    )  # fmt: skip
    program, numbers = Program(experiment), experiment.numbers()
    rollout = program.trainer(numbers).rollout
    learners = jax.vmap(lambda key: program.init(key, numbers).learner)(jax.random.split(jax.random.key(0), 4))
    np.testing.assert_allclose(jax.jit(jax.vmap(lambda x: tables(rollout, x)))(learners)["igm_gap"], 0, atol=1e-6)


@pytest.mark.parametrize(
    "words, message",
    [
        (("qtran", "matrix_game", "training.record_weights=true"), "needs a method with weights; qtran has none"),
        (
            ("qmix", "predator_prey", "evaluation.record_tables=true"),
            "at most 100 joint actions, and 26 actions of an agent; predator_prey has 8 agents with 6 actions",
        ),
    ],
)
def test_what_cannot_be_recorded(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message) as error:
        marlx.configure(words[0], words[1], *words[2:])
    assert "\n" not in str(error.value)
