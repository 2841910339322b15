"""Predator-prey against a plain sequential reference: positions as tuples, occupancy by looking everywhere."""

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import pytest
from marlx_envs import make
from marlx_envs.options import options_of
from marlx_envs.predator_prey import PredatorPrey

from tests.envs.predator_prey_games import MOVES, Cell, look, positions


@dataclass
class Plain:
    """Positions as tuples or None, occupancy by looking everywhere."""

    agents: list[Cell]
    prey: list[Cell]
    frozen: list[bool]


def inside(env: PredatorPrey, cell: tuple[int, int]) -> bool:
    return 0 <= cell[0] < env.height and 0 <= cell[1] < env.width


def shifted(cell: tuple[int, int], move: tuple[int, int]) -> tuple[int, int]:
    return cell[0] + move[0], cell[1] + move[1]


def reference(
    env: PredatorPrey, plain: Plain, actions: list[int], agent_order: list[int], prey_order: list[int], uniforms: Any
) -> tuple[float, bool]:
    """Advances `plain`; returns the reward and whether the episode terminated."""
    agents, prey, frozen = plain.agents, plain.prey, plain.frozen
    same_cell, at_once = env.capture_mode == "same_cell", env.move_rule == "simultaneous"
    capacity = max(2, env.stag_catchers, env.hare_catchers) if same_cell else 1
    freezes = env.capture_freezes and env.remove_on_capture == "catchers"
    reward = env.time_reward
    before = list(agents)

    def full(cell: tuple[int, int], crowd: list[Cell]) -> bool:
        return crowd.count(cell) >= capacity or (not same_cell and cell in prey)

    proposals: list[Cell] = [None] * len(agents)
    for i in range(len(agents)) if at_once else agent_order:
        if agents[i] is None or frozen[i] or actions[i] > 3:
            continue
        target = shifted(agents[i], MOVES[actions[i]])
        if not inside(env, target):
            continue
        if full(target, before if at_once else agents):
            reward += env.collision_reward
        elif at_once:
            proposals[i] = target
        else:
            agents[i] = target
    for i, target in enumerate(proposals):
        if target is not None:
            if proposals.count(target) + before.count(target) <= capacity:
                agents[i] = target
            else:
                reward += env.collision_reward

    captors: set[int] = set()
    triers: set[int] = set()
    order = list(range(len(prey))) if at_once else prey_order

    def hunt(q: int) -> bool:
        nonlocal reward
        spots = [prey[q]] if same_cell else [shifted(prey[q], move) for move in MOVES]
        catchers = [i for i in range(len(agents)) if actions[i] == 5 and agents[i] in spots and not frozen[i]]
        triers.update(catchers)
        stag = q < env.n_stags
        if len(catchers) >= (env.stag_catchers if stag else env.hare_catchers):
            reward += env.capture_reward if stag else env.hare_reward
            prey[q] = None
            captors.update(catchers)
            if freezes:
                for i in catchers:
                    frozen[i] = True
                    if env.remove_frozen:
                        agents[i] = None
            return True
        if catchers and env.penalty_scope == "team":
            reward += env.miss_penalty
        return False

    def chosen(q: int, uniform: float) -> Cell:
        free = [shifted(prey[q], move) for move in MOVES]
        free = [c for c in free if inside(env, c) and c not in agents and c not in prey]
        if not free or uniform < env.prey_rest:
            return None
        return free[min(int((uniform - env.prey_rest) / (1 - env.prey_rest) * len(free)), len(free) - 1)]

    alive = [q for q in order if prey[q] is not None]
    turn = {q: k for k, q in enumerate(order)}
    if at_once:
        left = [q for q in alive if not hunt(q)]
        wishes = [chosen(q, uniforms[turn[q]]) for q in left]
        for q, wish in zip(left, wishes, strict=True):
            if wish is not None and wishes.count(wish) == 1:
                prey[q] = wish
    else:
        for q in alive:
            if not hunt(q):
                prey[q] = chosen(q, uniforms[turn[q]]) or prey[q]
    if env.penalty_scope == "agent":
        reward += env.miss_penalty * len(triers - captors)
    active = [a is not None and not f for a, f in zip(agents, frozen, strict=True)]
    return reward, not any(active) or all(p is None for p in prey)


