"""What a deterministic tabular team game is: numpy tables over states and joint actions, checked once.

Knows nothing of JAX: `tabular` runs these tables as an environment, `solver` solves them exactly.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class Tables:
    """A deterministic team MDP of K states, N agents and A actions each.

    Where an axis makes no difference it may have size 1: the first of `rewards`, any of `transitions` and `terminal`,
    the agents' of `observations`. So a large or repeated payoff is not stored K times over. Actions that are not
    available have entries too: what happens if one is played all the same.

    Attributes:
        rewards: float32 [K A ... A], one axis of actions per agent.
        transitions: the next state, int32 [K A ... A].
        terminal: whether the step ends the episode, bool [K A ... A].
        observations: float32 [K N O].
        states: float32 [K D].
        episode_limit: environment steps after which an episode ends at the latest.
        start: the first state.
        limit_is_terminal: whether ending at the limit is a termination (no bootstrap) or a truncation.
        available: bool [K N A]; None: every action always.

    Raises:
        ValueError: on shapes or entries that do not fit together.
    """

    rewards: npt.NDArray[np.float32]
    transitions: npt.NDArray[np.int32]
    terminal: npt.NDArray[np.bool_]
    observations: npt.NDArray[np.float32]
    states: npt.NDArray[np.float32]
    episode_limit: int
    start: int = 0
    limit_is_terminal: bool = True
    available: npt.NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        full = (self.n_states, *(self.n_actions,) * self.n_agents)
        if self.rewards.ndim < 2 or self.rewards.shape not in (full, (1, *full[1:])):
            raise ValueError(f"rewards must be [K or 1, A, ..., A] with K = {full[0]}, not {self.rewards.shape}")
        for name in ("transitions", "terminal"):
            shape = getattr(self, name).shape
            if len(shape) != len(full) or any(size not in (1, most) for size, most in zip(shape, full, strict=True)):
                raise ValueError(f"{name} must broadcast to {full} axis by axis, not {shape}")
        if self.observations.ndim != 3 or self.observations.shape[1] not in (1, self.n_agents):
            raise ValueError(f"observations must be [K, N or 1, O], not {self.observations.shape}")
        if self.states.ndim != 2 or self.states.shape[0] != self.n_states:
            raise ValueError(f"states must be [K, D] with K = {self.n_states}, not {self.states.shape}")
        if not (0 <= self.start < self.n_states and self.episode_limit >= 1):
            raise ValueError(f"start {self.start} or episode_limit {self.episode_limit} out of range")
        if self.transitions.min() < 0 or self.transitions.max() >= self.n_states:
            raise ValueError(f"transitions must be states, 0 to {self.n_states - 1}")
        if self.available is not None:
            if self.available.shape != (self.n_states, self.n_agents, self.n_actions):
                raise ValueError(f"available must be [K, N, A], not {self.available.shape}")
            if not self.available.any(axis=-1).all():
                raise ValueError("every agent needs an available action in every state")

    @property
    def n_states(self) -> int:
        """K."""
        return int(self.observations.shape[0])

    @property
    def n_agents(self) -> int:
        """N."""
        return self.rewards.ndim - 1

    @property
    def n_actions(self) -> int:
        """A."""
        return int(self.rewards.shape[-1])

    @property
    def n_entries(self) -> int:
        """Pairs of a state and a joint action, K * A^N."""
        return self.n_states * int(self.n_actions**self.n_agents)
