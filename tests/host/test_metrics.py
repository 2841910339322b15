"""Metrics on disk: every evaluation that was written is read back, whatever came after it."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from marlx_envs.options import UsageError

from marlx.host import metrics
from marlx.host.metrics import Recorder, by_seed

SEEDS = [4, 2, 9]


def record(index: int) -> dict[str, np.ndarray]:
    """An evaluation of three seeds."""
    return {
        "env_steps": np.array([10, 11, 12]) * (index + 1),
        "loss": np.array([0.5, np.nan, 1.5]) + index,
        "evaluation_return": np.array([1, 2, 3], np.float32) * index,
        "updates": np.array([2**30 + 1] * 3, np.int32),
    }


def written(path: Path, count: int = 3) -> Recorder:
    recorder = Recorder(path)
    for index in range(count):
        recorder.add(0, index, {"seed": np.array(SEEDS)}, record(index))
    return recorder


def test_a_run_cut_short_keeps_every_evaluation(tmp_path: Path) -> None:
    recorder = written(tmp_path)
    (tmp_path / "metrics" / ".000003.parquet.abc").write_bytes(b"half a fi")
    before = metrics.read(tmp_path)
    assert len(before) == 3 * 3 * 3
    recorder.merge()
    pd.testing.assert_frame_equal(metrics.read(tmp_path), before)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["metrics.parquet"]


@pytest.mark.parametrize("left", [0, 2])
def test_the_last_evaluation_is_that_of_the_whole_file(tmp_path: Path, left: int) -> None:
    """A process that was killed while it removed merged parts has left some of the earlier ones."""
    recorder = written(tmp_path)
    expected = metrics.last(tmp_path)
    copies = {path: path.read_bytes() for path in metrics._parts(tmp_path / "metrics")[:left]}
    recorder.merge()
    (tmp_path / "metrics").mkdir()
    for path, content in copies.items():
        path.write_bytes(content)
    found = metrics.last(tmp_path)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values)
    assert dict(zip(found["seed"], found["env_steps"], strict=True)) == {4: 30, 2: 33, 9: 36}


@pytest.mark.parametrize("left", [0, 2])
def test_a_run_that_ends_while_it_is_read_is_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: int
) -> None:
    """Its parts are merged, and being removed, between the look for the one file and the look for the others."""
    recorder, look = written(tmp_path), metrics._parts
    before = metrics.read(tmp_path)

    def later(folder: Path) -> list[Path]:
        monkeypatch.setattr(metrics, "_parts", look)
        copies = {path: path.read_bytes() for path in look(folder)[:left]}
        recorder.merge()
        folder.mkdir()
        for path, content in copies.items():
            path.write_bytes(content)
        return look(folder)

    monkeypatch.setattr(metrics, "_parts", later)
    pd.testing.assert_frame_equal(metrics.read(tmp_path), before)


def test_the_table_is_tidy_and_exact(tmp_path: Path) -> None:
    written(tmp_path).merge()
    tidy = pd.read_parquet(tmp_path / "metrics.parquet")
    assert list(tidy.columns) == ["seed", "env_steps", "name", "value"]
    assert list(map(str, tidy.dtypes)) == ["int64", "int64", "category", "float64"]
    row = tidy[(tidy.seed == 9) & (tidy.env_steps == 24)].set_index("name").value
    assert dict(row) == {"loss": 2.5, "evaluation_return": 3.0, "updates": 2.0**30 + 1}


def test_wide_has_a_row_for_each_seed_and_evaluation(tmp_path: Path) -> None:
    written(tmp_path)
    table = metrics.wide(metrics.read(tmp_path))
    assert list(table.columns) == ["seed", "env_steps", "evaluation_return", "loss", "updates"]
    assert len(table) == 9
    assert table[(table.seed == 2)].evaluation_return.tolist() == [0.0, 2.0, 4.0]
    assert np.isnan(table[table.seed == 2].loss).all()


def test_two_values_of_one_evaluation_are_one_line(tmp_path: Path) -> None:
    written(tmp_path)
    table = metrics.read(tmp_path)
    with pytest.raises(UsageError, match="metrics are damaged: Index contains duplicate entries"):
        metrics.wide(pd.concat([table, table]))


def test_no_evaluation_is_an_empty_table(tmp_path: Path) -> None:
    Recorder(tmp_path).merge()
    assert metrics.read(tmp_path).empty
    assert metrics.wide(metrics.read(tmp_path)).empty


@pytest.mark.parametrize("first, last, between", [(0, None, b""), (500, None, b""), (60, 100, b"\x55" * 40)])
def test_a_damaged_file_is_one_line(tmp_path: Path, first: int, last: int | None, between: bytes) -> None:
    written(tmp_path).merge()
    path = tmp_path / "metrics.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[:first] + between + (whole[last:] if last else b""))
    with pytest.raises(UsageError, match=r"metrics\.parquet is damaged") as error:
        metrics.read(tmp_path)
    assert "\n" not in str(error.value)


def test_many_seeds_cost_little(tmp_path: Path) -> None:
    count = 10_000
    recorder = Recorder(tmp_path)
    values = np.random.default_rng(0).normal(size=count).astype(np.float32)
    for index in range(3):
        names = {f"metric_{i}": values + i for i in range(10)}
        recorder.add(0, index, {"seed": np.arange(count)}, {"env_steps": np.full(count, index), **names})
    recorder.merge()
    assert (tmp_path / "metrics.parquet").stat().st_size < 3 * 10 * count * 5  # bytes a value


def test_seeds_that_are_not_equally_far_keep_their_places() -> None:
    table = pd.DataFrame({"seed": [1, 0, 0], "env_steps": [10, 20, 11], "x": [5.0, 7.0, 6.0]})
    steps, values = by_seed(table, ["env_steps", "x"])
    np.testing.assert_array_equal(values, [[6, 7], [5, np.nan]])
    np.testing.assert_array_equal(steps, [[11, 20], [10, np.nan]])
