"""`marlx_envs.check`: each way not to be what the spec says is one line; what an environment raises is its own."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import marlx_envs
import pytest
from marlx_envs import Entry, UsageError
from marlx_envs.base import Environment, Spec

import marlx
from marlx.host.cli import main


@dataclass(frozen=True)
class Mine(Environment):
    """Three agents, two actions, four features of each, five of the state."""

    @property
    def spec(self) -> Spec:
        return Spec(3, 2, 4, 5, episode_limit=10, limit_is_terminal=True, return_max=None, metrics=("found",))

    def reset(self, key: Any, params: Any = None) -> Any:
        return {"time": jnp.int32(0), "place": jnp.zeros((3, 2))}

    def step(self, key: Any, state: Any, actions: jax.Array, params: Any = None) -> Any:
        after = {**state, "time": state["time"] + 1}
        return after, jnp.float32(1), after["time"] == 10, False, {"found": jnp.float32(0)}

    def observe(self, state: Any, params: Any = None) -> Any:
        return jnp.zeros((3, 4))

    def global_state(self, state: Any, params: Any = None) -> Any:
        return jnp.zeros(5)

    def available_actions(self, state: Any, params: Any = None) -> Any:
        return jnp.ones((3, 2), bool)


def step_with(**changes: Any) -> Callable[..., Any]:
    """The step with other values of what it returns, by name."""

    def step(self: Mine, *arguments: Any) -> Any:
        names = ("state", "reward", "terminated", "truncated", "info")
        return tuple((dict(zip(names, Mine.step(self, *arguments), strict=True)) | changes).values())

    return step


def seen(value: Any) -> Callable[..., Any]:
    return lambda self, state, params=None: value


@pytest.mark.parametrize("name", sorted(marlx_envs.ENVIRONMENTS))
def test_every_environment_passes(name: str) -> None:
    if name == "jaxmarl":
        pytest.importorskip("jaxmarl")
    marlx_envs.check(marlx_envs.make(name))


@pytest.mark.parametrize(
    "method, wrong, told",
    [
        (
            "step",
            lambda self, *rest: Mine.step(self, *rest)[:4],
            "step returned 4 values, not the five of state, reward, terminated, truncated, info",
        ),
        ("step", lambda *_: None, "step returned None, not the five of state, reward, terminated, truncated, info"),
        ("step", step_with(reward=jnp.ones(3)), "step returned as reward float32 [3]; it must be float32 []"),
        ("step", step_with(reward=1), "step returned as reward 1; it must be float32 []"),
        ("step", step_with(terminated=0.0), "step returned as terminated 0.0; it must be bool []"),
        ("step", step_with(truncated=jnp.int32(0)), "step returned as truncated int32 []; it must be bool []"),
        ("step", step_with(info=None), "step returned as info None; it is a dictionary of scalars"),
        ("step", step_with(info={}), "step returned info without 'found', which spec.metrics promises"),
        ("step", step_with(info={"found": jnp.ones(3)}), "step returned info['found'] as float32 [3]; it is a scalar"),
        (
            "observe",
            seen(jnp.zeros((3, 5))),
            "observe returned float32 [3 5]; it must be float32 [3 4], [n_agents observation_size] of its spec",
        ),
        (
            "observe",
            seen(None),
            "observe returned None; it must be float32 [3 4], [n_agents observation_size] of its spec",
        ),
        (
            "global_state",
            seen(jnp.zeros((1, 5))),
            "global_state returned float32 [1 5]; it must be float32 [5], [state_size] of its spec",
        ),
        (
            "available_actions",
            seen(jnp.ones((3, 2))),
            "available_actions returned float32 [3 2]; it must be bool [3 2], [n_agents n_actions] of its spec",
        ),
        (
            "step",
            step_with(state={"time": jnp.int32(1), "place": jnp.zeros(2)}),
            "step returned state['place'] as float32 [2], reset as float32 [3 2]",
        ),
        (
            "step",
            step_with(state={"time": jnp.float32(1), "place": jnp.zeros((3, 2))}),
            "step returned state['time'] as float32 [], reset as int32 []",
        ),
        (
            "step",
            step_with(state={"time": jnp.int32(1)}),
            "step returned a state of structure \"({'time': *})\", reset one of \"({'place': *, 'time': *})\"",
        ),
        ("spec", property(lambda self: {}), "spec must be a Spec, not a dict"),
    ],
)
def test_each_fault_is_one_line(method: str, wrong: Any, told: str) -> None:
    with pytest.raises(UsageError) as error:
        marlx_envs.check(type("Wrong", (Mine,), {method: wrong})())
    assert str(error.value) == f"Wrong.{told}"


def test_what_an_environment_raises_is_passed_on() -> None:
    def observe(self: Mine, state: Any, params: Any = None) -> Any:
        return state["misspelt"]

    with pytest.raises(KeyError, match="misspelt"):
        marlx_envs.check(type("Wrong", (Mine,), {"observe": observe})())


def test_a_run_in_a_wrong_environment_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is compiled, and nothing of it stays on disk."""
    wrong = type("Wrong", (Mine,), {"global_state": seen(jnp.zeros(4))})
    entry = Entry(name="wrong", summary="", source="", factory=wrong)
    monkeypatch.setitem(marlx_envs.ENVIRONMENTS._all(), "wrong", entry)
    assert main(["train", "vdn", "wrong", "--seeds", "2", "--out", str(tmp_path / "run"), "--quiet"]) == 2
    told = capsys.readouterr().err
    assert "Wrong.global_state returned float32 [4]; it must be float32 [5], [state_size] of its spec" in told
    assert told.count("\n") == 1 and not (tmp_path / "run").exists()
    with pytest.raises(UsageError, match=r"Wrong\.global_state"):
        marlx.make_train(marlx.configure("vdn", "wrong"))


@pytest.mark.parametrize(
    "sizes, told",
    [
        ({"episode_limit": 0}, "episode_limit must be a whole number of at least 1, not 0"),
        ({"episode_limit": "ten"}, "episode_limit must be a whole number of at least 1, not 'ten'"),
        ({"n_agents": 3.0}, "n_agents must be a whole number of at least 1, not 3.0"),
        ({"state_size": None}, "state_size must be a whole number of at least 1, not None"),
    ],
)
def test_a_size_that_is_none_is_found_when_an_experiment_is_configured(
    sizes: Any, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = type("Wrong", (Mine,), {"spec": property(lambda self: replace(Mine().spec, **sizes))})
    monkeypatch.setitem(
        marlx_envs.ENVIRONMENTS._all(), "wrong", Entry(name="wrong", summary="", source="", factory=wrong)
    )
    with pytest.raises(UsageError) as error:
        marlx.configure("vdn", "wrong")
    assert str(error.value) == f"the Spec's {told}"
