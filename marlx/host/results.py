"""A run on disk: `load_run(path)` -> Run, with its experiment, metrics, parameters and further evaluations."""

import difflib
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marlx_envs.discovery import MODULES, users_modules
from marlx_envs.options import UsageError, shown, unknown

from marlx.experiment import SECTIONS, Experiment, from_dict
from marlx.host import directory, seed_ids
from marlx.host.files import read_toml
from marlx.host.lanes import Lanes

if TYPE_CHECKING:
    import pandas as pd

    from marlx.types import Params

FORMAT = 5  # 1: without lanes and checkpoints; 2: without the best parameters; 3 and 4: other memories
MOST_SHOWN = 4  # differences
PARAMETERS = ("final", "best")
ABSOLUTE = 10  # times the episodes of an evaluation, in the absolute metric
STATES = ("running", "finished", "interrupted")

# What is computed with of run.toml: a type or types; [kind], a list of them; {str: kind}, a table of them.
_WHOLE, _NUMBER = int, (int, float)
_NEEDED = {"seeds": str, "status": str, "base_seed": _WHOLE, "dead": [{str: (int, float, str)}]}
_TIMES = ("train_seconds", "compile_seconds", "device_seconds", "checkpoint_seconds", "steps_per_second")
_KINDS: dict[str, Any] = _NEEDED | {
    "grid": {str: [_NUMBER]},
    "layout": {str: _WHOLE},
    "versions": {str: str},
    "code": {str: str},
    "modules": [str],
    "result": {str: {str: _NUMBER}},
    "env_steps": _WHOLE,
    **dict.fromkeys(_TIMES, _NUMBER),
}
_RESULT = {"iqm", "low", "high", "seeds", "left_out"}


@dataclass(frozen=True)
class Run:
    """A run directory.

    `record` is what run.toml says: `status` (running, finished, interrupted), `seeds`, `base_seed`, `date`, versions,
    hardware, layout, times in seconds, and the result.
    """

    path: Path
    experiment: Experiment
    record: dict[str, Any]

    @property
    def seeds(self) -> list[int]:
        """Ids of the seeds, in the order of every array [S]."""
        return seed_ids.seed_ids(str(self.record["seeds"]))

    @property
    def lanes(self) -> Lanes:
        """Seeds x points of the grid, in the order of every array [S]."""
        return Lanes(self.experiment, self.seeds, self.record.get("grid", {}))

    @property
    def finished(self) -> bool:
        """Whether the run was trained to its end."""
        return bool(self.record["status"] == "finished")

    @property
    def shares_rows(self) -> bool:
        """Whether its devices share the rows of a seed's batches, so that going on needs as many of them."""
        return bool(self.record.get("layout", {}).get("split", 1) > 1)

    def need(self, *names: str) -> None:
        """Raises `UsageError` if a finished run lacks one of the files that its end wrote."""
        for name in names if self.finished else ():
            if not (self.path / name).is_file():
                raise UsageError(f"{self.path / name} is missing, though the run is finished; it was there at its end")

    def tidy(self) -> "pd.DataFrame":
        """Metrics as they are stored: seed, env_steps, name, value. Raises `UsageError` if they are not whole."""
        from marlx.host import metrics

        self.need(directory.METRICS)
        return metrics.read(self.path, self.lanes)

    def metrics(self) -> "pd.DataFrame":
        """One row for each seed and evaluation: seed, env_steps, evaluation_return, and every other metric."""
        from marlx.host import metrics

        return metrics.wide(self.tidy())

    @cached_property
    def params(self) -> "Params":
        """Parameters at the end, a pytree with leading axis [S]. Raises `UsageError` if the run has none."""
        from marlx.host import evaluation

        self.need(directory.PARAMETERS)
        return evaluation.load_params(self)

    @cached_property
    def best_params(self) -> "Params":
        """Parameters of each seed's highest evaluation, like `params`. Raises `UsageError` if the run has none."""
        from marlx.host import evaluation

        self.need(directory.PARAMETERS)
        return evaluation.load_params(self, best=True)

    def episodes(self, parameters: str = "final") -> int:
        """How many episodes `evaluate` plays with each seed where it is not told. Raises `UsageError`."""
        if parameters not in PARAMETERS:
            raise unknown("parameters", parameters, PARAMETERS)
        own: int = self.experiment.evaluation["episodes"]
        return own if parameters == "final" else ABSOLUTE * own

    def evaluate(self, episodes: int | None = None, parameters: str = "final") -> dict[str, Any]:
        """Greedy episodes.

        Args:
            episodes: for each seed. None takes the experiment's, which with the final parameters repeats the last
                evaluation; or, with the best ones, ten times as many: the absolute metric of Gorsane et al. (2022).
            parameters: "final", or "best": of each seed those of its highest evaluation, in fresh episodes.

        Returns:
            metric -> values [S].

        Raises:
            UsageError: the run has no such parameters.
        """
        from marlx.host import evaluation

        usual = self.episodes(parameters)
        return evaluation.evaluate(self, episodes or usual, parameters == "best")


def load_run(path: str | Path) -> Run:
    """A run from its directory. Raises `UsageError` if there is none, or if its files are damaged."""
    path = directory.locate(path)
    if not os.path.isdir(path):
        raise UsageError(f"{path} is {'no directory' if os.path.exists(path) else 'not there'}{_nearest_run(path)}")
    if not directory.holds_run(path):
        raise UsageError(f"{path} {_what_else(path)}")
    record = read_toml(path / directory.RECORD)
    if record.get("format") != FORMAT:
        raise UsageError(
            f"{path} has format {shown(record.get('format'))}; this version of marlx reads format {FORMAT}"
        )
    wrong = _wrong(record)
    if wrong:
        raise UsageError(f"{path / directory.RECORD} is damaged: {wrong}")
    try:
        experiment = from_dict(read_toml(path / directory.EXPERIMENT))
    except UsageError as error:
        raise UsageError(f"{path / directory.EXPERIMENT}: {error}{_absent(record)}") from error
    run = Run(path, experiment, record)
    try:
        seed_ids.check_base_seed(record["base_seed"])
        len(run.lanes)  # seeds and grid
    except UsageError as error:
        raise UsageError(f"{path / directory.RECORD}: {error}") from error
    return run


