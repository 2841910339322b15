"""Sets of training numbers of published code by name, and this project's own for each environment.

`algorithm.profile=NAME` takes one as a whole; without it a run has the defaults of `marlx.settings.Training`, then
`HOUSE[environment]`, then what the method itself asks for. The user's own values win over all of them.
"""

from collections.abc import Mapping
from typing import Any

Overrides = Mapping[str, Any]  # "section.name" -> value

_EPISODES = {"training.rollout_steps": 0, "training.updates_per_iteration": 1, "training.target_update_interval": 200}

_PYMARL = {
    **_EPISODES,
    "training.optimiser": "rmsprop",
    "training.learning_rate": 5e-4,
    "training.batch_size": 32,
    "training.buffer_size": 5_000,
    "training.num_envs": 1,
    "training.epsilon_steps": 50_000,
    "training.td_lambda": 0.0,
}

PROFILES: dict[str, Overrides] = {
    "house": {},
    "na2q": {**_PYMARL, "training.mixer_optimiser": "adam"},  # its code waits for 100 episodes before it learns
    "pymarl": _PYMARL,
    "pymarl2": {
        **_EPISODES,
        "training.optimiser": "adam",
        "training.learning_rate": 1e-3,
        "training.batch_size": 128,
        "training.buffer_size": 5_000,
        "training.num_envs": 8,
        "training.epsilon_steps": 100_000,
        "training.td_lambda": 0.6,
        "training.loss_scale": 0.5,
    },
}

# What a profile's code sets differently for a method or an environment.
_EXCEPTIONS: dict[tuple[str, str], Overrides] = {
    ("pymarl2", "iql"): {"training.learning_rate": 5e-4, "training.batch_size": 32, "training.td_lambda": 0.0},
    ("pymarl2", "predator_prey"): {
        "training.buffer_size": 1_000,
        "training.td_lambda": 0.5,
        "agent.agent_id": False,
    },
    ("pymarl2", "matrix_game"): {"agent.last_action": False},
}

_GAME = {
    "training.num_envs": 32,
    "training.total_steps": 200_000,
    "training.buffer_size": 2_048,
    "training.epsilon_steps": 10_000,
    "evaluation.interval": 20_000,
    "agent.network": "mlp",
    "agent.last_action": False,
}

_SHORT = {
    "training.total_steps": 100_000,
    "training.buffer_size": 1_024,
    "training.epsilon_steps": 20_000,
    "evaluation.interval": 10_000,
}

HOUSE: dict[str, Overrides] = {
    "matrix_game": _GAME,
    "risk_reward": _GAME,
    "two_step_game": _SHORT,
    "k_step_game": _SHORT,
    "repeated_game": _SHORT,
    "two_state_game": _SHORT,
    "predator_prey": {"training.td_lambda": 0.5, "training.buffer_size": 1_000},
}


def training_numbers(profile: str, algorithm: str, environment: str) -> Overrides:
    """What a profile asks for, for a method in an environment. Sources: the repositories pymarl, pymarl2, NA2Q."""
    if profile == "house":
        return HOUSE.get(environment, {})
    found = dict(PROFILES[profile])
    for name in (environment, algorithm):
        found |= _EXCEPTIONS.get((profile, name), {})
    return found
