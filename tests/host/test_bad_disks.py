"""A disk that fills up or turns read-only in mid-run: one line and exit code 2; with it back nothing was lost."""

import errno
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from etils import epath
from orbax import checkpoint as orbax

import marlx
from marlx.host import files, job
from marlx.host.checkpoints import Checkpoints
from marlx.host.cli import main
from marlx.host.ledger import Ledger
from marlx.host.metrics import Recorder

from .conftest import SMALL
from .resuming import assert_same, paths


def test_a_disk_that_turns_read_only(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line and code 2, as for a full disk; with the disk back the run is the one it would have been."""
    out, add, read = tmp_path / "run", Recorder.add, Path.open
    seen = iter(range(100))

    def refuse(*_: Any, **__: Any) -> Any:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    def open_to_read(path: Path, mode: str = "r", **more: Any) -> Any:
        return read(path, mode, **more) if mode[0] == "r" else refuse()

    def add_or_refuse(self: Recorder, *arguments: Any) -> None:
        if next(seen) == 1:
            patch.setattr(files.tempfile, "mkstemp", refuse)
            for name in ("replace", "rename", "unlink", "mkdir", "rmdir"):
                patch.setattr(os, name, refuse)
            patch.setattr(orbax.CheckpointManager, "save", refuse)
            patch.setattr(Path, "open", open_to_read)
        add(self, *arguments)

    train = ["train", "iql", "matrix_game", *SMALL, "--seeds", "3", "--out", str(out), "--quiet"]
    train += ["--checkpoint-interval", "40"]
    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "add", add_or_refuse)
        assert main(train) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "Read-only file system" in told
    assert marlx.load_run(out).metrics().env_steps.max() == 80  # what was there before is whole
    assert main([*train, "--resume"]) == 0
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
    environment = os.environ | paths()
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment, cwd=tmp_path)
    full, _, rest = done.stderr.partition("\n")
    assert re.fullmatch(r"marlx: cannot .*: No space left on device", full), done.stderr
    assert done.returncode == 0 and "Traceback" not in rest, done.stderr
    assert_same(whole, tmp_path / "kept")
