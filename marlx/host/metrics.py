"""Metrics on disk, tidy: seed, env_steps, name, value, and a column for each hyperparameter that is an axis of the run.
One part file for each chunk of seeds and evaluation, merged into one at the end.

Each file is written beside its place and renamed, so a run killed at any moment keeps every evaluation it had written.
While `metrics.parquet` exists it is whole, and parts beside it are leftovers of the merge.
"""

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from marlx_envs.options import UsageError

from marlx.host.directory import METRICS, PARTS
from marlx.host.files import disk, write_whole
from marlx.host.lanes import Lanes

if TYPE_CHECKING:
    import pandas as pd

Array = npt.NDArray[Any]
SCHEMA = pa.schema(
    [
        ("seed", pa.int64()),
        ("env_steps", pa.int64()),
        ("name", pa.dictionary(pa.int32(), pa.string())),
        ("value", pa.float64()),  # counters beyond 2**24 stay exact
    ]
)
_FORMAT: dict[str, Any] = {
    "compression": "zstd",
    "use_dictionary": ["name"],
    "column_encoding": {
        "seed": "DELTA_BINARY_PACKED",
        "env_steps": "DELTA_BINARY_PACKED",
        "value": "BYTE_STREAM_SPLIT",
    },
    "write_page_checksum": True,
}
_ROWS = 2**20  # of one group of rows
_MOST_NAMES = 2000  # of metrics; there are hundreds where every joint action has some
_MOST_BYTES = 100  # of one row in memory


class Recorder:
    """Writes the metrics of one run, part by part.

    Args:
        directory: of the run.
    """

    def __init__(self, directory: Path) -> None:
        import pandas  # noqa: F401  # pyarrow's first table imports it, for half a second: here, before seeds wait

        self._directory, self._parts = directory, directory / PARTS
        with disk("make the directory", self._parts):
            self._parts.mkdir(exist_ok=True)

    def add(self, first: int, index: int, columns: Mapping[str, Array], record: Mapping[str, Array]) -> None:
        """Writes evaluation number `index` of the lanes from `first` on. Raises `DiskError`.

        Args:
            columns: `seed` and the coordinates of each lane [S].
            record: name -> values [S], `env_steps` among them.
        """
        names = [name for name in record if name != "env_steps"]
        codes = np.repeat(np.arange(len(names), dtype=np.int32), len(columns["seed"]))
        every = {
            "seed": np.asarray(columns["seed"], np.int64),
            "env_steps": np.asarray(record["env_steps"], np.int64),
            **{name: np.asarray(values, np.float64) for name, values in columns.items() if name != "seed"},
        }
        table: dict[str, Any] = {name: np.tile(values, len(names)) for name, values in every.items()}
        table["name"] = pa.DictionaryArray.from_arrays(codes, pa.array(names, pa.string()))
        table["value"] = np.concatenate([np.asarray(record[name], np.float64) for name in names])
        whole = pa.table(table, schema=_schema(name for name in columns if name != "seed"))
        write_whole(self._part(first, index), lambda file: pq.write_table(whole, file, **_FORMAT))

    def take(self, evaluations: Iterable[pa.Table], count: int, rows: Array) -> None:
        """Writes as evaluations of the lanes from 0 on what another run has of some lanes of a chunk.

        Args:
            evaluations: of that chunk, which has `count` lanes (`of_chunk`).
            rows: which of them [S].

        Raises:
            UsageError: one is damaged.
            DiskError: a file cannot be written.
        """
        for index, table in enumerate(evaluations):
            if table.num_rows % count:
                raise UsageError(f"evaluation {index} has {table.num_rows} rows, which {count} seeds cannot have")
            lanes = np.arange(0, table.num_rows, count)[:, None] + rows  # for each name the lanes
            some = table.take(lanes.reshape(-1))
            write_whole(self._part(0, index), partial(pq.write_table, some, **_FORMAT))

    def keep(self, firsts: Sequence[int], evaluations: int, recorded: int) -> None:
        """Removes what was written beyond a point: all evaluations of the chunks before the last, `recorded` of that.

        Args:
            firsts: first lanes of the chunks so far.

        Raises:
            DiskError: a file cannot be removed.
            UsageError: one that should be there is missing or damaged.
        """
        wanted = {self._part(first, index) for first in firsts[:-1] for index in range(evaluations)}
        wanted |= {self._part(firsts[-1], index) for index in range(recorded)}
        for path in sorted(wanted):
            _read(path)
        for path in (*_parts(self._parts), *self._parts.glob(".*.parquet.*")):
            if path not in wanted:
                with disk("remove", path):
                    path.unlink()

    def merge(self) -> None:
        """Puts all parts into one file, if that is not done. Raises `DiskError`; the parts then stay."""
        parts = _parts(self._parts)
        if (self._directory / METRICS).exists():
            parts = []

        def write(file: Any) -> None:
            with pq.ParquetWriter(file, _read(parts[0]).schema, **_FORMAT) as writer:
                waiting: list[pa.Table] = []
                for part in parts:
                    waiting.append(_read(part))
                    if sum(table.num_rows for table in waiting) >= _ROWS:
                        writer.write_table(_joined(waiting), row_group_size=_ROWS)
                        waiting = []
                if waiting:
                    writer.write_table(_joined(waiting), row_group_size=_ROWS)

        if parts:
            write_whole(self._directory / METRICS, write)
        shutil.rmtree(self._parts, ignore_errors=True)

    def _part(self, first: int, index: int) -> Path:
        return self._parts / _part_name(first, index)


