"""What every benchmark needs: the reference configuration, medians of repeated timings, tables, the JSON record."""

import dataclasses
import datetime
import json
import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Cell = str | float | int

# The work that the figures speak of: 8 agents, 8 prey, 10x10, view 5x5, rows of 200 steps, 8 environments, one update
# of 32 rows for each 1,600 steps, GRU 64, mixer 32/64.
REFERENCE = (
    "qmix", "predator_prey", "training.td_lambda=0.5", "training.buffer_size=1000", "training.updates_per_iteration=1",
)  # fmt: skip
GAME = (
    "qmix", "matrix_game", "environment.payoff=resq79", "training.num_envs=8", "training.batch_size=32",
    "training.buffer_size=2048", "training.total_steps=1_000_000",
)  # fmt: skip
# The amounts of JaxMARL's QMIX script: 16 environments x 128 steps, then 8 updates of 32 rows; a replay of 5,000 rows.
BATTLE = (
    "qmix", "smax", "environment.scenario=2s3z", "training.num_envs=16", "training.rollout_steps=128",
    "training.updates_per_iteration=8", "training.batch_size=32", "training.buffer_size=5000",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows of a benchmark; the first column names the work."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]

    def show(self) -> None:
        """Prints the table."""
        from rich.table import Table as RichTable

        from marlx.host.console import console

        table = RichTable(title=self.title, title_justify="left")
        for index, column in enumerate(self.columns):
            table.add_column(column, justify="left" if index == 0 else "right")
        for row in self.rows:
            table.add_row(*(_text(cell) for cell in row))
        console().print(table)


def _text(cell: Cell) -> str:
    if isinstance(cell, str):
        return cell
    return f"{cell:,.0f}" if abs(cell) >= 100 or isinstance(cell, int) else f"{cell:.3g}"


def prepare() -> None:
    """One XLA device per core; no compilation cache, so that compile times are true."""
    from marlx.host import backend

    backend.prepare(seeds=backend.cores(), cache=False)


def seconds(work: Callable[[], Any], repeats: int, warm_up: int = 1) -> float:
    """Median seconds of `work`, which must wait for its own results."""
    for _ in range(warm_up):
        work()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def refusal(path: Path) -> str | None:
    """Why a file cannot be written, as one line; None if it can. What is there stays as it is."""
    there = os.path.lexists(path)
    try:
        with path.open("a"):
            pass
    except OSError as error:
        return f"cannot write {path}: {error.strerror}"
    if not there:
        path.unlink()
    return None


def write(path: Path, tables: Sequence[Table]) -> None:
    """All tables with versions, hardware and date as JSON."""
    from marlx.host import provenance

    record = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": provenance.versions(),
        "hardware": provenance.hardware(),
        "tables": [dataclasses.asdict(table) for table in tables],
    }
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
