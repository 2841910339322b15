"""What methods make of a payoff table under uniform data (paper POW, Figure 2): `python -m experiments.payoff`.

Every joint action is equally likely in the data (epsilon = 1 throughout), many seeds side by side. Printed and drawn:
the share of seeds whose greedy joint action is a best one, where the others end, and the mean learned tables.
"""

import collections
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from rich.table import Table

from experiments import record
from experiments.record import RESULTS
from experiments.words import check_names, folder, positive, stem
from marlx.host.cli import guarded, one_line_parser
from marlx.host.console import console

METHODS = (
    "iql", "vdn", "qmix", "qatten", "qplex", "qtran", "cw_qmix", "ow_qmix", "resq", "na2q", "gomarl",
    "pow_vdn", "pow_qmix", "pow_qplex", "remix", "qpro",
)  # fmt: skip
VARIANTS: dict[str, tuple[str, ...]] = {
    "cw_qmix, alpha 0": ("cw_qmix", "algorithm.alpha=0"),  # paper POW's figure has the weights 1 and 0
    "ow_qmix, alpha 0": ("ow_qmix", "algorithm.alpha=0"),
    "remix, without policies": ("remix", "algorithm.policy_factor=false"),
    "qplex, advantages learn": ("qplex", "algorithm.stop_advantage_gradient=false"),
}
DEFAULT = (
    *METHODS, "qtran_alt", "ideal_cw_qmix", "nm_qmix",
    "cw_qmix, alpha 0", "ow_qmix, alpha 0", "remix, without policies",
)  # fmt: skip


class Outcome(NamedTuple):
    """One method on one payoff."""

    share: float  # of seeds whose greedy episode is a best one
    value: float  # mean return of the greedy episodes
    greedy: dict[str, float]  # first joint action as letters -> share of seeds, most frequent first
    tables: dict[str, npt.NDArray[np.floating]]  # mean over seeds of "joint" (Q_tot), "critic", .. [A .. A]
    igm_gap: float  # mean of max Q_tot - Q_tot(greedy joint action); 0 for every method with IGM
    igm_broken: float  # share of seeds in which it is more than rounding
    seconds: float

    @property
    def table(self) -> npt.NDArray[np.floating]:
        """Mean learned Q_tot."""
        return self.tables["joint"]

    def plain(self) -> dict[str, Any]:
        """Everything as plain data, the tables rounded."""
        return {**self._asdict(), "tables": {name: table.round(4).tolist() for name, table in self.tables.items()}}


class Laboratory:
    """A method that learns payoffs from uniform data, many seeds side by side, compiled once for all of one shape.

    Overrides may ask for other data (`training.epsilon_end`), or for a payoff `environment.repeats` times in a row.
    """

    def __init__(self, method: str, n_agents: int, n_actions: int, seeds: int, steps: int, *overrides: str) -> None:
        import marlx
        from marlx.engine.seeds import Fleet
        from marlx.host import backend
        from marlx.program import Program

        backend.prepare(seeds)
        experiment = marlx.configure(
            method, "matrix_game", "environment.payoff=son_n", f"environment.n_agents={n_agents}",
            f"environment.n_actions={n_actions}", "training.epsilon_end=1", f"training.total_steps={steps}",
            f"evaluation.interval={steps}", "evaluation.episodes=1", *overrides,
        )  # fmt: skip
        self.program, self.seeds = Program(experiment), seeds
        self.repeats: int = experiment.environment["repeats"]
        self.fleet = Fleet(self.program, experiment.numbers(), range(seeds))
        self.fleet.compile()

    def study(self, payoff: npt.NDArray[np.float32]) -> Outcome:
        """Trains all seeds from scratch on a payoff [A .. A]."""
        from marlx.analysis.joint_table import greedy_actions, igm_gap, learned_tables

        started = time.perf_counter()
        numbers = {**self.fleet.numbers, "environment": {"rewards": payoff[None]}}
        self.fleet.numbers = numbers
        state = self.fleet.train(0, self.program.plan.iterations, self.fleet.init())
        state, metrics = self.fleet.record(self.program.plan.iterations, state)
        learner = self.fleet.cut(state.learner)
        tables = learned_tables(self.program, learner, numbers)
        chosen = greedy_actions(self.program, learner, numbers)
        reached, gap = metrics["evaluation_return"], igm_gap(tables["joint"], chosen)
        letters = collections.Counter("".join(chr(ord("A") + action) for action in joint) for joint in chosen)
        return Outcome(
            share=float((reached >= self.repeats * payoff.max() - 1e-4).mean()),
            value=float(reached.mean()),
            greedy={joint: count / self.seeds for joint, count in letters.most_common()},
            tables={name: table.mean(0) for name, table in tables.items()},
            igm_gap=float(gap.mean()),
            igm_broken=float((gap > 1e-3).mean()),
            seconds=time.perf_counter() - started,
        )


