"""Sweeps: algorithms x environments x values of options, from a TOML file, each run in a directory of its own.

Values of traced numbers are an axis of one run and share its compiled program; whatever changes the program (a name, a
size) makes a further run. Going on with a sweep does only what is missing.
"""

import itertools
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marlx_envs.options import UsageError, check, shown, unknown

from marlx.experiment import SECTIONS, Experiment, configure
from marlx.host import directory, seed_ids, shares
from marlx.host.files import check_toml, read_toml, write_toml, write_whole
from marlx.host.lanes import Lanes, check_distinct
from marlx.host.results import Run, differences, load_run

if TYPE_CHECKING:
    import pandas as pd

PLAN, RESULTS, JOBS = "sweep.toml", "results.parquet", "jobs"
FIELDS = ("title", "algorithm", "environment", "seeds", "base_seed", "set", "axes", "variants")
MOST_CELLS = 10_000


@dataclass(frozen=True)
class Cell:
    """One run of a sweep: one compiled program."""

    name: str  # of its directory
    experiment: Experiment
    coordinates: Mapping[str, Any]  # algorithm, environment, and options that change the program
    grid: Mapping[str, list[Any]]  # traced numbers, an axis of the run


@dataclass(frozen=True)
class Sweep:
    """What a sweep file says."""

    cells: list[Cell]
    seeds: list[int]
    base_seed: int
    plan: dict[str, Any] = field(repr=False)  # the file, as it was read

    def only(self, name: str) -> "Sweep":
        """The sweep with one of its cells. Raises `UsageError` if it has none of that name."""
        cells = {cell.name: cell for cell in self.cells}
        if name not in cells:
            raise unknown("run of the sweep", name, cells)
        return replace(self, cells=[cells[name]])

    def run(self, cell: Cell, out: Path, share: tuple[int, int] | None = None, **settings: Any) -> None:
        """Trains what is left of a cell, or of a share of its seeds; parts that were begun one after another.

        Args:
            share: its number and how many there are.
        """
        from marlx.host.runs import train

        place = out / cell.name
        if share:
            shares.check_count(place, share[1])
        count = share[1] if share else shares.begun(place)
        parts = shares.places(place, self.seeds, count)
        for seeds, path in [parts[share[0]]] if share else parts:
            train(
                cell.experiment, seeds, out=path, resume=True, base_seed=self.base_seed, grid=cell.grid, **settings
            )  # fmt: skip

    def left(self, cell: Cell, out: Path, count: int) -> list[tuple[int, int]]:
        """Shares of a cell that are not finished: `count` where nothing was begun and seeds suffice."""
        place = out / cell.name
        count = shares.begun(place) or min(count, len(self.seeds))
        parts = [path for _, path in shares.places(place, self.seeds, count)]
        done = [directory.holds_run(path) and load_run(path).finished for path in parts]
        return [(index, count) for index in range(count) if not done[index]]


def read_sweep(path: Path, variant: str | None = None) -> Sweep:
    """A sweep from its file.

    Args:
        variant: table [variants.NAME] replaces fields of the file, and entries of [set] and [axes].

    Raises:
        UsageError: any mistake in the file, or no such variant.
    """
    try:
        return _sweep(_varied(read_toml(path), variant))
    except UsageError as error:
        raise error if str(path) in str(error) else UsageError(f"{path}: {error}") from error


def prepare(sweep: Sweep, out: Path) -> None:
    """Makes the directory of a sweep, or checks that it holds this one.

    Raises:
        UsageError: it holds another sweep, or anything else, or a link where a run or a file of the sweep belongs.
    """
    directory.refuse_links(out, [PLAN, RESULTS, JOBS, *(cell.name for cell in sweep.cells)])
    check_place(sweep, out)
    if not (out / PLAN).exists():
        check_toml(PLAN, sweep.plan)
        directory.claim(out, "sweep")
        write_toml(out / PLAN, sweep.plan)


def check_place(sweep: Sweep, out: Path) -> None:
    """Raises `UsageError` if a directory holds another sweep or something else, or if it is a file."""
    if directory.holds_run(out):
        raise UsageError(f"{out} holds a run, not a sweep; choose another --out")
    if not os.path.exists(out / PLAN):
        directory.check_free(out, "sweep")
    elif read_toml(out / PLAN) != sweep.plan:
        raise UsageError(f"{out} holds another sweep (see {out / PLAN}); choose another --out")


@dataclass(frozen=True)
class State:
    """How far a cell has come."""

    cell: Cell
    status: str  # missing, running, stopped by a signal, failed otherwise, finished, other (another run), damaged
    share: float  # of its steps
    dead: int = 0  # seeds


