"""A run that was stopped, killed or damaged and gone on with is the run that it would have been, to the bit."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd
import pytest
from marlx_envs.discovery import Entry
from marlx_envs.options import UsageError

import marlx
from marlx.host import directory, files, job
from marlx.host.cli import main
from marlx.host.lanes import Lanes
from marlx.host.ledger import Ledger
from marlx.host.metrics import Recorder
from marlx.host.signals import Interrupted
from marlx.mixers import MIXERS
from marlx.mixers.vdn import VDN

from .conftest import SMALL
from .resuming import assert_same, experiment, paths, run, stopped

SLOW = pytest.mark.slow
GRID = {"training.learning_rate": [1e-3, 1e-2]}


# Five slots a row and episodes of two: every other row begins inside an episode, which a memory has to live with.
STEPS = ("agent.network=gru", "training.rollout_steps=5")


def test_going_on_equals_never_having_stopped(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped(tmp_path / "run", monkeypatch)
    assert run(tmp_path / "run", resume=True).finished
    assert_same(whole, tmp_path / "run")


def test_chunks_and_a_grid_go_on_where_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six lanes, two at a time, stopped in the second chunk; gone on with four at a time."""
    rare = {"grid": GRID, "width": 1, "checkpoint_interval": 160}
    told = stopped(tmp_path / "run", monkeypatch, chunk=2, after=5, **rare)
    assert told.startswith("stopped after 160 of 320 steps of seeds 3 to 4 of 6;")
    half = marlx.load_run(tmp_path / "run")
    assert half.record["result"] == {}  # its lanes are not equally far
    with pytest.raises(UsageError, match="holds parameters of 4 of its 6 seeds; go on with it first"):
        half.evaluate()
    assert run(tmp_path / "run", chunk=4, resume=True, **rare).finished
    alone = run(tmp_path / "alone", **rare)
    assert_same(tmp_path / "alone", tmp_path / "run")
    table = alone.metrics()
    assert list(table.columns[:4]) == ["training.learning_rate", "seed", "env_steps", "evaluation_return"]
    assert table.groupby("training.learning_rate").size().tolist() == [12, 12]
    assert table[table.env_steps == 320].loss.nunique() == 6


@pytest.mark.slow  # test_grids compares every number, to the bit
def test_a_point_of_a_grid_equals_a_run_of_its_own(tmp_path: Path) -> None:
    table = run(tmp_path / "grid", grid=GRID).metrics()
    alone = run(tmp_path / "alone", "iql", "training.learning_rate=1e-2").metrics()
    point = table[table["training.learning_rate"] == 1e-2].drop(columns="training.learning_rate").reset_index(drop=True)
    np.testing.assert_allclose(point, alone, rtol=1e-5)


@pytest.mark.parametrize("grid", [{"training.learning_rat": [1]}, {"training.batch_size": [1]}, {"training.gamma": []},
                                  {"training.gamma": [2.0]}, {"training.gamma": "ab"},
                                  {"training.gamma": [0.5, 0.5]}])  # fmt: skip
