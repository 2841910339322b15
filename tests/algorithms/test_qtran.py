"""QTRAN: a loss computed by hand, loss and gradient against NumPy, whom each term teaches, and what masks keep out."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from marlx_envs.options import UsageError

import marlx
from marlx.agents import AgentOptions
from marlx.algorithms import qtran
from marlx.algorithms.qtran import QTRAN, base_errors
from marlx.settings import Training
from marlx.types import Batch
from tests.algorithms.learning import SLOTS, SPEC, START, A, B, N, assert_padding_teaches_nothing, steps
from tests.parts import qtran_reference as reference
from tests.parts.qtran_reference import assert_gradient, doubles

TERMS = ("td_loss", "opt_loss", "nopt_loss")


def learner(training: dict[str, Any] | None = None, **section: Any) -> QTRAN:
    """A form by the fields of its section, small enough for differences."""
    values = {**marlx.ALGORITHMS["qtran"].section_defaults(section), "joint_width": 4, **section}
    return qtran.make(SPEC, AgentOptions(hidden_size=4), values, Training(**{"td_lambda": 0.0, **(training or {})}))


def parameters(method: QTRAN) -> tuple[Any, Any]:
    """Live ones and the target's."""
    live, other = (method.init(jax.random.key(seed)).params for seed in (1, 2))
    return live, other


def raised(params: Any, by: float) -> Any:
    """The same with V raised everywhere."""
    if "value" not in params:
        return params
    (bias,) = (x for x in jax.tree.leaves(params["value"]) if x.shape == (1,))
    return {**params, "value": jax.tree.map(lambda x: x + by if x is bias else x, params["value"])}


def test_base_numbers() -> None:
    """Sum 1.0 at u, 2.0 at most, Q_jt(u) = 1.5, Q_jt(u-hat) = 2.2, V = 0.1, y = 1.8: 0.09 + 0.01 + 0.1 x 0.16."""
    utilities, one = jnp.array([[1.25, 0.75], [0.25, 0.75]]), jnp.array([[1, 0], [0, 1]])
    errors = base_errors(
        jnp.array([1.5]), jnp.array([2.2]), jnp.array([1.8]), utilities, utilities == utilities, one[0], one[1],
        jnp.float32(0.1),
    )  # fmt: skip
    np.testing.assert_allclose(np.concatenate(errors), [-0.3, -0.1, -0.4], rtol=1e-5)
    scales = marlx.configure("qtran", "matrix_game").algorithm
    loss = errors.td**2 + scales["lambda_opt"] * errors.opt**2 + scales["lambda_nopt"] * errors.nopt**2
    np.testing.assert_allclose(loss, [0.116], rtol=1e-5)


def _played(params: Any, b: Batch) -> tuple[np.ndarray, np.ndarray]:
    """Utilities [T+1 B N A] and memories [T+1 B N H] from the equations of the cell."""
    p = params["agent"]["params"]
    memory, utilities, memories = np.zeros((B, N, 4)), [], []
    for t in range(SLOTS + 1):
        memory = memory * (1 - np.asarray(b.view.starts[t], float))[:, None, None]
        identity = np.broadcast_to(np.eye(N), (B, N, N))
        seen = np.concatenate([np.asarray(b.view.observation[t], float), np.zeros((B, N, A)), identity], -1)
        x = np.maximum(seen @ p["encoder_kernel"].T + p["encoder_bias"], 0)
        i = [x @ k.T + c for k, c in zip(p["input_kernel"], p["input_bias"], strict=True)]
        k = [memory @ kernel.T for kernel in p["recurrent_kernel"]]
        r, z = 1 / (1 + np.exp(-(i[0] + k[0]))), 1 / (1 + np.exp(-(i[1] + k[1])))
        n = np.tanh(i[2] + r * (k[2] + p["recurrent_bias"]))
        memory = (1 - z) * n + z * memory
        utilities.append(memory @ p["head_kernel"].T + p["head_bias"])
        memories.append(memory)
    return np.stack(utilities), np.stack(memories)