def states(sweep: Sweep, out: Path) -> Iterator[State]:
    """The state of every cell on disk."""
    for cell in sweep.cells:
        place = out / cell.name
        try:
            parts = shares.places(place, sweep.seeds, shares.begun(place))
        except UsageError:
            yield State(cell, "damaged", 0.0)
            continue
        found = [_state(sweep, cell, seeds, path) for seeds, path in parts]
        words = {state.status for state in found}
        mixed = next((word for word in ("damaged", "other", "running", "failed") if word in words), "stopped")
        status = mixed if len(words) > 1 else words.pop()
        share = sum(state.share for state in found) / len(found)  # sizes are at most one seed apart
        yield State(cell, status, share if status == "finished" else min(share, 0.99), sum(x.dead for x in found))


def _state(sweep: Sweep, cell: Cell, seeds: list[int], path: Path) -> State:
    """The state of a cell, or of a part with some of its seeds, in a directory."""
    at_work = directory.is_held(path)  # asked before it is read: a run that ends meanwhile says so
    if not directory.holds_run(path):
        return State(cell, "running" if at_work else "missing", 0.0)
    try:
        run = load_run(path)
        lanes, written = run.lanes, run.tidy()
    except UsageError:
        return State(cell, "damaged", 0.0)
    if differences(run, Lanes(cell.experiment, seeds, cell.grid), sweep.base_seed):
        return State(cell, "other", 0.0)
    total = cell.experiment.training["total_steps"] * len(lanes)
    lane = [name for name in written.columns if name not in ("env_steps", "name", "value")]
    done = written.groupby(lane)["env_steps"].max().sum() if len(written) else 0
    ended = {"interrupted": "stopped", "running": "failed"}  # who still says that it runs did not live to say more
    status = "finished" if run.finished else "running" if at_work else ended[run.record["status"]]
    return State(cell, status, 1.0 if run.finished else min(done / total, 0.99), len(run.record["dead"]))


def results(
    sweep: Sweep, out: Path, metrics: "Callable[[Run], pd.DataFrame]" = lambda run: run.metrics()
) -> "pd.DataFrame":
    """All evaluations of all cells: every coordinate, seed, env_steps, then a column for each metric.

    Args:
        metrics: the rows that are wanted of a run.
    """
    import pandas as pd

    tables = []
    for cell in sweep.cells:
        run = shares.find_run(out / cell.name)
        if run:
            table = metrics(run)
            for place, (name, value) in enumerate(cell.coordinates.items()):
                table.insert(place, name, str(value) if isinstance(value, list | dict) else value)
            tables.append(table)
    if not tables:
        raise UsageError(f"{out} holds no run of the sweep yet")
    return pd.concat(tables, ignore_index=True)


def write_results(sweep: Sweep, out: Path) -> Path:
    """`results` as a file beside the runs. Raises `DiskError`."""
    table = results(sweep, out)
    write_whole(out / RESULTS, lambda file: table.to_parquet(file, index=False))
    return out / RESULTS


def _varied(values: dict[str, Any], variant: str | None) -> dict[str, Any]:
    """The fields of a file, with those of one of its variants in their place."""
    variants = values.pop("variants", {})
    if not isinstance(variants, Mapping):
        raise UsageError(f"[variants] must be a table of tables, not {shown(variants)}")
    for name, fields in variants.items():  # also those that are not asked for
        if not isinstance(fields, Mapping):
            raise UsageError(f"[variants.{name}] must be a table, not {shown(fields)}")
        for field_name in fields:
            if field_name not in FIELDS[:-1]:
                raise unknown(f"field of [variants.{name}]", field_name, FIELDS[:-1])
    if variant is None:
        return values
    if variant not in variants:
        raise unknown("variant", variant, variants)
    changes = dict(variants[variant])
    for name in ("set", "axes"):
        if name in changes:
            changes[name] = _flat(values.get(name, {}), name) | _flat(changes[name], name)
    return {**values, **changes}


def _sweep(values: Mapping[str, Any]) -> Sweep:
    for name in values:
        if name not in FIELDS:
            raise unknown("field of a sweep", name, FIELDS)
    for name in ("algorithm", "environment", "seeds"):
        if name not in values:
            raise UsageError(f"a sweep needs the field {name}")
    if not isinstance(title := values.get("title", ""), str):
        raise UsageError(f"title must be a text, not {shown(title)}")
    names = {name: _names(name, values[name]) for name in ("algorithm", "environment")}
    fixed, axes = (_flat(values.get(name, {}), name) for name in ("set", "axes"))
    both = set(fixed) & set(axes)
    if both:
        raise UsageError(f"{min(both)} is in [set] and in [axes]")
    values_of = {name: _values(name, found) for name, found in axes.items()}
    seeds, base_seed = seed_ids.seed_ids(values["seeds"]), values.get("base_seed", 0)
    seed_ids.check_base_seed(base_seed)
    cells = list(_cells(names["algorithm"], names["environment"], fixed, values_of))
    for cell in cells:
        Lanes(cell.experiment, seeds, cell.grid)
    if len({cell.name for cell in cells}) < len(cells):
        cells = [replace(cell, name=f"{cell.name}-{number}") for number, cell in enumerate(cells)]
    return Sweep(cells, seeds, base_seed, dict(values))


