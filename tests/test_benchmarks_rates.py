"""Benchmarks that train: what they count and report, on tiny works."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import marlx
from benchmarks import costs, mass, smax
from benchmarks.costs import Cost
from marlx.engine.seeds import Fleet, Layout
from marlx.host import provenance
from marlx.program import Program

WORK = (
    "iql", "matrix_game", "training.num_envs=4", "training.batch_size=8", "training.buffer_size=16",
    "training.updates_per_iteration=3", "agent.hidden_size=4", "evaluation.episodes=2",
)  # fmt: skip
SIZE = 16
PRODUCT = 2 * SIZE**3


@pytest.fixture(autouse=True)
def small_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(costs, "SIZES", {"cpu": (SIZE, 64)})


def test_loops_are_counted_as_often_as_they_run() -> None:
    """Products in a loop of known length, in one found as it runs, and in one inside the other."""
    x = jnp.ones((SIZE, SIZE))

    def products(x: jax.Array, count: int) -> jax.Array:
        return jax.lax.scan(lambda y, _: (y @ x, None), x, None, length=count)[0]

    def rounds(x: jax.Array, count: int) -> jax.Array:
        return jax.lax.fori_loop(0, count, lambda _, y: products(y, 5) @ x, x)

    assert costs.cost(lambda x, y: x @ y, x, x) == Cost(PRODUCT, 3 * x.nbytes)
    assert costs.cost(lambda x: products(x, 5), x).flops == pytest.approx(5 * PRODUCT, rel=0.01)
    assert costs.cost(rounds, x, 0, rounds=(7,)).flops == pytest.approx(7 * 6 * PRODUCT, rel=0.01)
    once, often = (costs.cost(lambda x, count=count: products(x, count), x).bytes for count in (10, 20))
    assert often == pytest.approx(2 * once, rel=0.1)


def test_the_best_of_devices_is_that_of_all() -> None:
    found = costs.best(jax.local_devices(), 1)
    assert min(found) > 0


def test_masses_of_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    """One seed and four; more do not fit, by the fleet's own account."""
    monkeypatch.setattr(mass, "iteration_cost", lambda program: Cost(3e6, 5e6))
    compiled = Fleet.compile

    def account(self: Fleet) -> float:
        seconds = compiled(self) if len(self.seeds) <= 4 else 0.0
        self.bytes = 1000 * len(self.seeds)
        return seconds

    monkeypatch.setattr(Fleet, "compile", account)
    monkeypatch.setattr(mass, "free_memory", lambda devices: 5000)
    (one, four, more) = mass.table([("tiny", WORK)], limit=100.0, least=0.01).rows
    assert one[:3] == ("tiny", 1, "1 x 1 x 1") and four[:2] == ("tiny", 4) and more[:3] == ("tiny", 16, "does not fit")
    assert len(one) == len(four) == len(more) == len(mass.COLUMNS)
    plan = Program(marlx.configure(*WORK)).plan
    for megabytes, row in ((0.001, one), (0.004, four)):
        found = dict(zip(mass.COLUMNS, row, strict=True))
        assert found["MB"] == megabytes and all(found[name] > 0 for name in mass.COLUMNS[3:])
        assert found["times one seed"] == pytest.approx(found["steps/s"] / one[4])
        iterations = found["steps/s"] / plan.steps_per_iteration
        assert found["seeds/s"] == pytest.approx(iterations / plan.iterations)
        assert (found["GFLOP/s"], found["GB/s"]) == pytest.approx((0.003 * iterations, 0.005 * iterations))


@pytest.mark.parametrize(
    ("limit", "error", "seeds"),
    [
        (100.0, None, [1, 4, 16]),
        (0.0, None, [1]),  # no time for more
        (100.0, jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory"), [1, "does not fit"]),
    ],
)
def test_time_and_memory_end_a_table(
    limit: float, error: Exception | None, seeds: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fleet(program: Any, numbers: Any, count: int) -> Any:
        if count > 1 and error:
            raise error
        mesh = SimpleNamespace(devices=np.array(jax.devices()[:1]))
        return SimpleNamespace(layout=Layout(1, 1, count), mesh=mesh, bytes=1)

    for name, found in (("iteration_cost", Cost(1, 1)), ("rate", 1.0), ("_play_rate", 2.0), ("best", Cost(1, 1))):
        monkeypatch.setattr(mass, name, lambda *_, found=found: found)
    monkeypatch.setattr(mass, "_fleet", fleet)
    rows = mass.table([("tiny", WORK)], limit, 0.01, most=16).rows
    assert [row[2] if row[2] == "does not fit" else row[1] for row in rows] == seeds


def test_playing_is_without_updates() -> None:
    experiment = marlx.configure(*WORK)
    program = Program(experiment)
    fleet = Fleet(program, experiment.numbers(), range(2), width=1)
    state = fleet.train(program.plan.warm_up - 8, 8, fleet.init())
    assert state.updates.tolist() == [0, 0] and state.env_steps.tolist() == [32, 32]


@pytest.mark.slow
def test_every_update_of_an_iteration_costs() -> None:
    one, three = (
        mass.iteration_cost(Program(marlx.configure(*WORK, f"training.updates_per_iteration={count}")))
        for count in (1, 3)
    )
    assert one.flops < three.flops < 3 * one.flops and one.bytes < three.bytes < 3 * one.bytes


def test_rows_are_not_split_between_devices_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, found in (("local_devices", jax.devices()[:1]), ("local_device_count", 1)):
        monkeypatch.setattr(jax, name, lambda found=found: found)
    assert smax._training(1, ((1, 2),)).rows == []


def test_the_driver_of_a_gpu_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "DRIVER", tmp_path / "version")
    assert "driver" not in provenance.hardware()
    lines = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19\nGCC version: gcc 11.4.0\n"
    (tmp_path / "version").write_text(lines)
    assert provenance.hardware()["driver"] == "535.129.03"