def named(payoff: str) -> npt.NDArray[np.float32]:
    """The tensor [A .. A] of a payoff known by name."""
    import marlx_envs

    return np.asarray(marlx_envs.make("matrix_game", payoff=payoff).params["rewards"])[0]


def study(method: str, payoff: str, seeds: int, steps: int, *overrides: str) -> Outcome:
    """Trains `seeds` seeds of a method or variant on a payoff under uniform data, `steps` environment steps each."""
    tensor = named(payoff)
    name, *own = VARIANTS.get(method, (method,))
    return Laboratory(name, tensor.ndim, len(tensor), seeds, steps, *own, *overrides).study(tensor)


def report(payoff: str, outcomes: dict[str, Outcome], words: str, picture: Path | None) -> None:
    """Prints the table, whose title ends in `words`, and draws the picture."""
    from marlx.analysis.plots import OF_MOST, payoff_tables
    from marlx.analysis.theory.projection import project

    truth = named(payoff)
    columns = ("method", "at the best", "greedy joint actions", "value there", "IGM gap", "s")
    table = Table(*columns, title=f"payoff {payoff}, {words}", title_justify="left")
    for name, outcome in outcomes.items():
        most = list(outcome.greedy.items())[:3]
        table.add_row(
            name,
            f"{outcome.share:.0%}",
            ", ".join(f"{joint} {share:.0%}" for joint, share in most),
            f"{outcome.table[_place(most[0][0])]:.2f}",
            f"{outcome.igm_gap:.2f} ({outcome.igm_broken:.0%})" if outcome.igm_broken else "0",
            f"{outcome.seconds:.0f}",
        )
    console().print(table)
    if "qmix" in outcomes:
        with suppress(ValueError):  # too large a game
            ideal = project(truth, np.full(truth.shape, 1 / truth.size)).table
            gap = np.abs(outcomes["qmix"].table - ideal).max()
            console().print(f"qmix, mean table and the closest monotonic one (MRVF eq. 12): at most {gap:.2f} apart")
    if picture and truth.ndim == 2:
        picture.parent.mkdir(parents=True, exist_ok=True)
        tables = {name: outcome.table for name, outcome in outcomes.items()}
        shares = {name: outcome.share for name, outcome in outcomes.items()}
        greedy = {name: _place(next(iter(outcome.greedy))) for name, outcome in outcomes.items()}
        figure = payoff_tables(tables, truth, shares, greedy=greedy, what=f"mean Q_tot: {words}", frame=OF_MOST)
        record.write_picture(picture, figure)
        console().print(f"picture: {picture}")


def _place(joint: str) -> tuple[int, ...]:
    """The place of a joint action such as AB in a table; a sign for each action, so also beyond Z."""
    return tuple(ord(action) - ord("A") for action in joint)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = one_line_parser("python -m experiments.payoff", __doc__)
    parser.add_argument("--payoff", default="resq79")
    parser.add_argument("--methods", nargs="+", default=DEFAULT)
    parser.add_argument("--seeds", type=positive, default=64)
    parser.add_argument("--steps", type=positive, default=200_000)
    parser.add_argument("--out", type=folder, default=str(RESULTS))
    parser.add_argument("--name", type=stem, help="of the files; payoff_ and the payoff's")
    options = parser.parse_args(arguments)

    import marlx

    check_names("method", options.methods, [*VARIANTS, *marlx.ALGORITHMS])
    path = options.out / (options.name or f"payoff_{options.payoff}")
    outcomes: dict[str, Outcome] = {}
    with record.unfinished(path.with_suffix(".json")) as partial:
        for method in options.methods:
            outcomes[method] = study(method, options.payoff, options.seeds, options.steps)
            print(f"{method}: {outcomes[method].share:.0%} at the best, {outcomes[method].seconds:.0f} s", flush=True)
            record.write(partial, methods={name: o.plain() for name, o in outcomes.items()})
    words = f"uniform data, {options.seeds} seeds, {options.steps:,} steps each"
    report(options.payoff, outcomes, words, path.with_suffix(".png"))


if __name__ == "__main__":
    sys.exit(guarded(main))
