"""What is read off learned tables."""

import numpy as np
import pytest

import marlx
from marlx.analysis.joint_table import greedy_actions, igm_gap, learned_tables
from marlx.engine.seeds import Fleet
from marlx.program import Program


def test_igm_gap_by_hand() -> None:
    """Two seeds with 2 x 3 cells: the greedy cell is a best one, of two; and it is 4 below the best one."""
    tables = np.array([[[1.0, 5.0, 2.0], [5.0, 0.0, -1.0]], [[1.0, 3.0, 2.0], [0.0, 0.0, -1.0]]])
    np.testing.assert_array_equal(igm_gap(tables, np.array([[1, 0], [1, 2]])), [0.0, 4.0])


@pytest.mark.parametrize("monotone", [True, False])
def test_igm_gap_of_learners(monotone: bool) -> None:
    """Fresh mixers: none where the sign is constrained, and some where it is not."""
    experiment = marlx.configure("qmix", "matrix_game", f"algorithm.monotone={str(monotone).lower()}")
    program, numbers = Program(experiment), experiment.numbers()
    fleet = Fleet(program, numbers, range(8))
    learner = fleet.cut(fleet.init().learner)
    gap = igm_gap(learned_tables(program, learner, numbers)["joint"], greedy_actions(program, learner, numbers))
    assert gap.shape == (8,) and (gap >= 0).all()
    assert (gap < 1e-6).all() if monotone else (gap > 1e-3).any()
