"""Mixers: the hand-checked numbers from the specification, and properties that hold for every mixer of the registry."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from marlx_envs.options import UsageError

import marlx
from marlx.agents import take
from marlx.mixers import MIXERS
from marlx.mixers.base import Context, Mixer
from marlx.mixers.gomarl import Groups
from marlx.mixers.qmix import QMIX, mix
from tests.parts.gradients import as_float64, assert_close, finite_differences

N, D, A, O, H, G = 3, 10, 4, 5, 8, 6
BUILT_IN = ("feed_forward", "gomarl", "independent", "na2q", "qatten", "qmix", "qplex", "shaq", "vdn")


def _qmix_numbers(monotone: bool) -> tuple[jax.Array, jax.Array]:
    w1, w2 = jnp.array([[0.5, -1.0], [-0.25, 2.0]]), jnp.array([-2.0, 0.5])

    def value(q: jax.Array) -> jax.Array:
        return mix(q, w1, jnp.array([0.1, -0.3]), w2, jnp.float32(0.2), monotone=monotone)

    return jax.value_and_grad(value)(jnp.array([1.0, -0.5]))


def test_qmix_numbers() -> None:
    value, gradient = _qmix_numbers(monotone=True)
    np.testing.assert_allclose(value, 1.020409, rtol=1e-6)
    np.testing.assert_allclose(gradient, [1.370409, 1.240818], rtol=1e-6)


def test_unconstrained_qmix_numbers() -> None:
    value, gradient = _qmix_numbers(monotone=False)
    np.testing.assert_allclose(value, -1.699871, rtol=1e-6)
    np.testing.assert_allclose(gradient, [-1.050129, 0.600259], rtol=1e-5)


def test_qmix_has_the_published_number_of_parameters() -> None:
    params = marlx.mixers.QMIX(3, 10).init(jax.random.key(0))
    assert sum(x.size for x in jax.tree.leaves(params)) == 10465


def test_one_layer_hypernetworks() -> None:
    params = QMIX(3, 10, hypernet_layers=1).init(jax.random.key(0))
    expected = (10 + 1) * 3 * 32 + (10 + 1) * 32 + (10 + 1) * 32 + (10 + 1) * 32 + (32 + 1)
    assert sum(x.size for x in jax.tree.leaves(params)) == expected


@pytest.mark.parametrize("layers", [2, 1])
@pytest.mark.parametrize("monotone", [True, False])
def test_qmix_equals_loops_in_value_and_gradient(monotone: bool, layers: int) -> None:
    mixer = QMIX(N, D, mixing_width=4, hypernet_width=6, hypernet_layers=layers, monotone=monotone)
    params = mixer.init(jax.random.key(1))
    q, s = (3 * jax.random.normal(jax.random.key(2 + i), (size,)) for i, size in enumerate((N, D)))

    def plain(point: Any) -> float:
        p, q = point[0]["params"], point[1]
        relu = lambda x: np.maximum(x, 0)  # noqa: E731
        sign = np.abs if monotone else lambda x: x

        def affine(name: str, x: np.ndarray) -> np.ndarray:
            return x @ p[name]["kernel"] + p[name]["bias"]

        w1, w2, v, b1 = np.split(affine("first", np.asarray(s)), [6, 12, 16] if layers == 2 else [12, 16, 20])
        if layers == 2:
            w1, w2 = affine("w1", relu(w1)), affine("w2", relu(w2))
        w1, w2 = sign(w1).reshape(N, 4), sign(w2)  # agent-major
        total = affine("value", relu(v))[0]
        for e in range(4):
            z = sum(q[i] * w1[i, e] for i in range(N)) + b1[e]
            total += (z if z > 0 else np.exp(z) - 1) * w2[e]
        return float(total)

    value, gradient = jax.jit(jax.value_and_grad(lambda point: mixer.apply(point[0], point[1], s)))((params, q))
    point = as_float64((params, q))
    np.testing.assert_allclose(value, plain(point), rtol=1e-5)
    assert_close(gradient, finite_differences(plain, point))


def test_vdn_numbers() -> None:
    value, gradient = jax.value_and_grad(lambda q: marlx.mixers.VDN(2, 1).apply({}, q, jnp.zeros(1)))(
        jnp.array([1.0, -0.5])
    )
    assert value == 0.5
    np.testing.assert_array_equal(gradient, [1, 1])


def test_agents_of_vdn_may_be_permuted() -> None:
    apply = marlx.mixers.VDN(2, 1).apply
    assert apply({}, jnp.array([-0.5, 1.0]), jnp.zeros(1)) == apply({}, jnp.array([1.0, -0.5]), jnp.zeros(1)) == 0.5


def _inputs(mixer: Mixer, shape: tuple[int, ...], seed: int = 0) -> tuple[jax.Array, jax.Array, Context]:
    keys = jax.random.split(jax.random.key(seed), 7)
    utilities = 3 * jax.random.normal(keys[0], (*shape, N))
    context = Context(
        greedy_utilities=utilities + jax.random.exponential(keys[1], (*shape, N)),
        actions=jax.random.randint(keys[2], (*shape, N), 0, A),
        memory=jax.random.normal(keys[3], (*shape, N, H)),
        observation=jax.random.normal(keys[4], (*shape, N, O)),
        group_state=jnp.tanh(jax.random.normal(keys[6], (*shape, N, G))),
        variables=mixer.variables(),
    )
    return utilities, 2 * jax.random.normal(keys[5], (*shape, D)), context


def _made(name: str, **options: Any) -> Mixer:
    """A registered mixer with its defaults but for these options, for the sizes of this file."""
    part = MIXERS[name].load()
    sizes = {
        "n_agents": N, "state_size": D, "n_actions": A, "observation_size": O, "memory_size": H, "group_width": G,
        "axis": None,
    }  # fmt: skip
    return part(**{f.name: sizes[f.name] for f in dataclasses.fields(part) if "option" not in f.metadata}, **options)


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_wrong_number_of_utilities_is_one_line(name: str) -> None:
    mixer = _made(name)
    utilities, state, context = _inputs(mixer, (4, 2))
    with pytest.raises(UsageError) as error:
        mixer.apply({}, utilities[..., :2], state, context)
    assert str(error.value) == f"utilities of this {type(mixer).__name__} must be [.. {N}], not [4 2 2]"


@pytest.mark.parametrize("name", [name for name in BUILT_IN if name not in ("independent", "vdn")])
def test_a_state_of_another_size_is_one_line(name: str) -> None:
    mixer = _made(name)
    utilities, state, context = _inputs(mixer, (4, 2))
    with pytest.raises(UsageError) as error:
        mixer.apply({}, utilities, state[..., 1:], context)
    assert str(error.value) == f"state of this {type(mixer).__name__} must be [.. {D}], not [4 2 {D - 1}]"


@pytest.mark.parametrize("name", ["gomarl", "na2q", "qatten", "qplex", "shaq"])
def test_a_mixer_that_reads_a_context_asks_for_it(name: str) -> None:
    mixer = _made(name)
    utilities, state, _ = _inputs(mixer, (4, 2))
    params = jax.eval_shape(mixer.init, jax.random.key(0))
    with pytest.raises(UsageError, match=f"^{type(mixer).__name__} needs context, which is None"):
        jax.eval_shape(mixer.apply, params, utilities, state)


def test_gomarl_asks_for_group_states() -> None:
    mixer = _made("gomarl")
    utilities, state, context = _inputs(mixer, (4, 2))
    with pytest.raises(UsageError, match=r"^GoMARL needs context\.group_state, which is None$"):
        mixer.apply({}, utilities, state, context._replace(group_state=None))


@pytest.mark.parametrize("name", MIXERS)
def test_any_leading_axes(name: str) -> None:
    mixer = _made(name)
    params, apply = jax.jit(mixer.init)(jax.random.key(0)), jax.jit(mixer.apply)
    utilities, state, context = _inputs(mixer, (4, 2))
    whole = apply(params, utilities, state, context)
    for t in range(4):
        for b in range(2):
            here = jax.tree.map(lambda x, t=t, b=b: x[t, b], context._replace(variables=()))
            here = here._replace(variables=context.variables)
            one = apply(params, utilities[t, b], state[t, b], here)
            np.testing.assert_allclose(whole[t, b], one, rtol=1e-4, atol=1e-5)


MONOTONE: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in MIXERS if _made(name).is_monotone),
    ("qmix", {"hypernet_layers": 1}),
    ("qatten", {"weighted_heads": False}),
    ("gomarl", {"groups": [0, 1, 1]}),
]
IGM: list[tuple[str, dict[str, Any]]] = [
    *((name, options) for name, options in MONOTONE if name != "independent"),
    ("qplex", {}),
    ("qplex", {"weighted_head": False, "stop_advantage_gradient": False, "layers": 1}),
]


def _grouped(name: str, options: dict[str, Any]) -> tuple[Mixer, Any]:
    """A mixer and what it remembers; `groups` of GoMARL are those that its agents are in."""
    options = dict(options)
    groups = options.pop("groups", None)
    mixer = _made(name, **options)
    return mixer, mixer.variables() if groups is None else Groups(jnp.array(groups), jnp.int32(1), jnp.float32(0))


@pytest.mark.parametrize("name, options", MONOTONE)
def test_monotone_in_every_utility(name: str, options: dict[str, Any]) -> None:
    """dQ_tot/dq_i >= 0 at 1,000 draws of parameters, larger than initial ones, utilities and states."""
    mixer, variables = _grouped(name, options)

    def slopes(seed: jax.Array) -> jax.Array:
        utilities, state, context = _inputs(mixer, (), seed)
        params = jax.tree.map(lambda x: 3 * x, mixer.init(jax.random.key(seed + 1000)))
        context = context._replace(variables=variables)
        return jax.grad(lambda q: mixer.apply(params, q, state, context).sum())(utilities)

    found = jax.jit(jax.vmap(slopes))(jnp.arange(1000))
    assert found.shape == (1000, N) and (found >= 0).all() and (found > 0).any()


def test_without_the_constraint_some_slope_is_negative() -> None:
    mixer = QMIX(N, D, monotone=False)
    utilities, state, context = _inputs(mixer, (1000,), seed=1)
    params = mixer.init(jax.random.key(0))
    assert (jax.grad(lambda q: mixer.apply(params, q, state, context).sum())(utilities) < 0).any()


@pytest.mark.parametrize("name, options", IGM)
def test_greedy_agents_are_jointly_greedy(name: str, options: dict[str, Any]) -> None:
    """IGM: over all joint actions of 3 agents with 4 actions each, Q_tot is greatest where every agent is greedy."""
    mixer, variables = _grouped(name, options)
    actions = jnp.stack(jnp.meshgrid(*[jnp.arange(A)] * N, indexing="ij"), axis=-1).reshape(-1, N)

    def joint_values(seed: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Utilities [N A] and the values of all joint actions [A^N]."""
        utilities = 3 * jax.random.normal(jax.random.key(seed), (N, A))
        _, state, context = _inputs(mixer, (), seed)
        here = (state, context._replace(greedy_utilities=utilities.max(-1), variables=()))
        state, context = jax.tree.map(lambda x: jnp.broadcast_to(x, (len(actions), *x.shape)), here)
        here, params = context._replace(actions=actions, variables=variables), mixer.init(jax.random.key(seed + 100))
        return utilities, mixer.apply(params, take(utilities, actions), state, here)

    utilities, joint = jax.jit(jax.vmap(joint_values))(jnp.arange(25))
    np.testing.assert_array_equal(actions[joint.argmax(-1)], utilities.argmax(-1))


@pytest.mark.parametrize("name", MIXERS)
def test_without_a_compiler_it_is_the_same(name: str) -> None:
    mixer = _made(name)
    params = jax.jit(mixer.init)(jax.random.key(0))
    inputs = _inputs(mixer, (3,))
    compiled = jax.jit(mixer.apply)(params, *inputs)
    with jax.disable_jit():
        np.testing.assert_allclose(mixer.apply(params, *inputs), compiled, rtol=1e-4, atol=1e-5)
