"""Predator-prey against hand-computed transitions, its invariants under random play, and what is drawn at random."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from marlx_envs import UsageError, make, sampling
from marlx_envs.predator_prey import PRESETS

from tests.envs.predator_prey_games import LETTERS, Cell, look_at, place, positions, transition

# Transitions of the specification, 3.7, miss penalty -2: name, agents, prey, actions, agent order, prey order, reward,
# agents after, prey after, terminated. Of prey that goes anywhere only what is known is said.
ANY, MOVED = "any", "moved"
FAR = [(9, 0), (9, 9), (7, 0)]
PAIR = [(5, 4), (5, 6), (0, 0)]
TRANSITIONS: list[tuple[Any, ...]] = [
    ("1", PAIR, [(5, 5), (9, 9)], "CCS", None, None, 10, [None, None, (0, 0)], [None, ANY], False),
    ("2", PAIR, [(5, 5), (9, 9)], "CSS", None, None, -2, PAIR, [MOVED, MOVED], False),
    ("3", [*PAIR, (4, 5)], [(5, 5), (9, 9)], "CCSC", None, None, 10, [None, None, (0, 0), None], [None, ANY], False),
    ("4", [(5, 5), (0, 0)], [(5, 4), (5, 6)], "CS", None, None, -4, [(5, 5), (0, 0)], [MOVED, MOVED], False),
    ("5a", PAIR, [(5, 5), (5, 7)], "CCS", None, [0, 1], 10, [None, None, (0, 0)], [None, MOVED], False),
    ("5b", PAIR, [(5, 5), (5, 7)], "CCS", None, [1, 0], 8, [None, None, (0, 0)], [None, MOVED], False),
    ("6a", [(0, 0), (0, 1)], [(9, 9)], "RR", [1, 0], None, 0, [(0, 1), (0, 2)], [MOVED], False),
    ("6b", [(0, 0), (0, 1)], [(9, 9)], "RR", [0, 1], None, 0, [(0, 0), (0, 2)], [MOVED], False),
    ("7a", [(0, 0), (0, 2)], [(9, 9)], "RL", [0, 1], None, 0, [(0, 1), (0, 2)], [MOVED], False),
    ("7b", [(0, 0), (0, 2)], [(9, 9)], "RL", [1, 0], None, 0, [(0, 0), (0, 1)], [MOVED], False),
    ("8a", [(0, 0), (0, 1)], [(9, 9)], "RL", [0, 1], None, 0, [(0, 0), (0, 1)], [MOVED], False),
    ("8b", [(0, 0), (0, 1)], [(9, 9)], "RL", [1, 0], None, 0, [(0, 0), (0, 1)], [MOVED], False),
    ("9", [(0, 0), (9, 0)], [(0, 1)], "RS", None, None, 0, [(0, 0), (9, 0)], [MOVED], False),
    ("10", [(5, 4), (5, 6)], [(5, 5), (9, 9)], "CC", None, None, 10, [None, None], [None, ANY], True),
    ("11", PAIR, [(5, 5)], "CCS", None, None, 10, [None, None, (0, 0)], [None], True),
    ("12", [(5, 4), (5, 6), (2, 4), (2, 6), (9, 9)], [(5, 5), (2, 5), (0, 0)], "CCCCS", None, None, 20,
     [None, None, None, None, (9, 9)], [None, None, MOVED], False),
    ("13a", [(5, 4), (5, 6), (2, 4), (9, 9)], [(5, 5), (2, 5), (0, 0)], "CCCS", None, [0, 1, 2], 8,
     [None, None, (2, 4), (9, 9)], [None, MOVED, MOVED], False),
    ("13b", [(5, 4), (5, 6), (2, 4), (9, 9)], [(5, 5), (2, 5), (0, 0)], "CCCS", None, [2, 1, 0], 8,
     [None, None, (2, 4), (9, 9)], [None, MOVED, MOVED], False),
    ("14", [(0, 1)], [(0, 0)], "S", None, None, 0, [(0, 1)], [(1, 0)], False),
    ("15", [(0, 1), (1, 0)], [(0, 0)], "SS", None, None, 0, [(0, 1), (1, 0)], [(0, 0)], False),
    ("16a", [(0, 6), (0, 8), (1, 9), *FAR], [(0, 7), (0, 9)], "CCSSSS", None, [0, 1], 10,
     [None, None, (1, 9), *FAR], [None, (0, 8)], False),
    ("16b", [(0, 6), (0, 8), (1, 9), *FAR], [(0, 7), (0, 9)], "CCSSSS", None, [1, 0], 8,
     [None, None, (1, 9), *FAR], [None, (0, 9)], False),
]  # fmt: skip


def padded(values: Any, length: int, filler: Any) -> list[Any]:
    """A list of fixed length, so that all hand-made layouts run in one compiled program; None is an absent entity."""
    values = list(values)
    return values + [filler] * (length - len(values))


def distance(a: Any, b: Any) -> int:
    return abs(a[0] - b[0]) + abs(a[1] - b[1])


@pytest.mark.parametrize("uniform", [0.0, 0.6, 0.99999])
@pytest.mark.parametrize("case", TRANSITIONS, ids=[case[0] for case in TRANSITIONS])
def test_hand_checked_transitions(case: tuple[Any, ...], uniform: float) -> None:
    _, agents, prey, letters, agent_order, prey_order, reward, agents_after, prey_after, ended = case
    n, m = 6, 3
    env = make("predator_prey", n_agents=n, n_stags=m)
    state, got, terminated, truncated, info = transition(
        env,
        place(env, padded(agents, n, None), padded(prey, m, None)),
        padded([LETTERS[c] for c in letters], n, LETTERS["S"]),
        [*(agent_order or range(len(agents))), *range(len(agents), n)],
        [*(prey_order or range(len(prey))), *range(len(prey), m)],
        [uniform] * m,
    )
    assert got == reward
    assert positions(env, state.agents) == padded(agents_after, n, None)
    left = positions(env, state.prey)
    assert left[len(prey) :] == [None] * (m - len(prey))
    for before, after, expected in zip(prey, left, prey_after, strict=False):
        assert (after is None) == (expected is None)
        if expected == MOVED:
            assert distance(before, after) == 1
        elif expected not in (None, ANY):
            assert after == expected
    assert bool(terminated) is ended and not bool(truncated)
    assert int(info["captured"]) == left.count(None)
    observation, _, available = look_at(env, state)
    for i, cell in enumerate(agents_after):
        if cell is None:
            assert available[i].tolist() == [0, 0, 0, 0, 1, 0] and observation[i].sum() == 0


def test_hare_takes_one_catcher() -> None:  # transition 17
    env = make("predator_prey", n_agents=2, n_stags=0, n_hares=1)
    state, reward, terminated, truncated, _ = transition(
        env, place(env, [(5, 4), (0, 9)], [(5, 5)]), jnp.array([5, 4]), [0, 1], [0], [0.5]
    )
    assert reward == 1 and bool(terminated) and not bool(truncated)
    assert positions(env, state.agents) == [None, (0, 9)]


def test_rewards_are_those_of_the_options() -> None:
    """A stag caught, a hare caught by two, a hare that one agent misses: 3 + 0.5 - 1.5, and -0.25 for the step."""
    env = make(
        "predator_prey", n_agents=5, n_stags=1, n_hares=2, hare_catchers=2,
        capture_reward=3.0, hare_reward=0.5, miss_penalty=-1.5, time_reward=-0.25,
    )  # fmt: skip
    agents: list[Cell] = [(5, 4), (5, 6), (2, 4), (2, 6), (8, 4)]
    state, reward, *_ = transition(
        env, place(env, agents, [(5, 5), (2, 5), (8, 5)]), [LETTERS["C"]] * 5, range(5), range(3), [0.0] * 3
    )
    assert reward == 3 + 0.5 - 1.5 - 0.25
    assert positions(env, state.agents) == [None, None, None, None, (8, 4)]
    assert [cell is None for cell in positions(env, state.prey)] == [True, True, False]


@pytest.mark.parametrize("letters, terminated", [("CCS", True), ("CSS", False)])
def test_a_natural_end_at_the_limit_is_not_truncated(letters: str, terminated: bool) -> None:
    """Transition 11 as the last step that the limit allows; the same step without a capture is truncated."""
    env = make("predator_prey", n_agents=3, n_stags=1)
    last = place(env, [*PAIR], [(5, 5)])._replace(time=np.uint8(env.spec.episode_limit - 1))
    _, _, ended, truncated, _ = transition(env, last, [LETTERS[c] for c in letters], range(3), [0], [0.0])
    assert (bool(ended), bool(truncated)) == (terminated, not terminated)


def test_availability() -> None:
    env = make("predator_prey", n_agents=4, n_stags=2)
    state = place(env, [(0, 0), (9, 9), (0, 5), (5, 5)], [(1, 0), (6, 6)])
    expected = [[1, 1, 0, 0, 1, 1], [0, 0, 1, 1, 1, 0], [1, 1, 1, 0, 1, 0], [1, 1, 1, 1, 1, 0]]
    assert look_at(env, state)[2].astype(int).tolist() == expected


def test_harmless_actions() -> None:
    env = make("predator_prey", n_agents=3, n_stags=1)
    agents = [(0, 0), (9, 9), None]
    state, reward, *_ = transition(env, place(env, agents, [(5, 5)]), jnp.array([2, 5, 5]), [2, 1, 0], [0], [0.1])
    assert reward == 0 and positions(env, state.agents) == agents


@pytest.mark.parametrize("radius, seen", [(2, [{36, 40, 54}, {18, 22, 36}]), (1, [{12, 16, 24}, {0, 4, 12}])])
def test_observation_layout(radius: int, seen: list[set[int]]) -> None:
    env = make("predator_prey", n_agents=2, n_stags=1, view_radius=radius)
    state = place(env, [(0, 0), (1, 1)], [(0, 1)])
    observation = np.asarray(env.observe(state))
    assert observation.shape == (2, env.spec.observation_size) == (2, 75 if radius == 2 else 27)
    assert [set(np.flatnonzero(row)) for row in observation] == seen
    assert set(np.flatnonzero(env.global_state(state))) == {0, 4, 33}
    assert env.spec.state_size == 300 and env.global_state(state).shape == (300,)


def test_variants_by_hand() -> None:
    size: dict[str, Any] = {"n_agents": 3, "n_stags": 2}

    def play(letters: str, agents: list[Cell], prey: list[Cell], prey_order: Any = (0, 1), **options: Any) -> Any:
        env = make("predator_prey", **size, **options)
        actions = [LETTERS[c] for c in letters]
        state, reward, *_ = transition(env, place(env, agents, prey), actions, range(3), prey_order, [0.0, 0.0])
        return env, state, float(reward), positions(env, state.agents), positions(env, state.prey)

    # an agent that failed with two prey pays once; one that captured a prey does not pay for another
    pays = {"penalty_scope": "agent"}
    assert play("CSS", [(5, 5), (0, 0), (9, 9)], [(5, 4), (5, 6)], **pays)[2] == -2
    assert play("CCS", [(5, 4), (5, 6), (0, 0)], [(5, 5), (5, 7)], (1, 0), **pays)[2] == 10

    # catchers that stay are seen by the state only, block others, and can only stay
    env, state, _, agents, prey = play("CCS", [(5, 4), (5, 6), (5, 7)], [(5, 5), (0, 0)], remove_frozen=False)
    assert agents == [(5, 4), (5, 6), (5, 7)] and prey[0] is None
    assert np.asarray(state.frozen).tolist() == [True, True, False]
    observation, global_state, available = look_at(env, state)
    assert available[:2].tolist() == [[0, 0, 0, 0, 1, 0]] * 2
    assert observation.sum(axis=1).tolist() == [0, 0, 1] and global_state.sum() == 4
    state, *_ = transition(env, state, [LETTERS[c] for c in "RRL"], range(3), range(2), [0.0, 0.0])
    assert positions(env, state.agents) == agents

    # without freezing, catchers go on, and may take two prey in one step
    for options in ({"capture_freezes": False}, {"remove_on_capture": "prey"}):
        _, _, reward, agents, prey = play("CCS", [(5, 4), (4, 5), (0, 0)], [(5, 5), (4, 4)], **options)
        assert (reward, agents, prey) == (20, [(5, 4), (4, 5), (0, 0)], [None, None])

    # nobody enters a cell that two propose, nor one that is being left
    _, _, reward, agents, _ = play(
        "RLR", [(0, 0), (0, 2), (0, 8)], [(9, 9), (9, 0)], move_rule="simultaneous", collision_reward=-1.0
    )
    assert (reward, agents) == (-2, [(0, 0), (0, 2), (0, 9)])
    _, _, _, agents, _ = play("RRS", [(0, 0), (0, 1), (9, 5)], [(9, 9), (9, 0)], move_rule="simultaneous")
    assert agents == [(0, 0), (0, 2), (9, 5)]

    # two agents share a cell with the prey that they catch there
    env, state, _, agents, _ = play(
        "RLS", [(5, 4), (5, 6), (0, 0)], [(5, 5), (9, 9)], capture_mode="same_cell", prey_rest=1.0
    )
    assert agents == [(5, 5), (5, 5), (0, 0)]
    assert look_at(env, state)[2][:, 5].tolist() == [True, True, False]
    state, reward, *_ = transition(env, state, [5, 5, 4], range(3), range(2), [0.0, 0.0])
    assert reward == 10 and positions(env, state.agents) == [None, None, (0, 0)]

    # occupied cells are masked, but entering one that is left in time still works
    env = make("predator_prey", **size, mask_occupied_moves=True)
    state = place(env, [(0, 0), (0, 1), (5, 5)], [(1, 0), (9, 9)])
    assert look_at(env, state)[2][0].tolist() == [0, 0, 0, 0, 1, 1]
    state, *_ = transition(env, state, [0, 0, 4], [1, 0, 2], range(2), [0.0, 0.0])
    assert positions(env, state.agents)[:2] == [(0, 1), (0, 2)]

    # prey that always rests
    assert play("SSS", [(5, 5), (0, 0), (9, 9)], [(3, 3), (7, 7)], prey_rest=1.0)[4] == [(3, 3), (7, 7)]


def random_play(env: Any, key: jax.Array, batch: int, steps: int) -> Any:
    """Episodes one after another: what was before each step, what it gave, and what was after it, each [T B ...]."""

    def step(state: Any, key: jax.Array) -> Any:
        choose, move, start = jax.random.split(key, 3)
        available = jax.vmap(env.available_actions)(state)
        actions = jax.random.categorical(choose, jnp.where(available, 0.0, -jnp.inf))
        after, reward, terminated, truncated, info = jax.vmap(env.step)(jax.random.split(move, batch), state, actions)
        done = terminated | truncated
        fresh = jax.vmap(env.reset)(jax.random.split(start, batch))
        following = jax.tree.map(lambda a, b: jnp.where(done.reshape(-1, *[1] * (a.ndim - 1)), a, b), fresh, after)
        observation = jax.vmap(env.observe)(after)
        return following, (state, after, available, observation, reward, terminated, truncated, info["captured"])

    first = jax.vmap(env.reset)(jax.random.split(key, batch))
    return jax.tree.map(np.asarray, jax.jit(lambda: jax.lax.scan(step, first, jax.random.split(key, steps))[1])())


@pytest.mark.parametrize("options", [{}, {"height": 4, "width": 5, "n_agents": 5, "n_stags": 5, "episode_limit": 20}])
def test_random_play_keeps_the_rules(options: dict[str, Any]) -> None:
    env = make("predator_prey", **options)
    before, after, available, observation, reward, terminated, truncated, captured = random_play(
        env, jax.random.key(3), 16, 420
    )
    none, n = env.grid.none, env.n_agents
    cells = np.concatenate([after.agents, after.prey], axis=-1).astype(int)
    row, column = cells // env.grid.stride - 1, cells % env.grid.stride
    gone = cells == none
    assert (gone | ((row >= 0) & (row < env.height) & (column < env.width))).all()
    unique = np.where(gone, none + np.arange(cells.shape[-1]), cells)
    assert (np.diff(np.sort(unique, axis=-1), axis=-1) > 0).all()  # no two entities share a cell
    assert not ((before.agents == none) & (after.agents != none)).any()
    assert not ((before.prey == none) & (after.prey != none)).any()
    moved = np.abs(row[..., :n] - (before.agents // env.grid.stride - 1)) + np.abs(
        column[..., :n] - before.agents % env.grid.stride
    )
    assert (gone[..., :n] | (moved <= 1)).all()
    assert available.any(axis=-1).all()
    assert (observation.sum(axis=-1) > 0).tolist() == (after.agents != none).tolist()
    assert (captured <= n // 2).all() and (gone[..., n:].sum(axis=-1) == captured).all()
    new = captured - (before.prey == none).sum(axis=-1)
    misses = (env.capture_reward * new - reward) / -env.miss_penalty
    assert ((misses >= 0) & (misses <= env.n_prey - captured) & (misses % 1 == 0)).all()  # at most one per prey left
    assert captured.max() > 0 and misses.max() > 1

    assert not (terminated & truncated).any()
    assert (truncated == ((after.time == env.episode_limit) & ~terminated)).all()
    assert truncated.any() and after.time.max() == env.episode_limit
    ended = (after.agents == none).all(axis=-1) | (after.prey == none).all(axis=-1)
    assert (terminated == ended).all()
    done = terminated | truncated
    assert (before.time[1:][done[:-1]] == 0).all() and (
        before.time[1:][~done[:-1]] == after.time[:-1][~done[:-1]]
    ).all()
    for b in range(reward.shape[1]):
        ends = np.flatnonzero(done[:, b])
        for start, end in itertools.pairwise([-1, *ends]):
            assert reward[start + 1 : end + 1, b].sum() <= env.spec.return_max


def test_time_limit_can_terminate() -> None:
    env: Any = make("predator_prey", n_agents=1, n_stags=1, episode_limit=300, limit_is_terminal=True)
    state = env.reset(jax.random.key(0))
    assert state.time.dtype == jnp.uint16
    last = state._replace(time=jnp.uint16(299))
    _, _, terminated, truncated, _ = transition(env, last, [4], [0], [0], [0.0])
    assert bool(terminated) and not bool(truncated)
    assert env.spec.limit_is_terminal and not make("predator_prey").spec.limit_is_terminal


def assert_uniform(codes: np.ndarray, outcomes: int) -> None:
    """Chi-square test at about 1e-5 (normal approximation; the seed is fixed)."""
    counts = np.bincount(codes, minlength=outcomes)
    expected = len(codes) / outcomes
    statistic = float(((counts - expected) ** 2 / expected).sum())
    assert len(counts) == outcomes
    assert abs(statistic - (outcomes - 1)) < 4.5 * (2 * (outcomes - 1)) ** 0.5


def test_placements_are_uniform() -> None:
    env: Any = make("predator_prey", height=3, width=3, n_agents=2, n_stags=1)
    state = jax.jit(jax.vmap(env.reset))(jax.random.split(jax.random.key(0), 60_000))
    cells = np.concatenate([state.agents, state.prey], axis=1).astype(int)
    index = (cells // env.grid.stride - 1) * 3 + cells % env.grid.stride
    ranks = {placement: i for i, placement in enumerate(itertools.permutations(range(9), 3))}
    assert_uniform(np.array([ranks[tuple(placement)] for placement in index.tolist()]), 9 * 8 * 7)


def test_draws_are_uniform() -> None:
    keys = jax.random.split(jax.random.key(1), 50_000)
    many = np.asarray(jax.jit(jax.vmap(lambda key: sampling.sample_distinct(key, 300, 7)))(keys))
    for position in (0, 6):
        assert_uniform(many[:, position], 300)
    assert (np.diff(np.sort(many, axis=1), axis=1) > 0).all()
    words = jax.vmap(lambda key: sampling.words(key, 5))(keys)
    order, left = jax.jit(jax.vmap(lambda word: sampling.permutation(word, 4)))(words)
    ranks = {permutation: i for i, permutation in enumerate(itertools.permutations(range(4)))}
    assert_uniform(np.array([ranks[tuple(row)] for row in np.asarray(order).tolist()]), 24)
    fraction = np.asarray(sampling.fraction(left))
    assert fraction.min() >= 0 and fraction.max() < 1
    assert_uniform((fraction[:, 0] * 50).astype(int), 50)  # what is left of a word is uniform too
    assert_uniform(np.asarray(order)[:, 0] * 10 + (fraction[:, 0] * 10).astype(int), 40)


def test_steps_draw_orders_and_directions_uniformly() -> None:
    env: Any = make("predator_prey", n_agents=2, n_stags=2, prey_rest=0.25)
    state = place(env, [(0, 0), (0, 2)], [(5, 5), (5, 6)])
    keys = jax.random.split(jax.random.key(2), 40_000)
    after, *_ = jax.jit(jax.vmap(lambda key: env.step(key, state, jnp.array([0, 2]))))(keys)
    agents, prey = np.asarray(after.agents).astype(int), np.asarray(after.prey).astype(int)
    assert_uniform((agents[:, 0] == env.grid.cell(0, 1)).astype(int), 2)  # who comes first gets the cell
    # prey 0 either goes first and has three free directions, or takes them (and the freed one) second
    first_stays = (prey[:, 0] == env.grid.cell(5, 5)).mean()
    assert abs(first_stays - 0.25) < 0.01
    upward = np.mean(prey[:, 0] == env.grid.cell(4, 5))
    # first: 3/4 of 1/3; second: 1/3 if the other rests, else 1/4
    assert abs(upward - 0.75 * (0.5 / 3 + 0.5 * (0.25 / 3 + 0.75 / 4))) < 0.01


def test_numbers_are_traced_and_vary_within_a_program() -> None:
    env: Any = make("predator_prey", n_agents=2, n_stags=1)
    state = place(env, [(5, 4), (0, 0)], [(5, 5)])
    params = {**env.params, "miss_penalty": jnp.array([0.0, -1.5, -5.0])}
    axes = {name: 0 if name == "miss_penalty" else None for name in params}
    play = jax.jit(jax.vmap(lambda p: env.step(jax.random.key(0), state, jnp.array([5, 4]), p)[1], in_axes=(axes,)))
    assert play(params).tolist() == [0.0, -1.5, -5.0]


def test_sizes() -> None:
    env = make("predator_prey")
    state = env.reset(jax.random.key(0))
    assert sum(x.nbytes for x in jax.tree.leaves(state)) == 17
    assert (env.spec.n_agents, env.spec.n_actions, env.spec.episode_limit) == (8, 6, 200)
    assert (env.spec.observation_size, env.spec.state_size, env.spec.return_max) == (75, 300, 40)
    small = make("predator_prey", drop_empty_channel=True).spec
    assert (small.observation_size, small.state_size) == (50, 200)
    assert make("predator_prey", capture_freezes=False).spec.return_max == 80
    assert make("predator_prey", n_hares=3).spec.return_max == 40
    assert make("predator_prey", n_agents=9, n_hares=3).spec.return_max == 41
    assert make("predator_prey", n_agents=1).spec.return_max == 0
    assert make("predator_prey", time_reward=-0.1).spec.return_max is None
    assert make("predator_prey", height=40, width=40).reset(jax.random.key(0)).agents.dtype == jnp.uint16


@pytest.mark.parametrize("name", PRESETS)
def test_presets(name: str) -> None:
    env = make("predator_prey", **{**PRESETS[name], "miss_penalty": -1.25})
    assert env.spec.observation_size == (27 if name == "pow" else 75)
    assert make("predator_prey", **PRESETS[name]).miss_penalty == {"pow": -4, "pymarl2": 0}.get(name, -2)
    assert env.miss_penalty == -1.25


@pytest.mark.parametrize(
    "options, words",
    [
        ({"height": 3, "width": 5}, "16 agents and prey do not fit a grid of 3 x 5 cells"),
        ({"n_stags": 0}, "n_stags and environment.n_hares must not both be 0"),
        ({"n_agents": 32}, "environment.n_agents must be at most 31"),
        ({"height": 400, "width": 400}, "a grid of 400 x 400 cells is too large"),
        ({"stag_catchers": 5}, "must be at most 4"),
        ({"prey_rest": 1.5}, "environment.prey_rest must be at most 1"),
        ({"capture_mode": "adjacnt"}, "did you mean 'adjacent'"),
    ],
)
def test_mistakes_are_named_in_one_line(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words) as error:
        make("predator_prey", **options)
    assert "\n" not in str(error.value)
