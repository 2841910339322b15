"""The level of QPLEX and POW, first-order conditions of the printed tables, QPLEX by simulation, and MRVF's rounds."""

import jax.numpy as jnp
import numpy as np
import pytest
from marlx_envs.payoffs import PAYOFFS

from marlx.analysis.theory import qplex
from marlx.analysis.theory.exploration import centralised
from marlx.analysis.theory.plane import bounded_table, level, recognised
from marlx.analysis.theory.rounds import rounds

UNIFORM = centralised((3, 3), 1.0)
RANDOM = np.random.default_rng(0).normal(size=(300, 3, 3))

# MRVF, tables 7 and 8 as printed: Q_1, Q_2, w_1, w_2 of three points of rest each.
PRINTED = {
    "7b": ([5.23, 0.49, 0.33], [2.77, 0.31, 0.37],
           [[0.25, 1.51, 1.71], [4.21, 0.48, 0.10], [4.08, 0.59, 0.09]],
           [[2.01, 8.13, 8.34], [0.85, 1.12, 3.12], [4.62, 2.08, 1.05]]),
    "7c": ([1.42, 2.41, 1.09], [1.82, 3.09, 0.70],
           [[0.00, 17.64, 5.01], [8.53, 7.65, 1.41], [5.30, 4.16, 0.15]],
           [[0.00, 9.07, 5.22], [13.71, 7.94, 2.29], [8.23, 3.76, 0.13]]),
    "7d": ([1.38, 0.68, 3.09], [1.29, 0.66, 3.41],
           [[0.00, 6.70, 10.86], [3.35, 0.26, 2.71], [5.10, 1.03, 1.92]],
           [[0.00, 2.58, 2.50], [4.93, 1.05, 0.23], [8.72, 2.36, 1.47]]),
    "8b": ([3.86, 0.44, 0.54], [4.14, 1.85, 0.73],
           [[0.94, 1.31, 1.10], [2.34, 0.83, 0.91], [2.41, 1.49, 0.83]],
           [[1.44, 3.50, 2.34], [0.76, 0.95, 1.43], [0.66, 1.34, 0.07]]),
    "8c": ([2.59, 2.75, 1.11], [2.57, 2.75, 0.99],
           [[0.00, 33.25, 1.48], [8.82, 13.44, 0.44], [3.00, 3.35, 0.16]],
           [[0.00, 19.52, 2.99], [31.74, 20.50, 3.13], [3.35, 1.73, 0.14]]),
    "8d": ([3.06, 0.82, 3.35], [2.86, 0.57, 3.15],
           [[0.00, 2.91, 22.31], [2.13, 0.54, 2.57], [4.35, 1.53, 14.12]],
           [[0.00, 2.20, 0.10], [3.89, 0.83, 1.94], [22.74, 2.53, 6.15]]),
}  # fmt: skip


@pytest.mark.parametrize(
    "name, greedy, value, error, slope",
    [
        ("7b", (0, 0), 8.0, 0.006, 0.18),
        ("7c", (1, 1), 5.5, 12.517, 1.77),
        ("7d", (2, 2), 6.5, 4.510, 1.12),
        ("8b", (0, 0), 8.0, 0.001, 0.09),
        ("8c", (1, 1), 5.5, 12.579, 6.84),
        ("8d", (2, 2), 6.5, 4.511, 2.22),
    ],
)
def test_printed_points_of_qplex(name: str, greedy: tuple[int, int], value: float, error: float, slope: float) -> None:
    payoff = PAYOFFS["mrvf5" if name[0] == "7" else "mrvf8"]()
    first, second, *weights = (jnp.asarray(x, jnp.float32) for x in PRINTED[name])
    params = qplex.Duplex((first, second), jnp.stack(weights))
    assert (int(first.argmax()), int(second.argmax())) == greedy
    table = qplex.joint_values(params)
    assert float(table[greedy]) == pytest.approx(value, abs=1e-5)
    assert float(((table - payoff) ** 2).sum()) == pytest.approx(error, abs=6e-4)
    slopes = qplex.gradients(params, payoff).utilities
    assert max(float(jnp.abs(x).max()) for x in slopes) == pytest.approx(slope, abs=6e-3)
    # exactly, instead of with two decimals:
    settled = bounded_table(payoff, greedy)
    assert settled[greedy] == pytest.approx(value)
    assert ((settled - payoff) ** 2).sum() == pytest.approx({8.0: 0, 5.5: 12.5, 6.5: 4.5}[value])
    np.testing.assert_allclose(table, settled, atol=0.25)


def test_without_a_better_point_any_greedy_cell_passes_the_first_order_conditions() -> None:
    assert level(PAYOFFS["mrvf5"]()[None])[0, 1] == pytest.approx(1.0)  # (A, B): the mean of -12, 8, 3 and 5


