"""QTRAN's joint values and V against NumPy, value and gradient; sizes; what each of them can see."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from marlx.critics.qtran import Counterfactual, JointNet, JointValue, StateValue
from tests.parts import qtran_reference as reference
from tests.parts.qtran_reference import assert_gradient, doubles

N, A, D, H, R = 3, 2, 4, 3, 2

NETS = {
    "encoder": JointValue(N, A, D, H, joint_width=5),
    "concatenated_actions": JointValue(N, A, D, H, joint_width=5, joint_arch="concatenated_actions"),
    "three layers": JointValue(N, A, D, H, joint_width=5, joint_layers=3),
    "alt": Counterfactual(N, A, D, H, joint_width=5),
}


def _inputs(seed: int = 0) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Memory [R N H], state [R D] and two joint actions [R N]."""
    keys = jax.random.split(jax.random.key(seed), 4)
    u, other = (jax.random.randint(key, (R, N), 0, A) for key in keys[2:])
    return jax.random.normal(keys[0], (R, N, H)), jax.random.normal(keys[1], (R, D)), u, other


def _expected(net: JointNet, p: Any, memory: np.ndarray, state: np.ndarray, actions: Any) -> np.ndarray:
    one = reference.counterfactual if isinstance(net, Counterfactual) else reference.joint_value
    return np.stack([np.atleast_1d(one(p["params"], memory[r], state[r], actions[r], A)) for r in range(R)])


@pytest.mark.parametrize("name", NETS)
def test_joint_values_equal_loops(name: str) -> None:
    """The tables of both joint actions, and the gradient of a sum of sines of them, also in what agents remember."""
    net, (memory, state, u, other) = NETS[name], _inputs()
    params = net.init(jax.random.key(1))
    exact, remembered, states = doubles(params), doubles(memory), doubles(state)
    for found, actions in zip(net.apply(params, memory, state, u, other), (u, other), strict=True):
        np.testing.assert_allclose(found, _expected(net, exact, remembered, states, actions), rtol=1e-5, atol=1e-6)

    def total(parts: Any) -> jax.Array:
        return sum(jnp.sin(3 * table).sum() for table in net.apply(*parts, state, u, other))

    def total_expected(parts: Any) -> float:
        return float(sum(np.sin(3 * _expected(net, *parts, states, actions)).sum() for actions in (u, other)))

    assert_gradient(jax.jit(jax.grad(total))((params, memory)), total_expected, (exact, remembered), directions=10)


@pytest.mark.parametrize("name", NETS)
def test_agents_may_be_permuted(name: str) -> None:
    """The encoder sums over agents, and the estimates of alt go with them; a joint one-hot knows their order."""
    net, (memory, state, u, _) = NETS[name], _inputs()
    params, order = net.init(jax.random.key(1)), jnp.array([2, 0, 1])
    here, there = (net.apply(params, memory[:, i], state, u[:, i])[0] for i in (jnp.arange(N), order))
    expected = here[:, order] if name == "alt" else here
    assert np.allclose(there, expected, rtol=1e-5, atol=1e-6) == (name != "concatenated_actions")


def test_state_value_equals_loops() -> None:
    net, (_, state, _, _) = StateValue(D, 5, 2), _inputs()
    params = net.init(jax.random.key(1))
    expected = [reference.state_value(doubles(params)["params"], s) for s in doubles(state)]
    np.testing.assert_allclose(net.apply(params, state), expected, rtol=1e-5, atol=1e-6)


def _count(net: JointNet | StateValue) -> int:
    return sum(x.size for x in jax.tree.leaves(jax.eval_shape(net.init, jax.random.key(0))))


def test_numbers_of_parameters() -> None:
    """pymarl's networks for a state of 10, memories of 64 and 5 actions; one hidden layer more is 64 x 64 + 64."""
    net, sizes = JointValue(3, 5, 10, 64), 64 + 5
    encoder = 2 * (sizes + 1) * sizes
    joint = (10 + sizes + 1) * 64 + (64 + 1) * 64 + 65
    assert _count(net) == encoder + joint
    big = JointValue(3, 5, 10, 64, joint_layers=3)
    assert _count(big) == encoder + joint + 65 * 64
    actions = JointValue(3, 5, 10, 64, joint_arch="concatenated_actions")
    assert _count(actions) == (10 + 15 + 1) * 64 + 65 * 64 + 65
    assert _count(StateValue(10, 64, 2)) == 11 * 64 + 65 * 64 + 65
    alt = _count(Counterfactual(3, 5, 10, 64))
    assert alt == encoder + joint + 4 * 65 + (64 + 1) * sizes + (sizes + 1) * sizes


@pytest.mark.parametrize("name", NETS)
def test_any_leading_axes(name: str) -> None:
    net, (memory, state, u, _) = NETS[name], _inputs()
    params = net.init(jax.random.key(0))
    (rows,) = net.apply(params, memory, state, u)
    (grid,) = net.apply(params, memory[None], state[None], u[None])
    np.testing.assert_allclose(grid[0], rows, rtol=1e-5, atol=1e-6)
    (one,) = net.apply(params, memory[1], state[1], u[1])
    np.testing.assert_allclose(one, rows[1], rtol=1e-5, atol=1e-6)
    assert net.taken(grid, u[None]).shape == (1, R, N if name == "alt" else 1)


def test_a_counterfactual_sees_the_others_and_not_its_own_action() -> None:
    net, (memory, state, u, _) = NETS["alt"], _inputs()
    params = net.init(jax.random.key(0))
    before, after = net.apply(params, memory, state, u, u.at[:, 1].set(1 - u[:, 1]))
    np.testing.assert_allclose(after[:, 1], before[:, 1], rtol=1e-5)
    assert (jnp.abs(after - before)[:, [0, 2]].max(-1) > 1e-4).all()
    np.testing.assert_array_equal(net.taken(before, u)[0, 2], before[0, 2, u[0, 2]])


def test_actions_alone_are_blind_to_memory() -> None:
    net, (memory, state, u, _) = NETS["concatenated_actions"], _inputs()
    params = net.init(jax.random.key(0))
    gradient = jax.grad(lambda memory: net.apply(params, memory, state, u)[0].sum())(memory)
    assert (gradient == 0).all()
