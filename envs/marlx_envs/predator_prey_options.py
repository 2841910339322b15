"""Options of predator-prey, what follows from them, and the values that papers chose."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from marlx_envs import predator_prey_rules as rules
from marlx_envs.base import Spec
from marlx_envs.grid import Grid
from marlx_envs.options import UsageError, choice, flag, number, size

N_ACTIONS = 6

# make("predator_prey", **{**PRESETS["pow"], "miss_penalty": -5.0}). The rules are the same in all: ReMIX's words on
# occupied cells and MRVF's on sharing a cell contradict the code that they cite.
PRESETS: dict[str, dict[str, Any]] = {
    "dcg": {"view_radius": 2, "miss_penalty": -2.0},
    "wqmix": {"view_radius": 2, "miss_penalty": -2.0},
    "pymarl2": {"view_radius": 2, "miss_penalty": 0.0},
    "mrvf": {"view_radius": 2, "miss_penalty": -2.0},
    "pow": {"view_radius": 1, "miss_penalty": -4.0},
    "remix": {"view_radius": 2, "miss_penalty": -2.0},
    "qpro": {"view_radius": 2, "miss_penalty": -2.0},
}


@dataclass(frozen=True)
class PredatorPreyOptions:
    """Options. Raises `UsageError` where they do not fit each other."""

    height: int = size(10, "rows of the grid", high=1000)
    width: int = size(10, "columns of the grid", high=1000)
    n_agents: int = size(8, "predators", high=rules.MAX_AGENTS)
    n_stags: int = size(8, "prey that only `stag_catchers` agents capture", low=0, high=32)
    n_hares: int = size(0, "prey that `hare_catchers` agents capture", low=0, high=32)
    view_radius: int = size(2, "cells that an agent sees to each side", low=0, high=10)
    episode_limit: int = size(200, "environment steps", high=65535)
    limit_is_terminal: bool = flag(False, "the time limit terminates the episode instead of truncating it")
    stag_catchers: int = size(2, "agents that must catch a stag together")
    hare_catchers: int = size(1, "agents that must catch a hare together")
    capture_reward: float = number(10.0, "reward of a captured stag")
    hare_reward: float = number(1.0, "reward of a captured hare")
    miss_penalty: float = number(-2.0, "reward of a failed attempt, at most 0 in the papers")
    time_reward: float = number(0.0, "reward of every step")
    collision_reward: float = number(0.0, "reward of every agent whose way is occupied")
    prey_rest: float = number(0.0, "probability that a prey does not move though it could", low=0.0, high=1.0)
    penalty_scope: str = choice(
        "team",
        "what a failed attempt is: team, each prey that is missed; agent, each agent that tries and captures nothing",
        ("team", "agent"),
    )
    capture_mode: str = choice(
        "adjacent", "where catchers stand: beside the prey, or in its cell", ("adjacent", "same_cell")
    )
    remove_on_capture: str = choice(
        "catchers",
        "who leaves the game with the prey: its catchers, or none (prey), as with capture_freezes = false",
        ("catchers", "prey"),
    )
    capture_freezes: bool = flag(True, "catchers of a captured prey are inactive from then on")
    remove_frozen: bool = flag(True, "inactive agents leave the grid; else they stay in the way, unseen by others")
    mask_occupied_moves: bool = flag(False, "moves to cells that are occupied now are not available")
    move_rule: str = choice(
        "sequential", "entities move one after another in random order, or all at once", ("sequential", "simultaneous")
    )
    drop_empty_channel: bool = flag(False, "no observation channel for a kind of prey that the task lacks")

    def __post_init__(self) -> None:
        entities, place = self.n_agents + self.n_prey, f"a grid of {self.height} x {self.width} cells"
        if self.n_prey == 0:
            raise UsageError("environment.n_stags and environment.n_hares must not both be 0")
        if entities > self.height * self.width:
            raise UsageError(f"{entities} agents and prey do not fit {place}")
        if self.grid.end > self.grid.none:
            raise UsageError(f"{place} is too large for cell numbers of 16 bits")
        if self.capture_mode == "adjacent" and max(self.stag_catchers, self.hare_catchers) > rules.NEIGHBOURS:
            raise UsageError(
                "environment.stag_catchers and environment.hare_catchers must be at most 4: cells beside it"
            )

    @property
    def n_prey(self) -> int:
        """Stags and hares."""
        return self.n_stags + self.n_hares

    @cached_property
    def grid(self) -> Grid:
        """Its margin keeps differences of cells unique within a view."""
        return Grid(self.height, self.width, margin=max(self.view_radius, 1))

    @cached_property
    def hunt(self) -> rules.Hunt:
        """Rules of the turns."""
        freezes = self.capture_freezes and self.remove_on_capture == "catchers"
        return rules.Hunt(
            self.grid,
            needed=(self.stag_catchers, self.hare_catchers),
            n_stags=self.n_stags,
            adjacent=self.capture_mode == "adjacent",
            freezes=freezes,
            removes=freezes and self.remove_frozen,
            in_turn=self.move_rule == "sequential",
        )

    @property
    def kinds(self) -> list[range]:
        """Indices of the prey of each observed kind."""
        kinds = [range(self.n_stags), range(self.n_stags, self.n_prey)]
        return [kind for kind in kinds if len(kind) or not self.drop_empty_channel]

    @property
    def time_dtype(self) -> Any:
        """Smallest type of the number of steps done."""
        return np.uint8 if self.episode_limit <= np.iinfo(np.uint8).max else np.uint16

    @cached_property
    def spec(self) -> Spec:
        """Static sizes; `captured` is the number of prey captured in an episode."""
        channels = 1 + len(self.kinds)
        return Spec(
            n_agents=self.n_agents,
            n_actions=N_ACTIONS,
            observation_size=(2 * self.view_radius + 1) ** 2 * channels,
            state_size=self.height * self.width * channels,
            episode_limit=self.episode_limit,
            limit_is_terminal=self.limit_is_terminal,
            return_max=self._return_max(),
            metrics=("captured",),
        )

    def _return_max(self) -> float | None:
        """What the best choice of captures gives; None if waiting, colliding or missing matters too."""
        if self.time_reward != 0 or self.collision_reward > 0 or self.miss_penalty > 0:
            return None

        def affordable(count: int, catchers: int, agents: int) -> int:
            return min(count, agents // catchers) if self.hunt.freezes else count * (agents >= catchers)

        best = 0.0
        for stags in range(affordable(self.n_stags, self.stag_catchers, self.n_agents) + 1):
            left = self.n_agents - stags * self.stag_catchers * self.hunt.freezes
            hares = affordable(self.n_hares, self.hare_catchers, left)
            best = max(best, stags * self.capture_reward + max(0.0, hares * self.hare_reward))
        return best
