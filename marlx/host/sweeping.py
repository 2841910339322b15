"""`marlx sweep`: cells of a sweep one after another here, or as jobs; then a table of what they reached."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from marlx_envs.options import UsageError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from marlx.analysis.statistics import interval
from marlx.host import launcher
from marlx.host.signals import Interrupted, StopRequest
from marlx.host.sweep import Sweep, check_place, prepare, read_sweep, states, write_results

MOST_ROWS = 40


def sweep(
    file: Path,
    out: Path,
    status: bool,
    queue: str | None,
    settings: Mapping[str, Any],
    resources: Mapping[str, Any],
    variant: str | None = None,
) -> int:
    """One call of the command; returns the exit code.

    Args:
        status: only tell how far it is.
        queue: the launcher, or None: one run after another in this process.
        settings: of `marlx.train`; resources: of a job.
        variant: of the file.

    Raises:
        UsageError: a mistake in the file, or a directory that holds something else.
    """
    plan = read_sweep(file, variant)
    if status:
        check_place(plan, out)
        show_states(plan, out)
        return 0
    prepare(plan, out)
    found = list(states(plan, out))
    for state in found:
        if state.status in ("other", "damaged"):
            what = "holds another run" if state.status == "other" else "is damaged"
            raise UsageError(f"{out / state.cell.name} {what}; move it away, and the sweep trains that run anew")
    left = [state.cell for state in found if state.status in ("missing", "stopped")]
    if queue == "slurm":
        waiting = launcher.queued(out)
        left = [cell for cell in left if cell.name not in waiting]
        jobs = launcher.submit(out, left, queue, settings, resources) if left else []
        sys.stdout.write(f"{len(jobs)} jobs queued; `marlx sweep {file} --out {out} --status` shows how far they are\n")
        return 0
    StopRequest.forget()
    for number, cell in enumerate(left, 1):
        if settings["progress"]:
            sys.stdout.write(f"run {number} of {len(left)}: {cell.name}\n")
        if queue == "local":
            (job,) = launcher.submit(out, [cell], queue, settings, resources)
            if job.exception() is not None:
                sys.stderr.write(f"marlx: job {job.job_id} failed; see {job.paths.stderr}\n")
                return 1
            continue
        try:
            plan.run(cell, out, **settings)
            if StopRequest.latest is not None and number < len(left):
                raise Interrupted(f"stopped after {number} of {len(left)} runs, the last of them", StopRequest.latest)
        except Interrupted as stop:
            words = str(stop).partition(";")[0]
            raise Interrupted(f"{words} of {cell.name}; the same command goes on with the sweep", stop.number) from None
    path = write_results(plan, out)
    show_results(plan, out)
    sys.stdout.write(f"{path}\n")
    return 0


def show_states(plan: Sweep, out: Path) -> None:
    """A line for each cell: missing, queued, running, stopped, finished."""
    table = Table("run", "state", "steps done", "dead seeds")
    waiting = launcher.queued(out)
    for state in states(plan, out):
        word = {"other": "another run is in its place"}.get(state.status, state.status)
        if state.cell.name in waiting and state.status in ("missing", "stopped"):
            word = "queued"
        table.add_row(Text(state.cell.name), word, f"{state.share:.0%}", str(state.dead or ""))
    Console(highlight=False).print(table)


def show_results(plan: Sweep, out: Path) -> None:
    """The points with the best final returns: interquartile mean and 95% interval over seeds."""
    from marlx.host.sweep import results

    table = results(plan, out)
    names = [name for name in table.columns if "." in name or name in ("algorithm", "environment")]
    names = [name for name in names if table[name].nunique(dropna=False) > 1]
    metric = "evaluation_return" if "evaluation_return" in table else "training_return"
    last = table[table["env_steps"] == table.groupby([*names, "seed"], dropna=False)["env_steps"].transform("max")]
    rows = []
    for values, group in last.groupby(names, dropna=False, sort=False) if names else [((), last)]:
        found = interval(group[metric].to_numpy())
        rows.append((float(found.iqm), values, found))
    rows.sort(key=lambda row: -row[0])
    shown = Table(*names, f"{metric.replace('_', ' ')}, IQM [95% interval]", "seeds")
    shown.columns[-2].no_wrap = True
    for _, values, found in rows[:MOST_ROWS]:
        cells = [f"{x:g}" if isinstance(x, float) else str(x) for x in values]
        left_out = f" ({int(found.left_out)} left out)" if found.left_out else ""
        span = f"{found.iqm:.4g} [{found.low:.4g}, {found.high:.4g}]"
        shown.add_row(*map(Text, cells), span, f"{int(found.used)}{left_out}")
    Console(highlight=False).print(shown)
    if len(rows) > MOST_ROWS:
        sys.stdout.write(f"{len(rows) - MOST_ROWS} more points are in the file\n")