def test_a_grid_of_mistakes(tmp_path: Path, grid: Any) -> None:
    words = "unknown field|not a traced number|needs a list|must be at most 1|twice"
    with pytest.raises(UsageError, match=words):
        run(tmp_path / "run", grid=grid)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "place",
    [
        "between chunks",
        pytest.param("parameters.merge", marks=pytest.mark.slow),
        pytest.param("Recorder.merge", marks=pytest.mark.slow),
        pytest.param("one part, Recorder.merge", marks=pytest.mark.slow),
        pytest.param("parameters.tidy", marks=pytest.mark.slow),
        pytest.param("Ledger.conclude", marks=pytest.mark.slow),
    ],
)
def test_killed_where_everything_is_trained(
    whole_one_by_one: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """After the last checkpoint of a chunk, and at each file of the end."""
    first_chunk = iter([False, True])

    chunk = None if place.startswith("one part") else 2

    def killed(*arguments: Any) -> None:
        if place == "parameters.tidy":  # in the middle of it
            next((tmp_path / "run" / job.parameters.PARAMETER_PARTS).iterdir()).unlink()
        raise RuntimeError("killed")

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="killed"):
        if place == "between chunks":
            save = job.Job._train_chunk
            patch.setattr(job.Job, "_train_chunk", lambda *a: killed() if next(first_chunk) else save(*a))
        else:
            owner, name = place.split(", ")[-1].split(".")
            home = {"parameters": job.parameters, "Recorder": job.Recorder, "Ledger": job.Ledger}[owner]
            patch.setattr(home, name, killed)
        run(tmp_path / "run", chunk=chunk, width=1)
    again = run(tmp_path / "run", chunk=chunk, width=1, resume=True)
    assert again.finished
    assert again.record["env_steps"] == marlx.load_run(whole_one_by_one).record["env_steps"] == 960
    assert {p.name for p in (tmp_path / "run").iterdir()} == {p.name for p in whole_one_by_one.iterdir()}
    assert_same(whole_one_by_one, tmp_path / "run")


