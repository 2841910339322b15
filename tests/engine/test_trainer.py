"""The loop: seeds beside each other, chunks of any length, numbers as an axis, one compilation, what must be learnt."""

from collections import Counter
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import chex
import jax
import jax.numpy as jnp
import marlx_envs
import numpy as np
import pytest
from marlx_envs import UsageError, options
from marlx_envs.matrix_game import MatrixGame

import marlx
from marlx.engine.seeds import ROWS, Fleet, choose_layout, spare_split
from marlx.engine.trainer import plan
from marlx.experiment import SECTIONS
from marlx.host import checkpoints
from marlx.program import Program
from marlx.settings import Evaluation, Training

SMALL = (
    "training.total_steps=4000",
    "training.num_envs=8",
    "training.batch_size=16",
    "training.buffer_size=64",
    "agent.hidden_size=16",
    "evaluation.interval=2000",
    "evaluation.episodes=4",
)


def _small(algorithm: str = "qmix", environment: str = "matrix_game", *overrides: str) -> marlx.Experiment:
    return marlx.configure(algorithm, environment, *SMALL, *overrides)


def _params(result: Any) -> list[np.ndarray]:
    return [np.asarray(x) for x in jax.tree.leaves(result)]


HUNT = (
    "environment.episode_limit=10", "environment.n_agents=2", "environment.n_stags=2",
    "environment.height=5", "environment.width=5",
)  # fmt: skip


@pytest.mark.parametrize("environment", ["two_step_game", pytest.param("predator_prey", marks=pytest.mark.slow)])
def test_seeds_in_a_batch_equal_seeds_alone(environment: str) -> None:
    overrides = HUNT if environment == "predator_prey" else ()
    program = marlx.make_train(_small("qmix", environment, *overrides))
    train = jax.jit(program)
    keys = jax.random.split(jax.random.key(0), 2)
    together = jax.jit(jax.vmap(program))(keys)
    for seed in range(2):
        alone = train(keys[seed])
        for ours, theirs in zip(_params(alone.params), _params(together.params), strict=True):
            np.testing.assert_allclose(ours, theirs[seed], rtol=2e-3, atol=2e-4)
        np.testing.assert_array_equal(alone.metrics["env_steps"], together.metrics["env_steps"][seed])


def test_result_has_the_contract() -> None:
    result = jax.jit(jax.vmap(marlx.make_train(_small())))(jax.random.split(jax.random.key(0), 2))
    assert result.metrics["env_steps"].shape == result.metrics["evaluation_return"].shape == (2, 2)
    np.testing.assert_array_equal(result.metrics["env_steps"], [[2000, 4000]] * 2)
    assert all(x.shape[0] == 2 for x in jax.tree.leaves(result.params))


class _Coin(MatrixGame):
    """Won by chance; a win pays 1."""

    @property
    def spec(self) -> Any:
        return replace(super().spec, can_be_won=True)

    def step(self, key: Any, *rest: Any) -> Any:
        state, _, terminated, truncated, _ = super().step(key, *rest)
        won = jax.random.bernoulli(key)
        return state, won.astype(jnp.float32), terminated, truncated, {"won": won}


