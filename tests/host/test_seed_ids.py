"""Seed ids from numbers, texts and sequences, and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from marlx_envs.options import UsageError

from marlx.host.seed_ids import LARGEST, seed_ids, text


@pytest.mark.parametrize(
    ("given_as", "ids"),
    [
        (3, [0, 1, 2]),
        (np.int64(2), [0, 1]),
        ("3", [0, 1, 2]),
        ("4:6", [4, 5]),
        ("7,2,4:6", [7, 2, 4, 5]),
        ([5, 3], [5, 3]),
        (range(2, 4), [2, 3]),
        (np.array([9, 1]), [9, 1]),
        (str(LARGEST) + ",0", [LARGEST, 0]),
    ],
)
def test_ids(given_as: object, ids: list[int]) -> None:
    assert seed_ids(given_as) == ids  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong",
    [0, -1, 1.5, True, None, 10**9, [], [1, 1], [-1], [2**32], "0", "-4", "abc", "", "1.5", "5:5", "1,1", "-2:3", "²"],
)
def test_wrong_seeds_are_one_line(wrong: object) -> None:
    with pytest.raises(UsageError) as error:
        seed_ids(wrong)  # type: ignore[arg-type]
    assert "seed" in str(error.value)
    assert "\n" not in str(error.value)


@given(st.lists(st.integers(0, LARGEST), min_size=1, unique=True))
def test_text_is_read_back(ids: list[int]) -> None:
    assert seed_ids(text(ids)) == ids
