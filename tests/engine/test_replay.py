"""The ring: order, wrap-around, sampling without replacement, and recent rows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from marlx.engine import replay
from marlx.types import Sampling


def test_ring_keeps_the_newest_rows() -> None:
    ring = replay.init({"x": jnp.zeros((2, 3))}, 6)
    for index in range(5):
        ring = replay.add(ring, {"x": jnp.full((2, 3), float(index))}, jnp.int32(2 * index))
    np.testing.assert_array_equal(ring["x"][:, 0], [3, 3, 4, 4, 2, 2])


def test_capacity_must_fit_whole_additions() -> None:
    with pytest.raises(ValueError, match="multiple of the 4 rows"):
        replay.init(jnp.zeros((4, 1)), 6)


def test_rows_not_yet_written_are_never_sampled() -> None:
    ring = replay.add(replay.init(jnp.zeros((4, 1)), 16), jnp.ones((4, 1)), jnp.int32(0))
    for seed in range(50):
        assert (replay.sample(ring, jax.random.key(seed), jnp.int32(4), 3) == 1).all()


@pytest.mark.parametrize(("population", "count"), [(5, 5), (6, 3), (9, 8), (1, 1)])
def test_sampling_is_uniform_without_replacement(population: int, count: int) -> None:
    keys = jax.random.split(jax.random.key(0), 20_000)
    rows = jax.vmap(lambda key: replay.without_replacement(key, jnp.int32(population), count))(keys)
    assert ((rows >= 0) & (rows < population)).all()
    assert (jnp.diff(jnp.sort(rows, -1), axis=-1) > 0).all()
    frequency = jax.nn.one_hot(rows, population).sum(1).mean(0)
    np.testing.assert_allclose(frequency, count / population, atol=0.015)


def test_every_set_is_equally_likely() -> None:
    keys = jax.random.split(jax.random.key(1), 30_000)
    rows = jax.vmap(lambda key: replay.without_replacement(key, jnp.int32(5), 2))(keys)
    codes = jnp.sort(rows, -1) @ jnp.array([5, 1])
    counts = np.unique(np.asarray(codes), return_counts=True)[1]
    assert len(counts) == 10
    np.testing.assert_allclose(counts / 30_000, 0.1, atol=0.008)


RECENT = Sampling(recent=4, window=6)


@pytest.mark.parametrize("total", [12, 16, 24, 40], ids=["filling", "full", "wrapped", "wrapped twice"])
def test_recent_rows_are_drawn_from_the_latest(total: int) -> None:
    """Rows hold their own number; the ring has 16. Four of ten are different ones of the latest six."""
    ring, rows = replay.init(jnp.zeros((4,), jnp.int32), 16), jnp.arange(4)
    for first in range(0, total, 4):
        ring = replay.add(ring, first + rows, jnp.int32(first))
    keys = jax.random.split(jax.random.key(total), 4000)
    drawn = np.asarray(jax.vmap(lambda key: replay.sample(ring, key, jnp.int32(total), 10, RECENT))(keys))
    others, recent = np.sort(drawn[:, :6]), np.sort(drawn[:, 6:])
    oldest = max(total - 16, 0)
    for part, low in ((others, oldest), (recent, total - 6)):
        assert (part >= low).all() and (part < total).all()
        assert (np.diff(part) > 0).all()
        share = part.shape[1] / (total - low)
        np.testing.assert_allclose(np.bincount(part.ravel() - low) / len(keys), share, atol=0.04)


@pytest.mark.parametrize(
    "sampling", [Sampling(recent=3, window=100), pytest.param(Sampling(recent=5, window=100), marks=pytest.mark.slow)]
)
def test_a_window_wider_than_the_ring(sampling: Sampling) -> None:
    """Then every row that is there is recent, those not yet written are not; a batch may be recent throughout."""
    ring = replay.add(replay.init(jnp.zeros((8,)), 16), jnp.ones(8), jnp.int32(0))
    for seed in range(50):
        rows = replay.sample(ring, jax.random.key(seed), jnp.int32(8), 5, sampling)
        assert rows.shape == (5,) and (rows == 1).all()
