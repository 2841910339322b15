"""MRVF learns: loss and gradient against NumPy, whom each term teaches, masks, joint values, and its options."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec
from marlx_envs.options import UsageError

import marlx
from marlx.algorithms.mrvf import MRVF
from marlx.types import Batch
from tests.algorithms.learning import SLOTS, SPEC, START, A, B, N, assert_padding_teaches_nothing, steps
from tests.algorithms.mrvf_learner import SMALL, learner, parameters
from tests.parts import mrvf_reference as reference
from tests.parts.qtran_reference import assert_gradient, doubles

EPSILON, ROWS = 0.4, "rows"
Table = np.ndarray


def _expected(
    method: MRVF, live: Any, constant: Any, other: Any, b: Batch, recorded: np.ndarray
) -> tuple[float, list[float], np.ndarray, list[list[float]]]:
    """The loss, its terms (L_jt first), the accepted rounds [T B], and of each valid step what its target would be if
    it bootstrapped from round 1, 2, .. and, last, from the accepted one. What is stopped is computed from `constant`.
    """
    k, strict = method.rounds.rounds, method.composition.strict
    inputs, starts = np.asarray(method.agent.inputs(b.view), float), np.asarray(b.view.starts)
    observation, state = np.asarray(b.view.observation, float), np.asarray(b.view.state, float)
    available, u = np.asarray(b.view.available), np.asarray(b.actions)

    def remembered(params: Any, room: str) -> np.ndarray:
        return reference.memories(params[room]["memory"]["params"], inputs, starts)

    every = (live, constant, other)
    owns, critics = ([remembered(p, room) for p in every] for room in ("agent", "critic"))

    def q(which: int, t: int, r: int, number: int, preceding: Any) -> np.ndarray:
        p = every[which]["agent"]["rounds"]["params"]
        return reference.utilities(p, method.rounds, number, owns[which][t, r], observation[t, r], preceding)

    def joint(which: int, t: int, r: int, actions: Any) -> float:
        p = every[which]["critic"]["value"]["params"]
        if method.critic.critic_monotone:
            p = {**p, **{name: {**p[name], "kernel": np.abs(p[name]["kernel"])} for name in ("first", "out")}}
        return reference.joint_value(p, critics[which][t, r], state[t, r], actions, A)

    def mixed(number: int, utilities: np.ndarray, t: int, r: int) -> float:
        p = live["mixer"]["params"]
        if not method.rounds.share_rounds:
            p = jax.tree.map(lambda x: x[number], p)
        return reference.qmix(p, utilities, state[t, r], method.mixer.mixing_width, method.mixer.hypernet_width)

    def rounds(t: int, r: int, which: tuple[int, int] = (0, 1)) -> tuple[list[Any], list[Any], int]:
        """Utilities and greedy joint actions of all rounds, and the number of the last accepted."""
        found: list[Any] = []
        chosen: list[Any] = [None]
        for number in range(k):
            found.append(q(which[0], t, r, number, chosen[-1]))
            chosen.append(np.where(available[t, r], found[-1], -np.inf).argmax(-1))
        values = [joint(which[1], t, r, u) for u in chosen[1:]]
        accepted = 0
        while accepted + 1 < k and values[accepted + 1] > values[accepted]:
            accepted += 1
        return found, chosen[1:], accepted

    played = [[rounds(t, r) for r in range(B)] for t in range(SLOTS + 1)]
    terms, count, aimed = np.zeros(1 + k), 0, []
    for r in range(B):
        for t in range(SLOTS):
            if not b.valid[t, r]:
                continue
            target = method.composition.bootstrap == "target"
            _, later, accepted = rounds(t + 1, r, (2, 2)) if target else played[t + 1][r]
            discount = method.training.gamma * (1 - float(b.terminated[t, r]))
            ys = [float(b.rewards[t, r]) + discount * joint(2, t + 1, r, u) for u in (*later, later[accepted])]
            aimed.append(ys)
            y = ys[-1]
            terms[0] += (joint(0, t, r, u[t, r]) - y) ** 2
            utilities, greedy, _ = played[t][r]
            for number in range(k):
                actions = u[t, r] if recorded[number, t, r] else greedy[number]
                aim = joint(1, t, r, actions)
                if number and strict:
                    aim = max(aim - joint(1, t, r, greedy[number - 1]), 0)
                taken = np.array([utilities[number][i, actions[i]] for i in range(N)])
                terms[1 + number] += (mixed(number, taken, t, r) - aim) ** 2
            count += 1
    scales = [method.composition.critic_loss_scale, *[method.training.loss_scale] * k]
    terms = terms / count * scales
    return float(terms.sum()), list(terms), np.array([[x[2] for x in row] for row in played]), aimed


@pytest.mark.parametrize(
    "training, section",
    [
        ({}, {}),
        pytest.param({"loss_scale": 0.5}, {"share_rounds": False, "critic_loss_scale": 0.7}, marks=pytest.mark.slow),
        pytest.param(
            {},
            {"embedding": "index", "critic_embedding": "index", "critic_sees_state": False, "rounds": 2},
            marks=pytest.mark.slow,
        ),
        pytest.param({}, {"strict": False, "learnt_actions": "recorded"}, marks=pytest.mark.slow),
        pytest.param({}, {"rounds": 1}, marks=pytest.mark.slow),
        ({}, {"bootstrap": "target", "critic_monotone": True}),
    ],
)
def test_loss_and_gradient_equal_loops(training: dict[str, Any], section: dict[str, Any]) -> None:
    method, data, key = learner({"gamma": 0.9, **training}, **section), steps(), jax.random.key(7)
    live, other = parameters(method)
    learn = jax.jit(jax.value_and_grad(method.loss, has_aux=True))
    (found, (metrics,)), gradient = learn(live, other, data, key, jnp.float32(EPSILON))
    recorded = np.asarray(method._recorded(key, jnp.float32(EPSILON), (method.rounds.rounds, SLOTS, B)))
    constant, old = doubles(live), doubles(other)
    expected, terms, accepted, aimed = _expected(method, doubles(live), constant, old, data, recorded)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_allclose(metrics["target"], np.mean(aimed, axis=0)[-1], rtol=1e-5)
    names = ["critic_loss", *(f"round_loss_{k + 1}" for k in range(method.rounds.rounds))]
    np.testing.assert_allclose([metrics[name] for name in names], terms, rtol=1e-5, atol=1e-7)
    valid = np.asarray(data.valid)
    for k in range(method.rounds.rounds):
        share = (accepted[:-1] == k)[valid].mean()
        np.testing.assert_allclose(metrics[f"round_share_{k + 1}"], share, rtol=1e-5)
    if section == {}:
        assert recorded.any() and not recorded.all() and (accepted > 0).any()
        first, _, last, final = np.mean(aimed, axis=0)
        assert min(abs(first - final), abs(last - final)) > 1e-3  # neither would do in place of the accepted one
    assert_gradient(
        gradient, lambda p: _expected(method, p, constant, old, data, recorded)[0], doubles(live), directions=1
    )


def test_rounds_learn_by_the_epsilon_of_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    def told(*given: Any) -> Any:
        return jnp.float32(0), ({"epsilon": given[-1]},)

    monkeypatch.setattr(MRVF, "loss", told)
    method = learner({"epsilon_start": 0.9, "epsilon_end": 0.1, "epsilon_steps": 100.0})
    state, update = method.init(jax.random.key(0)), jax.jit(method.update)
    for env_steps, epsilon in ((0, 0.9), (25, 0.7), (100, 0.1), (900, 0.1)):
        _, metrics = update(state, steps(), jax.random.key(1), START._replace(env_steps=jnp.float32(env_steps)))
        np.testing.assert_allclose(metrics["epsilon"], epsilon, rtol=1e-5)


def test_recorded_joint_actions_are_drawn_for_each_round_slot_and_row() -> None:
    drawn = np.asarray(learner()._recorded(jax.random.key(0), jnp.float32(0.25), (3, 50, 40)))
    np.testing.assert_allclose(drawn.mean(), 0.25, atol=0.03)
    for axis in range(3):
        assert len({part.tobytes() for part in np.moveaxis(drawn, axis, 0)}) == drawn.shape[axis]
    every = learner(learnt_actions="recorded")._recorded(jax.random.key(0), jnp.float32(0), (3, 2, 2))
    assert every.all() and every.shape == (3, 2, 2)


def test_factors_of_the_losses() -> None:
    data = steps()
    live, other = parameters(learner())

    @jax.jit
    def terms(loss_scale: float, critic_loss_scale: float) -> Any:
        method = learner({"loss_scale": loss_scale}, critic_loss_scale=critic_loss_scale)
        return method.loss(live, other, data, jax.random.key(7), jnp.float32(EPSILON))[1][0]

    once, scaled = terms(1.0, 1.0), terms(0.5, 0.7)
    for name, factor in [("critic_loss", 0.7), *((f"round_loss_{k}", 0.5) for k in (1, 2, 3))]:
        assert once[name] > 0
        np.testing.assert_allclose(scaled[name], factor * once[name], rtol=1e-6)


@pytest.mark.parametrize("embedding, sees_state", [("features", True), ("features", False), ("index", False)])
def test_joint_value_equals_loops(embedding: str, sees_state: bool) -> None:
    method = learner(critic_embedding=embedding, critic_sees_state=sees_state)
    rng, params = np.random.default_rng(0), method.critic.init(jax.random.key(0))
    memory, state = rng.normal(size=(4, N, 4)), rng.normal(size=(4, SPEC.state_size))
    actions = rng.integers(0, A, (4, N))
    given = [jnp.asarray(x, jnp.float32) for x in (memory, state)]
    (found,) = method.critic.apply(params, *given, jnp.asarray(actions))
    p = doubles(params)["params"]
    expected = [reference.joint_value(p, *row, A) for row in zip(memory, state, actions, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    (elsewhere,) = method.critic.apply(params, given[0], given[1] + 1, jnp.asarray(actions))
    assert sees_state == bool((elsewhere != found).any())


def test_without_strictness_rounds_learn_the_joint_value_itself() -> None:
    method, data = learner(strict=False), steps()
    live, other = parameters(method)
    state = method.init(jax.random.key(0))._replace(params=live)
    found = jax.jit(method.joint_values)(state, *jax.tree.map(lambda x: x[0], (data.view, data.actions)))
    numbers = np.asarray(jax.jit(method.play)(live, data.view).number[0])
    assert (numbers > 0).any()
    chosen = [found[f"round_{k + 1}"][b] for b, k in enumerate(numbers)]
    np.testing.assert_allclose(found["joint"], chosen, rtol=1e-6)
    losses = [
        jax.jit(learner(strict=strict).loss)(live, other, data, jax.random.key(7), jnp.float32(EPSILON))[1][0]
        for strict in (True, False)
    ]
    assert losses[0]["round_loss_1"] == losses[1]["round_loss_1"]
    assert losses[0]["round_loss_2"] != losses[1]["round_loss_2"]


def _size(tree: Any) -> float:
    return max(float(jnp.abs(x).max()) for x in jax.tree.leaves(tree))


def _teaching(method: MRVF, term: str) -> tuple[Any, Any]:
    live, other = parameters(method)
    loss = lambda p, t: method.loss(p, t, steps(), jax.random.key(7), jnp.float32(EPSILON))[1][0][term]  # noqa: E731
    return jax.jit(jax.grad(loss, (0, 1)))(live, other)


def test_only_the_td_error_teaches_the_joint_value_and_nothing_else() -> None:
    gradient, old = _teaching(learner(), "critic_loss")
    assert _size(old) == _size(gradient["agent"]) == _size(gradient["mixer"]) == 0
    assert all(_size(x) > 0 for x in jax.tree.leaves(gradient["critic"]))


@pytest.mark.parametrize(
    "number", [pytest.param(1, marks=pytest.mark.slow), 2, pytest.param(3, marks=pytest.mark.slow)]
)
def test_a_round_teaches_its_agents_and_its_mixer(number: int) -> None:
    gradient, old = _teaching(learner(share_rounds=False), f"round_loss_{number}")
    assert _size(old) == _size(gradient["critic"]) == 0
    assert _size(gradient["agent"]["memory"]) > 0
    rounds = gradient["agent"]["rounds"]["params"]
    for other in (1, 2, 3):
        assert (_size(rounds[f"last_{other}"]) > 0) == (other == number)
        assert (_size(jax.tree.map(lambda x, k=other: x[k - 1], gradient["mixer"])) > 0) == (other == number)
    assert (_size(rounds["embedding"]) > 0) == (number > 1) == (_size(rounds["default_row"]) == 0)


def test_slots_that_are_not_valid_teach_nothing() -> None:
    method, data = learner(), steps()
    live, other = parameters(method)
    loss = lambda p, data: method.loss(p, other, data, jax.random.key(7), jnp.float32(EPSILON))[0]  # noqa: E731
    learn = jax.jit(jax.value_and_grad(loss))
    assert_padding_teaches_nothing(lambda data: learn(live, data), data)


def test_unavailable_actions_are_never_chosen_learnt_or_bootstrapped_from() -> None:
    """However good the rounds think an action that nobody has, and whatever the joint value makes of it."""
    method, data, key = learner(), steps(), jax.random.key(7)
    available = data.view.available.at[..., 2].set(False).at[..., 0].set(True)
    data = data._replace(view=data.view._replace(available=available), actions=jnp.zeros_like(data.actions))
    live, other = parameters(method)

    def moved(params: Any) -> Any:
        params = jax.tree.map(lambda x: x, params)
        layer = params["agent"]["rounds"]["params"]["last_1"]["utilities"]
        layer["bias"] = layer["bias"].at[2].add(1e6)
        table, width = params["critic"]["value"]["params"]["table"], method.critic.feature_width
        table["bias"] = table["bias"].at[2 * width : 3 * width].add(1e6)
        return params

    loss = jax.jit(lambda live, other: method.loss(live, other, data, key, jnp.float32(EPSILON))[0])
    assert loss(moved(live), moved(other)) == loss(live, other)
    state, slot = method.init(key)._replace(params=moved(live)), jax.tree.map(lambda x: x[0], data.view)
    act = jax.jit(method.act)
    for epsilon in (0.0, 0.5, 1.0):
        for seed in range(20):
            carry = method.initial_carry(B)
            _, actions = act(state, carry, slot, jax.random.key(seed), jnp.float32(epsilon))
            assert jnp.take_along_axis(slot.available, actions[..., None], -1).all()


def test_joint_values() -> None:
    """Q_tot of every round, Q_jt, and the accepted round's Q_tot with what it is a gain over."""
    method, data = learner(), steps()
    live, _ = parameters(method)
    state, view, actions = method.init(jax.random.key(0))._replace(params=live), data.view, data.actions
    found = jax.jit(method.joint_values)(state, *jax.tree.map(lambda x: x[0], (view, actions)))
    first = jax.tree.map(lambda x: x[:1], view)
    played, p = method.play(live, first, actions[:1]), doubles(live)
    for b in range(B):
        values = []
        for k in range(3):
            taken = np.array([played.utilities[k, 0, b, i, actions[0, b, i]] for i in range(N)], float)
            values.append(reference.qmix(p["mixer"]["params"], taken, np.asarray(view.state[0, b], float), 3, 4))
            np.testing.assert_allclose(found[f"round_{k + 1}"][b], values[-1], rtol=1e-5)
        number = int(played.number[0, b])
        base = float(played.at_greedy[number - 1, 0, b]) if number else 0.0
        np.testing.assert_allclose(found["joint"][b], values[number] + base, rtol=1e-5)
        np.testing.assert_allclose(found["critic"][b], played.values[0][0, b], rtol=1e-5)
    assert set(found) == {"joint", "critic", "round_1", "round_2", "round_3"}
    assert (played.number[0] > 0).any()


