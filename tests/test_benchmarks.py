"""The benchmarks' command line: what it writes, and what it refuses before it measures."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks import beside_jaxmarl, common, theory

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("entry", ["benchmarks", "beside_jaxmarl"])
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nowhere/x.json", "No such file or directory"),
        ("folder", "Is a directory"),
        ("file/x.json", "Not a directory"),
        ("x" * 300, "File name too long"),
    ],
)
def test_what_cannot_be_written_is_refused_first(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    entry: str,
    name: str,
    words: str,
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("mine")
    monkeypatch.setattr(common, "prepare", lambda: pytest.fail("it began to measure"))
    target = tmp_path / name
    if entry == "benchmarks":
        assert command.main(["memory", "--json", str(target)]) == 2
    else:
        monkeypatch.setattr(sys, "argv", ["beside_jaxmarl", str(tmp_path / "file"), "--json", str(target)])
        assert beside_jaxmarl.main() == 2
    output, errors = capsys.readouterr()
    assert errors.endswith(f": cannot write {target}: {words}\n") and errors.count("\n") == 1 and not output
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]
    assert (tmp_path / "file").read_text() == "mine" and not list((tmp_path / "folder").iterdir())


def test_asking_whether_it_can_be_written_changes_nothing(tmp_path: Path) -> None:
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    old.write_text("mine")
    assert common.refusal(old) is None and old.read_text() == "mine"
    assert common.refusal(new) is None and not new.exists()


@pytest.mark.slow
def test_a_table_and_its_record(tmp_path: Path) -> None:
    target = tmp_path / "found.json"
    words = [sys.executable, "-m", "benchmarks", "memory", "--quick", "--json", str(target)]
    environment = {**os.environ, "COLUMNS": "150", "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), *sys.path]))}
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=environment, cwd=ROOT)
    assert "Memory of one seed" in done.stdout and f"written to {target}" in done.stdout.replace("\n", "")
    record = json.loads(target.read_text())
    assert set(record) == {"date", "versions", "hardware", "tables"}
    assert {"python", "marlx", "jax", "jaxlib"} <= set(record["versions"])
    assert record["hardware"]["cores"] >= 1 and record["hardware"]["platform"] and record["hardware"]["cpu"]
    (table,) = record["tables"]
    assert [row[0] for row in table["rows"]] == ["qmix, predator_prey", "qmix, matrix_game", "qmix, risk_reward"]
    for row in table["rows"]:
        assert row[0] in done.stdout and len(row) == len(table["columns"])
        assert all(value > 0 for value in row[1:])
        assert row[1] < row[2]  # packed rows are smaller than arrays of float32


def test_the_theory_desk() -> None:
    (table,) = theory.run(quick=True)
    *methods, total = table.rows
    found = {row[0]: row[1:] for row in methods}
    assert found["resq"][1::2] == (1, 1) and 0 < found["vdn"][1] < found["mrvf"][1] < 1
    assert total[1] == pytest.approx(sum(row[1] for row in methods))