def test_the_win_rate_is_the_share_of_episodes_won(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = marlx_envs.Entry(name="coin", summary="", source="", factory=_Coin)
    monkeypatch.setitem(marlx_envs.ENVIRONMENTS._all(), "coin", entry)
    experiment = marlx.configure("qmix", "coin", *SMALL, "evaluation.episodes=32")
    program, numbers = Program(experiment), experiment.numbers()
    trainer, key = program.trainer(numbers), jax.random.key(0)
    metrics = jax.jit(trainer.evaluate)(0, key, trainer.algorithm.init(key))
    assert 0 < float(metrics["evaluation_win_rate"]) < 1
    assert float(metrics["evaluation_win_rate"]) == float(metrics["evaluation_return"])


def test_chunks_of_any_length_give_the_same_state_and_record() -> None:
    experiment = _small()
    program, numbers = Program(experiment), experiment.numbers()
    chex.clear_trace_counter()
    train = jax.jit(chex.assert_max_traces(program.train, n=1))  # one compilation serves all of them
    state = jax.jit(program.init)(jax.random.key(0), numbers)
    whole = train(jnp.int32(1), jnp.int32(30), state, numbers)
    parts = state
    for first, count in ((1, 7), (8, 1), (9, 22)):
        parts = train(jnp.int32(first), jnp.int32(count), parts, numbers)
    record = jax.jit(program.record)
    for one, other in zip(record(31, whole, numbers), record(31, parts, numbers), strict=True):
        one, other = (jax.tree.leaves(jax.tree.map(_bits, tree)) for tree in (one, other))
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_the_best_parameters_are_those_of_the_highest_evaluation() -> None:
    experiment = _small("vdn")
    program, numbers = Program(experiment), experiment.numbers()
    record = jax.jit(program.record)
    state = jax.jit(program.init)(jax.random.key(0), numbers)
    first, metrics = record(1, state, numbers)
    score = metrics["evaluation_return"]
    assert float(first.best.score) == float(score)
    chex.assert_trees_all_equal(first.best.params, state.learner.params)

    other = first._replace(learner=first.learner._replace(params=jax.tree.map(lambda x: x + 1, first.learner.params)))
    score = record(1, other, numbers)[1]["evaluation_return"]
    sick = state.fault._replace(cause=jnp.int32(1))
    for held, fault, taken in [(-1, None, True), (0, None, False), (1, None, False), (-1, sick, False)]:
        before = other._replace(best=first.best._replace(score=score + held), fault=fault or state.fault)
        found = record(1, before, numbers)[0].best
        chex.assert_trees_all_equal(found.params, other.learner.params if taken else first.best.params)
        assert float(found.score) == float(score if taken else score + held)


def _bits(x: jax.Array) -> jax.Array:
    return jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x


def test_no_callback_in_the_compiled_program() -> None:
    experiment = _small("qmix", "predator_prey", *HUNT)
    text = jax.jit(marlx.make_train(experiment)).lower(jax.random.key(0)).as_text()
    assert "callback" not in text and "infeed" not in text and "outfeed" not in text


def test_numbers_are_an_axis() -> None:
    """Different learning rates and penalties in one program, each as in a program of its own."""
    experiment = _small("vdn", "predator_prey", *HUNT)
    train = marlx.make_train(experiment)
    numbers = jax.tree.map(lambda x: jnp.broadcast_to(x, (2, *np.shape(x))), experiment.numbers())
    numbers["training"]["learning_rate"] = jnp.array([1e-3, 0.0])
    numbers["environment"]["miss_penalty"] = jnp.array([0.0, -2.0])
    key = jax.random.key(0)
    result = jax.jit(jax.vmap(train, (None, 0)))(key, numbers)
    alone = jax.jit(marlx.make_train(experiment.replace("environment.miss_penalty=-2", "training.learning_rate=0")))(
        key
    )
    np.testing.assert_allclose(result.metrics["training_return"][1], alone.metrics["training_return"], rtol=1e-4)
    assert (result.metrics["training_return"][0] > result.metrics["training_return"][1]).all()
    initial = Program(experiment).init(key, experiment.numbers()).learner.params
    for now, before in zip(_params(result.params), _params(initial), strict=True):
        np.testing.assert_array_equal(now[1], before)
        assert now.size == 0 or (now[0] != before).any()


def test_some_numbers_by_name_are_an_axis() -> None:
    """Others keep the experiment's values: the second point is the experiment as it is."""
    experiment = _small("vdn", "matrix_game", "training.total_steps=400", "evaluation.interval=200")
    train, key = marlx.make_train(experiment), jax.random.key(0)
    rates = jnp.array([0.0, experiment.training["learning_rate"]])
    result = jax.jit(jax.vmap(lambda rate: train(key, {"training.learning_rate": rate})))(rates)
    alone = jax.jit(train)(key)
    np.testing.assert_allclose(result.metrics["loss"][1], alone.metrics["loss"], rtol=1e-4)
    initial = Program(experiment).init(key, experiment.numbers()).learner.params
    for now, before in zip(_params(result.params), _params(initial), strict=True):
        np.testing.assert_array_equal(now[0], before)
        assert now.size == 0 or (now[1] != before).any()


STATIC = "is not a traced number: it changes the program, so it needs a run of its own"


@pytest.mark.parametrize(
    "numbers, told",
    [
        ({"training.learning_rat": 1e-3}, "unknown field of [training] 'learning_rat'; did you mean 'learning_rate'?"),
        ({"trainin.gamma": 0.9}, "unknown section 'trainin'; did you mean 'training'?"),
        (
            {"learning_rate": 1e-3},
            "expected section.name=value, not 'learning_rate'; did you mean 'training.learning_rate'?",
        ),
        (
            {"training.batch_size": 8},
            f"training.batch_size {STATIC}",
        ),
        ({"training.gamma": jnp.ones(3)}, "training.gamma must have the shape [], not [3]"),
        ({"training.gamma": 2}, "training.gamma must be at most 1, not 2.0"),
        ({"training.gamma": "high"}, "training.gamma must be a number, not 'high'"),
        (jnp.ones(3), 'numbers must be a dictionary, such as {"training.gamma": 0.9}, not float32 [3]'),
        ({"environment.rewards": jnp.ones(3)}, "environment.rewards must have the shape [1 3 3], not [3]"),
        (
            {"environment.payoff": jnp.ones(3)},
            f"environment.payoff {STATIC}",
        ),
        (
            {"training": {"gamma": 0.9}},
            f"expected section.name=value, not 'training'; sections: {', '.join(SECTIONS)}",
        ),
    ],
)
def test_what_is_no_number_by_name_is_one_line(numbers: Any, told: str) -> None:
    with pytest.raises(UsageError) as error:
        jax.eval_shape(partial(marlx.make_train(_small("vdn")), numbers=numbers), jax.random.key(0))
    assert str(error.value) == told


@dataclass(frozen=True)
class _Taxed(MatrixGame):
    """A number goes into the payoffs when the game is made; none is left of it in `params`."""

    tax: float = options.number(0, "taken off every payoff")


def test_arrays_of_an_environment_are_numbers_by_name_too(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = marlx_envs.Entry(name="taxed", summary="", source="", factory=_Taxed)
    monkeypatch.setitem(marlx_envs.ENVIRONMENTS._all(), "taxed", entry)
    train = marlx.make_train(_small("vdn", "taxed"))
    jax.eval_shape(lambda key: train(key, {"environment.rewards": np.zeros((1, 3, 3)).tolist()}), jax.random.key(0))
    with pytest.raises(UsageError, match=r"environment\.tax is read when the environment is made: give it to marlx"):
        train(jax.random.key(0), {"environment.tax": 1.0})


def test_batch_of_one_row_in_one_environment() -> None:
    """Nothing is squeezed away; every row is learnt from as soon as it is there."""
    experiment = _small("qmix", "two_step_game", "training.num_envs=1", "training.batch_size=1",
                        "training.total_steps=200", "evaluation.interval=100", "evaluation.episodes=1")  # fmt: skip
    result = jax.jit(marlx.make_train(experiment))(jax.random.key(0))
    assert result.metrics["updates"].tolist() == [50, 100]
    assert np.isfinite(result.metrics["loss"]).all()


def test_plan_of_a_run() -> None:
    lengths = plan(Training(total_steps=10_000, num_envs=8, batch_size=32), Evaluation(interval=4_000), 200)
    assert lengths.steps_per_iteration == 1600 and lengths.warm_up == 3 and lengths.iterations == 7
    assert lengths.evaluations == (4, 5, 7)
    assert plan(Training(total_steps=10_000), Evaluation(interval=0), 200).evaluations == (7,)
    assert plan(Training(buffer_size=33, num_envs=8), Evaluation(), 200).capacity == 40


def test_environment_steps_are_counted_exactly() -> None:
    """Two agents that may end an episode early: rows are packed and every valid slot is a step."""
    experiment = _small("vdn", "predator_prey", "environment.episode_limit=7", "environment.n_agents=2",
                        "environment.n_stags=1", "training.rollout_steps=16", "training.total_steps=2048",
                        "evaluation.interval=0")  # fmt: skip
    result = jax.jit(marlx.make_train(experiment))(jax.random.key(0))
    steps, episodes = int(result.metrics["env_steps"][-1]), int(result.metrics["episodes"][-1])
    slots = 16 * 8 * 16
    assert slots - steps <= episodes and slots * 6 / 7 < steps < slots


def test_training_explores_by_the_schedule() -> None:
    """From 1 to 0 in 1024 steps: iterations of 8 x 64 steps are played at 1, 1/2 and 0, and records say what follows.

    None of them learns, as a batch is 32 rows. Of three actions an explorer takes the greedy one by chance: with
    epsilon, 2/3 epsilon of the actions are not greedy. The standard error of such a share of 1024 is below 0.016.
    """
    experiment = _small(
        "vdn", "matrix_game", "training.rollout_steps=64", "training.batch_size=32", "training.epsilon_start=1",
        "training.epsilon_end=0", "training.epsilon_steps=1024",
    )  # fmt: skip
    program, numbers = Program(experiment), experiment.numbers()
    train, record = jax.jit(program.train), jax.jit(program.record)
    state = jax.jit(program.init)(jax.random.key(0), numbers)
    trainer = program.trainer(numbers)
    view = jax.tree.map(lambda x: x[:1], trainer.rollout.view(state.team))
    joint = jnp.array([*np.ndindex(3, 3)])
    views = jax.tree.map(lambda x: jnp.repeat(x, 9, axis=0), view)
    believed = trainer.algorithm.joint_values(state.learner, views, joint)["joint"]
    greedy = joint[believed.argmax()]  # VDN: the best sum is of the best utilities
    for index, (epsilon, following) in enumerate([(1, 0.5), (0.5, 0), (0, 0)]):
        state = train(index, 1, state, numbers)
        _, metrics = record(index + 1, state, numbers)
        assert (int(metrics["env_steps"]), float(metrics["epsilon"])) == (512 * (index + 1), following)
        played = state.replay.actions[8 * index : 8 * (index + 1), :64]
        assert float((played != greedy).mean()) == pytest.approx(2 / 3 * epsilon, abs=0.05 * epsilon)
    assert int(state.updates) == 0


def test_an_update_has_a_batch_and_a_random_stream_of_its_own() -> None:
    experiment = _small("vdn", "matrix_game", "training.updates_per_iteration=3", "training.batch_size=8")
    program, numbers = Program(experiment), experiment.numbers()
    trainer, told = program.trainer(numbers), []

    def update(learner: Any, batch: Any, key: Any, progress: Any) -> Any:
        told.append((jax.random.key_data(key).tolist(), np.asarray(batch.rewards).tolist()))
        return learner, {"loss": jnp.float32(0)}

    state = jax.jit(program.train)(0, 2, jax.jit(program.init)(jax.random.key(0), numbers), numbers)
    trainer.algorithm = trainer.algorithm._replace(update=update)
    for number in range(3, 6):  # of the second iteration
        trainer._update(jnp.int32(number), state, state.learner)
    keys, batches = zip(*told, strict=True)
    assert len(set(map(str, keys))) == len(set(map(str, batches))) == 3


def test_layout_spreads_seeds() -> None:
    assert choose_layout(1, 2, 4) == choose_layout(4, 8, 4)
    assert choose_layout(4, 2, 1).maps == 2
    for seeds in (1, 5, 7, 64):
        layout = choose_layout(seeds, 2, 4)
        assert seeds <= layout.padded < seeds + 2 * 4 and layout.width == 4


@pytest.mark.parametrize("width", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_fleet_equals_plain_program(width: int) -> None:
    experiment = _small()
    program, numbers = Program(experiment), experiment.numbers()
    fleet = Fleet(program, numbers, seeds=[3, 0, 5], base_seed=7, width=width)
    fleet.compile()
    _, metrics = fleet.record(21, fleet.train(1, 20, fleet.init()))
    assert metrics["loss"].shape == (3,)
    keys = jnp.stack([jax.random.fold_in(jax.random.key(7), seed) for seed in (3, 0, 5)])

    def alone(key: jax.Array) -> Any:
        return program.record(21, program.train(1, 20, program.init(key, numbers), numbers), numbers)[1]

    expected = jax.jit(jax.vmap(alone))(keys)
    for name in ("loss", "evaluation_return", "env_steps", "joint_value"):
        np.testing.assert_allclose(metrics[name], expected[name], rtol=1e-3)


@pytest.mark.skipif(jax.local_device_count() < 2, reason="needs two devices")
def test_devices_that_share_a_batch_learn_the_same() -> None:
    """Parameters after updates on halves of each batch, summed over two devices, against whole batches on one."""
    experiment = _small("qmix", "two_step_game")
    numbers = experiment.numbers()
    whole = Fleet(Program(experiment), numbers, range(1))
    shared = Fleet(Program(experiment, ROWS), numbers, range(1), split=2)
    assert spare_split(1, 2, 16) == shared.layout.split == 2
    assert spare_split(2, 2, 16) == spare_split(1, 2, 15) == 1
    one, two = (fleet.train(0, 12, fleet.init()) for fleet in (whole, shared))
    for a, b in zip(_params(one.learner.params), _params(two.learner.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)
    a, b = whole.record(12, one)[1], shared.record(12, two)[1]
    np.testing.assert_allclose(a["loss"], b["loss"], rtol=1e-4)


@pytest.mark.parametrize(
    "algorithm", ["vdn", *(pytest.param(name, marks=pytest.mark.slow) for name in ("iql", "qmix"))]
)
def test_every_method_learns_an_easy_game(algorithm: str) -> None:
    """A monotonic payoff, uniform data: the optimum is found from every seed."""
    experiment = marlx.configure(
        algorithm, "matrix_game", "environment.payoff=mrvf4a", "training.total_steps=24_000", "training.epsilon_end=1",
        "evaluation.interval=0", "training.buffer_size=512", "training.learning_rate=3e-3",
    )  # fmt: skip
    experiment = experiment.replace("evaluation.interval=24_000", "evaluation.episodes=1")
    result = jax.jit(jax.vmap(marlx.make_train(experiment)))(jax.random.split(jax.random.key(0), 4))
    np.testing.assert_array_equal(result.metrics["evaluation_return"][:, -1], 9)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["sarsa_lambda", "q_lambda"])  # td_lambda is what the others train with
def test_targets_train(target: str) -> None:
    result = jax.jit(marlx.make_train(_small("qmix", "two_step_game", f"algorithm.target={target}")))(jax.random.key(0))
    assert np.isfinite(result.metrics["loss"]).all()


class _Counted(Program):
    """Counts how often each phase is traced."""

    def __init__(self, experiment: marlx.Experiment) -> None:
        super().__init__(experiment)
        self.traced: Counter[str] = Counter()

    def init(self, *arguments: Any) -> Any:
        self.traced["init"] += 1
        return super().init(*arguments)

    def train(self, *arguments: Any) -> Any:
        self.traced["train"] += 1
        return super().train(*arguments)

    def record(self, *arguments: Any) -> Any:
        self.traced["record"] += 1
        return super().record(*arguments)


def test_a_whole_run_traces_each_phase_once() -> None:
    """Chunks of any length, other seeds with other numbers in their places, and a state that was saved."""
    experiment = _small("iql")
    program, numbers = _Counted(experiment), experiment.numbers()
    fleet = Fleet(program, numbers, seeds=range(4), width=2)
    state = fleet.init()
    for first, count in ((0, 5), (5, 1)):
        state, _ = fleet.record(first + count, fleet.train(first, count, state))
    other = fleet.reseated([7, 9, 8], jax.tree.map(np.copy, numbers))
    state, _ = other.record(5, other.train(0, 5, other.init()))
    saved = checkpoints.flatten(state)
    restored = other.pad(checkpoints.restore(saved, other.shapes, np.arange(3)))
    other.record(6, other.train(5, 1, restored))
    assert program.traced == {"init": 1, "train": 1, "record": 1}