def _expected(method: QTRAN, live: Any, constant: Any, other: Any, b: Batch) -> tuple[float, np.ndarray]:
    """The loss, index by index, and the terms; what is stopped is computed from `constant`, equal to `live`."""
    alt, names, training = method.composition.form == "alt", method.composition, method.training
    (q, h), (_, fixed_h), (old, old_h) = (_played(params, b) for params in (live, constant, other))
    available, u, state = np.asarray(b.view.available), np.asarray(b.actions), np.asarray(b.view.state, float)
    legal = [[[[a for a in range(A) if available[t, r, i, a]] for i in range(N)] for r in range(B)] for t in range(4)]

    def best(values: np.ndarray, t: int, r: int) -> list[int]:
        return [max(legal[t][r][i], key=lambda a, i=i: values[t, r, i, a]) for i in range(N)]

    def joint(params: Any, memory: np.ndarray, t: int, r: int, actions: Any) -> np.ndarray:
        one = reference.counterfactual if alt else reference.joint_value
        return np.asarray(one(params["joint"]["params"], memory[t, r], state[t, r], actions, A))

    def taken(table: np.ndarray, actions: Any) -> np.ndarray:
        return np.array([table[i, actions[i]] for i in range(N)]) if alt else table.reshape(1)

    def bootstrap(t: int, r: int) -> np.ndarray:
        if names.bootstrap == "sum_of_max":
            return np.array([sum(old[t, r, i, a] for i, a in enumerate(best(old, t, r)))])
        return taken(joint(other, old_h, t, r, best(q, t, r)), best(q, t, r))

    terms, count = np.zeros(3), 0
    for r in range(B):
        future = bootstrap(SLOTS, r)
        for t in reversed(range(SLOTS)):
            discount = training.gamma * (1 - float(b.terminated[t, r]))
            lasting = (1 - training.td_lambda) * bootstrap(t + 1, r) + training.td_lambda * future
            y = float(b.rewards[t, r]) + discount * lasting
            future = y
            if not b.valid[t, r]:
                future = bootstrap(t, r)
                continue
            greedy = best(q, t, r)
            v = reference.state_value(live["value"]["params"], state[t, r]) if names.state_value else 0.0
            opt = sum(q[t, r, i, a] for i, a in enumerate(greedy)) + v
            opt = opt - taken(joint(constant, fixed_h, t, r, greedy), greedy)
            table, own = joint(constant, fixed_h, t, r, u[t, r]), [q[t, r, i, u[t, r, i]] for i in range(N)]
            if alt:
                nopt = np.array([
                    min(sum(own) - own[i] + q[t, r, i, a] - table[i, a] + v for a in legal[t][r][i]) for i in range(N)
                ])  # fmt: skip
            else:
                nopt = np.array([min(sum(own) - float(table) + v, 0)])
            td = taken(joint(live, h, t, r, u[t, r]), u[t, r]) - y
            terms += [(td**2).sum(), (opt**2).sum(), (nopt**2).sum()]
            count += N if alt else 1
    terms /= count
    return training.loss_scale * float(terms @ [1, names.lambda_opt, names.lambda_nopt]), terms


@pytest.mark.parametrize(
    "training, section",
    [
        ({}, {}),
        pytest.param({"td_lambda": 0.7}, {"bootstrap": "sum_of_max", "state_value": False}, marks=pytest.mark.slow),
        pytest.param({"loss_scale": 0.5}, {"joint_arch": "concatenated_actions"}, marks=pytest.mark.slow),
        pytest.param({"td_lambda": 0.7, "loss_scale": 0.5}, {"form": "alt"}, marks=pytest.mark.slow),
        ({}, {"form": "alt", "bootstrap": "sum_of_max", "state_value": False, "joint_layers": 3}),
    ],
)
def test_loss_and_gradient_equal_loops(training: dict[str, Any], section: dict[str, Any]) -> None:
    method = learner({"gamma": 0.9, **training}, lambda_opt=0.7, lambda_nopt=0.3, **section)
    (live, other), data = parameters(method), steps()
    live = raised(live, -0.5)  # so that the sum falls short of the joint value in some steps
    (found, (metrics,)), gradient = jax.jit(jax.value_and_grad(method.loss, has_aux=True))(live, other, data)
    constant, old = doubles(live), doubles(other)
    expected, terms = _expected(method, doubles(live), constant, old, data)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_allclose([metrics[name] for name in TERMS], terms, rtol=1e-5)
    assert (terms > 0.01).all()
    assert_gradient(gradient, lambda p: _expected(method, p, constant, old, data)[0], doubles(live))


def _size(tree: Any) -> float:
    return max(float(jnp.abs(x).max()) for x in jax.tree.leaves(tree))


@pytest.mark.parametrize("form", ["base", "alt"])
@pytest.mark.parametrize("term", TERMS)
def test_whom_a_term_teaches(form: str, term: str) -> None:
    """L_td: the joint value, and the agents through their memory alone. The others: agents and V."""
    method, data = learner(form=form), steps()
    live, other = parameters(method)
    live = raised(live, -0.5)
    gradient, old = jax.jit(jax.grad(lambda p, t: method.loss(p, t, data)[1][0][term], (0, 1)))(live, other)
    assert _size(old) == 0
    agent = dict(gradient["agent"]["params"])
    heads = [agent.pop("head_kernel"), agent.pop("head_bias")]
    assert all(_size(x) > 0 for x in agent.values())
    if term == "td_loss":
        assert _size(heads) == 0 and _size(gradient["value"]) == 0
        assert all(_size(x) > 0 for x in jax.tree.leaves(gradient["joint"]))
    else:
        assert all(_size(x) > 0 for x in heads) and _size(gradient["value"]) > 0
        assert _size(gradient["joint"]) == 0


@pytest.mark.parametrize("form, teaches", [("base", False), ("alt", True)])
def test_only_base_lets_the_sum_exceed_the_joint_value(form: str, teaches: bool) -> None:
    method, data = learner(form=form), steps()
    live, other = parameters(method)
    nopt = jax.jit(jax.value_and_grad(lambda p: method.loss(p, other, data)[1][0]["nopt_loss"]))
    value, gradient = nopt(raised(live, 100))
    assert (value > 0) == teaches and (_size(gradient) > 0) == teaches


