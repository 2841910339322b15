"""What holds for each registered method: an update trains all of it, padding does not matter, numbers do not drift."""

import json
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params

import marlx
from tests.algorithms.golden import FILE, PADDED, PROGRESS, RUNS, built, run, subject, summary
from tests.algorithms.learning import SPEC
from tests.algorithms.learning import changed as changed_in

# A method that is another's composition with one part exchanged; both tiers together have all of them.
VARIANTS = ("ideal_cw_qmix", "mrvf_non_strict", "mrvf_single", "pow_qplex", "pow_vdn", "qatten", "qpro", "qtran_alt")

DIFFERENT = ("qmix", "cw_qmix", "mrvf")  # of different ways to learn

TARGETS_UNREAD = (
    "qmix",
    "nm_qmix",
    "qtran",
    "mrvf",
    "shaq",
    "res",
)  # where nothing bootstraps; CW-QMIX's weights read its target

QUICK = ("iql", "vdn", "qmix")  # whose runs are compiled in no time


def _tiers() -> list[Any]:
    return [pytest.param(name, marks=pytest.mark.slow) if name in VARIANTS else name for name in marlx.ALGORITHMS]


@pytest.mark.parametrize("method", _tiers())
def test_an_update_trains_it_padding_has_no_influence_and_numbers_are_the_golden_ones(method: str) -> None:
    state, steps, update, target = subject(method)
    after, metrics = update(state, steps)
    assert all(np.isfinite(value).all() for value in jax.tree.leaves((after.params, metrics)))
    changed = jax.tree.map(lambda a, b: bool((a != b).any()), state.params, after.params)
    still = [jax.tree_util.keystr(path) for path, leaf in jax.tree.leaves_with_path(changed) if not leaf]
    assert not still, f"not trained: {still}"

    padding = ~steps.valid
    poked = steps._replace(
        rewards=jnp.where(padding, 1e3, steps.rewards),
        terminated=steps.terminated | padding,
        optimal=None if steps.optimal is None else steps.optimal ^ padding,
    )
    if target != "sarsa_lambda":  # which bootstraps from the action selected there
        other = (steps.actions[PADDED, 0] + 1) % SPEC.n_actions
        poked = poked._replace(actions=steps.actions.at[PADDED, 0].set(other))
    again, measured = update(state, poked)
    jax.tree.map(np.testing.assert_array_equal, (after.params, metrics), (again.params, measured))

    ended = steps._replace(terminated=steps.terminated.at[PADDED - 1, 0].set(True))  # nothing bootstraps from padding
    unseen = changed_in(ended, PADDED, 0, "rewards actions view")
    available = ended.view.available.at[PADDED, 0].set(False)  # an end where nobody can do anything
    nothing = ended._replace(view=ended.view._replace(available=available))
    expected = update(state, ended)
    for other_end in (unseen, nothing):
        jax.tree.map(np.testing.assert_array_equal, expected, update(state, other_end))

    golden: dict[str, Any] = json.loads(FILE.read_text())[method]
    found = summary(*update(after, steps))
    assert found == pytest.approx(golden, rel=2e-3, abs=1e-5)


def _loops(jaxpr: Any, length: int) -> int:
    """Loops of that length in a program, those of its parts among them."""
    return sum(
        (equation.primitive.name == "scan" and equation.params["length"] == length)
        + sum(_loops(part, length) for part in jaxprs_in_params(equation.params))
        for equation in jaxpr.eqns
    )


@pytest.mark.parametrize(
    ("method", "networks", "targets"),
    [
        ("iql", 1, 1), ("qmix", 1, 1), ("qplex", 1, 1), ("qtran", 1, 1), ("cw_qmix", 2, 1), ("remix", 2, 1),
        ("pow_qmix", 2, 1), ("resq", 3, 1), ("mrvf", 2, 1), ("res", 1, 1),
    ],
)  # fmt: skip
def test_no_memory_is_unrolled_twice(method: str, networks: int, targets: int) -> None:
    """Each network with a memory once forwards and once backwards, each target copy that is read once forwards."""
    algorithm, steps = built(method, "gru")
    state = jax.eval_shape(algorithm.init, jax.random.key(0))
    program = jax.make_jaxpr(algorithm.update)(state, steps, jax.random.key(1), PROGRESS)
    assert _loops(program.jaxpr, len(steps.view.starts)) == 2 * networks + targets


@pytest.mark.parametrize(
    "method", [pytest.param(name, marks=() if name in DIFFERENT else pytest.mark.slow) for name in marlx.ALGORITHMS]
)
def test_where_every_step_terminates_the_slot_after_it_is_not_needed(method: str) -> None:
    state, steps, update, _ = subject(method)
    steps = steps._replace(terminated=jnp.ones_like(steps.terminated))
    view, actions = steps.of_steps((steps.view, steps.actions))
    other = state._replace(target=jax.tree.map(lambda x: x + 7, state.target))
    without, metrics = update(other if method in TARGETS_UNREAD else state, steps._replace(view=view, actions=actions))
    with_it, expected = update(state, steps)
    close = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
    jax.tree.map(close, (without.params, metrics), (with_it.params, expected))


@pytest.mark.parametrize(
    "method", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in marlx.ALGORITHMS]
)
def test_a_run_begins_with_the_golden_numbers_and_no_nan(method: str) -> None:
    golden: dict[str, Any] = json.loads(RUNS.read_text())[method]
    found = run(method)
    assert found["updates"] > 0
    assert found == pytest.approx(golden, rel=2e-3, abs=1e-5)
