"""NA2Q: the specification's number, parity with loops, whom gradients reach, projection, noise, and the learner."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import marlx
from marlx import UsageError
from marlx.losses import optimisers
from marlx.mixers.base import Context
from marlx.mixers.na2q import NA2Q, mix, shape_values
from marlx.settings import Training
from tests.algorithms import learning
from tests.parts.slopes import check_slopes

N, D, O, H, Z, R = 3, 4, 5, 6, 3, 2
START = learning.START
AGENT = {"head": "individual", "agent_id": False, "network": "mlp"}  # compiles sooner
SMALL = {"embedding_width": 5, "vae_width": 4, "latent_size": Z, "first_width": 3, "second_width": 2}
Arrays = dict[str, Any]


def _made() -> NA2Q:
    return NA2Q(N, D, O, H, None, **SMALL)


@functools.cache
def _params() -> Any:
    return jax.jit(_made().init)(jax.random.key(1))


@functools.cache
def _inputs(rows: int = R) -> tuple[jax.Array, jax.Array, Context]:
    keys = jax.random.split(jax.random.key(5), 4)
    q = jax.random.normal(keys[0], (1, rows, N))
    context = Context(
        greedy_utilities=q,
        actions=jnp.zeros((1, rows, N), jnp.int32),
        memory=jax.random.normal(keys[1], (1, rows, N, H)),
        observation=jax.random.normal(keys[2], (1, rows, N, O)),
        key=jax.random.key(6),
    )
    return q, jax.random.normal(keys[3], (1, rows, D)), context


def _dense(layer: Arrays, x: np.ndarray) -> np.ndarray:
    return x @ layer["kernel"] + layer.get("bias", 0)


def _relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def _elu(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x, np.expm1(x))


def _moments(encoder: Arrays, memory: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    p = encoder["params"]
    moments = _dense(p["moments"], _relu(_dense(p["second"], _relu(_dense(p["first"], memory)))))
    return moments[..., :Z], moments[..., Z:]


def _draw(mixer: NA2Q, params: Any, context: Context) -> tuple[np.ndarray, np.ndarray]:
    """z and the noise behind it, [R N Z], where the mean and the deviation are those of the equations."""
    z, _, _ = (np.asarray(x, np.float64) for x in jax.jit(mixer._semantics)(params, context))
    mean, log_std = _moments(jax.tree.map(np.asarray, params["encoder"]), np.asarray(context.memory[0]))
    z = z.reshape(mean.shape)
    return z, (z - mean) / np.exp(log_std)


def _joint(params: Any, q: np.ndarray, s: np.ndarray, z: np.ndarray) -> float:
    """The sum over rows of Q_tot, function by function; z [R N Z] is given."""
    shapes, weights = params["shapes"], params["credits"]["params"]
    width, total = weights["key"]["bias"].shape[0], 0.0
    for r in range(len(q)):
        values = []
        seen = [(i,) for i in range(N)] + [(i, j) for i in range(N) for j in range(i + 1, N)]
        for k, agents in enumerate(seen):
            name, index = ("single", k) if len(agents) == 1 else ("pair", k - N)
            x = q[r, list(agents)]
            for layer, at in ((shapes[name], index), (shapes["second"], k)):
                x = _elu(x @ layer["kernel"][at] + layer["bias"][at])
            values.append(float((x @ shapes["third"]["kernel"][k] + shapes["third"]["bias"][k])[0]))
        first = _dense(weights["first"], s[r])
        key = _relu(_dense(weights["key_functions"], _dense(weights["key"], z[r].reshape(-1))))
        query = _dense(weights["query_functions"], first[:width]).reshape(len(seen), len(seen))
        logits = query @ key / np.sqrt(len(seen))
        alpha = np.exp(logits) / np.exp(logits).sum()
        bias = _dense(weights["bias_third"], _relu(_dense(weights["bias_second"], _relu(first[width:]))))
        total += alpha @ np.array(values) + bias[0]
    return total


def test_the_number_of_the_specification() -> None:
    """Weights 1, biases 0, one unit each, q = (1, -1): f = (1, -0.468536, 0), credits (1/4, 1/4, 1/2), bias 0.1."""
    sizes = {"single": (2, 1), "pair": (1, 2), "second": (3, 1), "third": (3, 1)}
    shapes = {name: {"kernel": np.ones((*size, 1)), "bias": np.zeros((size[0], 1))} for name, size in sizes.items()}
    values = shape_values(shapes, jnp.array([[1.0, -1.0]]))
    np.testing.assert_allclose(values, [[1, -0.468536, 0]], rtol=1e-6)
    joint = mix(values, jnp.array([[0, 0, np.log(2)]]), jnp.array([0.1]))
    np.testing.assert_allclose(joint, [0.232866], rtol=1e-5)


def test_joint_value_and_gradient_equal_loops() -> None:
    mixer = _made()
    params = _params()
    q, s, context = _inputs()
    z, noise = _draw(mixer, params, context)
    assert 0.3 < noise.std() < 3

    def value(tree: Arrays) -> jax.Array:
        return mixer.apply({**params, **tree["params"]}, tree["q"], tree["s"], context).sum()

    tree = {"params": {name: params[name] for name in ("shapes", "credits")}, "q": q, "s": s}
    check_slopes(value, lambda t: _joint(t["params"], t["q"][0], t["s"][0], z), tree)


def test_losses_of_the_autoencoder_and_their_gradient_equal_numpy() -> None:
    """Also the gradient in the agents' memory."""
    mixer = _made()
    params = _params()
    _, _, context = _inputs()
    _, noise = _draw(mixer, params, context)
    obs = np.asarray(context.observation[0], np.float64)

    def value(tree: Arrays) -> jax.Array:
        loss, _ = mixer.auxiliary({**params, **tree["params"]}, context._replace(memory=tree["memory"]), START)
        return loss.mean()

    def reference(tree: Arrays) -> float:
        mean, log_std = _moments(tree["params"]["encoder"], tree["memory"][0])
        p = tree["params"]["decoder"]["params"]
        hidden = _relu(_dense(p["first"], mean + np.exp(log_std) * noise))
        mask = 1 / (1 + np.exp(-_dense(p["mask"], _relu(_dense(p["second"], hidden)))))
        deviation = np.exp(log_std) ** 2
        divergence = -0.5 * (1 + np.log(deviation) - mean**2 - deviation).mean()
        return 0.1 * (((mask * obs - obs) ** 2).mean() + divergence + np.abs(mask).mean())

    tree = {"params": {name: params[name] for name in ("encoder", "decoder")}, "memory": context.memory}
    check_slopes(value, reference, tree)


