"""A run that was stopped, killed or damaged and gone on with is the run that it would have been, to the bit."""

import errno
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd
import pytest
from etils import epath
from marlx_envs.options import UsageError

import marlx
from marlx.host import checkpoints, directory, job
from marlx.host.checkpoints import Checkpoints
from marlx.host.cli import main
from marlx.host.lanes import Lanes
from marlx.host.ledger import Ledger
from marlx.host.metrics import Recorder
from marlx.host.signals import Interrupted
from marlx.program import Program

from .conftest import SMALL

GRID = {"training.learning_rate": [1e-3, 1e-2]}


def experiment(algorithm: str = "iql", *more: str) -> marlx.Experiment:
    return marlx.configure(algorithm, "matrix_game", *SMALL, *more)


def run(out: Path, algorithm: str = "iql", *more: str, **options: Any) -> marlx.Run:
    options = {"seeds": 3, "out": out, "progress": False, "checkpoint_interval": 40, **options}
    return marlx.train(experiment(algorithm, *more), **options)


def stopped(out: Path, monkeypatch: pytest.MonkeyPatch, *names: str, after: int = 1, **options: Any) -> None:
    """A run that a signal stops after evaluation number `after`."""
    add = Recorder.add
    seen = iter(range(100))

    def add_and_stop(self: Recorder, *arguments: Any) -> None:
        add(self, *arguments)
        if next(seen) == after:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "add", add_and_stop)
        with pytest.raises(Interrupted):
            run(out, *names, **options)


def assert_same(one: Path, other: Path) -> None:
    """Metrics and parameters are equal to the bit."""
    a, b = marlx.load_run(one), marlx.load_run(other)
    pd.testing.assert_frame_equal(a.metrics(), b.metrics(), check_exact=True)
    every = [(x.params, x.best_params if x.experiment.evaluation["interval"] else ()) for x in (a, b)]
    for x, y in zip(*map(jax.tree.leaves, every), strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody disturbed. Not to be changed."""
    out = tmp_path_factory.mktemp("resume") / "whole"
    run(out)
    return out


def test_going_on_equals_never_having_stopped(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped(tmp_path / "run", monkeypatch)
    assert run(tmp_path / "run", resume=True).finished
    assert_same(whole, tmp_path / "run")


def test_chunks_and_a_grid_go_on_where_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six lanes, two at a time, stopped in the second chunk; gone on with four at a time."""
    rare = {"grid": GRID, "width": 1, "checkpoint_interval": 160}
    stopped(tmp_path / "run", monkeypatch, chunk=2, after=5, **rare)
    assert run(tmp_path / "run", chunk=4, resume=True, **rare).finished
    alone = run(tmp_path / "alone", **rare)
    assert_same(tmp_path / "alone", tmp_path / "run")
    table = alone.metrics()
    assert list(table.columns[:4]) == ["training.learning_rate", "seed", "env_steps", "evaluation_return"]
    assert table.groupby("training.learning_rate").size().tolist() == [12, 12]
    assert table[table.env_steps == 320].loss.nunique() == 6


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
        "Recorder.merge",
        pytest.param("Ledger.conclude", marks=pytest.mark.slow),
    ],
)
def test_killed_where_everything_is_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    """After the last checkpoint of a chunk, and at each file of the end."""
    first_chunk = iter([False, True])

    def killed(*arguments: Any) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="killed"):
        if place == "between chunks":
            save = job.Job._train_chunk
            patch.setattr(job.Job, "_train_chunk", lambda *a: killed() if next(first_chunk) else save(*a))
        else:
            owner, name = place.split(".")
            home = {"parameters": job.parameters, "Recorder": job.Recorder, "Ledger": job.Ledger}[owner]
            patch.setattr(home, name, killed)
        run(tmp_path / "run", chunk=2, width=1)
    again = run(tmp_path / "run", chunk=2, width=1, resume=True)
    whole = run(tmp_path / "whole", width=1)
    assert again.finished and again.record["env_steps"] == whole.record["env_steps"] == 960
    assert {p.name for p in (tmp_path / "run").iterdir()} == {p.name for p in (tmp_path / "whole").iterdir()}
    assert_same(tmp_path / "whole", tmp_path / "run")


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
def test_other_chunks_after_the_checkpoints_are_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a run left that begins anew, in chunks of another size, is in nobody's way."""
    stopped(tmp_path / "run", monkeypatch, chunk=1, width=1, after=9)
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    run(tmp_path / "run", chunk=2, width=1, resume=True)
    run(tmp_path / "whole", width=1)
    assert_same(tmp_path / "whole", tmp_path / "run")


