"""The agent's inputs, initial weights and memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from marlx.agents import Agent, AgentOptions
from marlx.types import View

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