def _is_zero(tree: Any) -> bool:
    return all((np.asarray(x) == 0).all() for x in jax.tree.leaves(tree))


def _all_reached(tree: Any) -> bool:
    return all((np.asarray(x) != 0).any() for x in jax.tree.leaves(tree))


def test_whom_gradients_reach() -> None:
    mixer = _made()
    params = _params()
    q, s, context = _inputs(rows=16)

    def joint(params: Any, memory: jax.Array) -> jax.Array:
        return (mixer.apply(params, q, s, context._replace(memory=memory)) ** 2).sum()

    def own(params: Any, memory: jax.Array) -> jax.Array:
        return mixer.auxiliary(params, context._replace(memory=memory), START)[0].sum()

    ours, memory = jax.jit(jax.grad(joint, (0, 1)))(params, context.memory)
    assert _all_reached({name: ours[name] for name in ("shapes", "credits")})
    assert _is_zero({name: ours[name] for name in ("encoder", "decoder")}) and _is_zero(memory)
    ours, memory = jax.jit(jax.grad(own, (0, 1)))(params, context.memory)
    assert _is_zero({name: ours[name] for name in ("shapes", "credits")})
    assert _all_reached({name: ours[name] for name in ("encoder", "decoder")}) and _all_reached(memory)


def test_noise_is_fresh_with_every_key_and_absent_without_one() -> None:
    mixer = _made()
    params = _params()
    q, s, context = _inputs()
    joint = jax.jit(lambda key: mixer.apply(params, q, s, context._replace(key=key)))
    one, two, mean, again = map(joint, (*jax.random.split(jax.random.key(0)), None, None))
    assert (one != two).all() and (one != mean).all()
    np.testing.assert_array_equal(mean, again)


