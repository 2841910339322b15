"""Directories and files from others: nothing outside is touched, nothing is executed, and what is huge is refused."""

import os
import re
import shutil
import time
import zipfile
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from marlx_envs.options import UsageError

import marlx
from marlx.host import directory, files, launcher, metrics, parameters
from marlx.host.checkpoints import Checkpoints
from marlx.host.cli import main
from marlx.host.lanes import MOST_POINTS, Lanes, check_distinct
from marlx.host.results import differences
from marlx.host.sweep import PLAN, prepare, read_sweep

from .conftest import SMALL
from .test_sweep import needs_submitit
from .written_runs import write_run, write_sweep


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder that belongs to somebody else, with a file in it."""
    path = tmp_path / "outside"
    path.mkdir()
    (path / "thesis.tex").write_text("years of work")
    return path


def untouched(outside: Path) -> bool:
    return {path.name: path.read_text() for path in outside.iterdir()} == {"thesis.tex": "years of work"}


def replace_by_link(path: Path, target: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


def interrupted(path: Path) -> Path:
    """A run that was stopped, as somebody may send it."""
    write_run(path, Lanes(marlx.configure("iql", "matrix_game", *SMALL), [0, 1]), status="interrupted")
    return path


def resumed(path: Path) -> int:
    return main(["train", "iql", "matrix_game", *SMALL, "--seeds", "2", "--out", str(path), "--resume", "--quiet"])


def one_line(capsys: pytest.CaptureFixture[str], words: str) -> None:
    told = capsys.readouterr().err
    assert words in told and told.count("\n") == 1, told


FILES = ("events.log", "run.toml", "metrics.parquet", "parameters.npz")
FOLDERS = ("parameters", "metrics", "checkpoints", "wandb", "tensorboard", "checkpoints/0", "checkpoints/0/state")


@pytest.mark.parametrize("name", [*FILES, *FOLDERS])
def test_a_link_in_a_run_is_refused(
    name: str, tmp_path: Path, outside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    link, target = interrupted(tmp_path / "run") / name, outside
    if name in FILES:
        target = outside / "thesis.tex"
    if name == "run.toml":  # what is read must be the run's own, or another mistake is found first
        target = tmp_path / "moved.toml"
        shutil.move(link, target)
    replace_by_link(link, target)
    assert resumed(tmp_path / "run") == 2
    one_line(capsys, f"{link} is a link")
    assert untouched(outside)


def test_a_link_in_a_run_that_had_not_begun_is_refused(tmp_path: Path, outside: Path) -> None:
    path = tmp_path / "run"
    path.mkdir()
    (path / directory.EVENTS).symlink_to(outside / "thesis.tex")
    assert resumed(path) == 2 and untouched(outside)
    assert os.listdir(path) == [directory.EVENTS]


def test_the_directory_of_a_run_may_be_a_link_but_not_that_of_a_share(tmp_path: Path, outside: Path) -> None:
    write_run(tmp_path / "run", Lanes(marlx.configure("iql", "matrix_game"), [0]))
    (tmp_path / "link").symlink_to(tmp_path / "run")
    with directory.held(tmp_path / "link"):
        assert directory.is_held(tmp_path / "run")
    (tmp_path / "part-0-of-2").symlink_to(outside)
    with pytest.raises(UsageError, match="part-0-of-2 is a link"), directory.held(tmp_path / "part-0-of-2"):
        pass
    assert untouched(outside)


@pytest.mark.parametrize("name", ["vdn-matrix_game", "jobs", "results.parquet", "sweep.toml"])
def test_a_link_in_a_sweep_is_refused(
    name: str, tmp_path: Path, outside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_sweep(tmp_path / "sweep")
    shutil.copy(tmp_path / "sweep" / PLAN, tmp_path / PLAN)
    assert name == "jobs" or "." in name or (tmp_path / "sweep" / name).is_dir()
    replace_by_link(tmp_path / "sweep" / name, tmp_path / PLAN if name == PLAN else outside)
    assert main(["sweep", str(tmp_path / PLAN), "--out", str(tmp_path / "sweep"), "--quiet"]) == 2
    one_line(capsys, f"{name} is a link")
    assert untouched(outside)


def test_agents_are_not_exported_through_a_link(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(finished, tmp_path / "run")
    (tmp_path / "empty").mkdir()
    (tmp_path / "run" / "exported").symlink_to(tmp_path / "empty")
    assert main(["export", str(tmp_path / "run")]) == 2
    one_line(capsys, "exported is a link")
    assert not os.listdir(tmp_path / "empty")


@needs_submitit
def test_jobs_read_no_result_that_was_there_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    submitit, folders = launcher._submitit(), []

    def note(folder: str, cluster: str, **_: int) -> None:
        folders.append(Path(folder))
        assert not os.listdir(folder)
        raise RuntimeError("no queue")

    monkeypatch.setattr(submitit, "AutoExecutor", note)
    write_sweep(tmp_path / "sweep")
    (tmp_path / "sweep" / "jobs").mkdir()
    (tmp_path / "sweep" / "jobs" / "1_0_result.pkl").touch()
    cells = read_sweep(tmp_path / "sweep" / PLAN).cells
    for _ in range(2):
        with pytest.raises(UsageError, match="the queue refuses: no queue"):
            launcher.submit(tmp_path / "sweep", cells, "local", {}, {})
    assert len(set(folders)) == 2 and {folder.parent for folder in folders} == {tmp_path / "sweep" / "jobs"}


def test_a_long_axis_is_read_or_refused_at_once() -> None:
    start = time.monotonic()
    check_distinct("training.gamma", [str(i) for i in range(MOST_POINTS)])
    with pytest.raises(UsageError, match="twice: a list of 100000 entries"):
        check_distinct("training.gamma", [*range(MOST_POINTS - 1), 0])
    with pytest.raises(UsageError, match="training.gamma has 1,000,000 values; at most 100,000"):
        check_distinct("training.gamma", [0.5] * 1_000_000)
    assert time.monotonic() - start < 5  # an hour, if each were compared with each


@pytest.mark.parametrize("file", ["plan", "run"])
def test_a_file_with_a_long_axis_is_refused_in_one_line(
    file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    axis = f"'training.gamma' = [{','.join(['0.5'] * 100_001)}]"
    if file == "plan":
        (tmp_path / "plan.toml").write_text(f'algorithm="iql"\nenvironment="matrix_game"\nseeds=1\n[axes]\n{axis}')
        command = ["sweep", str(tmp_path / "plan.toml"), "--out", str(tmp_path / "out")]
    else:
        record = interrupted(tmp_path / "run") / directory.RECORD
        alive = re.sub(
            r"(?s)dead = \[.*?\n\]\n", "dead = []\n", record.read_text()
        )  # the dead of a grid have places in it
        record.write_text(f"{alive}\n[grid]\n{axis}")
        command = ["evaluate", str(tmp_path / "run")]
    assert main(command) == 2
    one_line(capsys, "training.gamma has 100,001 values; at most 100,000")


@pytest.mark.parametrize(
    "values", [[1, 1.0], [1, True], ["a", "a"], [[1, [2]], [1.0, [2]]], [{"a": [1]}, {"a": [1]}], [(1,), (1,)]]
)
def test_equal_values_are_one_value_twice(values: list[Any]) -> None:
    with pytest.raises(UsageError, match="twice"):
        check_distinct("environment.payoff", values)


def test_different_values_are_not_confused() -> None:
    check_distinct("environment.payoff", [1, "1", 2.5, [1], [[1]], {"a": 1}, {"a": [1]}, {"b": 1}, [], {}, False])


def test_a_value_nested_without_end_is_one_line() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(UsageError, match="nested too deeply"):
        check_distinct("environment.payoff", [deep, 1])


SHAPES = {"a": jax.ShapeDtypeStruct((3,), np.float32), "b": {"c": jax.ShapeDtypeStruct((2, 2), np.float32)}}
TREE = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": {"c": np.ones((2, 2, 2), np.float32)}}


def npz(path: Path, header: bytes, numbers: bytes, compression: int = zipfile.ZIP_STORED) -> None:
    """parameters.npz with one array `a` of any header and any content."""
    begin = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    with zipfile.ZipFile(path / directory.PARAMETERS, "w", compression) as archive:
        archive.writestr("a.npy", begin + numbers)


def header(shape: str, kind: str = "<f4") -> bytes:
    return f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()


def loaded(path: Path) -> Any:
    return parameters.load(path, SHAPES, lanes=2)


@pytest.mark.parametrize(
    ("shape", "kind", "size", "words"),
    [
        ("(2, 1000000000000)", "<f4", 0, "another size than its header says"),
        ("(2, 1)", "<f4", 24, "another size than its header says"),
        ("(-2, -3)", "<f4", 24, "another size than its header says"),
        ("(2, 3)", "|O", 48, "Object arrays cannot be loaded"),
        ("(2, 3", "<f4", 24, "damaged"),
        ("(2, 200000)", "<f4", 1_600_000, "larger than they can be"),
    ],
)
def test_headers_of_parameters_are_not_trusted(shape: str, kind: str, size: int, words: str, tmp_path: Path) -> None:
    npz(tmp_path, header(shape, kind), bytes(size))
    with pytest.raises(UsageError, match=words) as error:
        loaded(tmp_path)
    assert "parameters.npz is damaged" in str(error.value) and "\n" not in str(error.value)


def test_parameters_that_would_unpack_to_much_more_than_their_file_are_refused(tmp_path: Path) -> None:
    npz(tmp_path, header("(2, 3)"), bytes(24))
    with pytest.raises(UsageError, match="b/c is missing"):  # the array itself is as it should be
        loaded(tmp_path)
    npz(tmp_path, header("(2, 2000)"), bytes(16_000), zipfile.ZIP_DEFLATED)
    assert (tmp_path / directory.PARAMETERS).stat().st_size < 1000
    with pytest.raises(UsageError, match="its arrays are larger than they can be"):
        loaded(tmp_path)


def test_parameters_with_a_flipped_bit_are_the_same_or_refused(tmp_path: Path) -> None:
    parameters.save_part(tmp_path, 0, TREE)
    parameters.merge(tmp_path)
    path, generator = tmp_path / directory.PARAMETERS, np.random.default_rng(0)
    whole, refused = path.read_bytes(), 0
    for place in generator.integers(0, 8 * len(whole), 300):
        content = bytearray(whole)
        content[place // 8] ^= 1 << place % 8
        path.write_bytes(content)
        try:
            found = loaded(tmp_path)
        except UsageError as error:
            assert "\n" not in str(error) and len(str(error)) < 300 + len(str(path))
            refused += 1
        else:
            jax.tree.map(np.testing.assert_array_equal, found, TREE)
    assert 100 < refused < 300


def test_a_damaged_part_is_not_taken_for_the_parameters(tmp_path: Path) -> None:
    parameters.save_part(tmp_path, 0, TREE)
    (part,) = (tmp_path / directory.PARAMETER_PARTS).iterdir()
    whole = part.read_bytes()
    part.write_bytes(whole[:-30])
    with pytest.raises(UsageError, match="is damaged"):
        parameters.merge(tmp_path)
    assert part.exists() and not (tmp_path / directory.PARAMETERS).exists()
    part.write_bytes(whole)
    parameters.merge(tmp_path)
    assert not part.exists() and (tmp_path / directory.PARAMETERS).read_bytes() == whole


@pytest.mark.parametrize("content", [b"", b"PK", b"\x93NUMPY\x01\x00\x10\x00", b"x" * 1000])
def test_what_is_no_archive_is_one_line(content: bytes, tmp_path: Path) -> None:
    (tmp_path / directory.PARAMETERS).write_bytes(content)
    with pytest.raises(UsageError, match="parameters.npz is damaged: .+"):
        loaded(tmp_path)


def metrics_of(path: Path, rows: int, more: int = 0, name: str = "loss") -> None:
    """Metrics that take next to nothing on disk."""
    zeros = np.zeros(rows)
    columns = {"seed": zeros.astype(np.int64), "env_steps": zeros.astype(np.int64)}
    columns |= {"name": pa.array([name] * rows).dictionary_encode(), "value": zeros}
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table(columns | {f"x{i}": zeros for i in range(more)}), path, compression="zstd")


@pytest.mark.parametrize("rows, more, name", [(1_000_000, 0, "a"), (10, 500, "a"), (10, 0, "a" * 10_000_000)])
@pytest.mark.parametrize("place", [directory.METRICS, f"{directory.PARTS}/00000000-000000.parquet"])
def test_metrics_beyond_what_a_run_can_have_are_refused(
    rows: int, more: int, name: str, place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = interrupted(tmp_path / "run")
    (path / directory.METRICS).unlink()
    metrics_of(path / place, rows, more, name)
    assert (path / place).stat().st_size < 200_000
    with pytest.raises(UsageError, match=r"parquet is too large for the run: \d"):
        marlx.load_run(path).metrics()
    assert resumed(path) == 2
    one_line(capsys, "parquet is too large for the run")


def test_metrics_with_every_name_a_run_can_have_are_read(tmp_path: Path) -> None:
    """Tables and weights of all joint actions at once."""
    path = interrupted(tmp_path / "run")
    (path / directory.METRICS).unlink()
    lanes = marlx.load_run(path).lanes
    record = {f"metric_with_a_long_name_{i}": np.zeros(2) for i in range(1000)}
    for k in range(4):
        record["env_steps"] = np.full(2, 80 * (k + 1))
        metrics.Recorder(path).add(0, k, lanes.columns(), record)
    assert len(marlx.load_run(path).tidy()) == 8000


def test_checkpoints_beyond_what_a_run_can_have_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = interrupted(tmp_path / "run")
    kept = Checkpoints(path)
    kept.save({"firsts": [0]}, {"a": np.zeros(10_000_000, np.float32)})
    kept.close()
    assert sum(file.stat().st_size for file in path.rglob("checkpoints/**/*") if file.is_file()) < 100_000
    assert resumed(path) == 2
    one_line(capsys, "checkpoints/0 holds 40,000,000 bytes, more than the run's seeds can have")


def test_a_large_payoff_file_that_changed_is_another_game(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, path, payoff = tmp_path / "game.npy", tmp_path / "run", np.zeros((400, 400))
    np.save(file, payoff)
    game = ["iql", "matrix_game", *SMALL, f"environment.payoff={file}"]
    experiment = marlx.configure(*game)
    write_run(path, Lanes(experiment, [0, 1]), status="interrupted")
    run = marlx.load_run(path)
    assert not differences(run, Lanes(experiment, [0, 1]), 0)
    assert len(run.experiment.environment["payoff_digest"]) == 32
    assert run.experiment.replace("evaluation.episodes=3").environment == run.experiment.environment
    payoff[7, 7] = 1
    np.save(file, payoff)
    log = path / directory.EVENTS
    for command in (["train", *game, "--seeds", "2", "--out", str(path), "--resume"], ["evaluate", str(path)]):
        assert main(command) == 2 and not log.exists()
        one_line(capsys, "experiment.toml: environment.payoff file")
    assert marlx.configure(*game).environment["payoff_digest"] != experiment.environment["payoff_digest"]
    np.save(file, np.zeros((400, 400), np.int8))  # the same numbers in another way
    assert not differences(marlx.load_run(path), Lanes(experiment, [0, 1]), 0)


def test_a_payoff_that_could_not_be_read_again_is_refused_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one of millions of numbers, with less patience."""
    monkeypatch.setattr(files, "MOST_BYTES", 100_000)
    experiment = marlx.configure("iql", "matrix_game", {"environment.payoff": np.zeros((100, 100))})
    with pytest.raises(UsageError, match=r"experiment.toml would have 1\d\d,\d+ bytes.* give a large array as a file"):
        marlx.train(experiment, 1, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_sweep_that_could_not_be_read_again_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own file is small enough; the copy beside the runs, a line for each number, is not."""
    table = ",".join(["[" + ",".join(["0"] * 100) + "]"] * 100)
    plan = f"algorithm='iql'\nenvironment='matrix_game'\nseeds=1\n[set]\n'environment.payoff'=[{table}]"
    (tmp_path / PLAN).write_text(plan)
    monkeypatch.setattr(files, "MOST_BYTES", 50_000)
    with pytest.raises(UsageError, match=r"sweep.toml would have \d+,\d+ bytes"):
        prepare(read_sweep(tmp_path / PLAN), tmp_path / "out")
    assert not (tmp_path / "out").exists()
