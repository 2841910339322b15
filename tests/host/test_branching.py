"""Some seeds of a stopped run go on in a run of their own, as they would have there."""

import errno
import os
import re
import shutil
from pathlib import Path

import pytest
from etils import epath

import marlx
from marlx.host import branching, checkpoints, directory
from marlx.host.cli import main

from .resuming import assert_same, run, stopped

GRID = {"training.learning_rate": [1e-3, 1e-2]}


@pytest.fixture
def five(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run of five seeds that was stopped."""
    stopped(tmp_path / "five", monkeypatch, seeds=5)
    return tmp_path / "five"


def test_some_seeds_go_on_by_themselves(five: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As if they had always been alone; in the order asked for."""
    words = ["repeat", str(five), "--seeds", "3,1", "--continue", "--quiet", "--out", str(tmp_path / "two")]
    assert main(words) == 0
    run(tmp_path / "alone", seeds=[3, 1])
    assert_same(tmp_path / "alone", tmp_path / "two")
    log = (tmp_path / "two" / "events.log").read_text()
    assert "going on from checkpoint 0, " in log and "evaluation at 80" not in log
    assert marlx.load_run(tmp_path / "two").record["branch_of"] == str(five)
    assert not marlx.load_run(five).finished  # and still whole
    assert run(five, seeds=5, resume=True).finished
    assert main(words) == 0  # finished: nothing to do
    assert main([*words[:3], "2", *words[4:]]) == 2
    assert "holds another run: seeds is '3:4,1:2' there, not '0:2'" in capsys.readouterr().err


def test_seeds_of_a_grid_go_on_at_every_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped(tmp_path / "run", monkeypatch, grid=GRID)
    path = branching.branch(marlx.load_run(tmp_path / "run"), [2, 0], tmp_path / "two")
    assert run(path, seeds=[2, 0], grid=GRID, resume=True).finished
    run(tmp_path / "alone", seeds=[2, 0], grid=GRID)
    assert_same(tmp_path / "alone", path)


@pytest.mark.parametrize(
    "steps, begun",
    [(320, 320), (280, 240)],  # evaluations are at multiples of 80, and at the end
)
def test_a_finished_run_goes_on_to_more_steps(steps: int, begun: int, tmp_path: Path) -> None:
    """As if so many had been asked for; an evaluation that there would not have been is not one of its own."""
    source = run(tmp_path / "short", "iql", f"training.total_steps={steps}", seeds=2)
    words = ["repeat", str(source.path), "--continue", "--steps", "480", "--quiet", "--out", str(tmp_path / "long")]
    assert main(words) == 0
    run(tmp_path / "alone", "iql", "training.total_steps=480", seeds=2)
    assert_same(tmp_path / "alone", tmp_path / "long")
    assert f"going on from checkpoint 0, {begun} steps" in (tmp_path / "long" / "events.log").read_text()
    long, part = marlx.load_run(tmp_path / "long").record, source.record["train_seconds"] * begun / steps
    assert long["train_seconds"] > 0.3 * part  # of all steps, as its rate is
    assert long["steps_per_second"] == pytest.approx(long["env_steps"] / long["train_seconds"], rel=0.01)
    assert main(words) == 0  # finished: nothing to do
    assert marlx.load_run(source.path).experiment.training["total_steps"] == steps  # and left as it is


def test_the_last_chunk_of_a_finished_run_goes_on(tmp_path: Path) -> None:
    """Its evaluations are found among those of all chunks, which are in one file by then."""
    source = run(tmp_path / "short", seeds=5, chunk=2)
    path = branching.branch(source, [4], tmp_path / "long", 480)
    run(path, "iql", "training.total_steps=480", seeds=[4], resume=True)
    run(tmp_path / "alone", "iql", "training.total_steps=480", seeds=[4])
    assert_same(tmp_path / "alone", path)
    with pytest.raises(marlx.UsageError, match="does not hold seed 3; the chunk of seeds at work was 4:5"):
        branching.branch(source, [3], tmp_path / "other", 480)


def test_more_steps_that_cannot_be_are_told(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def refusal(source: Path, *words: str) -> str:
        assert main(["repeat", str(source), *words, "--out", str(tmp_path / "long")]) == 2
        return capsys.readouterr().err

    assert f"--steps must be more than the 320 of {finished}, not 320" in refusal(
        finished, "--continue", "--steps", "320"
    )
    for word in ("3.21e1", "1e99", "_1", "1__0", "e6", ""):
        assert "--steps must be a whole number from 1 to" in refusal(finished, "--continue", "--steps", word)
    for word in ("3_00", "3e2", "0.3E3"):
        assert ", not 300" in refusal(finished, "--continue", "--steps", word)
    assert "--steps needs --continue" in refusal(finished, "--steps", "480")
    uneven = run(tmp_path / "uneven", "iql", "training.total_steps=280", seeds=2, checkpoint_interval=10_000).path
    assert "checkpoints of its end alone, where a run of more steps has no evaluation" in refusal(
        uneven, "--continue", "--steps", "480"
    )
    assert not (tmp_path / "long").exists()


def test_a_branch_that_the_disk_has_no_space_for_leaves_nothing(
    five: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Known beforehand, or met in the middle of its checkpoint."""
    words = ["repeat", str(five), "--continue", "--quiet", "--out", str(tmp_path / "two")]
    usage = shutil.disk_usage(".")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1_000))
        assert main(words) == 2
    assert f"marlx: the disk of {tmp_path}/two is full: the run needs about" in capsys.readouterr().err
    assert not (tmp_path / "two").exists()

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(epath.Path, "write_text", refuse)  # as orbax writes the notes, in the background
        assert main(words) == 2
    assert re.fullmatch(
        rf"marlx: cannot save in {tmp_path}/two/checkpoints: .*No space left.*\n", capsys.readouterr().err
    )
    assert not (tmp_path / "two").exists()
    assert main(words) == 0


def test_dead_seeds_stay_dead_in_a_branch(five: Path, tmp_path: Path) -> None:
    deaths = [{"seed": seed, "env_steps": 8, "cause": "loss"} for seed in (1, 2)]
    source = marlx.load_run(five)
    saved = branching._newest(source, source.experiment)
    opened = checkpoints.Checkpoints(five)
    opened.save({**saved.notes, "dead": deaths}, saved.arrays)
    opened.close()
    path = branching.branch(source, [4, 2], tmp_path / "two")
    assert marlx.load_run(path).record["dead"] == deaths[1:]
    two = marlx.load_run(path)
    assert branching._newest(two, two.experiment).notes["dead"] == deaths[1:]


def test_what_cannot_go_on_is_told(five: Path, tmp_path: Path, finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refusal(source: Path, *seeds: int) -> str:
        with pytest.raises(marlx.UsageError) as error:
            branching.branch(marlx.load_run(source), seeds, tmp_path / "new")
        assert not (tmp_path / "new").exists()
        return str(error.value)

    assert refusal(finished, 0).startswith(f"{finished} is finished; there is nothing to go on with but more steps")
    assert refusal(five, 1, 9) == f"{five} has no seed 9; it has 0:5"
    with directory.held(five):
        assert refusal(five, 0).startswith(f"another process is at work in {five}")
    part = five / "metrics" / "00000000-000000.parquet"
    part.rename(tmp_path / "aside")
    assert "00000000-000000.parquet" in refusal(five, 0)
    (tmp_path / "aside").rename(part)
    with pytest.raises(marlx.UsageError, match="is not empty"):
        branching.branch(marlx.load_run(five), [0], tmp_path)
    shutil.copytree(five, tmp_path / "parts" / "part-0-of-1")
    assert refusal(tmp_path / "parts", 0).endswith("by several processes, and each has its checkpoints: name one part")
    assert [path.name for path in (tmp_path / "parts").iterdir()] == ["part-0-of-1"]
    shutil.rmtree(five / "checkpoints")
    assert refusal(five, 0) == f"{five} has no whole checkpoint to go on from"
    stopped(tmp_path / "chunks", monkeypatch, seeds=5, chunk=2, after=5)
    assert refusal(tmp_path / "chunks", 3, 4).endswith("does not hold seed 4; the chunk of seeds at work was 2:4")
