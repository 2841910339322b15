"""Published sets of training numbers by name (specs, 1.6), and this project's own for each environment.

`algorithm.profile=NAME` takes one as a whole; without it a run has the defaults of `marlx.settings.Training`, then
`HOUSE[environment]`, then what the method itself asks for. The user's own values win over all of them.
"""

from collections.abc import Mapping
from typing import Any

Overrides = Mapping[str, Any]  # "section.name" -> value

_EPISODES = {"training.rollout_steps": 0, "training.updates_per_iteration": 1, "training.target_update_interval": 200}

PROFILES: dict[str, Overrides] = {
    "house": {},
    "pymarl": {
        **_EPISODES,
        "training.optimiser": "rmsprop",
        "training.learning_rate": 5e-4,
        "training.batch_size": 32,
        "training.buffer_size": 5_000,
        "training.num_envs": 1,
        "training.epsilon_steps": 50_000,
        "training.td_lambda": 0.0,
    },
    "pymarl2": {
        **_EPISODES,
        "training.optimiser": "adam",
        "training.learning_rate": 1e-3,
        "training.batch_size": 128,
        "training.buffer_size": 5_000,
        "training.num_envs": 8,
        "training.epsilon_steps": 100_000,
        "training.td_lambda": 0.6,
    },
}
PROFILES["wqmix"] = PROFILES["pymarl"]
PROFILES["mrvf"] = PROFILES["pymarl"]
PROFILES["resq"] = {
    **PROFILES["pymarl"],
    "training.learning_rate": 1e-3,
    "training.epsilon_steps": 100_000,
    "training.td_lambda": 0.6,
}
PROFILES["na2q"] = PROFILES["pymarl"]
PROFILES["remix"] = {**PROFILES["pymarl2"], "training.buffer_size": 10_000, "training.epsilon_start": 0.995}
PROFILES["pow"] = {**PROFILES["pymarl2"], "training.epsilon_steps": 500_000}
PROFILES["nm"] = PROFILES["pymarl2"]

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
    "predator_prey": {"training.td_lambda": 0.5, "training.buffer_size": 1_000},
}