def test_simulated_qplex_settles_on_the_closed_form() -> None:
    """Without noise every greedy joint action can hold; noise frees those from which one agent alone can do better."""
    payoff = PAYOFFS["mrvf5"]()
    still = qplex.simulate(payoff, starts=32, steps=4_000, step_size=0.02)
    for greedy, table in zip(still.greedy, still.tables, strict=True):
        np.testing.assert_allclose(table, bounded_table(payoff, tuple(greedy)), atol=0.05)
    shaken = qplex.simulate(payoff, starts=32, steps=8_000, step_size=0.02, noise=4.0)
    both_alike = [float((found.greedy[:, 0] == found.greedy[:, 1]).mean()) for found in (still, shaken)]
    assert both_alike[0] < 0.75 and both_alike[1] > 0.85
    assert {tuple(u) for u in shaken.greedy} >= {(0, 0), (1, 1), (2, 2)}


def test_released_gradients_of_qplex_settle_elsewhere() -> None:
    """With the advantage held constant, utilities follow plain sums: from (almost) every start the same table."""
    assert (qplex.simulate(PAYOFFS["mrvf8"](), 8, steps=2000, released=True).greedy == 0).all()
    assert (qplex.simulate(PAYOFFS["resq79"](), 8, steps=2000, released=True).greedy == 2).all()


def test_the_level_is_the_mean_of_itself_and_of_all_above_it() -> None:
    found = level(RANDOM)
    flat = RANDOM.reshape(300, 9)
    for index in range(300):
        for greedy in range(9):
            m, others = found[index, greedy], np.delete(flat[index], greedy)
            assert m == pytest.approx(np.mean([flat[index, greedy], *others[others > m + 1e-12]]))


def test_lemmas_of_pow_about_the_level() -> None:
    """L2 and L3: m <= max Q*; with an optimal u-hat it is Q*(u*), otherwise between Q*(u-hat) and the maximum."""
    found, flat = level(RANDOM), RANDOM.reshape(300, 9)
    best = flat.max(axis=1, keepdims=True)
    optimal = flat == best
    np.testing.assert_allclose(found[optimal], best[:, 0])
    assert (found < best)[~optimal].all() and (found > flat)[~optimal].all()
    assert recognised(RANDOM, 1e-9).reshape(300, 9, 9)[np.arange(300), :, flat.argmax(axis=1)].all()  # T1


@pytest.mark.parametrize(
    "greedy, m, members",
    [
        ((0, 0), 8.0, {(0, 0)}),
        ((2, 2), 7.95, {(0, 0), (2, 2)}),
        *(((i, j), 5.3, {(i, j), (0, 0), (2, 2)}) for i, j in ((1, 1), (1, 2), (2, 1))),
        *(((i, j), 1.3, {(i, j), (0, 0), (2, 2)}) for i, j in ((0, 1), (0, 2), (1, 0), (2, 0))),
    ],
)
def test_what_pow_recognises(greedy: tuple[int, int], m: float, members: set[tuple[int, int]]) -> None:
    payoff = PAYOFFS["resq79"]().astype(float).round(6)[None]
    number = 3 * greedy[0] + greedy[1]
    assert level(payoff)[0, number] == pytest.approx(m)
    found = {tuple(map(int, cell)) for cell in np.argwhere(recognised(payoff, 0.05)[0, number])}
    assert found - {(2, 2)} == members - {(2, 2)}
    if greedy != (2, 2):  # at (C, C) the gap, 7.95 - 7.90, is C itself
        assert found == members
    assert bounded_table(payoff[0], greedy)[1, 1] == min(m, 0.0) if greedy != (1, 1) else m


@pytest.mark.parametrize(
    "payoff, first, values", [("mrvf5", 8, [5, 8, 8]), ("resq79", 8, [7.9, 8, 8]), ("game_b", 8, [10, 12, 12])]
)
def test_rounds_of_mrvf(payoff: str, first: int, values: list[float]) -> None:
    found = rounds(PAYOFFS[payoff]()[None], UNIFORM, 3)
    assert found.greedy[:, 0].tolist() == [first, 0, 0]
    np.testing.assert_allclose(found.value[:, 0], values)
    assert found.improved[:, 0].tolist() == [True, True, False]


def test_rounds_improve_until_the_optimum() -> None:
    """MRVF, theorems 1 and 2: with little centralised exploration each round gains until nothing is left to gain."""
    games = RANDOM[:60]
    value = rounds(games, centralised((3, 3), 0.01)).value[-1]
    settled = np.isfinite(value)  # the others have no stable point in the first round: the greedy one goes in circles
    assert settled.mean() > 0.9
    np.testing.assert_allclose(value[settled], games.max(axis=(1, 2))[settled])


def test_rounds_under_uniform_data_gain_or_stop() -> None:
    """There a round may pool what is left to gain, and stop short of the optimum."""
    found = rounds(RANDOM, UNIFORM)
    assert (np.diff(found.value, axis=0)[found.improved[1:]] > 0).all()
    assert (np.diff(found.value, axis=0)[~found.improved[1:]] == 0).all()
    assert not found.improved[-1].any()
    assert 0.9 < (found.value[-1] == RANDOM.max(axis=(1, 2))).mean() < 1
