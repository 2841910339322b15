"""Intrinsic rewards: RND and counts against loops, who learns from which steps, and the schedule of beta."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

from marlx.algorithms.composition import sized
from marlx.engine.seeds import ROWS
from marlx.intrinsic import INTRINSICS
from marlx.intrinsic.base import Intrinsic, Steps
from marlx.intrinsic.count import Count
from marlx.intrinsic.rnd import RND, Moments, gather
from marlx.types import Batch, Progress
from tests.algorithms.learning import A, B, D, N, T, batch
from tests.parts.gradients import as_float64, assert_close, finite_differences

SIZES = {"n_agents": N, "state_size": D}


def _made(name: str, axis: str | None = None, **options: Any) -> Intrinsic:
    entry = INTRINSICS[name]
    part: Intrinsic = sized(entry.load(), {**SIZES, "axis": axis}, {**entry.options, **options})
    return part


def _rnd(**options: Any) -> RND:
    return RND(N, D, None, **{"predictor_width": 6, "predictor_features": 3, **options})


def _steps(seed: int = 0, slots: int = 6, rows: int = 4) -> Steps:
    """Random steps [T B]: a third are not valid, and of the others some terminate."""
    keys = jax.random.split(jax.random.key(seed), 5)
    valid = jax.random.uniform(keys[0], (slots, rows)) < 0.67
    return Steps(
        state=jax.random.normal(keys[1], (slots, rows, D)),
        actions=jax.random.randint(keys[2], (slots, rows, N), 0, A),
        next_state=jax.random.normal(keys[3], (slots, rows, D)),
        valid=valid,
        continues=valid & (jax.random.uniform(keys[4], (slots, rows)) < 0.8),
    )


def _at(env_steps: float) -> Progress:
    return Progress(jnp.float32(env_steps), jnp.float32(0), jnp.float32(0))


@pytest.mark.parametrize("name", INTRINSICS)
def test_where_every_step_terminates_the_slot_after_it_is_not_needed(name: str) -> None:
    part, steps = _made(name), batch()._replace(terminated=jnp.ones((T, B), bool))
    view, actions = steps.of_steps((steps.view, steps.actions))
    state, rewarded, metrics = part.reward(part.init(jax.random.key(0)), steps, _at(0))
    ours = part.reward(part.init(jax.random.key(0)), steps._replace(view=view, actions=actions), _at(0))
    jax.tree.map(np.testing.assert_array_equal, (ours[0], ours[1].rewards, ours[2]), (state, rewarded.rewards, metrics))


# RND


def _plain(params: Any, s: np.ndarray) -> np.ndarray:
    """Two hidden layers of rectified units, and the features."""
    p = params["params"]
    for name in ("first", "second"):
        s = np.maximum(s @ p[name]["kernel"] + p[name]["bias"], 0)
    return s @ p["features"]["kernel"] + p["features"]["bias"]


def _errors(fixed: Any, predictor: Any, steps: Steps) -> np.ndarray:
    """||g^(s') - g(s')||^2 of the steps that continue, one after the other, in float64."""
    return np.array(
        [
            ((_plain(predictor, s) - _plain(fixed, s)) ** 2).sum()
            for s in as_float64(steps.next_state)[np.asarray(steps.continues)]
        ]
    )


@pytest.mark.parametrize("floor, divided", [(0.0, True), (1.0, True), (1.0, False)])
def test_rnd_rewards_equal_loops(floor: float, divided: bool) -> None:
    """Three batches: all errors so far count in sigma and mu; each batch is rewarded by the predictor before it."""
    part = _rnd(deviation_floor=floor, divide_errors=divided)
    state, met = part.init(jax.random.key(0)), np.zeros(0)
    for seed in range(3):
        steps = _steps(seed)
        errors = _errors(*as_float64((state.fixed, state.predictor)), steps)
        met = np.concatenate([met, errors])
        state, rewards, metrics = part.fit(state, steps)
        expected = np.zeros(steps.valid.shape)
        expected[np.asarray(steps.continues)] = errors / (max(met.std(), floor * met.mean()) if divided else 1)
        np.testing.assert_allclose(rewards, expected, rtol=1e-5)
        np.testing.assert_allclose(metrics["predictor_loss"], errors.mean(), rtol=1e-5)
        np.testing.assert_allclose(state.moments.deviation, met.std(), rtol=1e-5)
        assert state.moments.seen == len(met)


@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_predictor_takes_adams_step_and_the_fixed_network_none(scale: float) -> None:
    """Adam's first step is the step size times the gradient's sign (nearly); no clipping, whatever the scale."""
    part, steps = _rnd(predictor_learning_rate=1e-3), _steps()
    steps = steps._replace(next_state=scale * steps.next_state)
    state = part.init(jax.random.key(0))
    fixed, predictor = as_float64((state.fixed, state.predictor))
    after, *_ = part.fit(state, steps)
    gradient = finite_differences(lambda p: _errors(fixed, p, steps).mean(), predictor)
    moved = jax.tree.map(lambda new, old: np.asarray(new, np.float64) - old, after.predictor, predictor)
    for step, slope in zip(jax.tree.leaves(moved), jax.tree.leaves(gradient), strict=True):
        np.testing.assert_allclose(step, -1e-3 * slope / (np.abs(slope) + 1e-8), atol=2e-6)
    # Adam's first moment after one step is a tenth of the gradient, of the predictor's parameters alone.
    (moment,) = (x for x in jax.tree.leaves(after.optimiser) if x.ndim and (x < 0).any())
    assert_close(moment / 0.1, np.concatenate([x.ravel() for x in jax.tree.leaves(gradient)]))
    for _ in range(3):
        after, *_ = part.fit(after, steps)
    jax.tree.map(np.testing.assert_array_equal, after.fixed, state.fixed)


def test_a_known_state_is_less_rewarding_than_a_new_one() -> None:
    """Both appear in the batches for as long as it takes to learn the one; the other is masked until the end."""
    part = _rnd(predictor_learning_rate=1e-2)
    states = jnp.array([[1.0, 0, 0, 0, 0], [0, 0, 0, 0, 1.0]])[:, None]
    steps = Steps(states, jnp.zeros((2, 1, N), jnp.int32), states, *(jnp.array([[True], [False]]),) * 2)
    fit = jax.jit(part.fit)
    state = part.init(jax.random.key(2))
    first = fit(state, steps._replace(continues=jnp.ones((2, 1), bool)))[1]
    for _ in range(200):
        state, *_ = fit(state, steps)
    _, rewards, _ = fit(state, steps._replace(continues=jnp.ones((2, 1), bool)))
    assert rewards[0, 0] < 0.01 * rewards[1, 0] and first[0, 0] > 0.1 * first[1, 0]


def test_states_that_are_all_alike_give_finite_rewards() -> None:
    """All errors are the same and sigma is 0, or rounding: one each. Without any step that continues: none."""
    part, steps = _rnd(), _steps()
    alike = steps._replace(next_state=jnp.ones_like(steps.next_state))
    _, rewards, _ = part.fit(part.init(jax.random.key(0)), alike)
    np.testing.assert_allclose(rewards, steps.continues, rtol=1e-5)
    nothing = steps._replace(continues=jnp.zeros_like(steps.continues))
    state, rewards, metrics = part.fit(part.init(jax.random.key(0)), nothing)
    assert (rewards == 0).all() and metrics["predictor_loss"] == 0
    jax.tree.map(np.testing.assert_array_equal, state.predictor, part.init(jax.random.key(0)).predictor)


def test_running_moments_are_those_of_all_values() -> None:
    rng = np.random.default_rng(0)
    values = [1e3 + rng.normal(size=n).astype(np.float32) for n in (1, 7, 100)]
    moments = Moments(*(jnp.float32(0),) * 3)
    for one in values:
        padded = jnp.concatenate([jnp.asarray(one), jnp.full(3, 1e6)])
        moments = gather(moments, padded, jnp.arange(len(padded)) < len(one))
    every = np.concatenate(values).astype(np.float64)
    np.testing.assert_allclose([moments.mean, moments.deviation], [every.mean(), every.std()], rtol=1e-4)


# Counts


def test_count_bonus_equals_a_dictionary() -> None:
    """Few states, so that joint actions come again; n has the batch itself in it."""
    part = Count(N, D, None)
    state, met = part.init(jax.random.key(0)), {}
    for seed in range(3):
        steps = _steps(seed)
        index = jax.random.randint(jax.random.key(seed), steps.valid.shape, 0, 2)
        steps = steps._replace(state=jax.nn.one_hot(index, D) * jnp.where(index == 0, -1.0, 1.0)[..., None])
        state, rewards, _ = part.fit(state, steps)
        keys = [(int(s), *map(int, u)) for s, u in zip(index.ravel(), steps.actions.reshape(-1, N), strict=True)]
        valid = np.asarray(steps.valid).ravel()
        for key, counts in zip(keys, valid, strict=True):
            met[key] = met.get(key, 0) + int(counts)
        expected = [1 / np.sqrt(met[key]) if counts else 0 for key, counts in zip(keys, valid, strict=True)]
        np.testing.assert_allclose(rewards.ravel(), expected, rtol=1e-6)
    assert state.cells.sum() == sum(met.values()) and state.cells.max() > 1


def test_hash_spreads_states_and_joint_actions() -> None:
    """All of 40 one-hot states x 5^2 joint actions: nearly as many cells of a large table as a random map would use."""
    part = Count(2, 40, None, count_cells=4096)
    cell = np.asarray(
        part.cell(
            part.init(jax.random.key(0)),
            jnp.repeat(jnp.eye(40), 25, axis=0),
            jnp.tile(jnp.stack(jnp.meshgrid(jnp.arange(5), jnp.arange(5)), -1).reshape(25, 2), (40, 1)),
        )
    )
    assert cell.min() >= 0 and cell.max() < 4096
    assert abs(len(set(cell)) - 4096 * (1 - np.exp(-1000 / 4096))) < 40


# Every intrinsic reward


@pytest.mark.parametrize("env_steps, beta", [(0, 0.5), (50_000, 0.275), (100_000, 0.05), (900_000, 0.05)])
@pytest.mark.parametrize("name", INTRINSICS)
def test_numbers_of_beta(name: str, env_steps: float, beta: float) -> None:
    np.testing.assert_allclose(_made(name).coefficient(_at(env_steps)), beta, rtol=1e-6)


@pytest.mark.parametrize("name", INTRINSICS)
def test_rewards_are_added_with_beta(name: str) -> None:
    """r_ext + beta r_int of the steps that the slots of a batch make; nothing else of the batch changes."""
    part, rows = _made(name), batch()
    state = part.init(jax.random.key(0))
    after, rewarded, metrics = part.reward(state, rows, _at(50_000))
    seen = rows.view.state
    steps = Steps(seen[:T], rows.actions[:T], seen[1:], rows.valid, rows.valid & ~rows.terminated)
    expected, rewards, own = part.fit(state, steps)
    np.testing.assert_allclose(rewarded.rewards, rows.rewards + 0.275 * rewards, rtol=1e-6)
    jax.tree.map(np.testing.assert_array_equal, rewarded._replace(rewards=rows.rewards), rows)
    jax.tree.map(np.testing.assert_array_equal, after, expected)
    np.testing.assert_allclose(metrics["intrinsic_reward"], rewards.mean(), rtol=1e-6)
    np.testing.assert_allclose(metrics["intrinsic_coefficient"], 0.275, rtol=1e-6)
    assert metrics.keys() == {"intrinsic_reward", "intrinsic_coefficient", *own}


@pytest.mark.parametrize("name", INTRINSICS)
def test_rewards_are_never_negative_and_not_of_invalid_steps(name: str) -> None:
    part, steps = _made(name), _steps()
    _, rewards, _ = part.fit(part.init(jax.random.key(0)), steps)
    assert rewards.shape == steps.valid.shape and (rewards >= 0).all() and (rewards > 0).any()
    assert (rewards[~steps.valid] == 0).all()


def _hidden(rows: Batch, slots: jax.Array) -> Batch:
    """The states at `slots` [T+1 B] replaced."""
    return rows._replace(view=rows.view._replace(state=jnp.where(slots[..., None], 7.0, rows.view.state)))


def test_the_state_after_a_terminated_step_does_not_matter_to_rnd() -> None:
    """It is the first of another episode. Of a truncated step (its next slot is not valid) it is the last state."""
    rows = batch()
    part = _rnd()
    state = part.init(jax.random.key(0))
    learn = lambda rows: part.reward(state, rows, _at(0))  # noqa: E731
    after, rewarded, _ = learn(rows)
    assert (
        rewarded.rewards[-1, 1] == rows.rewards[-1, 1]
        and (rewarded.rewards != rows.rewards)[rows.terminated == 0].all()
    )
    beyond = jnp.zeros((T + 1, B), bool).at[T, 1].set(True)  # the second row terminates in its last step
    again, other, _ = learn(_hidden(rows, beyond))
    jax.tree.map(np.testing.assert_array_equal, (again, other.rewards), (after, rewarded.rewards))
    truncated = rows._replace(terminated=jnp.zeros((T, B), bool), valid=rows.valid.at[1, 0].set(False))
    after, rewarded, _ = learn(truncated)
    assert rewarded.rewards[0, 0] != rows.rewards[0, 0] and rewarded.rewards[1, 0] == rows.rewards[1, 0]
    last = jnp.zeros((T + 1, B), bool).at[1, 0].set(True)
    assert learn(_hidden(truncated, last))[1].rewards[0, 0] != rewarded.rewards[0, 0]
    new_episode = jnp.zeros((T + 1, B), bool).at[2, 0].set(True)
    again, other, _ = learn(_hidden(truncated, new_episode))
    jax.tree.map(np.testing.assert_array_equal, (again, other.rewards), (after, rewarded.rewards))


@pytest.mark.parametrize("name", INTRINSICS)
def test_steps_that_are_not_valid_have_no_influence(name: str) -> None:
    part, steps, other = _made(name), _steps(), _steps(seed=1)
    hide = lambda ours, theirs: jnp.where(steps.valid[..., None], ours, theirs)  # noqa: E731
    poked = Steps(*map(hide, steps[:3], other[:3]), steps.valid, steps.continues)
    state = part.init(jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, part.fit(state, poked), part.fit(state, steps))
    assert not np.array_equal(poked.state, steps.state)


@pytest.mark.parametrize("name", INTRINSICS)
def test_devices_that_share_a_batch_learn_from_all_of_it(name: str) -> None:
    """Halves of the rows on two devices; the second has fewer steps that count."""
    rows = batch(rows=4, slots=5)
    rows = rows._replace(valid=rows.valid.at[:4, 2:].set(False), optimal=None)
    whole = _made(name)
    state = whole.init(jax.random.key(0))

    def on_device(half: Batch) -> Any:
        after, rewarded, metrics = _made(name, axis=ROWS).reward(state, half, _at(0))
        return rewarded.rewards, (after, metrics)

    split, same = PartitionSpec(None, ROWS), PartitionSpec()
    mesh = Mesh(np.array(jax.devices()[:2]), (ROWS,))
    halves = jax.shard_map(on_device, mesh=mesh, in_specs=(split,), out_specs=(split, same), check_vma=False)
    rewards, found = jax.jit(halves)(rows)
    after, rewarded, metrics = whole.reward(state, rows, _at(0))
    np.testing.assert_allclose(rewards, rewarded.rewards, rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), found, (after, metrics))
