"""The agent's inputs, initial weights, memory and heads."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from marlx.agents import Agent, AgentOptions
from marlx.types import View
from tests.parts.slopes import check_slopes

B, N, A, O = 2, 3, 4, 5


def _view(slots: int = 1, seed: int = 0) -> View:
    keys = jax.random.split(jax.random.key(seed), 2)
    return View(
        observation=jax.random.normal(keys[0], (slots, B, N, O)),
        state=jnp.zeros((slots, B, 1)),
        available=jnp.ones((slots, B, N, A), bool),
        previous_actions=jnp.full((slots, B, N), A, jnp.int32).at[-1, 0, 1].set(2),
        starts=jnp.zeros((slots, B), bool).at[0].set(True),
    )


def test_inputs_are_observation_last_action_and_id() -> None:
    inputs = Agent(N, A, O).inputs(_view())[0]
    assert inputs.shape == (B, N, O + A + N)
    np.testing.assert_array_equal(inputs[..., :O], _view().observation[0])
    np.testing.assert_array_equal(inputs[0, 1, O : O + A], [0, 0, 1, 0])
    np.testing.assert_array_equal(inputs[1, :, O : O + A], np.zeros((N, A)))  # none at an episode's start
    np.testing.assert_array_equal(inputs[1, :, O + A :], np.eye(N))


@pytest.mark.parametrize("last_action", [True, False])
@pytest.mark.parametrize("agent_id", [True, False])
def test_options_of_inputs(last_action: bool, agent_id: bool) -> None:
    agent = Agent(N, A, O, AgentOptions(last_action=last_action, agent_id=agent_id))
    assert agent.inputs(_view()).shape[-1] == agent.input_size == O + A * last_action + N * agent_id


@pytest.mark.parametrize("network", ["gru", "mlp"])
def test_agents_share_parameters_and_are_told_apart_by_id_alone(network: str) -> None:
    """Exchanging the observations of two agents exchanges their utilities, without ids; with ids it does not."""
    view = _view(slots=3)
    swapped = view._replace(
        observation=view.observation[:, :, ::-1], previous_actions=view.previous_actions[:, :, ::-1]
    )
    for agent_id in (False, True):
        agent = Agent(N, A, O, AgentOptions(network=network, agent_id=agent_id))
        params = agent.init(jax.random.key(1))
        ours, _ = agent.unroll(params, agent.initial_memory(B), view)
        theirs, _ = agent.unroll(params, agent.initial_memory(B), swapped)
        assert ours.shape == (3, B, N, A)
        assert np.allclose(ours[:, :, ::-1], theirs, atol=1e-5) is not agent_id


def test_torch_like_weights_are_within_their_bounds() -> None:
    params = Agent(N, A, O).init(jax.random.key(0))["params"]
    for name, value in params.items():
        fan_in = O + A + N if name.startswith("encoder") else 64
        bound = fan_in**-0.5
        assert (jnp.abs(value) <= bound).all() and jnp.abs(value).max() > 0.8 * bound, name


def test_orthogonal_kernels_are_orthogonal_gate_by_gate() -> None:
    params = Agent(N, A, O, AgentOptions(initialiser="orthogonal")).init(jax.random.key(0))["params"]
    for gate in params["recurrent_kernel"]:
        np.testing.assert_allclose(gate @ gate.T, np.eye(64), atol=1e-5)
    assert (params["input_bias"] == 0).all()


@pytest.mark.parametrize("network", ["gru", "mlp"])
def test_only_a_recurrent_agent_remembers(network: str) -> None:
    agent = Agent(N, A, O, AgentOptions(network=network))
    params = agent.init(jax.random.key(1))
    view = _view(slots=2)
    other = view._replace(observation=view.observation.at[0].add(1.0))
    ours, theirs = (agent.unroll(params, agent.initial_memory(B), v)[0][1] for v in (view, other))
    assert bool((ours == theirs).all()) is (network == "mlp")


@functools.cache
def _heads(network: str, head: str) -> tuple[Agent, Any, View]:
    agent = Agent(N, A, O, AgentOptions(network=network, head=head, hidden_size=6, group_width=3))
    return agent, jax.jit(agent.init)(jax.random.key(1)), _view(slots=2)


def _total(agent: Agent, params: Any, view: View) -> jax.Array:
    """Utilities summed with weights that tell all places apart."""
    utilities, _ = agent.unroll(params, agent.initial_memory(B), view)
    return (utilities * jnp.sin(jnp.arange(utilities.size)).reshape(utilities.shape)).sum()


def _mlp_memory(p: Any, inputs: np.ndarray) -> np.ndarray:
    hidden = np.maximum(inputs @ p["encoder"]["kernel"] + p["encoder"]["bias"], 0)
    return np.maximum(hidden @ p["body"]["kernel"] + p["body"]["bias"], 0)


def _summed(utilities: np.ndarray) -> float:
    return float((utilities.reshape(-1) * np.sin(np.arange(utilities.size))).sum())


def test_individual_heads_add_to_the_shared_one() -> None:
    """Value and gradient against loops over agents and actions."""
    agent, params, view = _heads("mlp", "individual")
    inputs = np.asarray(agent.inputs(view), np.float64)

    def reference(params: Any) -> float:
        p = params["params"]
        h = _mlp_memory(p, inputs)
        q = np.zeros((*h.shape[:-1], A))
        for i in range(N):
            for a in range(A):
                q[..., i, a] = h[..., i, :] @ p["head_kernel"][a] + p["head_bias"][a]
                q[..., i, a] += h[..., i, :] @ p["own_kernel"][i, a] + p["own_bias"][i, a]
        return _summed(q)

    check_slopes(lambda p: _total(agent, p, view), reference, params)


def test_heads_made_of_group_states() -> None:
    """Value and gradient against the equations, rows of weights written out; group states are given."""
    agent, params, view = _heads("mlp", "group_state")
    inputs = np.asarray(agent.inputs(view), np.float64)

    def states(p: Any) -> np.ndarray:
        first, second = p["group"]["first"], p["group"]["second"]
        hidden = np.maximum(_mlp_memory(p, inputs) @ first["kernel"] + first["bias"], 0)
        return np.tanh(hidden @ second["kernel"] + second["bias"])

    fixed = jax.tree.map(lambda x: np.asarray(x, np.float64), params["params"])
    g = states(fixed)
    _, memory = agent.unroll(params, agent.initial_memory(B), view)
    np.testing.assert_allclose(agent.group_state(params, memory), g, atol=1e-6)

    def reference(learnt: Any) -> float:
        h = _mlp_memory(learnt, inputs)
        weights = (g @ learnt["head_weights_kernel"] + learnt["head_weights_bias"]).reshape(*h.shape, A)
        return _summed((h[..., None] * weights).sum(-2) + g @ learnt["head_bias_kernel"] + learnt["head_bias_bias"])

    group = params["params"]["group"]
    learnt = {name: value for name, value in params["params"].items() if name != "group"}
    check_slopes(lambda p: _total(agent, {"params": {**p, "group": group}}, view), reference, learnt)


@pytest.mark.parametrize("head", ["individual", "group_state"])
def test_heads_after_a_recurrent_network_read_its_memory(head: str) -> None:
    """The same head on the memories of either network gives the same utilities; gradients reach the whole GRU."""
    agent, params, view = _heads("gru", head)
    utilities, memory = agent.unroll(params, agent.initial_memory(B), view)
    plain = Agent(N, A, O, AgentOptions(hidden_size=6))
    bare = {**params["params"], "head_kernel": jnp.zeros((A, 6)), "head_bias": jnp.zeros(A)}
    np.testing.assert_allclose(plain.unroll({"params": bare}, plain.initial_memory(B), view)[1], memory, atol=1e-6)
    p, h = jax.tree.map(np.asarray, params["params"]), np.asarray(memory)
    if head == "individual":
        kernel = p["head_kernel"] + p["own_kernel"]
        expected = np.einsum("tbnh,nah->tbna", h, kernel) + p["head_bias"] + p["own_bias"]
    else:
        assert "head_kernel" not in p
        g = np.asarray(agent.group_state(params, memory))
        weights = (g @ p["head_weights_kernel"] + p["head_weights_bias"]).reshape(*h.shape, A)
        expected = np.einsum("tbnh,tbnha->tbna", h, weights) + g @ p["head_bias_kernel"] + p["head_bias_bias"]
    np.testing.assert_allclose(utilities, expected, atol=1e-5)
    slopes = jax.jit(jax.grad(lambda p: _total(agent, p, view)))(params)["params"]
    group = slopes.pop("group", {})
    assert all((x != 0).any() for x in jax.tree.leaves(slopes))
    assert all((x == 0).all() for x in jax.tree.leaves(group))


def test_group_states_learn_nothing_from_memories() -> None:
    agent, params, _ = _heads("gru", "group_state")
    memory = jax.random.normal(jax.random.key(2), (20, N, 6))
    slopes = jax.grad(lambda p, m: (agent.group_state(p, m) ** 2).sum(), (0, 1))(params, memory)
    for name, tree in slopes[0]["params"].items():
        assert all((x != 0).any() == (name == "group") for x in jax.tree.leaves(tree))
    assert (slopes[1] == 0).all()
    assert agent.group_state(params, memory).shape == (20, N, 3)


@pytest.mark.parametrize("network", ["gru", "mlp"])
@pytest.mark.parametrize("head", ["individual", "group_state"])
def test_plain_agents_have_the_shared_head_alone(network: str, head: str) -> None:
    shared, agent = (AgentOptions(network=network, head=name) for name in ("shared", head))
    assert agent.plain() == shared
    names = [jax.eval_shape(Agent(N, A, O, o).init, jax.random.key(0))["params"].keys() for o in (shared, agent)]
    assert names[0] != names[1]
    assert Agent(N, A, O, shared).group_state({}, jnp.zeros((B, N, 64))) is None
