"""Exported agents: read where the library cannot be imported, they act as in the run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

import marlx
from marlx.agents import Agent, AgentOptions
from marlx.host import exported, portable
from marlx.host.cli import main
from marlx.host.exporting import write_safetensors
from marlx.types import View

ALONE = """
import json, sys
for name in ("marlx", "marlx_envs", "jax", "flax", "safetensors"):
    sys.modules[name] = None
sys.path.insert(0, sys.argv[1])
from policy import Policy
policy = Policy(sys.argv[1], seed=1)
memory = policy.initial_memory()
memory, utilities = policy.utilities(memory, [[1.0]] * policy.about["n_agents"])
actions = policy.greedy(utilities)
memory, later = policy.utilities(memory, [[1.0]] * policy.about["n_agents"], actions)
print(json.dumps([utilities.tolist(), actions.tolist(), later.tolist()]))
"""


def view(n_agents: int, n_actions: int, size: int, slots: int) -> View:
    generator = np.random.default_rng(0)
    previous = generator.integers(0, n_actions, (slots, 3, n_agents))
    previous[0] = n_actions
    return View(
        observation=jnp.asarray(generator.normal(size=(slots, 3, n_agents, size)), jnp.float32),
        state=jnp.zeros((slots, 3, 1)),
        available=jnp.ones((slots, 3, n_agents, n_actions), bool),
        previous_actions=jnp.asarray(previous),
        starts=jnp.zeros((slots, 3), bool).at[0].set(True),
    )


@pytest.mark.parametrize("array", [np, jnp])
@pytest.mark.parametrize(
    "options",
    [
        AgentOptions(hidden_size=5),
        AgentOptions(hidden_size=5, network="mlp", last_action=False),
        AgentOptions(hidden_size=5, head="individual", agent_id=False),
        AgentOptions(hidden_size=5, head="group_state", group_width=3),
    ],
    ids=["gru", "mlp", "individual", "group_state"],
)
def test_every_kind_of_agent(options: AgentOptions, array: object, tmp_path: Path) -> None:
    agent = Agent(2, 4, 3, options)
    params = agent.init(jax.random.key(0))
    seen = view(2, 4, 3, slots=5)
    expected, _ = agent.unroll(params, agent.initial_memory(3), seen)
    leaves = jax.tree_util.tree_leaves_with_path(params["params"])
    stacked = {jax.tree_util.keystr(p, simple=True, separator="/"): np.stack([x, x]) for p, x in leaves}
    with (tmp_path / portable.PARAMETERS).open("wb") as file:
        write_safetensors(file, stacked)
    about = {"seeds": [3, 7], "n_agents": 2, "n_actions": 4, **vars(options)}
    (tmp_path / portable.ABOUT).write_text(json.dumps(about))
    policy = portable.Policy(tmp_path, seed=7, array=array)
    memory = policy.initial_memory(3)
    for slot in range(5):
        before = seen.previous_actions[slot] if slot else None
        memory, utilities = policy.utilities(memory, seen.observation[slot], before)
        np.testing.assert_allclose(utilities, expected[slot], atol=1e-6)
    masked = policy.greedy(utilities, utilities < utilities.max(axis=-1, keepdims=True))
    assert (masked == np.argsort(utilities, axis=-1)[..., -2]).all()
    with pytest.raises(ValueError, match="seed 0 was not exported; there are 3, 7"):
        portable.Policy(tmp_path, seed=0)


def test_a_run_where_nothing_else_is_installed(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "agents"
    assert main(("export", str(finished), "--out", str(out))) == 0
    assert sorted(path.name for path in out.iterdir()) == ["policy.json", "policy.py", "policy.safetensors"]
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", ALONE, str(out)], capture_output=True, text=True, check=True, env=clean, cwd=tmp_path
    )
    utilities, actions, later = json.loads(done.stdout)
    run = marlx.load_run(finished)
    spec, options = run.experiment.make_environment().spec, AgentOptions(**run.experiment.agent)
    agent = Agent(spec.n_agents, spec.n_actions, spec.observation_size, options)
    params = jax.tree.map(lambda x: x[1], run.params["agent"])
    seen = view(spec.n_agents, spec.n_actions, 1, slots=2)
    seen = seen._replace(
        observation=jnp.ones((2, 3, spec.n_agents, 1)),
        previous_actions=seen.previous_actions.at[1].set(jnp.asarray(actions)),
    )
    expected, _ = agent.unroll(params, agent.initial_memory(3), seen)
    np.testing.assert_allclose([utilities, later], expected[:, 0], atol=1e-6)
    # what the evaluation of the run reports is the payoff of these actions
    payoff = run.experiment.make_environment().tables.rewards[0]
    assert run.evaluate()["evaluation_return"][1] == pytest.approx(payoff[tuple(actions)])


def test_the_file_is_of_safetensors(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(("export", str(finished), "--out", str(tmp_path / "a"))) == 0
    theirs, ours = (read(tmp_path / "a" / portable.PARAMETERS) for read in (load_file, portable.read_safetensors))
    assert set(theirs) == set(ours) and len(ours) > 3
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name])
    assert main(("export", str(finished), "--out", str(tmp_path / "a"))) == 2
    assert "is not empty; choose another --out" in capsys.readouterr().err


def test_exported_agents_play_as_the_run_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In a game without chance: agents with memory that see their last actions, and episodes of several steps."""
    experiment = marlx.configure(
        "iql", "k_step_game", "training.total_steps=40", "evaluation.interval=40", "evaluation.episodes=4",
        "agent.hidden_size=8", "training.num_envs=2", "training.batch_size=4",
    )  # fmt: skip
    run = marlx.train(experiment, seeds="2,4:6", out=tmp_path / "run", progress=False)
    assert main(("export", str(run.path), "--out", str(tmp_path / "agents"))) == 0
    found, expected = exported.evaluate(tmp_path / "agents"), run.evaluate()
    assert set(found) == set(expected)
    for name in found:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, err_msg=name)
    assert len(set(expected["evaluation_return"].tolist())) > 1  # or one seed's agents would do for all
    capsys.readouterr()
    assert main(("evaluate", str(tmp_path / "agents"), "--episodes", "2")) == 0
    assert "return, mean [lowest, highest]" in capsys.readouterr().out
    assert main(("evaluate", str(tmp_path / "agents"), "--parameters", "best")) == 2
    assert "exported agents have one set of parameters" in capsys.readouterr().err
    file = tmp_path / "agents" / portable.PARAMETERS
    arrays = portable.read_safetensors(file)
    missing = min(arrays)
    with file.open("wb") as opened:
        write_safetensors(opened, {name: array for name, array in arrays.items() if name != missing})
    assert main(("evaluate", str(tmp_path / "agents"))) == 2
    assert f"lacks '{missing}'" in capsys.readouterr().err
    about = tmp_path / "agents" / portable.ABOUT
    for words in ('{"seeds": [1]}', "{", json.dumps({**json.loads(about.read_text()), "environment": "k_step_gam"})):
        about.write_text(words)
        assert main(("evaluate", str(tmp_path / "agents"))) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_a_battle_of_exported_agents_can_be_won(tmp_path: Path) -> None:
    """By a policy that takes the last action that is available; as steps of the environment, one by one, say."""
    environment = marlx.configure("vdn", "smax", "environment.allies=5m", "environment.enemies=2m").make_environment()

    class Attack(portable.Policy):
        def __init__(self) -> None:
            self.about = {"n_agents": 5, "hidden_size": 1}
            self.array = jnp

        def utilities(self, memory: object, observations: object, previous_actions: object = None) -> tuple:
            return memory, jnp.broadcast_to(jnp.arange(7.0), (*observations.shape[:-1], 7))  # type: ignore[attr-defined]

    found = exported.play(environment, Attack(), jax.random.key(0), 1)
    reset_key, run_key = jax.random.split(jax.random.key(0))
    state, returns, steps, step = (
        environment.reset(jax.random.split(reset_key, 1)[0]),
        0.0,
        0,
        jax.jit(environment.step),
    )
    for key in jax.random.split(run_key, environment.spec.episode_limit):
        actions = jnp.where(environment.available_actions(state), jnp.arange(7.0), -jnp.inf).argmax(-1)
        state, reward, terminated, truncated, info = step(jax.random.split(key, 1)[0], state, actions)
        returns, steps = returns + float(reward), steps + 1
        if terminated or truncated:
            break
    plain = {"evaluation_return": returns, "evaluation_length": steps, "evaluation_win_rate": float(info["won"])}
    assert {name: float(value) for name, value in found.items()} == pytest.approx(plain)
    assert 1 < steps < environment.spec.episode_limit
