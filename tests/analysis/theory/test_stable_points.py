"""Stable points of every method against the numbers of MRVF, WQMIX and POW, and the theorems as properties."""

import time

import numpy as np
import pytest
from marlx_envs.payoffs import PAYOFFS

from marlx.analysis.theory import stable_points as of
from marlx.analysis.theory.exploration import EXPLORATIONS, centralised, decentralised
from marlx.analysis.theory.plane import recognised
from marlx.analysis.theory.projection import losses_by_greedy, minimisers, project
from marlx.analysis.theory.survey import METHODS, Setting, Verdict, points, verdicts

UNIFORM = centralised((3, 3), 1.0)
RANDOM = np.random.default_rng(0).normal(size=(200, 3, 3))


def game(payoff: str) -> np.ndarray:
    return PAYOFFS[payoff]().astype(float)[None]


def names(marks: np.ndarray) -> str:
    return " ".join("ABC"[k // 3] + "ABC"[k % 3] for k in np.flatnonzero(marks))


def stable(greedy_map: np.ndarray) -> str:
    return names(of.stable_points(greedy_map).stable[0])


@pytest.mark.parametrize("shape", [(3, 3), (2, 3, 4)])
@pytest.mark.parametrize("exploration", EXPLORATIONS)
def test_data_around_a_greedy_joint_action(exploration: str, shape: tuple[int, ...]) -> None:
    cells = np.prod(shape)
    found = EXPLORATIONS[exploration](shape, 0.2).reshape(cells, cells)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    own = 0.8 + 0.2 / cells if exploration == "centralised" else np.prod([0.8 + 0.2 / size for size in shape])
    np.testing.assert_allclose(np.diagonal(found), own)
    np.testing.assert_allclose(EXPLORATIONS[exploration](shape, 1.0), 1 / cells)


@pytest.mark.parametrize(
    "payoff, exploration, epsilon, expected",
    [
        ("mrvf5", "decentralised", 1.0, "CC"),
        ("mrvf5", "decentralised", 0.8, "AA CC"),
        *(("mrvf5", "decentralised", epsilon, "AA BB CC") for epsilon in (0.5, 0.2, 0.05)),
        *(("mrvf5", "centralised", epsilon, "AA CC") for epsilon in (0.8, 0.5, 0.2, 0.05)),
        ("resq79", "centralised", 1.0, "CC"),
        *(("resq79", kind, epsilon, "AA CC") for kind in EXPLORATIONS for epsilon in (0.8, 0.5, 0.2, 0.05)),
        *(("game_b", kind, epsilon, "CC") for kind in EXPLORATIONS for epsilon in (1.0, 0.5)),
        ("game_b", "decentralised", 0.05, "AA CC"),
        ("game_b", "centralised", 0.05, "CC"),
    ],
)
def test_qmix(payoff: str, exploration: str, epsilon: float, expected: str) -> None:
    assert stable(of.qmix(game(payoff), EXPLORATIONS[exploration]((3, 3), epsilon))) == expected


def test_never_to_catch_is_stable_in_predator_prey_once_exploration_is_small() -> None:
    payoff = PAYOFFS["k_of_n"](2, 4, 2, 10.0, -2.0).astype(float)[None]
    never = 4 * 2 + 2  # both agents elsewhere
    few = np.array([never])
    for epsilon, expected in ((1.0, False), (0.01, True)):
        data = decentralised((4, 4), epsilon)[few]
        losses = losses_by_greedy(payoff, data)
        assert bool(minimisers(losses).reshape(-1)[never]) == expected
        if expected:  # the catch that is missed weighs epsilon^2
            assert losses.min() == pytest.approx(12**2 * (epsilon / 4) ** 2, rel=0.1)


def test_at_small_epsilon_the_value_of_what_is_played_is_right() -> None:
    """MRVF, lemma 1."""
    gaps = [abs(project(PAYOFFS["mrvf5"](), centralised((3, 3), e)[4]).table[1, 1] - 3) for e in (0.5, 0.05, 0.005)]
    assert gaps[0] > gaps[1] > gaps[2] and gaps[2] < 0.1


def test_the_worst_joint_action_is_never_stable_under_centralised_exploration() -> None:
    """MRVF, theorem 2; under decentralised exploration it may be."""
    worst = RANDOM.reshape(200, 9).argmin(axis=1)
    found = of.stable_points(of.qmix(RANDOM, centralised((3, 3), 0.01))).stable
    assert not found[np.arange(200), worst].any()


@pytest.mark.parametrize("alpha", [0.5, 0.1, 1e-9])
def test_cw_qmix_rests_at_the_optimum_alone_but_may_not_reach_it(alpha: float) -> None:
    found = of.cw_qmix(game("mrvf5"), UNIFORM, alpha)
    assert stable(found) == "AA"
    if alpha < 0.5:
        assert [names(found[0, k]) for k in (0, 8, 2, 6)] == ["AA", "AC CA", "CA", "AC"]  # of AA, CC, AC, CA: a cycle
        assert of.stable_points(found).circles.tolist() == [True]


@pytest.mark.parametrize("alpha, expected", [(0.5, "CC"), (0.1, "CC"), (0.0, "AA")])
def test_cw_qmix_on_game_b(alpha: float, expected: str) -> None:
    assert stable(of.cw_qmix(game("game_b"), UNIFORM, alpha)) == expected


@pytest.mark.parametrize("payoff", ["mrvf5", "mrvf8", "resq79", "game_b", "son3"])
def test_resq_rests_weakly_at_optima_and_nowhere_else(payoff: str) -> None:
    """MRVF, theorem 3 and lemma 2: from every u~ another greedy joint action has no loss either."""
    found = of.resq(game(payoff), UNIFORM)
    assert stable(found) == "AA"
    assert not of.stable_points(found).strong.any()
    assert (found[0] & ~np.eye(9, dtype=bool)).any(axis=1).all()


def test_resq_against_a_search_for_tables_without_loss() -> None:
    """The least monotonic table above Q, over all orders with a given last cell, equals Q at u~ or none does."""
    from marlx.analysis.theory.lattice import orders

    cells, last = orders((3, 3), [range(3)] * 2)
    for payoff in RANDOM[:20]:
        found = of.resq(payoff[None], UNIFORM)[0]
        expected = np.zeros((9, 9), bool)
        for order, greedy in zip(cells, last, strict=True):
            above = np.maximum.accumulate(np.maximum.accumulate(payoff.reshape(-1)[order].reshape(3, 3), 0), 1)
            expected[order, greedy] |= above.reshape(-1) == payoff.reshape(-1)[order]
        np.testing.assert_array_equal(found, expected)


def test_the_table_of_mrvf_for_resq_with_its_misprint_mended() -> None:
    """Table 6: cell (3, 3) of Q_r is -3, for -4 would give 4."""
    monotonic = np.array([[8, 8, 8], [8, 8, 9], [8, 8, 8]])
    residual = np.array([[0, -20, -20], [-20, -5, -9], [-20, -8, -3]])
    np.testing.assert_array_equal(monotonic + residual, PAYOFFS["mrvf5"]())
    assert names(of.resq(game("mrvf5"), UNIFORM)[0, 0]) == names(np.ones(9))  # (B, C) as in the table, among others


def test_vdn_is_least_squares() -> None:
    payoff = np.array([[[3.0, 1.0], [2.0, 1.0]]])
    assert of.stable_points(of.vdn(payoff, centralised((2, 2), 1.0))).strong[0].tolist() == [True, False, False, False]
    sums = RANDOM[:, :, None] * 0 + (RANDOM.mean(axis=2)[:, :, None] + RANDOM.mean(axis=1)[:, None])[:, :, None, :]
    expected = sums.reshape(200, 9).argmax(axis=1)  # row mean + column mean
    assert (of.vdn(RANDOM, UNIFORM)[:, 0].argmax(axis=1) == expected).all()


def test_figure_2_of_pow() -> None:
    """Uniform data: POW-QMIX, CW-QMIX and ResQ at (A, A), QMIX at (C, C); ideal OW-QMIX misses (A, A) as well."""
    found = points(game("resq79"), Setting(alpha=0.0, tolerance=0.05))
    assert {name: names(of_method.stable[0]) for name, of_method in found.items()} == {
        "vdn": "CC", "qmix": "CC", "ow_qmix": "AC CA", "cw_qmix": "AA", "qplex": "AA BB CC", "resq": "AA",
        "pow_qmix": "AA", "mrvf": "AA",
    }  # fmt: skip


def test_pow_rests_at_optima_alone_and_moves_to_one() -> None:
    """POW, theorem 2: u-hat moves to an optimum; on POW's own game in one move, but from (A, C) and (C, A)."""
    optimal = RANDOM.reshape(200, 9) == RANDOM.max(axis=(1, 2))[:, None]
    assert (of.stable_points(of.pow_qmix(RANDOM, UNIFORM, 1e-6)).stable == optimal).all()
    found = of.pow_qmix(game("resq79"), UNIFORM, 0.05)[0]
    assert names(found[:, 0]) == "AA AB BA BB BC CB CC"
    assert (found[2] & found[:, 0]).any() and (found[6] & found[:, 0]).any()


def test_pow_may_need_more_than_one_move() -> None:
    """Where cells of A_r conflict: A must be above C for agent 1 at (C, C), so that (C, A), the best, is not greedy."""
    payoff = np.array([[[0.1, -0.1, 0.6], [0.1, -0.5, 0.4], [1.3, 1.0, -0.7]]])
    found = of.pow_qmix(payoff, UNIFORM, 1e-6)
    assert names(recognised(payoff, 1e-6)[0, 8].reshape(-1)) == "AC CA CB CC"
    assert not found[0, 8, 6] and names(found[0, 8] & found[0, :, 6]) == names(
        found[0, 8]
    )  # the second move gets there


def test_verdicts() -> None:
    marks = lambda *cells: (np.arange(9) == np.array(cells)[:, None]).any(axis=0)[None]  # noqa: E731
    payoff = game("mrvf5")
    for stable_at, strong_at, expected in [
        ([8], [8], Verdict.NEVER),
        ([], [], Verdict.NEVER),
        ([0, 8], [0], Verdict.SOME),
        ([0], [], Verdict.WEAK),
        ([0], [0], Verdict.ALWAYS),
    ]:
        both = [marks(*cells) if cells else np.zeros((1, 9), bool) for cells in (stable_at, strong_at)]
        assert verdicts(payoff, of.StablePoints(*both, np.array([False])))[0] == expected
        circling = verdicts(payoff, of.StablePoints(*both, np.array([True])))[0]
        assert circling == (Verdict.WEAK if expected == Verdict.ALWAYS else expected)


def test_circles() -> None:
    """0 rests; 1 and 2 follow each other; of the second map 2 may also go to 0, of the third it must."""
    maps = np.zeros((3, 3, 3), bool)
    maps[:, 0, 0] = maps[:, 1, 2] = maps[:2, 2, 1] = maps[1:, 2, 0] = True
    found = of.stable_points(maps)
    assert found.circles.tolist() == [True, True, False]
    assert found.strong.tolist() == [[True, False, False]] * 3


def test_a_scan_is_its_games_one_by_one() -> None:
    """Also under exploration around the greedy joint action, where every u~ has data of its own."""
    setting = Setting(epsilon=0.5, exploration="centralised")
    together = points(RANDOM[:4], setting)
    for index in range(4):
        alone = points(RANDOM[index : index + 1], setting)
        for name in METHODS:
            np.testing.assert_array_equal(together[name].stable[index], alone[name].stable[0], name)


@pytest.mark.slow
@pytest.mark.parametrize("setting", [Setting(), *(Setting(epsilon=0.2, exploration=kind) for kind in EXPLORATIONS)])
def test_ten_thousand_games_in_a_minute(setting: Setting) -> None:
    """Every method, in a minute of two cores; about 20 s of one core under uniform data, 50 s at epsilon 0.2."""
    games = np.random.default_rng(1).normal(size=(10_000, 3, 3))
    began = time.process_time()
    found = {name: verdicts(games, of_method) for name, of_method in points(games, setting).items()}
    assert time.process_time() - began < 120
    shares = {name: np.bincount(of_method, minlength=4) / 10_000 for name, of_method in found.items()}
    assert shares["resq"][Verdict.WEAK] == 1 and shares["qmix"][Verdict.ALWAYS] < shares["mrvf"][Verdict.ALWAYS]