def test_updates_lower_the_loss_and_the_target_follows_at_its_interval() -> None:
    method = learner({"target_update_interval": 40.0, "target_update_unit": "updates", "learning_rate": 0.01})
    state, data = method.init(jax.random.key(0)), steps()
    first, update = state.params, jax.jit(method.update)
    losses = []
    for number in range(40):
        jax.tree.map(np.testing.assert_array_equal, state.target, first)
        state, metrics = update(state, data, jax.random.key(0), START._replace(updates=jnp.float32(number)))
        losses.append(float(metrics["loss"]))
    assert losses[-1] < 0.5 * losses[0]
    jax.tree.map(np.testing.assert_array_equal, state.target, state.params)


def test_methods_and_their_profile() -> None:
    full, single, loose = (marlx.configure(f"mrvf{x}", "matrix_game") for x in ("", "_single", "_non_strict"))
    assert full.algorithm["rounds"] == 3 and full.algorithm["preselection"] == 0.2 and full.algorithm["strict"]
    assert full.algorithm["exploration"] == "centralised" and full.training["td_lambda"] == 0
    assert dict(single.algorithm) == {**full.algorithm, "rounds": 1}
    assert dict(loose.algorithm) == {**full.algorithm, "strict": False}
    assert [x.training["td_lambda"] for x in (full, single, loose)] == [0, 0, 0]
    house = [marlx.configure(f"mrvf{x}", "predator_prey").training for x in ("", "_single", "_non_strict")]
    assert [numbers["updates_per_iteration"] for numbers in house] == [2, 2, 2]
    games = [marlx.configure(f"mrvf{x}", "risk_reward") for x in ("", "_single", "_non_strict")]
    assert [game.algorithm["share_rounds"] for game in games] == [False, True, False] and full.algorithm["share_rounds"]
    assert [game.training["updates_per_iteration"] for game in games] == [4, 4, 4]
    paper = marlx.configure("mrvf", "predator_prey", "algorithm.profile=mrvf").training
    assert (paper["optimiser"], paper["batch_size"], paper["epsilon_steps"]) == ("rmsprop", 32, 50_000)