def of_chunk(
    directory: Path, lanes: int, evaluations: int, first: int, count: int, recorded: int
) -> Iterator[pa.Table]:
    """The first evaluations of a chunk of a run, finished or not, as they were written.

    Args:
        lanes, evaluations: of the whole run.
        first, count: lanes of the chunk.
        recorded: evaluations asked for.

    Raises:
        UsageError: a file is missing or damaged.
    """
    if not (directory / METRICS).exists():
        yield from (_read(directory / PARTS / _part_name(first, index)) for index in range(recorded))
        return
    whole = _read(directory / METRICS)  # chunk after chunk, and of each evaluation after evaluation
    names, left = divmod(whole.num_rows, lanes * evaluations)
    if left:
        raise UsageError(f"{directory / METRICS} has {whole.num_rows} rows, which {lanes} seeds cannot have")
    for index in range(recorded):
        yield whole.slice((first * evaluations + index * count) * names, count * names)


def _part_name(first: int, index: int) -> str:
    return f"{first:08d}-{index:06d}.parquet"


def last(directory: Path) -> dict[str, Array]:
    """The last evaluation of every lane of a run that has one: name -> values [S]; empty if there is none."""
    latest = {path.stem.partition("-")[0]: path for path in _parts(directory / PARTS)}
    whole = directory / METRICS
    parts = [whole] if whole.exists() else list(latest.values())
    if not parts:
        return {}
    tidy = _joined([_read(path) for path in parts]).to_pandas()
    lane = [str(name) for name in tidy.columns if name not in ("env_steps", "name", "value")]
    table = wide(tidy[tidy["env_steps"] == tidy.groupby(lane)["env_steps"].transform("max")])
    return {str(name): table[name].to_numpy() for name in table.columns}


def read(directory: Path, lanes: Lanes | None = None) -> "pd.DataFrame":
    """The tidy table of a run, finished or not; `name` is categorical.

    Args:
        lanes: of the run; no more is read than they can have.

    Raises:
        UsageError: a file is damaged or too large.
    """
    merged = directory / METRICS
    if lanes:
        check_sizes(directory, lanes)
    while True:
        whole = merged.exists()
        try:
            tables = [_read(path) for path in ([merged] if whole else _parts(directory / PARTS))]
        except UsageError:
            if whole or not merged.exists():
                raise
        if whole or not merged.exists():
            return _joined(tables).to_pandas()
        # else the run ended while its parts were read, and they are being removed


def check_sizes(directory: Path, lanes: Lanes) -> None:
    """Raises `UsageError` if the files together have more rows, or one more columns, than a run of these lanes."""
    training, evaluation = lanes.experiment.training, lanes.experiment.evaluation
    evaluations = 1 + training["total_steps"] // (evaluation["interval"] or training["total_steps"])
    most, columns = len(lanes) * evaluations * _MOST_NAMES, len(SCHEMA) + len(lanes.grid)
    for paths in ([directory / METRICS], _parts(directory / PARTS)):
        rows = size = 0
        for path in paths:
            with suppress(OSError, pa.ArrowException):  # a damaged file is told of where it is read
                found = pq.read_metadata(path)
                rows += found.num_rows
                size += sum(found.row_group(i).total_byte_size for i in range(found.num_row_groups))
                if rows > most or size > most * _MOST_BYTES or found.num_columns > columns:
                    raise UsageError(
                        f"{path} is too large for the run: {rows:,} rows of {found.num_columns} columns, {size:,} "
                        f"bytes; at most {most:,} rows of {columns} columns"
                    )


def wide(tidy: "pd.DataFrame") -> "pd.DataFrame":
    """A row for each seed and evaluation: coordinates, seed, env_steps, a column for each name, evaluations first.

    Raises:
        UsageError: a seed has two values of one evaluation, which no run writes.
    """
    coordinates = [str(name) for name in tidy.columns if name not in SCHEMA.names]
    try:
        table = tidy.pivot(index=[*coordinates, "seed", "env_steps"], columns="name", values="value")
    except ValueError as error:
        raise UsageError(f"metrics are damaged: {error}") from error
    names = sorted(map(str, table.columns), key=lambda name: (not name.startswith("evaluation_"), name))
    names.sort(key=lambda name: name != "evaluation_return")
    table = table[names].reset_index()
    table.columns.name = None
    table.columns = [str(name) for name in table.columns]
    return table


def by_seed(table: "pd.DataFrame", names: Sequence[str]) -> list[npt.NDArray[np.float64]]:
    """Columns of a table of seeds and env_steps as arrays [S K], NaN where a seed has not come so far."""
    rows = table.sort_values(["seed", "env_steps"])
    rows = rows.assign(evaluation=rows.groupby("seed").cumcount())
    square = rows.pivot(index="seed", columns="evaluation", values=list(names))
    return [square[name].to_numpy(np.float64) for name in names]


def _parts(folder: Path) -> list[Path]:
    return sorted(folder.glob("[0-9]*.parquet"))


def _joined(tables: list[pa.Table]) -> pa.Table:
    return pa.concat_tables(tables or [SCHEMA.empty_table()]).unify_dictionaries().combine_chunks()


def _schema(coordinates: Iterable[str]) -> pa.Schema:
    return pa.schema([*SCHEMA, *((name, pa.float64()) for name in coordinates)])


def _read(path: Path) -> pa.Table:
    try:
        table = pq.ParquetFile(path, page_checksum_verification=True).read()
        return table.cast(_schema(name for name in table.column_names if name not in SCHEMA.names))
    except (OSError, ValueError, pa.ArrowException) as error:
        raise UsageError(f"{path} is damaged or cannot be read: {' '.join(str(error).split())[:120]}") from error
