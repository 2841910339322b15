"""Configurations at random: a valid one trains for two iterations, a mistake is one line, and nothing else happens."""

from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from marlx_envs.options import Option, UsageError

import marlx
from marlx.engine.seeds import UNOPTIMISED
from marlx.experiment import SECTIONS
from marlx.program import Program

# What keeps a program small; the other options are drawn.
SMALL = {
    "training.total_steps": 400, "training.num_envs": 2, "training.batch_size": 2, "training.buffer_size": 4,
    "agent.hidden_size": 4, "evaluation.interval": 200, "evaluation.episodes": 2,
}  # fmt: skip
GAMES: dict[str, dict[str, Any]] = {
    "matrix_game": {},
    "two_step_game": {},
    "risk_reward": {"environment.n_agents": 2, "environment.n_actions": 3},
    "predator_prey": {
        "environment.n_agents": 2, "environment.n_stags": 1, "environment.height": 4, "environment.width": 4,
        "environment.episode_limit": 5,
    },
    "smax": {"environment.scenario": "3m", "environment.episode_limit": 6},
}  # fmt: skip
JUNK: list[Any] = [None, True, "", "x", -1, 0, 1e99, float("nan"), [], [[1]], {"a": 1}, "é" * 200, 2**70]


def good(option: Option) -> st.SearchStrategy[Any]:
    """Values that an option accepts, small ones."""
    low, high = option.low, option.high
    if option.kind == "number":
        return st.floats(-10 if low is None else low, 10 if high is None else high, allow_nan=False, width=32)
    if option.kind == "size":
        least = int(low or 0)
        return st.integers(least, least + 3 if high is None else min(least + 3, int(high)))
    if option.kind == "flag":
        return st.booleans()
    return st.sampled_from(tuple(option.choices)) if option.choices else st.nothing()


@st.composite
def configurations(draw: st.DrawFn) -> tuple[str, str, dict[str, Any]]:
    """A method, an environment, and overrides of which about one in six is junk."""
    method, environment = draw(st.sampled_from(sorted(marlx.ALGORITHMS))), draw(st.sampled_from(sorted(GAMES)))
    base = {**SMALL, **GAMES[environment]}
    try:
        experiment = marlx.configure(method, environment, base)
    except UsageError:  # the two do not go together
        return method, environment, base
    options = {
        f"{section}.{name}": option for section in SECTIONS for name, option in experiment.options(section).items()
    }
    found = dict(base)
    for name in draw(st.lists(st.sampled_from(sorted(set(options) - set(base))), max_size=5, unique=True)):
        valid, junk = good(options[name]), st.sampled_from(JUNK)
        value = draw(junk if valid.is_empty or not draw(st.integers(0, 5)) else valid)
        found[name if draw(st.integers(0, 30)) else name[:-1]] = value
    return method, environment, found


def trains(case: tuple[str, str, dict[str, Any]], traced: bool = False) -> bool:
    """Two iterations and a record of a valid configuration; False for one that is refused, in one line.

    Args:
        traced: build the program, but do not compile and run it.
    """
    try:
        experiment = marlx.configure(*case)
        program = Program(experiment)
    except UsageError as error:
        assert str(error) and "\n" not in str(error) and len(str(error)) < 1000
        return False

    def run(key: Any, numbers: Any) -> Any:
        return program.record(2, program.train(0, 2, program.init(key, numbers), numbers), numbers)[1]

    if traced:
        jax.eval_shape(run, jax.random.key(0), experiment.numbers())
        return True
    lowered = jax.jit(run).lower(jax.random.key(0), experiment.numbers())
    metrics = lowered.compile(UNOPTIMISED)(jax.random.key(0), experiment.numbers())
    assert 0 < int(metrics["env_steps"]) <= 2 * program.plan.steps_per_iteration
    assert all(np.isfinite(x) or int(metrics["fault_cause"]) or name == "training_return" or not metrics["updates"]
               for name, x in metrics.items()), metrics  # fmt: skip
    return True


QUIET = {"deadline": None, "derandomize": True, "suppress_health_check": list(HealthCheck), "database": None}


def test_fifty_configurations() -> None:
    trained = []

    @settings(max_examples=50, **QUIET)
    @given(configurations())
    def one(case: tuple[str, str, dict[str, Any]]) -> None:
        trained.append(trains(case, traced=len(trained) % 10 != 0))  # to compile is most of the time

    one()
    assert 15 < sum(trained) < 45  # of 50: neither kind is left out. All of them run in the test below


@pytest.mark.slow
@settings(max_examples=1000, **{**QUIET, "derandomize": False})
@given(configurations())
def test_a_thousand_configurations(case: tuple[str, str, dict[str, Any]]) -> None:
    trains(case)
    jax.clear_caches()
