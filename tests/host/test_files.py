"""Files are whole or absent, whatever the disk does."""

import errno
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from marlx_envs.options import UsageError

from marlx.host import directory
from marlx.host.files import DiskError, append_line, check_space, read_toml, write_toml, write_whole


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 kB."""
    path = tmp_path / "disk"
    path.mkdir()
    try:
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", path], capture_output=True)
    except OSError:
        pytest.skip("no mount here")
    if mounted.returncode:
        pytest.skip("mounting needs rights that this user lacks")
    yield path
    subprocess.run(["umount", path], check=True)


def test_a_full_disk_leaves_the_old_file_and_no_other(small_disk: Path) -> None:
    path = small_disk / "file"
    write_whole(path, lambda file: file.write(b"old"))
    with pytest.raises(DiskError, match=f"cannot write {path}: No space left on device"):
        write_whole(path, lambda file: file.write(b"x" * 100_000))
    assert path.read_bytes() == b"old"
    assert os.listdir(small_disk) == ["file"]


def test_too_little_space_is_seen_in_advance(small_disk: Path) -> None:
    check_space(small_disk, 1000)
    with pytest.raises(DiskError, match=r"is full: the run needs about 2 MB, 65.5 kB are free"):
        check_space(small_disk, 2_000_000)


def test_an_error_while_writing_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(DiskError, match="No space left"):
        write_whole(tmp_path / "file", lambda file: file.write(b"x"))
    assert not list(tmp_path.iterdir())


def test_files_have_the_usual_permissions(tmp_path: Path) -> None:
    write_whole(tmp_path / "file", lambda file: file.write(b"x"))
    (tmp_path / "usual").touch()
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_toml_is_read_back(tmp_path: Path) -> None:
    values = {"name": 'a "b"\n', "table": {"list": [[1.0, -2.5], [1e-30, 3.0]], "yes": True, "count": 3}}
    write_toml(tmp_path / "x.toml", values)
    assert read_toml(tmp_path / "x.toml") == values


@pytest.mark.parametrize("content", [b"a = ", b"\xff\xfe", b"a = " + b"[" * 10_000, b"\0"])
def test_what_is_not_toml_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.toml").write_bytes(content)
    with pytest.raises(UsageError) as error:
        read_toml(tmp_path / "x.toml")
    assert "x.toml" in str(error.value) and "\n" not in str(error.value)


LONG = ".".join(["a"] * 20_000)
DOTS = ".".join(["a"] * 100)


@pytest.mark.parametrize(
    "text",
    [
        f"{LONG} = 1",
        f"[{LONG}]",
        f"[[{LONG}]]",
        f"x = {{{LONG} = 1}}",
        " . ".join(['"a.b"', "'c'", "d"] * 7000) + " = 1",
        f'x = {{y = """a\\"""""", {LONG} = 1, "b" = 2}}',  # two quotes more than end the string
        f"x = {{y = '''a''''', {LONG} = 1, 'b' = 2}}",
        f'x = "#" # "\n{LONG} = 1',
    ],
)
def test_a_key_of_thousands_of_parts_is_refused_at_once(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.toml").write_text(text)
    start = time.monotonic()
    with pytest.raises(UsageError, match="x.toml has a key of more than 32 parts"):
        read_toml(tmp_path / "x.toml")
    assert time.monotonic() - start < 2  # minutes, if tomllib had it


@pytest.mark.parametrize(
    "text",
    [
        f'x = "{DOTS}"',
        f"x = '{DOTS}' # {DOTS}",
        f'x = """\n"{DOTS}\n\\"""{DOTS}""""" # {DOTS}',
        f"x = '''\n'{DOTS}'''",
        f'"{DOTS}" = "\\"{DOTS}"',
        "x = [" + "1.5,-2.25," * 100 + "1e3]",
        f"{'.'.join(['a'] * 32)} = 1",
    ],
)
def test_dots_in_strings_and_numbers_are_fine(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.toml").write_text(text)
    assert len(read_toml(tmp_path / "x.toml")) == 1


@pytest.mark.parametrize("part", ['"\\', "'", '"', "a", "a.", "a ", '"" ', '\\"""', "#"])
def test_the_search_for_long_keys_is_quick(tmp_path: Path, part: str) -> None:
    """Whatever a megabyte begins or does not end."""
    (tmp_path / "x.toml").write_text("x = " + part * (1_000_000 // len(part)))
    start = time.monotonic()
    with pytest.raises(UsageError):
        read_toml(tmp_path / "x.toml")
    assert time.monotonic() - start < 5


def test_lines_stay_lines(tmp_path: Path) -> None:
    append_line(tmp_path / "log", "one\ntwo")
    append_line(tmp_path / "log", "three")
    assert (tmp_path / "log").read_text() == "one two\nthree\n"


def test_claim_takes_new_and_empty_directories(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert directory.claim(tmp_path / "empty", "x").is_dir()
    assert directory.claim(tmp_path / "a" / "b", "x").is_dir()


@pytest.mark.parametrize("keep", [False, True])
def test_release_leaves_a_directory_that_was_there_before(tmp_path: Path, keep: bool) -> None:
    path = directory.claim(tmp_path / "run", "x")
    (path / directory.EXPERIMENT).touch()
    directory.release(path, keep)
    assert path.exists() == keep and not (path / directory.EXPERIMENT).exists()


def test_claim_refuses_what_is_taken(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "experiment.toml").touch()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").touch()
    for out, words in [
        ("file", "is a file; a run needs a directory"),
        ("file/run", "Not a directory"),
        ("run", "holds a run; choose another --out"),
        ("full", "is not empty .it has 'thesis.tex'."),
        ("x" * 300, "File name too long"),
    ]:
        with pytest.raises(UsageError, match=words):
            directory.claim(tmp_path / out, "x")
    with pytest.raises(UsageError, match="needs a name"):
        directory.claim("", "x")


def test_a_directory_that_cannot_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "mkdir", refuse)  # a superuser may write anywhere
    with pytest.raises(DiskError, match=r"cannot make the directory .*: Permission denied"):
        directory.claim(tmp_path / "run", "x")


def test_the_default_directory_is_the_first_free_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert [str(directory.claim(None, "a")) for _ in range(2)] == ["runs/a-1", "runs/a-2"]