@pytest.mark.skipif(jax.local_device_count() < 2, reason="needs two devices")
def test_a_run_goes_on_with_fewer_devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped(tmp_path / "run", monkeypatch, width=1)
    with monkeypatch.context() as patch:
        patch.setattr(jax, "local_devices", lambda: jax.devices()[:1])
        run(tmp_path / "run", width=1, resume=True)
    assert marlx.load_run(tmp_path / "run").record["layout"]["devices"] == 1
    run(tmp_path / "whole", width=1)
    assert_same(tmp_path / "whole", tmp_path / "run")


def test_killed_at_any_file(whole: Path, tmp_path: Path) -> None:
    """SIGKILL at the n-th file that is put in its place, for several n, then again while going on."""
    out = tmp_path / "run"
    script = (
        "import os, sys, signal, marlx\n"
        "from marlx.host import files\n"
        "left, replace = int(sys.argv[1]), os.replace\n"
        "def killing(*paths):\n"
        "    global left\n"
        "    left -= 1\n"
        "    if left < 0: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    replace(*paths)\n"
        "files.os.replace = killing\n"
        "experiment = marlx.configure('iql', 'matrix_game', *sys.argv[3:])\n"
        "marlx.train(experiment, 3, out=sys.argv[2], resume=True, progress=False, checkpoint_interval=40)\n"
    )
    codes = []
    for count in (1, 5, 100):
        command = [sys.executable, "-c", script, str(count), str(out), *SMALL]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | _paths())
        codes.append(done.returncode)
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
    assert codes == [-signal.SIGKILL] * 2 + [0]
    assert_same(whole, out)


