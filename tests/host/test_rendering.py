"""`marlx render`."""

from pathlib import Path

import pytest
from PIL import Image

import marlx
from marlx.host.cli import main
from tests.host.conftest import SMALL


def test_a_battle_becomes_a_moving_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    short = ("training.rollout_steps=10", "environment.episode_limit=10", "training.updates_per_iteration=1")
    overrides = (*SMALL, *short, "evaluation.interval=0", "agent.network=mlp")
    experiment = marlx.configure("iql", "smax", *overrides)
    marlx.train(experiment, seeds=1, out=tmp_path / "run", progress=False)
    assert main(["render", str(tmp_path / "run")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'run' / 'episode.gif'}\n"
    with Image.open(tmp_path / "run" / "episode.gif") as picture:
        assert picture.size == (448, 448)
        assert 2 <= picture.n_frames <= 11  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--out", "x.png"], "a moving picture must be a file that ends in .gif, not x.png"),
        ([], "only battles of smax are drawn, not matrix_game"),
    ],
)
def test_mistakes_are_one_line(
    finished: Path, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["render", str(finished), *arguments]) == 2
    assert capsys.readouterr().err == f"marlx: {words}\n"
