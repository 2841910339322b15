"""Every kind of traced number as an axis: a point of a grid is the run of its own, to the bit."""

from itertools import product
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from marlx_envs.options import UsageError

import marlx
from marlx.host.lanes import Lanes

from .resuming import run

SHORT = ("training.total_steps=160", "evaluation.interval=0", "agent.network=mlp", "algorithm.critic_width=4")
HUNT = ("height=4", "width=4", "n_agents=2", "n_stags=2", "n_hares=1", "episode_limit=7")
FITTED = ("algorithm.recognition_width=4", "algorithm.recognition_steps=2")
OPTIONS = {"predator_prey": [f"environment.{word}" for word in HUNT], "matrix_game": FITTED}


@pytest.mark.parametrize(
    "algorithm, game, grid",
    [
        pytest.param(
            "cw_qmix",
            "predator_prey",
            {
                "algorithm.alpha": [0.1, 0.7],
                "training.td_lambda": [0.2, 0.9],
                "training.epsilon_start": [1.0, 0.6],
                "training.epsilon_end": [0.05, 0.3],
                "training.epsilon_steps": [50.0, 120.0],
                "environment.miss_penalty": [-2.0, -0.5],
            },
            marks=pytest.mark.slow,
        ),
        (
            "pow_qmix",
            "matrix_game",
            {
                "algorithm.tolerance": [20.0, 0.01],
                "algorithm.alpha": [0.0, 0.4],
                "training.learning_rate": [1e-3, 1e-2],
            },
        ),
    ],
)
def test_a_point_of_a_grid_equals_a_run_of_its_own_to_the_bit(
    tmp_path: Path, algorithm: str, game: str, grid: dict[str, list[float]]
) -> None:
    """The point of all second values; and each of them matters: the point that has but one first value differs.

    Of an epsilon amid its schedule the last bit may be another one: only one of the programs rounds product and sum as
    one. Here it has ended.
    """
    options: dict[str, Any] = {"game": game, "seeds": 1, "checkpoint_interval": None}
    words = [*SHORT, *OPTIONS[game]]
    whole = run(tmp_path / "grid", algorithm, *words, grid=grid, **options)
    own = [f"{name}={values[1]}" for name, values in grid.items()]
    alone = run(tmp_path / "alone", algorithm, *words, *own, **options)

    tables = dict(iter(whole.metrics().groupby(list(grid), sort=False)))
    tables = {point: table.drop(columns=list(grid)).reset_index(drop=True) for point, table in tables.items()}
    point = tuple(values[1] for values in grid.values())
    pd.testing.assert_frame_equal(tables[point], alone.metrics(), check_exact=True)
    place = list(product(*grid.values())).index(point)
    for many, one in zip(*map(jax.tree.leaves, (whole.params, alone.params)), strict=True):
        np.testing.assert_array_equal(many[place], one[0])
    for k, (name, values) in enumerate(grid.items()):
        neighbour = (*point[:k], values[0], *point[k + 1 :])
        assert not tables[neighbour].equals(tables[point]), name


@pytest.mark.parametrize(
    "values",
    [np.linspace(0.5, 0.75, 2), jnp.linspace(0.5, 0.75, 2), (0.5, 0.75), [np.float32(0.5), jnp.float32(0.75)]],
)
def test_an_array_is_a_list_of_values(values: Any) -> None:
    lanes = Lanes(marlx.configure("vdn", "matrix_game"), [0], {"training.gamma": values})
    assert lanes.grid == {"training.gamma": [0.5, 0.75]} and len(lanes) == 2
    assert all(type(value) is float for value in lanes.grid["training.gamma"])


@pytest.mark.parametrize("values", [np.ones((1, 2)), np.ones(0), np.float32(0.5), 0.5, "0.5", {0.5}])
def test_what_is_no_list_of_values_is_refused(values: Any) -> None:
    with pytest.raises(UsageError, match=r"training\.gamma needs a list of values, not "):
        Lanes(marlx.configure("vdn", "matrix_game"), [0], {"training.gamma": values})