@pytest.mark.parametrize("form", ["base", "alt"])
def test_unavailable_actions_are_never_best(form: str) -> None:
    """However good or bad the agents, live or target, think an action that nobody has."""
    data = steps()
    available = data.view.available.at[..., 2].set(False).at[..., 0].set(True)
    data = data._replace(view=data.view._replace(available=available), actions=jnp.zeros_like(data.actions))
    for bootstrap in ("joint", "sum_of_max"):
        method = learner(form=form, bootstrap=bootstrap)
        live, other = parameters(method)

        def moved(params: Any, by: float) -> Any:
            bias = params["agent"]["params"]["head_bias"].at[2].add(by)
            return {**params, "agent": {"params": {**params["agent"]["params"], "head_bias": bias}}}

        loss = jax.jit(lambda live, other, method=method: method.loss(live, other, data)[0])
        for by in (1e6, -1e6):
            assert loss(moved(live, by), moved(other, by)) == loss(live, other)


@pytest.mark.parametrize("form", ["base", "alt"])
def test_slots_that_are_not_valid_teach_nothing(form: str) -> None:
    method, data = learner({"td_lambda": 0.5}, form=form), steps()
    live, other = parameters(method)
    learn = jax.jit(jax.value_and_grad(lambda p, data: method.loss(p, other, data)[0]))
    assert_padding_teaches_nothing(lambda data: learn(live, data), data)


def test_joint_values() -> None:
    """The sum of the utilities, Q_jt, and the sum plus V; no V, no third."""
    data = steps()
    view, actions = jax.tree.map(lambda x: x[0], (data.view, data.actions))
    for section in ({}, {"form": "alt"}, {"state_value": False}):
        method = learner(**section)
        state = method.init(jax.random.key(3))
        p = doubles(state.params)
        q, h = (x[0] for x in _played(p, data))
        u, states = np.asarray(actions), np.asarray(view.state, float)
        found = jax.jit(method.joint_values)(state, view, actions)
        for r in range(B):
            total = sum(q[r, i, u[r, i]] for i in range(N))
            np.testing.assert_allclose(found["joint"][r], total, rtol=1e-5)
            if method.composition.form == "alt":
                table = reference.counterfactual(p["joint"]["params"], h[r], states[r], u[r], A)
                critic = np.mean([table[i, u[r, i]] for i in range(N)])
            else:
                critic = reference.joint_value(p["joint"]["params"], h[r], states[r], u[r], A)
            np.testing.assert_allclose(found["critic"][r], critic, rtol=1e-5)
            if method.value:
                value = reference.state_value(p["value"]["params"], states[r])
                np.testing.assert_allclose(found["transformed"][r], total + value, rtol=1e-5)
        assert ("transformed" in found) == method.composition.state_value


def test_updates_lower_the_loss_and_the_target_follows_at_its_interval() -> None:
    method = learner({"target_update_interval": 60.0, "target_update_unit": "updates", "learning_rate": 0.01})
    state, data = method.init(jax.random.key(0)), steps()
    first, update = state.params, jax.jit(method.update)
    losses = []
    for number in range(60):
        jax.tree.map(np.testing.assert_array_equal, state.target, first)
        state, metrics = update(state, data, jax.random.key(0), START._replace(updates=jnp.float32(number)))
        losses.append(float(metrics["loss"]))
    assert losses[-1] < 0.5 * losses[0]
    jax.tree.map(np.testing.assert_array_equal, state.target, state.params)


def test_methods_and_their_profile() -> None:
    for name, form in (("qtran", "base"), ("qtran_alt", "alt")):
        made = marlx.configure(name, "matrix_game")
        assert made.algorithm["form"] == form and made.training["td_lambda"] == 0
        assert {"lambda_opt", "lambda_nopt"} <= set(made.numbers()["algorithm"])
    assert marlx.configure("qtran", "matrix_game", "algorithm.profile=pymarl2").training["learning_rate"] == 5e-4


@pytest.mark.parametrize(
    "name, override, words",
    [
        ("qtran", "algorithm.bootstrap=sum", "algorithm.bootstrap"),
        ("qtran", "algorithm.joint_arch=coma", "algorithm.joint_arch"),
        ("qtran", "algorithm.form=bas", "did you mean 'base'"),
        ("qtran", "algorithm.lambda_nopt=-1", "algorithm.lambda_nopt must be at least 0"),
        ("qtran", "algorithm.joint_layers=0", "algorithm.joint_layers must be at least 1"),
        ("qtran", "algorithm.state_value=2", "must be true or false"),
        ("qtran", "algorithm.mixer=qmix", "algorithm.mixer is no option of qtran; cw_qmix, gomarl, "),
        ("qtran_alt", "algorithm.joint_arch=encoder", "algorithm.joint_arch is no option of qtran_alt; qtran has it"),
    ],
)
def test_mistakes_are_one_line(name: str, override: str, words: str) -> None:
    with pytest.raises(UsageError) as error:
        marlx.configure(name, "matrix_game", override)
    assert words in str(error.value) and "\n" not in str(error.value)