def test_projection_reflects_weights_of_the_shape_functions_alone() -> None:
    mixer = _made()
    params = jax.tree.map(lambda x: np.asarray(x) - np.float32(0.3), _params())
    projected = mixer.constrain(params)
    for name, layer in params["shapes"].items():
        np.testing.assert_array_equal(projected["shapes"][name]["kernel"], np.abs(layer["kernel"]))
        np.testing.assert_array_equal(projected["shapes"][name]["bias"], layer["bias"])
    assert (params["shapes"]["pair"]["bias"] < 0).any()
    for name in ("credits", "encoder", "decoder"):
        jax.tree.map(np.testing.assert_array_equal, projected[name], params[name])


@pytest.mark.slow
def test_updates_leave_weights_not_negative() -> None:
    """Large steps, that cross zero again and again; everything is trained, and the target follows."""
    method = learning.learner(AGENT, {"learning_rate": 0.3, "target_update_interval": 2.0}, mixer="na2q")
    state = first = jax.jit(method.init)(jax.random.key(0))
    update = jax.jit(method.update)
    for number in range(4):
        progress = START._replace(episodes=jnp.float32(number))
        state, metrics = update(state, learning.batch(number, rows=8), jax.random.key(number), progress)
        kernels = [layer["kernel"] for layer in state.params["mixer"]["shapes"].values()]
        assert all((kernel >= 0).all() for kernel in kernels)
    assert all((a != b).any() for a, b in zip(*map(jax.tree.leaves, (state.params, first.params)), strict=True))
    parts = {"reconstruction_loss", "divergence_loss", "sparsity_loss"}
    assert parts < metrics.keys() and all(np.isfinite(x) for x in metrics.values())
    old, new = (jax.tree.leaves(s.target["mixer"]["encoder"]) for s in (first, state))
    assert all((a != b).any() for a, b in zip(old, new, strict=True))


@pytest.mark.slow
def test_devices_that_share_a_batch_compute_the_same() -> None:
    """Halves of a batch, on the members of an axis, against the whole: noise belongs to rows; all losses are masked."""
    steps = learning.batch(rows=4)
    steps = steps._replace(valid=steps.valid.at[1, 0].set(False))
    whole, shared = (learning.learner(AGENT, mixer="na2q", axis=axis) for axis in (None, "rows"))
    state, key = jax.jit(whole.init)(jax.random.key(0)), jax.random.key(1)
    halves = jax.tree.map(lambda x: jnp.moveaxis(x.reshape(x.shape[0], 2, 2, *x.shape[2:]), 1, 0), steps)

    def slopes(method: Any, steps: Any) -> Any:
        loss = jax.grad(lambda params: method.loss(params, state, steps, key, START), has_aux=True)
        found, (metrics, _, context) = loss(state.params)
        return found, metrics, method.mixer.auxiliary(state.params["mixer"], context, START)[1]

    shares, _, _ = jax.jit(jax.vmap(lambda half: slopes(shared, half), axis_name="rows"))(halves)
    expected, metrics, parts = jax.jit(lambda steps: slopes(whole, steps))(steps)
    for share, one in zip(jax.tree.leaves(shares), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(share.sum(0), one, rtol=1e-4, atol=1e-5)
    for name, part in parts.items():
        np.testing.assert_allclose(metrics[name], part[steps.valid].mean(), rtol=1e-5)


def test_published_optimisers_are_a_profile() -> None:
    """RMSprop for the agents, Adam for mixer and autoencoder; their first steps are 10 learning rates, and one."""
    training = marlx.configure("na2q", "two_step_game", "algorithm.profile=na2q").training
    assert training["td_lambda"] == 0 and training["batch_size"] == 32
    rule = optimisers(Training(**training))
    params = {"agent": jnp.zeros(1), "mixer": jnp.zeros(1)}
    steps, _ = rule.update(jax.tree.map(jnp.ones_like, params), rule.init(params), params)
    np.testing.assert_allclose(steps["agent"], -10 * 5e-4, rtol=1e-3)
    np.testing.assert_allclose(steps["mixer"], -5e-4, rtol=1e-3)


@pytest.mark.parametrize("name, expected", [("head", "individual"), ("agent_id", False), ("last_action", True)])
def test_agents_of_the_method(name: str, expected: Any) -> None:
    assert marlx.configure("na2q", "two_step_game").agent[name] == expected


def test_too_many_agents_are_refused() -> None:
    with pytest.raises(UsageError, match="at most 50,000,000 are allowed"):
        marlx.configure("na2q", "risk_reward", "environment.n_agents=100")
