"""Sets of training numbers of published code and papers by name, and this project's own for each environment.

Without a profile a run has the defaults of `marlx.settings.Training`, then `HOUSE[environment]`, then what the method
asks for. `algorithm.profile=NAME` takes a published set in place of the house's, and it wins over the method too. The
user's own values win over all of them. A profile names no part of a method, and a field that a composition does not
have is passed over. What a source does not give stays at the default of its section, and so does the length of a run.
"""

from collections.abc import Mapping
from typing import Any

Overrides = Mapping[str, Any]  # "section.name" -> value

_EPISODES = {"training.rollout_steps": 0, "training.updates_per_iteration": 1, "training.target_update_interval": 200}

_PYMARL: Overrides = {
    **_EPISODES,
    "training.optimiser": "rmsprop",
    "training.learning_rate": 5e-4,
    "training.batch_size": 32,
    "training.buffer_size": 5_000,
    "training.num_envs": 1,
    "training.epsilon_steps": 50_000,
    "training.td_lambda": 0.0,
}

_PYMARL2: Overrides = {
    **_EPISODES,
    "training.optimiser": "adam",
    "training.learning_rate": 1e-3,
    "training.batch_size": 128,
    "training.buffer_size": 5_000,
    "training.num_envs": 8,
    "training.epsilon_steps": 100_000,
    "training.td_lambda": 0.6,
    "training.loss_scale": 0.5,
    "algorithm.critic_loss_scale": 0.5,
    "algorithm.heads": 4,  # of QPLEX and of Qatten
    "algorithm.layers": 2,
}

PROFILES: dict[str, Overrides] = {
    "house": {},
    "pymarl": _PYMARL,
    "pymarl2": _PYMARL2,
    "wqmix": {**_PYMARL, "algorithm.critic_width": 256},
    "resq": {
        **_PYMARL,
        "training.learning_rate": 1e-3,
        "training.epsilon_steps": 100_000,
        "training.td_lambda": 0.6,
        "algorithm.critic_width": 128,
    },
    "na2q": _PYMARL,  # NA2Q itself: below. Its first update waits for 100 episodes in the StarCraft runs, for 32 else
    # Built on pymarl2, but neither environments side by side nor factors of the losses are given.
    "remix": {
        **_EPISODES,
        "training.optimiser": "adam",
        "training.learning_rate": 1e-3,
        "training.batch_size": 128,
        "training.buffer_size": 10_000,
        "training.epsilon_start": 0.995,
        "training.epsilon_steps": 100_000,
        "training.td_lambda": 0.6,
    },
    # The paper says Adam for every method; its code leaves ResQ at RMSprop.
    "pow": {
        **_PYMARL2,
        "training.epsilon_steps": 500_000,
        "algorithm.critic_width": 64,
        "algorithm.recognition_parts": 1,
        "algorithm.warm_up_steps": 100_000,
    },
    # The optimiser is that of pymarl, on which it is built; environments side by side are not given.
    "mrvf": {
        **{name: value for name, value in _PYMARL.items() if name != "training.num_envs"},
        "algorithm.share_rounds": True,
    },
    # Learning rate, buffer, epsilon, lambda and interval of the target are not given; SARSA targets are the method's.
    "nm": {"training.optimiser": "adam", "training.batch_size": 128},
}

_WEIGHTED = ("cw_qmix", "ow_qmix", "ideal_cw_qmix", "remix", "qpro")

# What a profile's source sets differently: (profile, and an environment or a method or both) -> fields; later ones win.
_EXCEPTIONS: dict[tuple[str, ...], Overrides] = {
    ("pymarl2", "predator_prey"): {
        "training.buffer_size": 1_000,
        "training.td_lambda": 0.5,
        "agent.agent_id": False,
    },
    ("pymarl2", "matrix_game"): {"agent.last_action": False},
    ("pow", "predator_prey"): {"agent.agent_id": False, "algorithm.tolerance": 1.0},
    ("pow", "matrix_game"): {
        "agent.last_action": False,
        "training.epsilon_end": 1.0,
        "algorithm.alpha": 0.0,
        "algorithm.warm_up_steps": 0.0,
    },
    ("pymarl2", "iql"): {"training.learning_rate": 5e-4, "training.batch_size": 32, "training.td_lambda": 0.0},
    **{
        ("pymarl2", name): {"training.learning_rate": 5e-4, "training.td_lambda": 0.0, "training.loss_scale": 1.0}
        for name in ("qtran", "qtran_alt")
    },
    # The joint critic's error alone is halved, and its width is WQMIX's.
    **{
        (profile, name): {"training.loss_scale": 1.0, "algorithm.critic_width": 256}
        for profile in ("pymarl2", "pow")
        for name in _WEIGHTED
    },
    **{(profile, name): {"algorithm.critic_width": 256} for profile in ("remix", "mrvf") for name in _WEIGHTED},
    # Paper POW's ResQ is its authors' learner, which halves nothing.
    ("pow", "resq"): {"training.loss_scale": 1.0, "algorithm.critic_loss_scale": 1.0, "algorithm.critic_width": 128},
    # These repositories have QPLEX's network for matrix games everywhere, and paper MRVF took it from them.
    **{(name, "qplex"): {"algorithm.heads": 10, "algorithm.layers": 3} for name in ("wqmix", "na2q", "mrvf")},
    ("pymarl", "shaq"): {"training.mixer_optimiser": "rmsprop"},  # and so a clip of its own; its rate there is 1e-3
    ("na2q", "na2q"): {"training.mixer_optimiser": "adam", "agent.agent_id": False},
    # For StarCraft; pymarl2, and papers POW and MRVF, have 0.1 there too.
    **{(profile, name, "smax"): {"algorithm.alpha": 0.5} for profile in ("wqmix", "remix") for name in _WEIGHTED[:2]},
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

# Found on 3m, used for all scenarios: 16 updates of 16 rows learn nearly as well as 16 of 32, and better than 8 of 32,
# which JaxMARL's script has; a rate of 1e-3 is better than 5e-4. 5,000 rows would be a third of all that a run plays.
_SMAX = {
    "training.total_steps": 2_000_000,
    "training.num_envs": 16,
    "training.rollout_steps": 128,
    "training.updates_per_iteration": 16,
    "training.batch_size": 16,
    "training.buffer_size": 1_000,
    "training.learning_rate": 1e-3,
    "evaluation.interval": 100_000,
}

HOUSE: dict[str, Overrides] = {
    "matrix_game": _GAME,
    # Epsilon as in paper MRVF, Table 9. It has an update for every step; with one for 32, MRVF's joint value was right
    # only where it plays (experiments/findings/risk_reward.md).
    "risk_reward": {**_GAME, "training.epsilon_steps": 50_000, "training.updates_per_iteration": 4},
    "two_step_game": _SHORT,
    "k_step_game": _SHORT,
    "repeated_game": _SHORT,
    "two_state_game": _SHORT,
    "predator_prey": {"training.td_lambda": 0.5, "training.buffer_size": 1_000},
    "smax": _SMAX,
}


def training_numbers(profile: str, algorithm: str, environment: str) -> Overrides:
    """What a profile asks for, for a method in an environment."""
    if profile == "house":
        return HOUSE.get(environment, {})
    found = dict(PROFILES[profile])
    for (name, *where), values in _EXCEPTIONS.items():
        if name == profile and {*where} <= {algorithm, environment}:
            found |= values
    return found
