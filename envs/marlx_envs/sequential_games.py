"""Small games of several steps with known values: QMIX's two-step game, MAVEN's k-step game, QPLEX's two-state MMDP."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from marlx_envs.discovery import Entry
from marlx_envs.options import UsageError, flag, size
from marlx_envs.tables import Tables
from marlx_envs.tabular import TabularEnvironment

Entry(
    name="two_step_game",
    summary="Agent 0 chooses between a safe payoff of 7 and one of 8 that needs coordination",
    source="QMIX",
    factory="TwoStepGame",
)
Entry(
    name="k_step_game",
    summary="A first joint action commits to a branch; the best branch pays off at the very last step",
    source="MAVEN",
    factory="KStepGame",
)
Entry(
    name="two_state_game",
    summary="Two-state MMDP of 100 steps, paid for (0, 0) until (1, 1) ends it for good",
    source="QPLEX",
    factory="TwoStateGame",
)


@dataclass(frozen=True)
class TwoStepGame(TabularEnvironment):
    """The two-step game of QMIX: 2 agents, 2 actions; observation and state are the one-hot state.

    At state 1 nothing is paid and agent 0's action alone leads to 2A (action 0) or 2B (action 1). 2A pays 7, 2B pays
    0 1 / 1 8. After step 2 everything is zero.
    """

    @cached_property
    def tables(self) -> Tables:
        """States 1, 2A, 2B and the end."""
        rewards = np.zeros((4, 2, 2), np.float32)
        rewards[1] = 7
        rewards[2] = [[0, 1], [1, 8]]
        transitions = np.full((4, 2, 1), 3, np.int32)
        transitions[0, :, 0] = [1, 2]
        features = np.eye(4, 3, dtype=np.float32)
        return Tables(
            rewards=rewards,
            transitions=transitions,
            terminal=(np.arange(4) > 0).reshape(4, 1, 1),
            observations=features[:, None],
            states=features,
            episode_limit=2,
        )


@dataclass(frozen=True)
class KStepGame(TabularEnvironment):
    """The k-step ("m-step") matrix game of MAVEN: 2 agents, 2 actions.

    The first joint action fixes the branch 2 a_0 + a_1; each step pays 1 for repeating it, if the branch is a good one.
    The last step of branch 0 pays 1 1 / 1 4 instead (for k > 1). The first step that pays nothing ends the episode.
    Observation and state are the one-hot step (k + 1) and, for k > 1, the one-hot branch (4), which reads 0 at first.

    Raises:
        UsageError: if `good_branches` is neither 2 nor 4.
    """

    length: int = size(10, "steps k of a full episode", high=250)
    good_branches: int = size(2, "branches that pay: 4, or 2 (only (0, 0) and (1, 1))", low=2, high=4)

    def __post_init__(self) -> None:
        if self.good_branches not in (2, 4):
            raise UsageError(f"environment.good_branches must be 2 or 4, not {self.good_branches}")

    @cached_property
    def tables(self) -> Tables:
        """States (steps done, branch), four for each of 0 ... k steps done."""
        k = self.length
        good = np.ones(4) if self.good_branches == 4 else np.array([1.0, 0.0, 0.0, 1.0])
        rewards = np.zeros((k + 1, 4, 4), np.float32)  # steps done, branch, joint action
        rewards[0] = good
        rewards[1:k] = np.diag(good)
        if k > 1:
            rewards[k - 1, 0] = [1, 1, 1, 4]
        successor = np.broadcast_to(np.arange(4)[:, None], (k + 1, 4, 4)).copy()
        successor[0] = np.arange(4)
        time = np.arange(k + 1)[:, None, None]
        features = np.repeat(np.eye(k + 1), 4, axis=0)
        if k > 1:
            features = np.hstack([features, np.tile(np.eye(4), (k + 1, 1))])
        shape = (4 * (k + 1), 2, 2)
        return Tables(
            rewards=rewards.reshape(shape),
            transitions=(4 * np.minimum(time + 1, k) + successor).astype(np.int32).reshape(shape),
            terminal=((rewards <= 0) | (time + 1 >= k)).reshape(shape),
            observations=features.astype(np.float32)[:, None],
            states=features.astype(np.float32),
            episode_limit=k,
        )


@dataclass(frozen=True)
class TwoStateGame(TabularEnvironment):
    """The two-state MMDP of QPLEX: 2 agents, 2 actions, states 0 (absorbing, pays nothing) and 1 (start).

    In state 1, (0, 0) pays 1 and (1, 1) leads to state 0. Observations are the one-hot state, the state two of them.
    """

    episode_limit: int = size(100, "steps of an episode", high=10_000)
    limit_is_terminal: bool = flag(True, "the last step terminates the episode; otherwise it is truncated")

    @cached_property
    def tables(self) -> Tables:
        """States 0 and 1."""
        observations = np.eye(2, dtype=np.float32)[:, None]
        return Tables(
            rewards=np.array([[[0, 0], [0, 0]], [[1, 0], [0, 0]]], np.float32),
            transitions=np.array([[[0, 0], [0, 0]], [[1, 1], [1, 0]]], np.int32),
            terminal=np.zeros((1, 1, 1), bool),
            observations=observations,
            states=np.tile(observations[:, 0], (1, 2)),
            episode_limit=self.episode_limit,
            start=1,
            limit_is_terminal=self.limit_is_terminal,
        )