def test_an_evaluation_tells_the_rounds() -> None:
    experiment = marlx.configure(
        "mrvf", "risk_reward", "training.total_steps=64", "training.num_envs=16", "training.batch_size=16",
        {f"algorithm.{name}": value for name, value in SMALL.items()},
    )  # fmt: skip
    metrics = jax.jit(marlx.make_train(experiment))(jax.random.key(0)).metrics
    for name in ("round_share", "evaluation_round_share"):
        shares = np.stack([metrics[f"{name}_{k}"] for k in (1, 2, 3)])
        np.testing.assert_allclose(shares.sum(0), 1, rtol=1e-5)


@pytest.mark.parametrize(
    "override, words",
    [
        ("agent.head=individual", "agent.head must be shared"),
        ("algorithm.monotone=false", "algorithm.monotone must be true"),
        ("algorithm.rounds=0", "algorithm.rounds must be at least 1"),
        ("algorithm.preselection=1.5", "algorithm.preselection must be at most 1"),
        ("algorithm.embedding=onehot", "algorithm.embedding"),
        ("algorithm.mixer=qmix", "algorithm.mixer is no option of mrvf; cw_qmix, gomarl, "),
    ],
)
def test_mistakes_are_one_line(override: str, words: str) -> None:
    with pytest.raises(UsageError) as error:
        marlx.configure("mrvf", "matrix_game", override)
    assert words in str(error.value) and "\n" not in str(error.value)


@pytest.mark.slow
def test_an_update_on_devices_that_share_a_batch() -> None:
    """Rows draw their own numbers, and the intrinsic reward learns from all of them."""
    rows, same = PartitionSpec(None, ROWS), PartitionSpec()
    method = learner({"epsilon_start": EPSILON}, intrinsic="rnd", predictor_width=8)
    assert method.intrinsic is not None
    shared = replace(method, axis=ROWS, intrinsic=replace(method.intrinsic, axis=ROWS))
    state, key, devices = method.init(jax.random.key(9)), jax.random.key(1), jax.devices()[:2]
    assert len(devices) == 2
    whole, expected = jax.jit(method.update)(state, steps(), key, START)
    update = jax.shard_map(
        lambda share: shared.update(state, share, key, START),
        mesh=Mesh(np.array(devices), (ROWS,)), in_specs=(rows,), out_specs=same, check_vma=False,
    )  # fmt: skip
    found, metrics = jax.jit(update)(steps())
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)  # noqa: E731
    jax.tree.map(close, (found.params, found.intrinsic), (whole.params, whole.intrinsic))
    jax.tree.map(close, metrics, expected)