def views(env: PredatorPrey, plain: Plain) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Observations, global state and available actions, by looking at each cell."""
    kinds = [range(env.n_stags), range(env.n_stags, env.n_prey)]
    kinds = [kind for kind in kinds if len(kind) or not env.drop_empty_channel]
    active = [None if f else a for a, f in zip(plain.agents, plain.frozen, strict=True)]

    def look(agents: list[Cell], cell: tuple[int, int]) -> list[float]:
        return [float(cell in agents), *(float(cell in [plain.prey[q] for q in kind]) for kind in kinds)]

    span = range(-env.view_radius, env.view_radius + 1)
    observation = np.zeros((env.n_agents, env.spec.observation_size))
    available = np.zeros((env.n_agents, 6), bool)
    available[:, 4] = True
    same_cell = env.capture_mode == "same_cell"
    capacity = max(2, env.stag_catchers, env.hare_catchers) if same_cell else 1
    for i, agent in enumerate(active):
        if agent is None:
            continue
        observation[i] = np.ravel([look(active, shifted(agent, (r, c))) for r in span for c in span])
        for a, move in enumerate(MOVES):
            target = shifted(agent, move)
            occupied = plain.agents.count(target) >= capacity or (not same_cell and target in plain.prey)
            available[i, a] = inside(env, target) and not (env.mask_occupied_moves and occupied)
        spots = [agent] if same_cell else [shifted(agent, move) for move in MOVES]
        available[i, 5] = any(spot in plain.prey for spot in spots)
    state = np.ravel([look(plain.agents, (r, c)) for r in range(env.height) for c in range(env.width)])
    return observation, state, available


SMALL = {"height": 3, "width": 3, "n_agents": 3, "n_stags": 3}
CROWD = {"height": 3, "width": 4, "n_agents": 4, "n_stags": 2, "n_hares": 2}
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "default": {},
    "small": SMALL,
    "full": {**SMALL, "n_agents": 4, "n_stags": 4, "n_hares": 1},
    "crowd": CROWD,
    "corridor": {"height": 1, "width": 9, "n_agents": 3, "n_stags": 2, "n_hares": 1},
    "lone prey": {"height": 2, "width": 3, "n_agents": 2, "n_stags": 1, "prey_rest": 0.3},
    "keep frozen": {**CROWD, "remove_frozen": False},
    "no freezing": {**CROWD, "capture_freezes": False, "collision_reward": -0.5, "time_reward": -0.25},
    "prey only": {**CROWD, "remove_on_capture": "prey", "penalty_scope": "agent"},
    "agent pays": {**CROWD, "penalty_scope": "agent", "stag_catchers": 3, "hare_catchers": 2},
    "rewards": {**CROWD, "capture_reward": 3.0, "hare_reward": 0.5, "miss_penalty": -1.5, "prey_rest": 0.25},
    "masked": {**CROWD, "mask_occupied_moves": True, "drop_empty_channel": True},
    "same cell": {**CROWD, "capture_mode": "same_cell", "mask_occupied_moves": True},
    "same cell, three": {**CROWD, "capture_mode": "same_cell", "stag_catchers": 3, "remove_frozen": False},
    "simultaneous": {**CROWD, "move_rule": "simultaneous", "collision_reward": -1.0},
    "simultaneous, kept": {**CROWD, "move_rule": "simultaneous", "remove_frozen": False, "prey_rest": 0.5},
    "simultaneous same cell": {**CROWD, "move_rule": "simultaneous", "capture_mode": "same_cell"},
    "hares only": {"height": 5, "width": 6, "n_agents": 2, "n_stags": 0, "n_hares": 3, "view_radius": 3},
    "wide": {
        "height": 13,
        "width": 20,
        "n_agents": 3,
        "n_stags": 9,
        "stag_catchers": 1,
        "view_radius": 0,
        "episode_limit": 300,
    },
}


QUICK = (
    "default",
    "full",
    "crowd",
    "keep frozen",
    "prey only",
    "masked",
    "same cell, three",
    "simultaneous, kept",
    "wide",
)
EVERY = [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in CONFIGURATIONS]


@pytest.mark.parametrize("name", EVERY)
def test_equals_plain_reference(name: str) -> None:
    """Random play, full of jams and captures, against numbers, positions and pictures of the plain reference."""
    env: Any = make("predator_prey", **CONFIGURATIONS[name])
    n, m, batch, steps = env.n_agents, env.n_prey, 48, 9
    rng = np.random.default_rng(0)
    state = jax.jit(jax.vmap(env.reset))(jax.random.split(jax.random.key(1), batch))
    step = jax.jit(jax.vmap(env.transition))
    plains = [
        Plain(positions(env, a), positions(env, p), [False] * n)
        for a, p in zip(np.asarray(state.agents), np.asarray(state.prey), strict=True)
    ]
    for time in range(1, steps + 1):
        seen = look(env, state)
        for b in range(time % 4, batch, 4):
            for got, expected in zip(seen, views(env, plains[b]), strict=True):
                np.testing.assert_array_equal(got[b], expected)
        catch = rng.random((batch, n)) < rng.choice([0.1, 0.4, 0.8], (batch, 1))
        actions = np.where(catch, 5, rng.integers(0, 6, (batch, n)))
        agent_order, prey_order = np.argsort(rng.random((batch, n))), np.argsort(rng.random((batch, m)))
        uniforms = rng.integers(0, 4096, (batch, m)).astype(np.float32) / 4096
        state, reward, terminated, truncated, _ = step(state, actions, agent_order, prey_order, uniforms)
        agents, prey, frozen, reward, terminated = (
            None if x is None else np.asarray(x) for x in (state.agents, state.prey, state.frozen, reward, terminated)
        )
        for b, plain in enumerate(plains):
            expected = reference(env, plain, actions[b], agent_order[b], prey_order[b], uniforms[b])
            assert (reward[b], terminated[b]) == expected
            assert positions(env, agents[b]) == plain.agents
            assert positions(env, prey[b]) == plain.prey
            assert frozen is None or frozen[b].tolist() == plain.frozen
        np.testing.assert_array_equal(state.time, time)
        assert not np.any(truncated)
    assert any(q is None for plain in plains for q in plain.prey), "the play must have been eventful"


def test_every_option_is_exercised() -> None:
    used = {name for options in CONFIGURATIONS.values() for name in options} | {"limit_is_terminal"}
    assert used == set(options_of(PredatorPrey))
