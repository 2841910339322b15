"""The folder of compiled programs: damage is survived, several processes share it, it does not grow for ever."""

import os
import subprocess
import sys
import zlib
from pathlib import Path

from marlx.host.cache import tidy

from .conftest import SMALL
from .resuming import assert_same, paths

CODE = "import sys, marlx; marlx.train(marlx.configure('iql', 'matrix_game', *sys.argv[2:]), 1, sys.argv[1])"


def begun(home: Path, out: Path) -> subprocess.Popen[str]:
    """A process that trains, with its cache below `home`."""
    keep = {"XDG_CACHE_HOME": str(home), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}  # however fast it was
    known = os.environ | paths() | keep
    command = [sys.executable, "-c", CODE, str(out), *SMALL]
    return subprocess.Popen(command, env=known, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(process: subprocess.Popen[str]) -> None:
    """Trained, and without any warning."""
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0 and not errors


def test_two_processes_fill_it_and_a_damaged_entry_is_survived(tmp_path: Path) -> None:
    for process in [begun(tmp_path, tmp_path / name) for name in ("one", "other")]:
        ended(process)
    assert_same(tmp_path / "one", tmp_path / "other")
    folder = tmp_path / "marlx" / "xla"
    first, second, *rest = sorted(folder.glob("*-cache"))
    for path, content in ((first, first.read_bytes()[:-100]), (second, b"")):  # as a kill in mid-write leaves them
        path.unlink()
        path.write_bytes(content)
    before = {path: path.stat().st_mtime_ns for path in (first, second, *rest)}

    ended(begun(tmp_path, tmp_path / "third"))
    assert_same(tmp_path / "one", tmp_path / "third")
    after = {path: path.stat().st_mtime_ns for path in sorted(folder.glob("*-cache"))}
    assert after.keys() == before.keys()
    assert {path for path in after if after[path] != before[path]} == {first, second}  # what was whole was used
    for path in after:
        assert zlib.decompress(path.read_bytes())


def test_what_is_whole_stays_and_is_looked_at_once(tmp_path: Path) -> None:
    whole, part, other = (tmp_path / f"{name}-cache" for name in ("whole", "part", "other"))
    content = zlib.compress(bytes(range(256)) * 9)
    whole.write_bytes(content)
    part.write_bytes(content[:-1])
    other.write_bytes(b"\x28\xb5\x2f\xfd of another packer")
    (tmp_path / "a file of XLA").write_bytes(b"")
    tidy(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"whole-cache", "other-cache", "a file of XLA"}
    assert not whole.stat().st_mode & 0o222
    tidy(tmp_path / "that is not there")


def test_what_was_not_used_for_longest_goes(tmp_path: Path) -> None:
    for age, name in enumerate("dbac"):
        path = tmp_path / f"{name}-cache"
        path.write_bytes(zlib.compress(os.urandom(1000)))
        size = path.stat().st_size
        os.utime(path, (1e9 - age, 1e9 - 10 * age))
    tidy(tmp_path, most=2 * size)
    assert {path.name for path in tmp_path.iterdir()} == {"d-cache", "b-cache"}
