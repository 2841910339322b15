"""Predator-prey ("stag hunt") on a grid: a prey is captured only together, and trying alone is punished.

The task of relative overgeneralisation of DCG (Boehmer et al. 2020, arXiv:1910.00091), weighted QMIX (Rashid et al.
2020, arXiv:2006.10800), PyMARL2 and the papers that compare with them; they differ in option values only (`PRESETS`).
Axis letters: N agents, M prey (stags first, then hares), A = 6 actions, O and S as in `base`.
"""

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from marlx_envs import predator_prey_rules as rules
from marlx_envs import sampling
from marlx_envs.base import Environment, Params, Spec, Step
from marlx_envs.options import UsageError, check, choice, flag, number, options_of, size
from marlx_envs.registry import Entry

Entry(
    name="predator_prey",
    summary="Grid hunt where prey must be caught together and a lone attempt is punished.",
    source="DCG (arXiv:1910.00091), weighted QMIX (arXiv:2006.10800), PyMARL2",
    factory="PredatorPrey",
)

RIGHT, DOWN, LEFT, UP, STAY, CATCH = range(6)
N_ACTIONS = 6
PREY_KINDS = 2

# What the papers set. Rules are the same in all: ReMIX's prose on occupied cells and MRVF's on sharing a cell
# contradict the code that both cite.
PRESETS: dict[str, dict[str, float | int]] = {
    "none": {},
    "dcg": {"view_radius": 2, "miss_penalty": -2.0},
    "wqmix": {"view_radius": 2, "miss_penalty": -2.0},
    "pymarl2": {"view_radius": 2, "miss_penalty": 0.0},
    "mrvf": {"view_radius": 2, "miss_penalty": -2.0},
    "pow": {"view_radius": 1, "miss_penalty": -4.0},
    "remix": {"view_radius": 2, "miss_penalty": -2.0},
    "qpro": {"view_radius": 2, "miss_penalty": -2.0},
}


class State(NamedTuple):
    """Cells are numbers of `rules.Grid`, its `none` for what has left; uint8 or uint16 as the grid needs."""

    agents: jax.Array  # [N]
    prey: jax.Array  # [M]
    time: jax.Array  # [], steps done
    frozen: jax.Array | None  # bool [N], only where frozen agents stay on the grid


@dataclass(frozen=True)
class Options:
    """Options of predator-prey."""

    preset: str = choice("none", "option values of a paper; options given beside it win", PRESETS)
    height: int = size(10, "rows of the grid", high=1000)
    width: int = size(10, "columns of the grid", high=1000)
    n_agents: int = size(8, "predators", high=rules.MAX_AGENTS)
    n_stags: int = size(8, "prey that take `stag_catchers` to capture", low=0, high=64)
    n_hares: int = size(0, "prey that take `hare_catchers` to capture", low=0, high=64)
    view_radius: int = size(2, "cells seen to each side", low=0, high=20)
    episode_limit: int = size(200, "environment steps", high=65535)
    limit_is_terminal: bool = flag(False, "the time limit terminates the episode instead of truncating it")
    stag_catchers: int = size(2, "agents that must catch a stag together")
    hare_catchers: int = size(1, "agents that must catch a hare together")
    capture_reward: float = number(10.0, "reward of a captured stag")
    hare_reward: float = number(1.0, "reward of a captured hare")
    miss_penalty: float = number(-2.0, "reward of a failed attempt (not positive in the papers)")
    time_reward: float = number(0.0, "reward of each step")
    collision_reward: float = number(0.0, "reward of each agent whose way is occupied by another entity")
    prey_rest: float = number(0.0, "probability that a prey that could move stays", low=0.0, high=1.0)
    penalty_scope: str = choice(
        "team", "who pays: team, once for each prey missed; agent, once for each agent that captured none", ("team", "agent")
    )
    capture_mode: str = choice("adjacent", "where catchers stand: beside the prey or in its cell", ("adjacent", "same_cell"))
    remove_on_capture: str = choice(
        "catchers", "catchers leave with the prey; or prey: the prey only, as capture_freezes=false", ("catchers", "prey")
    )
    capture_freezes: bool = flag(True, "catchers are inactive for the rest of the episode")
    remove_frozen: bool = flag(True, "inactive agents leave the grid; else they stay and block, unseen")
    mask_occupied_moves: bool = flag(False, "a move to a cell occupied now is not available")
    move_rule: str = choice(
        "sequential", "entities move one after another in random order, or at once", ("sequential", "simultaneous")
    )
    drop_empty_channel: bool = flag(False, "leave out the channel of a kind of prey that the task lacks")


@dataclass(frozen=True, init=False)
class PredatorPrey(Options, Environment):
    """See the module; options in `Options`. Raises `UsageError` on options that do not fit each other."""

    def __init__(self, **options: Any) -> None:
        name = check(options_of(Options)["preset"], options.get("preset", "none"), "environment.preset")
        super().__init__(**{**PRESETS[name], **options})
        self._check()

    def _check(self) -> None:
        cells, entities = self.height * self.width, self.n_agents + self.n_prey
        if self.n_prey == 0:
            raise UsageError("environment.n_stags and environment.n_hares must not both be 0")
        if entities > cells:
            raise UsageError(f"{entities} agents and prey do not fit a grid of {self.height} x {self.width} cells")
        if self.height > 1 and self._beyond > 2**16:
            raise UsageError(f"a grid of {self.height} x {self.width} cells is too large: cells must fit 16 bits")
        if self.capture_mode == "adjacent" and max(self.stag_catchers, self.hare_catchers) > 4:
            raise UsageError("at most 4 catchers can stand beside a prey; lower environment.stag_catchers")

    @property
    def n_prey(self) -> int:
        """Stags and hares."""
        return self.n_stags + self.n_hares
