"""Metrics on disk, tidy: seed, env_steps, name, value. One part file for each evaluation, merged into one at the end.

Each file is written beside its place and renamed, so a run killed at any moment keeps every evaluation it had written.
While `metrics.parquet` exists it is whole, and parts beside it are leftovers of the merge.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from marlx_envs.options import UsageError

from marlx.host.directory import METRICS, PARTS
from marlx.host.files import disk, write_whole

if TYPE_CHECKING:
    import pandas as pd

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


class Recorder:
    """Writes the metrics of one run.

    Args:
        directory: of the run.
        seeds: ids [S], the order of every record.
    """

    def __init__(self, directory: Path, seeds: list[int]) -> None:
        self._directory, self._parts = directory, directory / PARTS
        self._seeds = np.asarray(seeds, np.int64)
        with disk("make the directory", self._parts):
            self._parts.mkdir(exist_ok=True)

    def add(self, index: int, record: Mapping[str, np.ndarray[Any, Any]]) -> None:
        """Writes evaluation number `index`: name -> values [S], `env_steps` among them. Raises `DiskError`."""
        names = [name for name in record if name != "env_steps"]
        count = len(self._seeds)
        codes = np.repeat(np.arange(len(names), dtype=np.int32), count)
        columns = [
            np.tile(self._seeds, len(names)),
            np.tile(np.asarray(record["env_steps"], np.int64), len(names)),
            pa.DictionaryArray.from_arrays(codes, pa.array(names, pa.string())),
            np.concatenate([np.asarray(record[name], np.float64) for name in names]),
        ]
        table = pa.table(columns, schema=SCHEMA)
        write_whole(self._parts / f"{index:06d}.parquet", lambda file: pq.write_table(table, file, **_FORMAT))

    def merge(self) -> None:
        """Puts all parts into one file. Raises `DiskError`; the parts then stay."""
        parts = _parts(self._parts)

        def write(file: Any) -> None:
            with pq.ParquetWriter(file, SCHEMA, **_FORMAT) as writer:
                waiting: list[pa.Table] = []
                for part in parts:
                    waiting.append(_read(part))
                    if sum(table.num_rows for table in waiting) >= _ROWS:
                        writer.write_table(_joined(waiting), row_group_size=_ROWS)
                        waiting = []
                if waiting:
                    writer.write_table(_joined(waiting), row_group_size=_ROWS)

        write_whole(self._directory / METRICS, write)
        shutil.rmtree(self._parts, ignore_errors=True)


def read(directory: Path) -> "pd.DataFrame":
    """The tidy table of a run, finished or not; `name` is categorical. Raises `UsageError` on a damaged file."""
    merged = directory / METRICS
    tables = [_read(path) for path in ([merged] if merged.exists() else _parts(directory / PARTS))]
    return _joined(tables).to_pandas()


def wide(tidy: "pd.DataFrame") -> "pd.DataFrame":
    """One row for each seed and evaluation: seed, env_steps, then a column for each name, evaluations first."""
    table = tidy.pivot(index=["seed", "env_steps"], columns="name", values="value")
    names = sorted(map(str, table.columns), key=lambda name: (not name.startswith("evaluation_"), name))
    names.sort(key=lambda name: name != "evaluation_return")
    table = table[names].reset_index()
    table.columns.name = None
    table.columns = [str(name) for name in table.columns]
    return table


def _parts(folder: Path) -> list[Path]:
    return sorted(folder.glob("[0-9]*.parquet"))


def _joined(tables: list[pa.Table]) -> pa.Table:
    return pa.concat_tables([SCHEMA.empty_table(), *tables]).unify_dictionaries().combine_chunks()


def _read(path: Path) -> pa.Table:
    try:
        return pq.ParquetFile(path, page_checksum_verification=True).read().cast(SCHEMA)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise UsageError(f"{path} is damaged or cannot be read: {' '.join(str(error).split())[:120]}") from error
