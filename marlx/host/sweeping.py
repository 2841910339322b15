"""`marlx sweep`: cells of a sweep here, in a process for each GPU, or as jobs; then a table of what they reached."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from marlx_envs.options import UsageError
from rich.table import Table
from rich.text import Text

from marlx.analysis.statistics import in_words, kind, over_seeds
from marlx.host import launcher
from marlx.host.abreast import STANDING, abreast
from marlx.host.console import console
from marlx.host.processes import is_one_of_several
from marlx.host.signals import Interrupted, StopRequest
from marlx.host.sweep import PLAN, Cell, Sweep, check_place, prepare, results, states, write_results
from marlx.host.sweep_processes import announce, in_processes

MOST_ROWS = 40
LEFT = ("missing", "stopped", "failed")  # states of cells that the same command trains


def sweep(
    plan: Sweep,
    out: Path,
    queue: str | None,
    settings: Mapping[str, Any],
    resources: Mapping[str, Any],
    only: str | None = None,
    share: tuple[int, int] | None = None,
    processes: int = 1,
) -> int:
    """One call of the command that trains; returns the exit code.

    Args:
        queue: the launcher, or None: here.
        settings: of `marlx.train`; resources: of a job.
        only: name of the one cell that is trained.
        share: of the seeds that are trained, its number and how many there are.
        processes: of this host. One: this one, a cell after another.

    Raises:
        UsageError: a directory that holds something else, or no cell of that name.
    """
    asked = plan if only is None else plan.only(only)
    prepare(plan, out)
    cells = asked.cells if share else _unfinished(asked, out)
    if queue == "slurm":
        known = launcher.jobs(out)
        cells = [cell for cell in cells if known.get(cell.name, "failed") == "failed"]
        jobs = launcher.submit(out, cells, queue, settings, resources) if cells else []
        words = f"`marlx sweep {out / PLAN} --out {out} --status` shows how far they are"
        sys.stdout.write(f"{len(jobs)} jobs queued; {words}\n")
        return 0
    if queue == "local":
        code = _as_jobs(cells, out, settings, resources)
    elif processes > 1:
        code = in_processes(plan, cells, out, settings, processes)
    else:
        code = _here(plan, cells, out, settings, share)
    if code == 0 and not is_one_of_several():
        path = write_results(plan, out)
        show_results(plan, out)
        sys.stdout.write(f"{path}\n")
    return code


def _unfinished(plan: Sweep, out: Path) -> list[Cell]:
    """Cells at which something is left to do. Raises `UsageError` if something else is in the place of one."""
    found = list(states(plan, out))
    for state in found:
        if state.status in ("other", "damaged"):
            what = "holds another run" if state.status == "other" else "is damaged"
            raise UsageError(f"{out / state.cell.name} {what}; move it away, and the sweep trains that run anew")
    return [state.cell for state in found if state.status in LEFT]


def _as_jobs(cells: Sequence[Cell], out: Path, settings: Mapping[str, Any], resources: Mapping[str, Any]) -> int:
    """A job on this machine for each cell, one after another."""
    for number, cell in enumerate(cells, 1):
        announce(number, len(cells), cell.name, settings)
        (job,) = launcher.submit(out, [cell], "local", settings, resources)
        if job.exception() is not None:
            sys.stderr.write(f"marlx: job {job.job_id} failed; see {job.paths.stderr}\n")
            return 1
    return 0


def _here(
    plan: Sweep, cells: Sequence[Cell], out: Path, settings: Mapping[str, Any], share: tuple[int, int] | None
) -> int:
    """One cell after another in this process. Raises `Interrupted`."""
    StopRequest.forget()
    for number, cell in enumerate(cells, 1):
        if not is_one_of_several():
            announce(number, len(cells), cell.name, settings)
        try:
            plan.run(cell, out, share, **settings)
            if StopRequest.latest is not None and number < len(cells):
                raise Interrupted(f"stopped after {number} of {len(cells)} runs, the last of them", StopRequest.latest)
        except Interrupted as stop:
            words = str(stop).partition(";")[0]
            raise Interrupted(f"{words} of {cell.name}; the same command goes on with the sweep", stop.number) from None
    return 0


def show_states(plan: Sweep, out: Path) -> None:
    """A line for each cell: missing, queued, running, stopped, failed, finished.

    Raises:
        UsageError: the directory holds another sweep, or SLURM's queue does not answer.
    """
    check_place(plan, out)
    table = Table("run", "state", "steps done", "dead seeds")
    jobs = launcher.jobs(out)
    for state in states(plan, out):
        word = {"other": "another run is in its place"}.get(state.status, state.status)
        if state.status in LEFT:
            word = jobs.get(state.cell.name, word)
        table.add_row(Text(state.cell.name), word, f"{state.share:.0%}", str(state.dead or ""))
    console().print(table)


def show_results(plan: Sweep, out: Path) -> None:
    """The points with the best final returns: over seeds (see `over_seeds`) that are equally far (see `abreast`)."""
    table = results(plan, out, lambda run: abreast(run, run.metrics(), len(plan.seeds)))
    names = [name for name in table.columns if "." in name or name in ("algorithm", "environment")]
    names = [name for name in names if table[name].nunique(dropna=False) > 1]
    metric = "evaluation_return" if "evaluation_return" in table else "training_return"
    last = table[table["env_steps"] == table.groupby([*names, "seed"], dropna=False)["env_steps"].transform("max")]
    rows = []
    for values, group in last.groupby(names, dropna=False, sort=False) if names else [((), last)]:
        found = over_seeds(group[metric].to_numpy())
        left_out = [f"{found.left_out} left out"] if found.left_out else []
        more = ", ".join([*filter(None, group[STANDING].unique()), *left_out])
        rows.append((found, values, f"{found.used}{f' ({more})' if more else ''}"))
    rows.sort(key=lambda row: (not row[0].used, -row[0].iqm))  # what has no value at all is last
    kinds = " or ".join(sorted({kind(found.used) for found, *_ in rows}))
    shown = Table(*names, f"{metric.replace('_', ' ')}, {kinds}", "seeds")
    shown.columns[-2].no_wrap = True
    for found, values, seeds in rows[:MOST_ROWS]:
        cells = [f"{x:g}" if isinstance(x, float) else str(x) for x in values]
        shown.add_row(*map(Text, (*cells, in_words(found), seeds)))
    console().print(shown)
    if len(rows) > MOST_ROWS:
        sys.stdout.write(f"{len(rows) - MOST_ROWS} more points are in the file\n")