def _cells(
    algorithms: Sequence[str], environments: Sequence[str], fixed: Mapping[str, Any], axes: Mapping[str, list[Any]]
) -> Iterator[Cell]:
    """A cell for every program; numbers are an axis of each."""
    for algorithm, environment in itertools.product(algorithms, environments):
        numeric = _numbers(configure(algorithm, environment, fixed), axes)
        static = {name: values for name, values in axes.items() if name not in numeric}
        count = math.prod(map(len, static.values()))
        if count > MOST_CELLS:
            raise UsageError(f"the sweep has {count:,} programs; at most {MOST_CELLS:,}")
        for values in itertools.product(*static.values()):
            chosen = dict(zip(static, values, strict=True))
            experiment = configure(algorithm, environment, {**fixed, **chosen})
            for name, numbers in numeric.items():
                section, _, option = name.partition(".")
                for number in numbers:
                    check(experiment.options(section)[option], number, name)
            words = [algorithm, environment, *(f"{name.partition('.')[2]}={value}" for name, value in chosen.items())]
            coordinates = {"algorithm": algorithm, "environment": environment, **chosen}
            yield Cell(re.sub(r"[^\w.=+-]+", "_", "-".join(words))[:120], experiment, coordinates, numeric)


def _numbers(experiment: Experiment, axes: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
    """The axes that are traced numbers. Raises `UsageError` for a name that is no field at all."""
    found = {}
    for name, values in axes.items():
        section, _, option = name.partition(".")
        if section not in SECTIONS:
            raise unknown("section", section, SECTIONS)
        options = experiment.options(section)
        if option in options and options[option].kind == "number":
            found[name] = values
    return found


def _names(name: str, value: Any) -> list[str]:
    words = [value] if isinstance(value, str) else value
    if not isinstance(words, list) or not words or not all(isinstance(word, str) for word in words):
        raise UsageError(f"{name} must be a name or a list of names, not {shown(value)}")
    if len(set(words)) < len(words):
        raise UsageError(f"{name} has a name twice: {shown(words)}")
    return words


def _flat(table: Any, where: str) -> dict[str, Any]:
    """{"section.name": value} of a table that writes it so, or as a table of sections."""
    if not isinstance(table, Mapping):
        raise UsageError(f"[{where}] must be a table, not {shown(table)}")
    found: dict[str, Any] = {}
    for name, value in table.items():
        if name in SECTIONS and isinstance(value, Mapping):
            found |= {f"{name}.{option}": x for option, x in value.items()}
        elif "." not in name and isinstance(value, Mapping):
            raise unknown(f"section of [{where}]", name, SECTIONS)
        else:
            found[name] = value
    return found


def _values(name: str, value: Any) -> list[Any]:
    """The values of an axis: a list, or a range {from, to, count} with scale = "linear" or "log"."""
    if isinstance(value, list) and value:
        check_distinct(name, value)
        return value
    if not isinstance(value, Mapping):
        raise UsageError(f"{name} needs a list of values or a range {{from, to, count}}, not {shown(value)}")
    for key in value:
        if key not in ("from", "to", "count", "scale"):
            raise unknown(f"field of the range of {name}", key, ("from", "to", "count", "scale"))
    try:
        first, last, count = float(value["from"]), float(value["to"]), int(value["count"])
    except (KeyError, TypeError, ValueError, OverflowError):
        raise UsageError(f"the range of {name} needs numbers from, to and count") from None
    scale = value.get("scale", "linear")
    if scale not in ("linear", "log"):
        raise unknown(f"scale of the range of {name}", scale, ("linear", "log"))
    if not 2 <= count <= MOST_CELLS or not (math.isfinite(first) and math.isfinite(last)) or first == last:
        raise UsageError(f"the range of {name} needs two different ends and a count from 2 to {MOST_CELLS:,}")
    if scale == "log" and min(first, last) <= 0:
        raise UsageError(f"the range of {name} is logarithmic, so both its ends must be above 0")
    steps = [i / (count - 1) for i in range(count)]
    if scale == "log":
        return [first * (last / first) ** step for step in steps[:-1]] + [last]
    return [first + (last - first) * step for step in steps[:-1]] + [last]
