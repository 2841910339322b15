"""Seeds that are equally far: what means over the seeds of an unfinished run are taken of.

Chunks of seeds train one after another and shares side by side, so some seeds have more evaluations than others. A mean
over whichever have one would be of other seeds at each evaluation, and at the last one of other lengths.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from marlx.engine.trainer import Plan
from marlx.host.results import Run

if TYPE_CHECKING:
    import pandas as pd

STANDING = "standing"  # name of a column


def abreast(run: Run, table: "pd.DataFrame", seeds: int | None = None) -> "pd.DataFrame":
    """The rows of seeds that can be averaged, with a column that says in words how far they are.

    At each point of a grid these are the seeds that are through. Where none is, they are all that have begun, up to the
    last evaluation that the slowest of them has had. A finished run keeps every row, and its words are empty.

    Args:
        table: of the run, a row for each seed (and point) and evaluation.
        seeds: how many the run is to have; None: those that it has, which lack those of shares that have not begun.
    """
    if run.finished or not len(table):
        return table.assign(**{STANDING: ""})
    whole, names = run.experiment.plan(run.experiment.make_environment().spec), list(run.lanes.grid)
    number = table.groupby([*names, "seed"])["env_steps"].rank("first")  # of the evaluation, from 1
    had = number.groupby([table[name] for name in (*names, "seed")]).transform("max")
    through = had >= len(whole.evaluations)
    points = _points(table, names)
    some, slowest = through.groupby(points).transform("any"), had.groupby(points).transform("min")
    kept = table[np.where(some, through, number <= slowest)]
    groups = kept.groupby(_points(kept, names))
    words = np.array([_standing(whole, group, seeds or len(run.seeds)) for _, group in groups])
    return kept.assign(**{STANDING: words[groups.ngroup()]})


def _points(table: "pd.DataFrame", names: list[str]) -> Any:
    """What the rows of each point of a grid have in common."""
    return [table[name] for name in names] or np.zeros(len(table))


def _standing(whole: Plan, table: "pd.DataFrame", every: int) -> str:
    """How far the seeds of a point are: "2 of 5 seeds", "160 of 320 steps", or both; empty if all are through."""
    seeds = table["seed"].nunique()
    had = min(len(table) // seeds, len(whole.evaluations))
    iteration = whole.evaluations[had - 1]
    parts = [(seeds, every, "seeds")]
    parts += [(iteration * whole.steps_per_iteration, whole.iterations * whole.steps_per_iteration, "steps")]
    return ", ".join(f"{count:,} of {most:,} {name}" for count, most, name in parts if count < most)