def _absent(record: Mapping[str, Any]) -> str:
    """The user's modules that a run was made with and that this process was not told of, as the end of a message."""
    if set(record.get("modules", [])) <= set(users_modules()):
        return ""
    return f" (the run was made with {MODULES}={','.join(record['modules'])})"


def _wrong(record: Mapping[str, Any]) -> str | None:
    """What cannot be so in a run.toml, in words."""
    missing = [name for name in _NEEDED if name not in record]
    if missing:
        return f"it has no {missing[0]}"
    for name, kind in _KINDS.items():
        if name in record and not _fits(record[name], kind):
            return f"{name} is {shown(record[name])}"
    death = {"seed": _WHOLE, "env_steps": _WHOLE, "cause": str, **dict.fromkeys(record.get("grid", {}), _NUMBER)}
    layout, results = record.get("layout", {}), record.get("result", {})
    wrong = [
        *[("status", word) for word in [record["status"]] if word not in STATES],
        *[(f"layout.{name}", x) for name, x in layout.items() if not 1 <= x <= seed_ids.MOST],
        *[(name, record[name]) for name in _TIMES if not 0 <= record.get(name, 0.0) < math.inf],
        *[(f"result.{name}", of) for name, of in results.items() if set(of) != _RESULT],
        *[("a dead seed", of) for of in record["dead"] if not _has(of, death)],
    ]
    return next((f"{name} is {shown(value)}" for name, value in wrong), None)


def _has(table: Mapping[str, Any], kinds: Mapping[str, Any]) -> bool:
    return set(table) == set(kinds) and all(_fits(table[name], kind) for name, kind in kinds.items())


def _fits(value: Any, kind: Any) -> bool:
    if isinstance(kind, list):
        return isinstance(value, list) and all(_fits(entry, kind[0]) for entry in value)
    if isinstance(kind, dict):
        return isinstance(value, dict) and all(_fits(entry, kind[str]) for entry in value.values())
    return isinstance(value, kind) and not isinstance(value, bool)  # to Python True is a whole number


def differences(run: Run, lanes: Lanes, base_seed: int) -> dict[str, str]:
    """In which ways a run is another one than asked for: names, as "training.total_steps", and the two values."""
    asked, found = _identity(lanes, base_seed), _identity(run.lanes, run.record["base_seed"])
    return {
        name: f"{_set(found, name)} there, not {_set(asked, name)}"
        for name in dict.fromkeys((*asked, *found))
        if asked.get(name) != found.get(name)
    }


def in_words(differing: Mapping[str, str]) -> str:
    """`differences` in one line, the first few of them."""
    lines = [f"{name} is {values}" for name, values in differing.items()]
    more = [f"and {len(lines) - MOST_SHOWN} more"] if len(lines) > MOST_SHOWN else []
    return "; ".join([*lines[:MOST_SHOWN], *more])


def _set(values: Mapping[str, Any], name: str) -> str:
    return shown(values[name]) if name in values else "unset"


def _identity(lanes: Lanes, base_seed: int) -> dict[str, Any]:
    """All that makes a run the run it is."""
    experiment = lanes.experiment
    found: dict[str, Any] = {"algorithm": experiment.algorithm_name, "environment": experiment.environment_name}
    found |= {"seeds": seed_ids.text(lanes.seeds), "base_seed": base_seed}
    found |= {"grid": {name: list(values) for name, values in lanes.grid.items()}} if lanes.grid else {}
    return found | {
        f"{section}.{name}": x for section, values in plain(experiment).items() for name, x in values.items()
    }


def plain(experiment: Experiment) -> dict[str, dict[str, Any]]:
    """The sections as TOML can hold them: arrays and tuples as lists, files by their full paths, nothing for None."""
    found: dict[str, dict[str, Any]] = {}
    for section in SECTIONS:
        options = experiment.options(section)
        values = {name: value for name, value in experiment.section(section).items() if value is not None}
        found[section] = {name: _plain(value, options[name].kind == "data") for name, value in values.items()}
    return found


def recorded(experiment: Experiment) -> dict[str, Any]:
    """What experiment.toml says."""
    return experiment.to_dict() | plain(experiment)


def _plain(value: Any, may_be_file: bool) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(entry, False) for entry in value]
    if isinstance(value, Path) or (may_be_file and isinstance(value, str) and Path(value).suffix):
        return str(Path(value).absolute()) if os.path.isfile(value) else str(value)
    return value.tolist() if hasattr(value, "tolist") else value


def _nearest_run(path: Path) -> str:
    """`; did you mean X?` for the run beside a missing one whose name is closest."""
    close = difflib.get_close_matches(path.name, _runs_in(path.parent), n=1)
    return f"; did you mean {path.parent / close[0]}?" if close else ""


def _what_else(folder: Path) -> str:
    """What a directory without a run is, and the run that may have been meant: one in it, else one beside it."""
    within = _runs_in(folder)
    if within:
        return f"is no run, but holds some; did you mean {folder / within[0]}?"
    return f"holds no run{_nearest_run(folder)}"


def _runs_in(folder: Path) -> list[str]:
    """Names of the runs in a directory."""
    return sorted(path.parent.name for path in folder.glob(f"*/{directory.EXPERIMENT}"))
