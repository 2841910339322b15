"""What every result is written with: the command that made it, versions, hardware and date."""

import datetime
import json
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marlx_envs.options import UsageError

from marlx.host import files, provenance

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

PLACES = ("--out", "--runs")
RESULTS = Path(__file__).parent / "results"


def command() -> str:
    """What this process was started with, as a shell takes it, without the folders that one machine has."""
    given = sys.orig_argv[1:]
    kept = (
        word
        for before, word in zip(["", *given], given, strict=False)
        if before not in PLACES and word.partition("=")[0] not in PLACES
    )
    return shlex.join(["python", *kept])


def write(path: Path, **found: Any) -> None:
    """Writes a JSON file; call it when JAX has started, since it names the devices. Raises `DiskError`."""
    record = {
        "command": command(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "versions": provenance.versions(),
        "hardware": provenance.hardware(),
        **found,
    }
    text = json.dumps(record, indent=1) + "\n"
    files.write_whole(path, lambda file: file.write(text.encode()))


@contextmanager
def unfinished(path: Path) -> Iterator[Path]:
    """The file to write to while it is measured, which then becomes `path`; whoever is stopped before has kept it.

    Raises `DiskError`.
    """
    partial = path.with_name(f"{path.stem}.unfinished{path.suffix}")
    yield partial
    with files.disk("write", path):
        partial.replace(path)


def final(frame: "pd.DataFrame", *run: str) -> "pd.DataFrame":
    """The last evaluation of every run, which these columns name; of a seed that died it is NaN, and stays so."""
    return frame.sort_values("env_steps").drop_duplicates(list(run), keep="last").sort_values(list(run))


def write_table(path: Path, frame: "pd.DataFrame") -> None:
    """Writes a parquet file, the old one or the new one being there at any time. Raises `DiskError`."""
    files.write_whole(path, lambda file: frame.to_parquet(file, index=False))


def write_picture(path: Path, figure: "Figure") -> None:
    """Writes a PNG file. Raises `DiskError`."""
    files.write_whole(path, lambda file: figure.savefig(file, format="png", dpi=200))


def read_table(path: Path, *columns: str) -> "pd.DataFrame":
    """A table that an experiment goes on with. Raises `UsageError` if it is damaged or lacks a column."""
    import pandas as pd
    import pyarrow as pa

    try:
        with files.disk("read", path):
            frame = pd.read_parquet(path)
    except pa.ArrowInvalid as error:
        raise UsageError(f"{path} is no table of parquet: {error}; move it away, or give another --name") from error
    for column in columns:
        if column not in frame:
            raise UsageError(f"{path} has no column {column!r}; move it away, or give another --name")
    return frame
