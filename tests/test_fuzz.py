"""Configurations at random: a valid one trains for two iterations, a mistake is one line, and nothing else happens."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from marlx_envs.options import Option, UsageError
from marlx_envs.payoffs import PAYOFFS

import marlx
from marlx.engine.seeds import UNOPTIMISED
from marlx.experiment import SECTIONS
from marlx.program import Program

SECONDS = 120  # for one case

# What keeps a program small: drawn for every case, the other options for some.
SIZES: dict[str, tuple[int, int]] = {
    "training.total_steps": (150, 600), "training.num_envs": (1, 3), "training.batch_size": (1, 4),
    "training.buffer_size": (3, 8), "agent.hidden_size": (1, 6), "evaluation.interval": (0, 300),
    "evaluation.episodes": (1, 3),
}  # fmt: skip
GAMES: dict[str, dict[str, Any]] = {
    "matrix_game": {},
    "repeated_game": {"environment.repeats": 3},
    "two_step_game": {},
    "k_step_game": {"environment.length": 3},
    "two_state_game": {"environment.episode_limit": 4},
    "risk_reward": {"environment.n_agents": 2, "environment.n_actions": 3},
    "predator_prey": {
        "environment.n_agents": 2, "environment.n_stags": 1, "environment.height": 4, "environment.width": 4,
        "environment.episode_limit": 5,
    },
    "smax": {"environment.scenario": "3m", "environment.episode_limit": 6},
}  # fmt: skip
JUNK: list[Any] = [None, True, "", "x", -1, 0, 1e99, float("nan"), [], [[1]], {"a": 1}, "é" * 200, 2**70]
_PAID = st.floats(-20, 20, width=32)


def _tables(actions: tuple[int, ...]) -> st.SearchStrategy[Any]:
    """Payoffs with so many actions of each agent, as nested lists."""
    table: st.SearchStrategy[Any] = _PAID
    for count in reversed(actions):
        table = st.lists(table, min_size=count, max_size=count)
    return table


# Names, tables and units that are sound by themselves, where an option does not say what it accepts.
OWN: dict[str, st.SearchStrategy[Any]] = {
    "payoff": st.one_of(
        st.sampled_from(tuple(PAYOFFS)),
        st.sampled_from(((2, 2), (3, 3), (2, 3), (1, 4), (2, 2, 2), (3, 2, 2))).flatmap(_tables),
    ),
    **dict.fromkeys(("w", "win", "lose", "miss"), _PAID),
    "payoff_digest": st.just(""),
    "diagonal": st.lists(_PAID, min_size=2, max_size=4),
    "scenario": st.sampled_from(("3m", "2s3z", "2m_vs_1z", "1c3s5z")),
    **dict.fromkeys(("allies", "enemies"), st.sampled_from(("1m", "2s", "1s1Z", "2m1M", "1S1c"))),
}


@contextmanager
def limited(seconds: int = SECONDS) -> Iterator[None]:
    """Raises `TimeoutError` in what takes longer. In the main thread only."""

    def late(*_: Any) -> None:
        raise TimeoutError(f"it took more than {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def good(name: str, option: Option) -> st.SearchStrategy[Any]:
    """Values that an option accepts, small ones."""
    low, high = option.low, option.high
    if option.kind == "number":
        return st.floats(-10 if low is None else low, 10 if high is None else high, allow_nan=False)
    if option.kind == "size":
        least = int(low or 0)
        return st.integers(least, least + 3 if high is None else min(least + 3, int(high)))
    if option.kind == "flag":
        return st.booleans()
    return st.sampled_from(tuple(option.choices)) if option.choices else OWN[name]


@st.composite
def configurations(draw: st.DrawFn) -> tuple[str, str, dict[str, Any]]:
    """A method, an environment, and overrides of which about one in six is junk."""
    method, environment = draw(st.sampled_from(sorted(marlx.ALGORITHMS))), draw(st.sampled_from(sorted(GAMES)))
    base = {**{name: draw(st.integers(*bounds)) for name, bounds in SIZES.items()}, **GAMES[environment]}
    try:
        experiment = marlx.configure(method, environment, base)
    except UsageError:  # the two do not go together
        return method, environment, base
    options = {
        f"{section}.{name}": option for section in SECTIONS for name, option in experiment.options(section).items()
    }
    found = dict(base)
    for name in draw(st.lists(st.sampled_from(sorted(set(options) - set(base))), max_size=5, unique=True)):
        valid, junk = good(name.partition(".")[2], options[name]), st.sampled_from(JUNK)
        value = draw(valid if draw(st.integers(0, 5)) else junk)
        found[name if draw(st.integers(0, 30)) else name[:-1]] = value
    return method, environment, found


def trains(case: tuple[str, str, dict[str, Any]], traced: bool = False) -> bool:
    """What `attempt` says, if it does in time."""
    with limited():
        return attempt(case, traced)


def attempt(case: tuple[str, str, dict[str, Any]], traced: bool) -> bool:
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


def test_a_case_that_hangs_is_a_failure() -> None:
    with pytest.raises(TimeoutError, match="more than 1 s"), limited(1):
        threading.Event().wait()


def test_valid_values_of_every_option_can_be_drawn() -> None:
    pairs = [("qmix", environment) for environment in GAMES]
    for method, environment in [*pairs, *((method, "matrix_game") for method in marlx.ALGORITHMS)]:
        experiment = marlx.configure(method, environment)
        for section in SECTIONS:
            for name, option in experiment.options(section).items():
                good(name, option).validate()
                assert not good(name, option).is_empty, name


def test_thirty_configurations() -> None:
    trained = []

    @settings(max_examples=30, **QUIET)
    @given(configurations())
    def one(case: tuple[str, str, dict[str, Any]]) -> None:
        trained.append(trains(case, traced=len(trained) % 6 != 0))  # to compile is most of the time

    one()
    assert 10 < sum(trained) < 27  # of 30: neither kind is left out. All of them run in the test below


@pytest.mark.slow
@settings(max_examples=1000, **{**QUIET, "derandomize": False})
@given(configurations())
def test_a_thousand_configurations(case: tuple[str, str, dict[str, Any]]) -> None:
    trains(case)
    jax.clear_caches()
