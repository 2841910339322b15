import jax
import jax.numpy as jnp
import numpy as np
from marlx_envs.batch_last import batch_last

SHAPES = []


def product(matrix, vectors):
    """[2 3 L] times {"v": [3 L]}."""
    SHAPES.append(matrix.shape)
    return {"w": (matrix * vectors["v"]).sum(1)}


def test_one_and_any_number_of_batch_axes_become_the_last_axis():
    matrices = np.random.default_rng(0).normal(size=(4, 5, 2, 3)).astype(np.float32)
    vectors = np.random.default_rng(1).normal(size=(4, 5, 3)).astype(np.float32)
    one = batch_last(product)
    expected = np.einsum("abij,abj->abi", matrices, vectors)
    np.testing.assert_allclose(one(matrices[1, 2], {"v": vectors[1, 2]})["w"], expected[1, 2], rtol=1e-5)
    both = jax.jit(jax.vmap(jax.vmap(one)))(matrices, {"v": vectors})["w"]
    np.testing.assert_allclose(both, expected, rtol=1e-5)
    assert SHAPES[-1] == (2, 3, 20)


def test_what_is_not_batched_is_shared():
    matrices = np.random.default_rng(0).normal(size=(4, 2, 3)).astype(np.float32)
    vectors = np.random.default_rng(1).normal(size=(5, 3)).astype(np.float32)
    one = batch_last(product)
    outer = jax.vmap(jax.vmap(one, (None, 0)), (0, None))(matrices, {"v": vectors})["w"]
    np.testing.assert_allclose(outer, np.einsum("aij,bj->abi", matrices, vectors), rtol=1e-5)
    inner = jax.vmap(lambda m: one(m, {"v": jnp.ones(3)}))(matrices)["w"]
    np.testing.assert_allclose(inner, matrices.sum(-1), rtol=1e-5)