def test_stopped_before_any_evaluation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ("iql", "evaluation.interval=0")
    train = job.Fleet.train

    def train_and_stop(self: Any, *arguments: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return train(self, *arguments)

    with monkeypatch.context() as patch, pytest.raises(Interrupted) as stop:
        patch.setattr(job.Fleet, "train", train_and_stop)
        run(tmp_path / "run", *options)
    assert stop.value.exit_code == 143
    assert marlx.load_run(tmp_path / "run").record["status"] == "interrupted"
    run(tmp_path / "run", *options, resume=True)
    run(tmp_path / "whole", *options)
    assert_same(tmp_path / "whole", tmp_path / "run")


@pytest.mark.slow
def test_other_chunks_after_the_checkpoints_are_lost(
    whole_one_by_one: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a run left that begins anew, in chunks of another size, is in nobody's way."""
    stopped(tmp_path / "run", monkeypatch, chunk=1, width=1, after=9)
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    run(tmp_path / "run", chunk=2, width=1, resume=True)
    assert_same(whole_one_by_one, tmp_path / "run")


@pytest.mark.skipif(jax.local_device_count() < 2, reason="needs two devices")
def test_a_run_goes_on_with_fewer_devices(
    whole_one_by_one: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped(tmp_path / "run", monkeypatch, width=1)
    with monkeypatch.context() as patch:
        patch.setattr(jax, "local_devices", lambda: jax.devices()[:1])
        run(tmp_path / "run", width=1, resume=True)
    assert marlx.load_run(tmp_path / "run").record["layout"]["devices"] == 1
    assert_same(whole_one_by_one, tmp_path / "run")


@pytest.mark.slow
@pytest.mark.skipif(jax.local_device_count() < 2, reason="needs two devices")
def test_a_run_goes_on_with_more_devices(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the default width, which is no other there."""
    with monkeypatch.context() as patch:
        patch.setattr(jax, "local_devices", lambda: jax.devices()[:1])
        stopped(tmp_path / "run", monkeypatch)
    assert marlx.load_run(tmp_path / "run").record["layout"]["devices"] == 1
    run(tmp_path / "run", resume=True)
    assert marlx.load_run(tmp_path / "run").record["layout"]["devices"] == 2
    assert_same(whole, tmp_path / "run")


def test_a_wall_clock_that_jumps_changes_nothing(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forward before a run is stopped, so that its clock is below its start for the process that goes on."""
    jump, now, add = 1e9, time.time, Recorder.add
    jumped = []

    def add_and_jump(self: Recorder, *arguments: Any) -> None:
        add(self, *arguments)
        jumped.append(jump if len(jumped) % 2 == 0 else 0.0)

    monkeypatch.setattr(time, "time", lambda: now() + (jumped[-1] if jumped else 0.0))
    monkeypatch.setattr(Recorder, "add", add_and_jump)
    stopped(tmp_path / "run", monkeypatch, after=0)
    assert jumped == [jump] and 0 <= marlx.load_run(tmp_path / "run").record["train_seconds"] < 1e6
    run(tmp_path / "run", resume=True)
    assert jumped[:2] == [jump, 0.0]
    assert 0 <= marlx.load_run(tmp_path / "run").record["train_seconds"] < 1e6
    assert_same(whole, tmp_path / "run")


def test_killed_at_any_file(whole: Path, tmp_path: Path) -> None:
    """SIGKILL at the n-th file that is put in its place, or the n-th commit of a checkpoint; again while going on."""
    out = tmp_path / "run"
    script = (
        "import os, sys, signal, marlx\n"
        "from marlx.host.checkpoints import UNFINISHED\n"
        "kind, left = sys.argv[1], int(sys.argv[2])\n"
        "def killing(put):\n"
        "    def first(*paths, **options):\n"
        "        global left\n"
        "        left -= kind == ('commit' if UNFINISHED in str(paths[0]) else 'file')\n"
        "        if left < 0: os.kill(os.getpid(), signal.SIGKILL)\n"
        "        put(*paths, **options)\n"
        "    return first\n"
        "os.replace, os.rename = killing(os.replace), killing(os.rename)\n"
        "experiment = marlx.configure('iql', 'matrix_game', *sys.argv[4:])\n"
        "marlx.train(experiment, 3, out=sys.argv[3], resume=True, checkpoint_interval=40)\n"
    )
    codes = []
    for kind, count in (("file", 1), ("file", 5), ("commit", 1), ("file", 100)):
        command = [sys.executable, "-c", script, kind, str(count), str(out), *SMALL]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | paths())
        codes.append(done.returncode)
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
    assert codes == [-signal.SIGKILL] * 3 + [0]
    assert re.search(r"checkpoint \d+ is unfinished and was passed over", (out / "events.log").read_text())
    assert "is unfinished and was passed over" in done.stdout  # and on the terminal
    assert {p.name for p in out.iterdir()} == {p.name for p in whole.iterdir()}
    assert_same(whole, out)


def test_what_a_kill_leaves_of_our_files_is_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing else: not what another program, or another file of ours, calls alike."""
    with monkeypatch.context() as patch:
        for name in ("replace", "unlink"):  # a kill between the two steps of a write

            def killed(*_: Any) -> None:
                raise OSError("killed")

            patch.setattr(files.os, name, killed)
        for name in ("run.toml", "metrics.parquet"):
            with pytest.raises(UsageError):
                files.write_whole(tmp_path / name, lambda file: file.write(b"half"))
    assert len(list(tmp_path.iterdir())) == 2
    others = {".run.toml.abcdefg", ".run.toml.abcdefghi", ".run.toml.ABCDEFGH", ".vim.settings", "run.toml.abcdefgh"}
    for name in others:
        (tmp_path / name).touch()
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / ".run.toml.abcdefgh").touch()
    files.sweep(tmp_path, ["run.toml", "metrics.parquet"])
    assert {path.name for path in tmp_path.iterdir()} == others | {"deeper"}
    assert len(list((tmp_path / "deeper").iterdir())) == 1


def _latest(out: Path) -> Path:
    return max((out / "checkpoints").glob("[0-9]*"), key=lambda path: int(path.name))


@pytest.mark.parametrize(
    "damage", [pytest.param("cut", marks=SLOW), "flip", pytest.param("missing", marks=SLOW), "all"]
)
def test_a_damaged_checkpoint_is_passed_over(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    out = tmp_path / "run"
    stopped(out, monkeypatch)
    for victim in [p for p in _latest(out).rglob("*") if p.is_file() and p.stat().st_size > 200]:
        content = victim.read_bytes()
        middle = len(content) // 2
        if damage == "cut":
            victim.write_bytes(content[:middle])
        elif damage == "flip":
            victim.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
        else:
            victim.unlink()
    if damage == "all":
        shutil.rmtree(out / "checkpoints")
    assert run(out, resume=True).finished
    assert_same(whole, out)
    told = (out / "events.log").read_text()
    assert ("begins anew" if damage == "all" else "is damaged and was passed over") in told


def test_lost_or_broken_metrics_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped(tmp_path / "run", monkeypatch)
    part = tmp_path / "run" / "metrics" / "00000000-000000.parquet"
    part.write_bytes(part.read_bytes()[:-100])
    with pytest.raises(UsageError, match="000000.parquet is damaged"):
        run(tmp_path / "run", resume=True)


def test_two_processes_on_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped(tmp_path / "run", monkeypatch)
    with (
        directory.held(tmp_path / "run"),
        pytest.raises(UsageError, match="another process is at work in .*run"),
    ):
        run(tmp_path / "run", resume=True)
    assert run(tmp_path / "run", resume=True).finished


def test_without_its_replay_a_run_goes_on_by_fresh_play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped(tmp_path / "run", monkeypatch, checkpoint_replay=False)
    table = run(tmp_path / "run", resume=True, checkpoint_replay=False).metrics()
    assert table.env_steps.tolist() == [80, 160, 240, 320] * 3 and np.isfinite(table.loss).all()
    assert "it is filled by fresh play" in (tmp_path / "run" / "events.log").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", marlx.ALGORITHMS)
def test_every_method_goes_on_to_the_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, algorithm: str) -> None:
    run(tmp_path / "whole", algorithm, seeds=2)
    stopped(tmp_path / "run", monkeypatch, algorithm, seeds=2)
    assert run(tmp_path / "run", algorithm, seeds=2, resume=True).finished
    assert_same(tmp_path / "whole", tmp_path / "run")


@pytest.mark.parametrize(
    "algorithm, game",
    [
        ("pow_qmix", "two_step_game"),
        *(pytest.param(name, "two_step_game", marks=SLOW) for name in marlx.ALGORITHMS if name != "pow_qmix"),
        *(pytest.param(name, "predator_prey", marks=SLOW) for name in ("qmix", "pow_qmix", "mrvf")),
    ],
)
def test_memories_and_cut_episodes_go_on_to_the_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, algorithm: str, game: str
) -> None:
    """Steps of one episode lie in rows before and after the stop."""
    small = ("height=4", "width=4", "n_agents=2", "n_stags=1", "episode_limit=7")
    own = [f"environment.{option}" for option in small] if game == "predator_prey" else []
    names = (algorithm, *STEPS, *own)
    run(tmp_path / "whole", *names, seeds=2, game=game)
    stopped(tmp_path / "run", monkeypatch, *names, seeds=2, game=game)
    assert run(tmp_path / "run", *names, seeds=2, game=game, resume=True).finished
    assert "going on from checkpoint" in (tmp_path / "run" / "events.log").read_text()
    assert_same(tmp_path / "whole", tmp_path / "run")


def test_memory_that_runs_out_halves_the_chunk(
    whole_one_by_one: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = job.Fleet.train

    def short(self: Any, first: int, count: int, state: Any) -> Any:
        if len(self.seeds) > 1 and first >= 40:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1 byte")
        return train(self, first, count, state)

    monkeypatch.setattr(job.Fleet, "train", short)
    run(tmp_path / "run", width=1)
    monkeypatch.undo()
    assert_same(whole_one_by_one, tmp_path / "run")
    assert "ran out; going on with 1 seed at a time" in (tmp_path / "run" / "events.log").read_text()


@pytest.mark.parametrize("algorithm", ["iql", *(pytest.param(name, marks=SLOW) for name in ("qtran", "mrvf"))])
def test_a_poisoned_seed_dies_alone(tmp_path: Path, algorithm: str) -> None:
    """One lane of eight has a learning rate that is too large; the others are theirs to the bit."""
    others = [1e-3, 2e-3, 3e-3, 5e-3, 6e-3, 7e-3, 8e-3]
    bad, good = (
        run(tmp_path / name, algorithm, seeds=1, grid={"training.learning_rate": [*others[:3], rate, *others[3:]]})
        for name, rate in (("bad", 1e38), ("good", 4e-3))
    )
    assert len(bad.record["dead"]) == 1
    grave = bad.record["dead"][0]
    # The first update, at 4 steps, makes finite parameters of 1e38; the loss of the second is not finite.
    assert grave == {"seed": 0, "training.learning_rate": 1e38, "env_steps": 8, "cause": "loss"}
    assert good.record["dead"] == []
    for a, b in zip(jax.tree.leaves(bad.params), jax.tree.leaves(good.params), strict=True):
        assert np.isfinite(a).all()
        np.testing.assert_array_equal(np.delete(a, 3, 0), np.delete(b, 3, 0))
    table, other = bad.metrics(), good.metrics()
    poisoned = table["training.learning_rate"] == 1e38
    assert table[poisoned].evaluation_return.isna().iloc[-1] and not table[~poisoned].evaluation_return.isna().any()
    healthy = other["training.learning_rate"] != 4e-3
    same = [frame.reset_index(drop=True) for frame in (table[~poisoned], other[healthy])]
    pd.testing.assert_frame_equal(*same, check_exact=True)


def test_a_run_can_be_repeated_from_what_it_wrote(whole: Path, tmp_path: Path) -> None:
    assert main(["repeat", str(whole), "--out", str(tmp_path / "again"), "--quiet"]) == 0
    assert_same(whole, tmp_path / "again")


def test_deaths_of_a_chunk_that_begins_anew_are_taken_back(tmp_path: Path) -> None:
    lanes = Lanes(experiment("iql"), [3, 5], {"training.gamma": [0.5, 0.9]})
    dead = [{**point, "seed": seed, "env_steps": 8, "cause": "loss"} for point in lanes.points for seed in (3, 5)]
    ledger = Ledger(tmp_path, lanes, 0, {"dead": dead})
    ledger.forget(lanes.columns(slice(1, None)))
    assert ledger.record["dead"] == dead[:1]


def _doubled() -> type[VDN]:
    @dataclass(frozen=True)
    class Mine(VDN):
        """VDN's sum twice, until someone edits it."""

        def apply(self, params: Any, utilities: jax.Array, state: jax.Array, context: Any = None) -> jax.Array:
            return 2 * utilities.sum(-1)

    return Mine


def _negated() -> type[VDN]:
    @dataclass(frozen=True)
    class Mine(VDN):
        """What it is edited to."""

        def apply(self, params: Any, utilities: jax.Array, state: jax.Array, context: Any = None) -> jax.Array:
            return -utilities.sum(-1)

    return Mine


def test_other_code_than_before_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def edited(part: type) -> None:
        part.__qualname__ = "Mine"  # both have that name, as one that is edited keeps its own
        monkeypatch.setitem(MIXERS._all(), "mine", Entry(name="mine", summary="", source="", factory=part))

    edited(_doubled())
    words = ("vdn", "algorithm.mixer=mine")
    assert experiment(*words).algorithm["mixer"] == "mine"
    stopped(tmp_path / "run", monkeypatch, *words)
    log = tmp_path / "run" / "events.log"
    edited(_negated())
    run(tmp_path / "run", *words, resume=True)
    assert log.read_text().count("other code of tests.host.test_resume.Mine than before: what follows is not what") == 1
    capsys.readouterr()
    run(tmp_path / "run", *words, resume=True)
    assert capsys.readouterr().err == ""
    edited(_doubled())
    run(tmp_path / "run", *words, resume=True)
    assert "Mine, and stays as it is; choose another directory to train anew" in capsys.readouterr().err
