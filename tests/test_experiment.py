"""Experiments: who wins when several set a value, what `replace` does, and that a record is enough to make it again."""

from pathlib import Path

import numpy as np
import pytest
from marlx_envs.options import UsageError

import marlx
from marlx.experiment import from_dict


def test_precedence() -> None:
    assert marlx.configure("qmix", "matrix_game").training["num_envs"] == 32  # the house's, for the environment
    assert marlx.configure("qmix", "predator_prey").training["num_envs"] == 8  # the section's default
    profile = marlx.configure("qmix", "matrix_game", "algorithm.profile=pymarl2")
    assert profile.training["batch_size"] == 128 and profile.training["loss_scale"] == 0.5
    assert marlx.configure("qmix", "predator_prey", "algorithm.profile=pymarl2").agent["agent_id"] is False
    assert marlx.configure("iql", "matrix_game", "algorithm.profile=pymarl2").training["batch_size"] == 32
    user = marlx.configure("qmix", "matrix_game", "algorithm.profile=pymarl2", "training.batch_size=64")
    assert user.training["batch_size"] == 64


def test_later_overrides_win_and_replace_configures_anew() -> None:
    experiment = marlx.configure("qmix", "matrix_game", "training.gamma=0.5", {"training.gamma": 0.7})
    assert experiment.training["gamma"] == 0.7
    assert experiment.replace("training.num_envs=16").training["gamma"] == 0.7
    assert (
        experiment.replace("algorithm.mixer=vdn").algorithm.keys()
        == marlx.configure("vdn", "matrix_game").algorithm.keys()
    )
    assert experiment.replace("algorithm.profile=pymarl").training["optimiser"] == "rmsprop"


def test_an_experiment_survives_as_plain_data() -> None:
    for algorithm in marlx.ALGORITHMS:
        experiment = marlx.configure(algorithm, "risk_reward", "environment.n_agents=4", "training.gamma=0.5")
        assert from_dict(experiment.to_dict()) == experiment


def test_a_payoff_file_becomes_part_of_the_experiment(tmp_path: Path) -> None:
    file = tmp_path / "mine.csv"
    file.write_text("1,2\n3,4\n")
    experiment = marlx.configure("vdn", "matrix_game", f"environment.payoff={file}")
    file.unlink()
    assert experiment.replace("training.gamma=0.5").environment == experiment.environment
    again = from_dict(experiment.to_dict())
    np.testing.assert_array_equal(again.make_environment().params["rewards"][0], [[1, 2], [3, 4]])


@pytest.mark.parametrize(
    "overrides, words",
    [
        (("training.batch_size=9000",), "training.batch_size must be at most training.buffer_size"),
        (("training.total_steps=10", "training.batch_size=64"), "training.total_steps must be at least 64"),
        (("training.total_steps=100_000_000", "evaluation.interval=1"), "at most 100,000"),
        (("algorithm.mixer=qmx",), "did you mean 'qmix'"),
        (("training.lerning_rate=1",), "did you mean 'learning_rate'"),
        (("trainin.gamma=1",), "did you mean 'training'"),
        (("training.gamma=2",), "training.gamma must be at most 1, not 2"),
        (("training.total_steps=-5",), "training.total_steps must be at least 1, not -5"),
        (("training.num_envs=1.5",), "whole number"),
        (("training.gamma=nan",), "must be finite"),
    ],
)
def test_mistakes_are_one_line(overrides: tuple[str, ...], words: str) -> None:
    with pytest.raises(UsageError) as error:
        marlx.configure("qmix", "matrix_game", *overrides)
    assert words in str(error.value) and "\n" not in str(error.value)
