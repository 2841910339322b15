"""GoMARL: the specification's numbers, parity with loops, whom gradients reach, regrouping, and the learner."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from marlx_envs.options import UsageError

import marlx
from marlx.mixers.base import Context
from marlx.mixers.gomarl import GoMARL, Groups, regroup, similarity
from marlx.types import Progress
from tests.algorithms import learning
from tests.parts.slopes import check_slopes

N, D, H, G, E, K, J, R = 4, 5, 6, 3, 3, 2, 3, 2
START = learning.START
AGENT = {"head": "group_state", "group_width": 4, "network": "mlp"}  # compiles sooner
Arrays = dict[str, Any]


def _made(**options: Any) -> GoMARL:
    return GoMARL(N, D, H, G, **{"axis": None, "mixing_width": E, "hypernet_width": K, "max_groups": J, **options})


@functools.cache
def _params() -> Any:
    return jax.jit(_made().init)(jax.random.key(1))


def _groups(*of: int, turn: int = 0, regrouped_at: float = 0) -> Groups:
    return Groups(jnp.array(of, jnp.int32), jnp.int32(turn), jnp.float32(regrouped_at))


def _inputs(groups: Groups, rows: int = R) -> tuple[jax.Array, jax.Array, Context]:
    keys = jax.random.split(jax.random.key(5), 4)
    q = jax.random.normal(keys[0], (1, rows, N))
    context = Context(
        greedy_utilities=q,
        actions=jnp.zeros((1, rows, N), jnp.int32),
        memory=jax.random.normal(keys[1], (1, rows, N, H)),
        observation=jnp.zeros((1, rows, N, 1)),
        group_state=jnp.tanh(jax.random.normal(keys[2], (1, rows, N, G))),
        variables=groups,
    )
    return q, jax.random.normal(keys[3], (1, rows, D)), context


def _affine(layer: Arrays, x: np.ndarray, at: Any = ()) -> np.ndarray:
    return x @ layer["kernel"][at] + layer["bias"][at]


def _relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def _elu(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x, np.expm1(x))


def _w1(params: Any, h: np.ndarray, i: int) -> np.ndarray:
    return np.abs(_affine(params["agents"]["w1"], _relu(_affine(params["agents"]["first"], h, i)), i))


def _joint(params: Any, q: np.ndarray, s: np.ndarray, h: np.ndarray, g: np.ndarray, members: list[list[int]]) -> float:
    """The sum over rows of Q_tot, group by group."""
    groups, shared, total = params["groups"], params["all"], 0.0
    for r in range(len(q)):
        mixed = np.zeros(E)
        for j, inside in enumerate(members):
            hidden = sum(q[r, i] * _w1(params, h[r, i], i) + _affine(groups["b1"], h[r, i], j) for i in inside)
            state = np.max([g[r, i] for i in inside], axis=0)
            first = _relu(_affine(groups["first"], state, j))
            w2, b2 = np.abs(_affine(groups["w2"], first[:K], j)), _affine(groups["b2"], first[K:], j)[0]
            value = _elu(hidden) @ w2 + b2
            of_all = _affine(shared["first"], state)
            mixed += value * np.abs(_affine(shared["w3"], _relu(of_all[:K]))) + of_all[K:]
        of_state = _relu(_affine(shared["state"], s[r]))
        w4, b4 = np.abs(_affine(shared["w4"], of_state[:K])), _affine(shared["b4"], of_state[K:])[0]
        total += _elu(mixed) @ w4 + b4
    return total


@pytest.mark.parametrize("of, members", [((0, 0, 0, 0), [[0, 1, 2, 3]]), ((0, 1, 0, 2), [[0, 2], [1], [3]])])
def test_joint_value_and_gradient_equal_loops(of: tuple[int, ...], members: list[list[int]]) -> None:
    mixer = _made()
    params = _params()
    q, s, context = _inputs(_groups(*of))
    h = np.asarray(context.memory[0], np.float64)

    def value(tree: Arrays) -> jax.Array:
        return mixer.apply(tree["params"], tree["q"], tree["s"], context._replace(group_state=tree["g"])).sum()

    tree = {"params": params, "q": q, "s": s, "g": context.group_state}
    check_slopes(value, lambda t: _joint(t["params"], t["q"][0], t["s"][0], h, t["g"][0], members), tree)


def _own(mixer: GoMARL, params: Any, context: Context) -> jax.Array:
    return mixer.auxiliary(params, context, START)[0]


def test_losses_and_their_gradient_equal_loops() -> None:
    """At 250,000 steps the lasso has decayed twice."""
    mixer, members = _made(), [[0, 2], [1], [3]]
    params = _params()
    _, _, context = _inputs(_groups(0, 1, 0, 2))
    h = np.asarray(context.memory[0], np.float64)

    def value(tree: Arrays) -> jax.Array:
        here = context._replace(group_state=tree["g"])
        return mixer.auxiliary({**params, "agents": tree["agents"]}, here, START._replace(env_steps=250_000.0))[
            0
        ].mean()

    def reference(tree: Arrays) -> float:
        total = 0.0
        for r in range(R):
            g = tree["g"][0, r]
            cos = [[a @ b / np.sqrt(a @ a) / np.sqrt(b @ b) for b in g] for a in g]
            alike = sum(
                (-1 if any(i in m and k in m for m in members) else 1) * cos[i][k] for i in range(N) for k in range(N)
            )
            lasso = sum(_w1(tree, h[r, i], i).mean() for i in members[0])
            total += 0.005 * 0.96**2 * lasso + 0.005 * alike / N**2
        return total / R

    check_slopes(value, reference, {"agents": params["agents"], "g": context.group_state})


def test_similarity_of_the_specification() -> None:
    """Two agents of one group with cosine 0.5: -(1 + 0.5) 2 / 4; in two groups the cosine counts the other way."""
    states = jnp.array([[2.0, 0.0], [0.5, 0.5 * np.sqrt(3)]])
    np.testing.assert_allclose(similarity(states, jnp.array([[1.0, 0], [1, 0]])), -0.75, rtol=1e-6)
    np.testing.assert_allclose(similarity(states, jnp.eye(2)), -0.25, rtol=1e-6)
    assert np.isfinite(jax.grad(lambda x: similarity(x, jnp.eye(2)))(jnp.zeros((2, 2)))).all()


def test_agents_of_the_similarity_may_be_permuted() -> None:
    states, member = jax.random.normal(jax.random.key(0), (4, 3)), jnp.array([[1.0, 0], [0, 1], [1, 0], [0, 1]])
    order = jnp.array([3, 1, 0, 2])
    np.testing.assert_allclose(similarity(states[order], member[order]), similarity(states, member), rtol=1e-5)
    assert abs(similarity(states[order], member) - similarity(states, member)) > 1e-3


def test_lasso_is_of_the_group_whose_turn_it_is() -> None:
    mixer = _made(similarity_scale=0.0)
    params = _params()
    context = _inputs(_groups(0, 1, 0, 2), rows=16)[2]
    slopes_at = jax.jit(jax.grad(lambda p, groups: _own(mixer, p, context._replace(variables=groups)).sum()))
    for turn, members in enumerate([[0, 2], [1], [3]]):
        slopes = slopes_at(params, _groups(0, 1, 0, 2, turn=turn))
        kernel = slopes["agents"]["w1"]["kernel"]
        assert [i for i in range(N) if (kernel[i] != 0).any()] == members
        assert all((x == 0).all() for name in ("groups", "all") for x in jax.tree.leaves(slopes[name]))


def test_memories_enter_without_gradient_and_group_states_with_it() -> None:
    mixer = _made()
    params = _params()
    q, s, context = _inputs(_groups(0, 1, 0, 0), rows=32)

    def joint(params: Any, memory: jax.Array, states: jax.Array) -> jax.Array:
        here = context._replace(memory=memory, group_state=states)
        return (mixer.apply(params, q, s, here) ** 2).sum() + _own(mixer, params, here).sum()

    ours, memory, states = jax.jit(jax.grad(joint, (0, 1, 2)))(params, context.memory, context.group_state)
    assert (memory == 0).all() and (states != 0).any()
    for name in ("agents", "all"):
        assert all((x != 0).any() for x in jax.tree.leaves(ours[name]))
    for x in jax.tree.leaves(ours["groups"]):  # two groups exist, there is room for three
        assert [(x[j] != 0).any() for j in range(J)] == [True, True, False]


def test_new_groups_can_stay_as_drawn() -> None:
    mixer = _made(frozen_new_groups=True)
    params = _params()
    q, s, context = _inputs(_groups(0, 1, 0, 0), rows=32)
    value, slopes = jax.jit(jax.value_and_grad(lambda p: mixer.apply(p, q, s, context).sum()))(params)
    np.testing.assert_allclose(value, jax.jit(_made().apply)(params, q, s, context).sum(), rtol=1e-6)
    for x in jax.tree.leaves(slopes["groups"]):
        assert [bool((x[j] != 0).any()) for j in range(J)] == [True, False, False]


def test_groups_that_do_not_exist_change_nothing() -> None:
    mixer = _made()
    params = _params()
    q, s, context = _inputs(_groups(0, 1, 0, 1))
    other = {**params, "groups": jax.tree.map(lambda x: x.at[2].set(1e3), params["groups"])}
    np.testing.assert_array_equal(*(jax.jit(mixer.apply)(p, q, s, context) for p in (params, other)))


@pytest.mark.parametrize(
    "groups, averages, expected",
    [
        ((0, 0, 0, 0), (1.0, 0.2, 0.9, 0.8), (0, 1, 0, 0)),  # mean 0.725, threshold 0.5075
        ((0, 0, 0, 0), (1.0, 0.6, 0.9, 0.8), (0, 0, 0, 0)),  # nobody below it
        ((0, 0, 1, 1), (1.0, 0.1, 1.0, 0.1), (0, 0, 1, 1)),  # a pair is never split
        ((0, 0, 0, 1), (1.0, 0.1, 1.0, 0.1), (0, 1, 0, 1)),  # into the next group, which is there
        ((1, 0, 1, 1), (0.1, 5.0, 1.0, 1.0), (2, 0, 1, 1)),  # a new one after the last
        ((0, 0, 0, 1, 1, 1), (1.0, 0.1, 1.0, 0.1, 1.0, 1.0), (0, 1, 0, 2, 1, 1)),  # both at once, by old members
        ((0, 0, 0, 1, 2, 2, 2), (1.0, 0.1, 1.0, 9.0, 0.1, 1.0, 1.0), (0, 1, 0, 1, 2, 2, 2)),  # no room for a fourth
    ],
)
def test_regrouping(groups: tuple[int, ...], averages: tuple[float, ...], expected: tuple[int, ...]) -> None:
    found, leaves = regroup(jnp.array(groups, jnp.int32), jnp.array(averages), 0.7, 3)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(leaves, np.array(groups) != np.array(expected))
    assert found.dtype == jnp.int32


def _with_averages(mixer: GoMARL, averages: tuple[float, ...]) -> Any:
    """Parameters whose W1 is a constant for each agent, of either sign."""
    params = _params()
    w1 = params["agents"]["w1"]
    bias = jnp.array(averages)[:, None] * jnp.where(jnp.arange(E) % 2, 1.0, -1.0)
    return {**params, "agents": {**params["agents"], "w1": {"kernel": 0 * w1["kernel"], "bias": bias}}}


def _adapted(mixer: GoMARL, params: Any, groups: Groups, env_steps: float) -> tuple[Any, Groups, bool]:
    context = _inputs(groups)[2]
    progress = Progress(jnp.float32(env_steps), jnp.float32(0), jnp.float32(0))
    params, groups, changed = jax.jit(mixer.adapt)(params, context, progress, jax.random.key(7))
    return params, groups, bool(changed)


def test_adapting_on_schedule_starts_leavers_afresh() -> None:
    mixer = _made()
    params = _with_averages(mixer, (1.0, 0.2, 0.9, 0.8))
    new, groups, changed = _adapted(mixer, params, _groups(0, 0, 0, 0), 100_000)
    assert changed and groups.of.tolist() == [0, 1, 0, 0] and groups.turn == 1 and groups.regrouped_at == 100_000
    for a, b in zip(*(jax.tree.leaves(p["agents"]) for p in (params, new)), strict=True):
        assert [bool((a[i] == b[i]).all()) for i in range(N)] == [True, False, True, True]
    assert (jnp.abs(new["agents"]["first"]["kernel"][1]) <= H**-0.5).all()
    for name in ("groups", "all"):
        jax.tree.map(np.testing.assert_array_equal, new[name], params[name])
    _, groups, changed = _adapted(mixer, _with_averages(mixer, (1.0, 9.0, 0.1, 0.8)), groups, 200_000)
    assert changed and groups.of.tolist() == [0, 1, 1, 0] and groups.turn == 0  # (1 + 1) mod 2


def test_nothing_changes_off_schedule_or_without_leavers() -> None:
    mixer = _made()
    params = _with_averages(mixer, (1.0, 0.2, 0.9, 0.8))
    for before, steps in ((_groups(0, 0, 0, 0), 99_999), (_groups(0, 0, 0, 0, regrouped_at=150_000), 200_000)):
        new, groups, changed = _adapted(mixer, params, before, steps)
        assert not changed
        jax.tree.map(np.testing.assert_array_equal, (new, groups), (params, before))
    same = _with_averages(mixer, (1.0, 0.8, 0.9, 0.8))
    new, groups, changed = _adapted(mixer, same, _groups(0, 0, 0, 0, turn=0), 120_000)
    assert not changed and groups.turn == 0 and groups.regrouped_at == 120_000
    jax.tree.map(np.testing.assert_array_equal, new, same)


def test_averages_are_of_valid_slots_on_all_devices() -> None:
    """An agent whose W1 is small in valid slots alone; halves of the batch on the members of an axis."""
    mixer, shared = _made(mixing_width=1, hypernet_width=1), _made(mixing_width=1, hypernet_width=1, axis="rows")
    first = {"kernel": jnp.zeros((N, H, 1)).at[:, 0].set(1.0), "bias": jnp.zeros((N, 1))}
    params = {"agents": {"first": first, "w1": {"kernel": jnp.ones((N, 1, 1)), "bias": jnp.zeros((N, 1))}}}
    memory = jnp.zeros((1, 4, N, H)).at[..., 0].set(1.0).at[0, :2, 1, 0].set(0.1).at[0, 3, 1, 0].set(1.2)
    valid = jnp.array([[True, True, False, True]])  # agent 1: (0.1 + 0.1 + 1.2) / 3 = 0.467
    context = _inputs(_groups(0, 0, 0, 0), rows=4)[2]._replace(memory=memory)
    progress, key = START._replace(env_steps=jnp.float32(1e5)), jax.random.key(0)

    @functools.partial(jax.jit, static_argnums=0)
    def groups(mixer: GoMARL, memory: jax.Array, valid: jax.Array | None) -> jax.Array:
        here = context._replace(memory=memory, valid=valid, actions=context.actions[:, : memory.shape[1]])
        return mixer.adapt(params, here, progress, key)[1].of

    assert groups(mixer, memory, valid).tolist() == [0, 1, 0, 0]
    assert groups(mixer, memory.at[0, 2].set(9.0), valid).tolist() == [0, 1, 0, 0]
    assert groups(mixer, memory.at[0, 2, 1].set(9.0), None).tolist() == [0, 0, 0, 0]
    halves = (jnp.stack(jnp.split(x, 2, 1)) for x in (memory, valid))
    found = jax.vmap(lambda *half: groups(shared, *half), axis_name="rows")(*halves)
    assert found.tolist() == [[0, 1, 0, 0]] * 2


def _learner(**section: Any) -> Any:
    return learning.learner(AGENT, {"target_update_interval": 1e6}, n_agents=N, mixer="gomarl", **section)


def test_updates_train_what_there_is_and_regrouping_brings_the_target_along() -> None:
    method = _learner(leave_ratio=1.0)  # whoever is below the mean leaves
    state = first = jax.jit(method.init)(jax.random.key(0))
    update = jax.jit(method.update)
    for number in range(3):
        steps = learning.batch(number, rows=8, n_agents=N)
        state, metrics = update(state, steps, jax.random.key(number), START)
    assert all(np.isfinite(x) for x in metrics.values()) and metrics["groups"] == 1
    assert {"lasso_loss", "similarity_loss"} < metrics.keys()
    for a, b in zip(*(jax.tree.leaves(s.params["mixer"]["groups"]) for s in (first, state)), strict=True):
        assert (a[0] != b[0]).any() and (a[1:] == b[1:]).all()
    others = [{**s.params, "mixer": {**s.params["mixer"], "groups": ()}} for s in (first, state)]
    assert all((a != b).any() for a, b in zip(*map(jax.tree.leaves, others), strict=True))
    jax.tree.map(np.testing.assert_array_equal, (state.variables, state.target), (first.variables, first.target))

    late = START._replace(env_steps=jnp.float32(100_000), episodes=jnp.float32(3))
    state, _ = update(state, steps, jax.random.key(3), late)
    assert state.variables.of.max() == 1 and state.variables.turn == 1 and state.synced_at == 3
    jax.tree.map(np.testing.assert_array_equal, state.target, state.params)
    state, metrics = update(state, steps, jax.random.key(4), late)
    assert metrics["groups"] == 2
    assert any((a != b).any() for a, b in zip(*map(jax.tree.leaves, (state.target, state.params)), strict=True))


def test_the_mixer_trains_group_states_and_no_memory() -> None:
    """For utilities without gradient, the mixer and its losses reach the agents' group network alone."""
    method, steps = _learner(), learning.batch(rows=4, n_agents=N)
    state = jax.jit(method.init)(jax.random.key(0))
    mixer, params = method.mixer, state.params["mixer"]

    def own(agent: Any) -> jax.Array:
        context = method._context(state, method.play({"agent": agent}, steps.view), steps.actions, None)
        utilities = jax.lax.stop_gradient(context.greedy_utilities)
        return (mixer.apply(params, utilities, steps.view.state, context) + _own(mixer, params, context)).sum()

    slopes = jax.jit(jax.grad(own))(state.params["agent"])["params"]
    assert all((x != 0).any() for x in jax.tree.leaves(slopes["group"]))
    assert all((x == 0).all() for name, tree in slopes.items() if name != "group" for x in jax.tree.leaves(tree))


def test_other_agents_are_refused_in_one_line() -> None:
    with pytest.raises(UsageError, match="algorithm.mixer=gomarl needs agent.head=group_state, not shared"):
        marlx.configure("qmix", "two_step_game", "algorithm.mixer=gomarl")
    assert marlx.configure("gomarl", "two_step_game").agent["head"] == "group_state"
    assert marlx.configure("qmix", "two_step_game", "algorithm.mixer=gomarl", "agent.head=group_state")