def _full(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _fill_the_disk(patch: pytest.MonkeyPatch) -> None:
    """From now on no file can be written whole, no line added to a log and no checkpoint saved."""
    opened = Path.open

    def open_(self: Path, mode: str = "r", *more: Any, **options: Any) -> Any:
        return _full() if mode == "a" else opened(self, mode, *more, **options)

    patch.setattr(Path, "open", open_)
    patch.setattr(os, "fsync", _full)
    patch.setattr(epath.Path, "write_text", _full)


def _command(out: Path, *more: str) -> list[str]:
    """As a shell would give it, the run of `whole`."""
    options = ["--seeds", "3", "--checkpoint-interval", "40", "--quiet", "--out", str(out)]
    return ["train", "iql", "matrix_game", *SMALL, *options, *more]


@pytest.mark.parametrize(
    ("owner", "name", "call", "words"),
    [
        (Recorder, "add", 2, "metrics"),
        (Ledger, "note", 4, "events.log"),  # what the run is, its compilation, two evaluations; then this
        (Checkpoints, "save", 0, "checkpoints|metrics"),  # the next evaluation may come first
        (Checkpoints, "save", 5, "checkpoints|metrics"),
        (job.parameters, "save_part", 0, "parameters"),
        (Recorder, "merge", 0, "metrics.parquet"),
        (Ledger, "conclude", 0, "run.toml"),
    ],
)
def test_a_full_disk_costs_nothing_once_it_is_free(
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    owner: Any,
    name: str,
    call: int,
    words: str,
) -> None:
    """Wherever it fills up: exit code 2 and one line, then --resume gives the run that nobody disturbed."""
    out, calls = tmp_path / "run", iter(range(100))
    work = getattr(owner, name)

    with monkeypatch.context() as patch:

        def until_full(*arguments: Any, **options: Any) -> Any:
            if next(calls) == call:
                _fill_the_disk(patch)
            return work(*arguments, **options)

        patch.setattr(owner, name, until_full)
        assert main(_command(out)) == 2
    told = capsys.readouterr().err
    assert re.fullmatch(rf"marlx: cannot \w+( in)? {out}/\S*({words})\S*: .*No space left on device.*\n", told), told
    assert not marlx.load_run(out).finished
    assert main(_command(out, "--resume")) == 0
    assert_same(whole, out)
    assert {p.name for p in out.iterdir()} == {p.name for p in whole.iterdir()}
    assert (out / "events.log").read_text().endswith("environment steps of all seeds together\n")


def test_a_checkpoint_that_did_not_fit_is_told(
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Saved in the background, on a disk that has space for everything else: it fails at the next one or at the end."""
    out, save, calls = tmp_path / "run", Checkpoints.save, iter(range(100))

    with monkeypatch.context() as patch:

        def save_or_not(self: Checkpoints, *arguments: Any) -> None:
            if next(calls) == 4:
                patch.setattr(epath.Path, "write_text", _full)
            save(self, *arguments)

        patch.setattr(Checkpoints, "save", save_or_not)
        assert main(_command(out)) == 2
    told = capsys.readouterr().err
    assert re.fullmatch(rf"marlx: cannot save in {out}/checkpoints: .*No space left on device.*\n", told), told
    assert not caplog.records  # orbax logs an error with its traceback
    assert marlx.load_run(out).record["status"] == "interrupted"
    assert main(_command(out, "--resume")) == 0
    assert_same(whole, out)


_OWN_DISK = """
set -e
mount -t tmpfs -o size="$1" tmpfs "$2"
shift 2
"$@" || code=$?
test "$code" = 2
mount -o remount,size=50m "$PWD/disk"
"$@" --resume >&2
cp -r disk/run kept
"""


@pytest.mark.slow
@pytest.mark.parametrize("size", ["80k", "104k", "160k"])
def test_a_disk_that_really_fills_up(whole: Path, tmp_path: Path, size: str) -> None:
    """A file system of few bytes, in a namespace of its own, full in mid-run and then enlarged."""
    (tmp_path / "disk").mkdir()
    own = ["unshare", "--user", "--map-root-user", "--mount"]
    try:
        subprocess.run([*own, "mount", "-t", "tmpfs", "tmpfs", str(tmp_path / "disk")], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs leave to mount a file system in a namespace")
    command = [sys.executable, "-m", "marlx", *_command(tmp_path / "disk" / "run")]
    words = [*own, "sh", "-c", _OWN_DISK, "sh", size, str(tmp_path / "disk"), *command]
    environment = os.environ | _paths()
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment, cwd=tmp_path)
    full, _, rest = done.stderr.partition("\n")
    assert re.fullmatch(r"marlx: cannot .*: No space left on device", full), done.stderr
    assert done.returncode == 0 and "Traceback" not in rest, done.stderr
    assert_same(whole, tmp_path / "kept")


def _paths() -> dict[str, str]:
    return {"PYTHONPATH": os.pathsep.join(sys.path)}


def _latest(out: Path) -> Path:
    return max((out / "checkpoints").glob("[0-9]*"), key=lambda path: int(path.name))


@pytest.mark.parametrize("damage", ["cut", "flip", "missing", "all"])
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


def test_the_last_ones_and_the_best_are_kept(tmp_path: Path) -> None:
    keeper = Checkpoints(tmp_path)
    for number, score in enumerate([0.0, 5.0, 2.0, None, 1.0, 1.0]):
        keeper.save({"it": number}, {"x": np.full((2, 3), number, np.float32), "no": np.zeros((2, 0))}, score)
    keeper.close()
    again = Checkpoints(tmp_path)
    found = list(again.newest_first(pytest.fail))
    assert [saved.number for saved in found] == [5, 4, 1]
    assert (found[2].arrays["x"] == 1).all() and found[2].notes == {"it": 1, "score": 5.0}
    again.save({}, {"x": np.zeros(1)}, 4.0)  # what is best is known to the next process
    again.close()
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["1", "5", "6"]


def test_without_its_replay_a_run_goes_on_by_fresh_play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped(tmp_path / "run", monkeypatch, checkpoint_replay=False)
    table = run(tmp_path / "run", resume=True, checkpoint_replay=False).metrics()
    assert table.env_steps.tolist() == [80, 160, 240, 320] * 3 and np.isfinite(table.loss).all()
    assert "it is filled by fresh play" in (tmp_path / "run" / "events.log").read_text()


def test_some_seeds_of_a_checkpoint_go_on_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """States of seeds 2 and 0 of a checkpoint, trained on without the others, are theirs to the bit."""
    stopped(tmp_path / "run", monkeypatch)
    saved = next(Checkpoints(tmp_path / "run").newest_first(pytest.fail))
    iteration = saved.notes["iteration"]
    ends = []
    for seeds in ([0, 1, 2], [2, 0]):
        work = job.Job(tmp_path / "run", Lanes(experiment(), seeds), 0, job.Settings())
        fleet = work._seats(0, len(seeds))
        state = checkpoints.restore(saved.arrays, fleet.shapes, np.asarray(seeds))
        ends.append(checkpoints.flatten(fleet.train(iteration, 5, fleet.pad(state))))
    for name, array in ends[1].items():
        np.testing.assert_array_equal(array[:2], ends[0][name][[2, 0]])


FAMILIES = ("gomarl", "mrvf", "nm_qmix", "pow_qmix", "qtran", "remix")


@pytest.mark.parametrize("algorithm", FAMILIES)
def test_a_checkpoint_holds_the_whole_state_of_every_family(tmp_path: Path, algorithm: str) -> None:
    """What is read is what was saved, leaf by leaf; going on is a function of that and of nothing else."""
    program, numbers = Program(experiment(algorithm)), experiment(algorithm).numbers()
    keys = jax.random.split(jax.random.key(0), 2)
    state = jax.jit(jax.vmap(program.init, (0, None)))(keys, numbers)
    keeper = Checkpoints(tmp_path)
    keeper.save({}, checkpoints.flatten(state))
    keeper.close()
    saved = next(Checkpoints(tmp_path).newest_first(pytest.fail))
    again = checkpoints.restore(saved.arrays, jax.eval_shape(lambda: state), np.arange(2))
    assert jax.tree.structure(again) == jax.tree.structure(state)
    for one, other in zip(checkpoints.flatten(state).items(), checkpoints.flatten(again).items(), strict=True):
        assert one[0] == other[0] and one[1].dtype == other[1].dtype
        np.testing.assert_array_equal(one[1], other[1])


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", marlx.ALGORITHMS)
def test_every_method_goes_on_to_the_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, algorithm: str) -> None:
    run(tmp_path / "whole", algorithm, seeds=2)
    stopped(tmp_path / "run", monkeypatch, algorithm, seeds=2)
    assert run(tmp_path / "run", algorithm, seeds=2, resume=True).finished
    assert_same(tmp_path / "whole", tmp_path / "run")


def test_memory_that_runs_out_halves_the_chunk(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train = job.Fleet.train

    def short(self: Any, first: int, count: int, state: Any) -> Any:
        if len(self.seeds) > 1 and first >= 40:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1 byte")
        return train(self, first, count, state)

    monkeypatch.setattr(job.Fleet, "train", short)
    run(tmp_path / "run", width=1)
    monkeypatch.undo()
    run(tmp_path / "alone", width=1)
    assert_same(tmp_path / "alone", tmp_path / "run")
    assert "ran out; going on with 1 seeds at a time" in (tmp_path / "run" / "events.log").read_text()


def test_a_poisoned_seed_dies_alone(tmp_path: Path) -> None:
    """One lane of eight has a learning rate that is too large; the others are theirs to the bit."""
    bad, good = (
        run(tmp_path / name, seeds=1, grid={"training.learning_rate": [1e-3, 2e-3, 3e-3, rate, 5e-3, 6e-3, 7e-3, 8e-3]})
        for name, rate in (("bad", 1e38), ("good", 4e-3))
    )
    assert len(bad.record["dead"]) == 1
    grave = bad.record["dead"][0]
    assert grave["seed"] == 0 and grave["env_steps"] >= 4 and grave["cause"] in ("gradient", "parameters", "loss")
    assert good.record["dead"] == []
    for a, b in zip(jax.tree.leaves(bad.params), jax.tree.leaves(good.params), strict=True):
        assert np.isfinite(a).all()
        np.testing.assert_array_equal(np.delete(a, 3, 0), np.delete(b, 3, 0))
    table = bad.metrics()
    poisoned = table["training.learning_rate"] == 1e38
    assert table[poisoned].evaluation_return.isna().iloc[-1] and not table[~poisoned].evaluation_return.isna().any()


def test_a_run_can_be_repeated_from_what_it_wrote(whole: Path, tmp_path: Path) -> None:
    assert main(["repeat", str(whole), "--out", str(tmp_path / "again"), "--quiet"]) == 0
    assert_same(whole, tmp_path / "again")
