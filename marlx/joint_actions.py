"""The joint actions of small teams, listed in one order everywhere, the last agent's action fastest: AA, AB, BA, BB."""

import itertools
import string

import numpy as np
import numpy.typing as npt

MOST = 100  # that are recorded one by one


def few(n_agents: int, n_actions: int) -> bool:
    """Whether there are so few that each may have metrics of its own."""
    return n_actions <= len(string.ascii_uppercase) and n_actions**n_agents <= MOST


def listed(n_agents: int, n_actions: int) -> npt.NDArray[np.int32]:
    """All joint actions, int32 [A^N N]."""
    return np.array(list(itertools.product(range(n_actions), repeat=n_agents)), np.int32)


def letter(action: int) -> str:
    """A word for an action: A, B, .. Z, then its number."""
    return string.ascii_uppercase[action] if action < len(string.ascii_uppercase) else str(action)


def names(n_agents: int, n_actions: int) -> list[str]:
    """A letter for each agent's action; [A^N]. Of few actions only."""
    letters = string.ascii_uppercase[:n_actions]
    return ["".join(joint) for joint in itertools.product(letters, repeat=n_agents)]
