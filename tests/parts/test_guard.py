"""The guard: what is not finite stops a seed's optimisers for good, all of them, and is named with its step."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from marlx.guard import CAUSES, guarded, no_fault, watched

PARAMS = {"w": jnp.array([1.0, 2.0])}
GOOD, BAD = {"w": jnp.array([0.5, -0.5])}, {"w": jnp.array([jnp.nan, 1.0])}


def stepped(rule: Any, gradient: Any, state: Any, params: Any) -> tuple[Any, Any]:
    steps, state = rule.update(gradient, state, params)
    return optax.apply_updates(params, steps), state


def test_a_bad_gradient_stops_for_good() -> None:
    rule = guarded(optax.adam(0.1))
    params, state = stepped(rule, GOOD, rule.init(PARAMS), PARAMS)
    kept = jax.tree.map(np.asarray, (params, state.inner))
    for gradient in (BAD, GOOD, GOOD):
        params, state = stepped(rule, gradient, state, params)
        jax.tree.map(np.testing.assert_array_equal, (params, state.inner), kept)
    assert CAUSES[int(state.cause)] == "gradient"


def test_a_step_too_large_is_not_made() -> None:
    rule = guarded(optax.sgd(3e38))
    params, state = stepped(rule, {"w": jnp.array([10.0, 0.0])}, rule.init(PARAMS), PARAMS)
    np.testing.assert_array_equal(params["w"], PARAMS["w"])
    assert CAUSES[int(state.cause)] == "parameters"


@pytest.mark.parametrize("loss, first", [(jnp.inf, "loss"), (jnp.nan, "loss"), (1.0, "nothing")])
def test_a_bad_loss_stops_optimisers_that_could_go_on(loss: float, first: str) -> None:
    rule = guarded(optax.sgd(0.1))
    fault, learner = watched(no_fault(), jnp.float32(loss), {"a": rule.init(PARAMS), "b": 1}, jnp.int32(40))
    assert (CAUSES[int(fault.cause)], int(fault.env_steps)) == (first, -1 if first == "nothing" else 40)
    params, _ = stepped(rule, GOOD, learner["a"], PARAMS)
    assert bool((params["w"] == PARAMS["w"]).all()) == (first != "nothing") and learner["b"] == 1


def test_one_optimiser_that_stops_stops_the_others_and_the_first_fault_stays() -> None:
    rule = guarded(optax.sgd(0.1))
    _, bad = stepped(rule, BAD, rule.init(PARAMS), PARAMS)
    fault, (_, other) = watched(no_fault(), jnp.float32(1), (bad, rule.init(PARAMS)), jnp.int32(8))
    fault, (_, other) = watched(fault, jnp.float32(jnp.nan), (bad, other), jnp.int32(16))
    assert (CAUSES[int(fault.cause)], int(fault.env_steps)) == ("gradient", 8)
    assert CAUSES[int(other.cause)] == "gradient"
