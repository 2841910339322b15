"""MRVF's rounds by hand: which one is accepted, what the next one learns from, and where ideal ones end."""

import itertools
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from marlx.algorithms.mrvf import accepted_round, gains, of_round

Table = np.ndarray


@pytest.mark.parametrize(
    "values, expected",
    [
        ([5, 8, 7], 1),  # the second is better, the third is not
        ([5, 5, 9], 0),  # equal is no improvement, and what comes after the end does not count
        ([5, 4, 9], 0),
        ([3, 5, 8], 2),
        ([8, 8, 8], 0),
        ([7], 0),
    ],
)
def test_the_last_round_accepted(values: list[float], expected: int) -> None:
    array = jnp.array(values, jnp.float32)
    assert accepted_round(array) == expected
    batched = jnp.stack([array, jnp.arange(len(values))], -1)
    np.testing.assert_array_equal(accepted_round(batched), [expected, len(values) - 1])


def test_the_final_action_is_that_of_the_last_round_accepted() -> None:
    """Greedy (C,C), (A,A), (B,C) in the table of MRVF: 5, 8, 0. Greedy (C,C) again in round 2: it stays."""
    table = jnp.array([[8.0, -12, -12], [-12, 3, 0], [-12, 0, 5]])
    greedy = jnp.array([[[2, 2], [2, 2]], [[0, 0], [2, 2]], [[1, 2], [0, 0]]])
    number = accepted_round(table[greedy[..., 0], greedy[..., 1]])
    np.testing.assert_array_equal(number, [1, 0])
    np.testing.assert_array_equal(of_round(greedy, number), [[0, 0], [2, 2]])


def test_gains_numbers() -> None:
    """Greedy values 5, 8, 0; a round learns from a joint action of value 8, 8, -12."""
    at_greedy = jnp.array([5.0, 8.0, 0.0])
    np.testing.assert_array_equal(gains(jnp.array([8.0, 8.0, -12.0]), at_greedy), [8, 3, 0])
    np.testing.assert_array_equal(gains(jnp.array([-12.0, 0.0, 9.0]), at_greedy), [-12, 0, 1])


def ideal(table: Table) -> tuple[float, Table, tuple[int, int]]:
    """Ideal QMIX under uniform data (MRVF, appendix B.2), exactly: least loss, its table and greedy joint action.

    For each strict order of both agents' actions the monotone projection is max over upper sets U of min over lower
    sets L, both with the cell, of the mean over their intersection.
    """
    cells = list(itertools.product(range(3), repeat=2))
    lower = [
        np.array([[column < length for column in range(3)] for length in lengths])
        for lengths in itertools.product(range(4), repeat=3)
        if list(lengths) == sorted(lengths, reverse=True)
    ]
    upper = [~x for x in lower]
    assert len(lower) == 20
    found = []
    for rows, columns in itertools.product(itertools.permutations(range(3)), repeat=2):
        ordered = table[np.ix_(rows, columns)]
        projected = np.array([
            max(min(ordered[u & low].mean() for low in lower if low[cell]) for u in upper if u[cell]) for cell in cells
        ]).reshape(3, 3)  # fmt: skip
        back = np.empty((3, 3))
        back[np.ix_(rows, columns)] = projected
        found.append((float(((back - table) ** 2).mean()), back, (rows[-1], columns[-1])))
    return min(found, key=lambda x: x[0])


@pytest.mark.parametrize(
    "table, first, first_value, loss, best_value",
    [
        ([[8, -12, -12], [-12, 3, 0], [-12, 0, 5]], (2, 2), 5, 36.2222, 8),
        ([[8, -12, -12], [-12, 0, 0], [-12, 0, 7.9]], (2, 2), 7.9, 35.5556, 8),
        ([[12, 0, 10], [0, 0, 10], [10, 10, 10]], (2, 2), 10, 0.3333, 12),
    ],
)
def test_ideal_rounds(table: Any, first: tuple[int, int], first_value: float, loss: float, best_value: float) -> None:
    """Round 1 ends where QMIX does; round 2 sees the best cell alone, (A,A), and has no loss; round 3 sees nothing."""
    values = np.array(table, float)

    def target(preceding: tuple[int, int]) -> Table:
        """What a later round learns of every joint action."""
        both = jnp.stack([jnp.zeros(9), jnp.asarray(values.ravel(), jnp.float32)])
        at_greedy = jnp.full((2, 9), values[preceding], jnp.float32)
        return np.asarray(gains(both, at_greedy)[1]).reshape(3, 3)

    least, _, one = ideal(values)
    np.testing.assert_allclose(least, loss, atol=5e-5)
    assert one == first and values[one] == first_value
    second = target(one)
    assert (second > 0).sum() == 1
    least, _, two = ideal(second)
    assert least < 1e-9 and two == (0, 0) and values[two] == best_value
    assert not target(two).any()
    for three in itertools.product(range(3), repeat=2):  # any of them may be greedy; none is accepted
        assert accepted_round(jnp.array([values[one], values[two], values[three]])) == 1
