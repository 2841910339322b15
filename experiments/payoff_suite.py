"""How often each method finds a best joint action, over many payoffs and seeds: `python -m experiments.payoff_suite`.

Uniform data (epsilon = 1 throughout). The payoffs are the 3x3 games of the papers, and random tensors of 2 to 4 agents
with 3 to 5 actions, entries uniform on [-10, 10]. A method is compiled once for all payoffs of one shape.
"""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from marlx_envs.options import UsageError
from rich.console import Console
from rich.table import Table

from experiments import record
from experiments.payoff import METHODS, named
from experiments.record import RESULTS
from experiments.words import check_names, folder, positive, stem, whole
from marlx.host.cli import guarded, one_line_parser

if TYPE_CHECKING:
    import pandas as pd

NAMED = ("resq79", "son3", "qplex6", "mrvf5", "mrvf8", "mrvf4c", "mrvf4d", "game_a", "game_b", "climb", "penalty_100")
SHAPES = ((2, 3), (2, 5), (3, 3), (3, 4), (4, 3))  # agents, actions


def drawn(count: int, seed: int = 0) -> Iterator[tuple[str, npt.NDArray[np.float32]]]:
    """`count` random tensors, the shapes in turn."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        agents, actions = SHAPES[number % len(SHAPES)]
        name = f"random {agents}x{actions} #{number // len(SHAPES)}"
        yield name, rng.uniform(-10, 10, (actions,) * agents).astype(np.float32)


def greedy_payoffs(
    method: str, payoffs: npt.NDArray[np.float32], options: argparse.Namespace
) -> npt.NDArray[np.float32]:
    """What the greedy joint action of every seed pays after training, [G S], for payoffs [G A .. A]."""
    import marlx
    from experiments import side_by_side

    experiment = marlx.configure(
        method, "matrix_game", "environment.payoff=son_n", f"environment.n_agents={payoffs.ndim - 1}",
        f"environment.n_actions={payoffs.shape[-1]}", "training.epsilon_end=1",
        f"training.total_steps={options.steps}", f"evaluation.interval={options.steps}", "evaluation.episodes=1",
    )  # fmt: skip
    return side_by_side.train(experiment, {"rewards": payoffs[:, None]}, options.seeds)["evaluation_return"][..., -1]


def shares(
    method: str, payoffs: dict[str, npt.NDArray[np.float32]], options: argparse.Namespace
) -> Iterator[tuple[str, str, float, float]]:
    """A method, a payoff, the share of seeds at its best joint action, and their mean from its worst (0) to it (1)."""
    for shape in sorted({tensor.shape for tensor in payoffs.values()}):
        mine = {name: tensor for name, tensor in payoffs.items() if tensor.shape == shape}
        found = greedy_payoffs(method, np.stack([*mine.values()]), options)
        for (name, tensor), reached in zip(mine.items(), found, strict=True):
            best, worst = float(tensor.max()), float(tensor.min())
            yield method, name, (reached >= best - 1e-4).mean(), (reached.mean() - worst) / (best - worst)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = one_line_parser("python -m experiments.payoff_suite", __doc__)
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--payoffs", nargs="*", default=NAMED, help="names; none with --payoffs alone")
    parser.add_argument("--random", type=whole, default=20, help="random tensors")
    parser.add_argument("--seeds", type=positive, default=16)
    parser.add_argument("--steps", type=positive, default=60_000)
    parser.add_argument("--out", type=folder, default=str(RESULTS))
    parser.add_argument("--name", type=stem, default="payoff_suite", help="of the files")
    options = parser.parse_args(arguments)

    import pandas as pd

    import marlx
    from marlx.host import backend

    check_names("method", options.methods, marlx.ALGORITHMS)
    payoffs = {**{name: named(name) for name in options.payoffs}, **dict(drawn(options.random))}
    if not payoffs:
        raise UsageError("no payoff is left: give --payoffs names, or --random a number above 0")
    backend.prepare(len(payoffs) * options.seeds)
    path = options.out / options.name
    rows: list[tuple[str, str, float, float]] = []
    with record.unfinished(path.with_suffix(".parquet")) as partial:  # all of them take hours
        for method in options.methods:
            started = time.perf_counter()
            rows += shares(method, payoffs, options)
            share = np.mean([row[2] for row in rows if row[0] == method])
            print(f"{method}: best in {share:.0%}, {time.perf_counter() - started:.0f} s", flush=True)
            frame = pd.DataFrame(rows, columns=["method", "payoff", "share", "normalised_value"])
            record.write_table(partial, frame)
    table = frame.pivot_table(index="method", columns="payoff", values="share", sort=False)
    record.write(path.with_suffix(".json"), shares=table.to_dict("index"))
    show(frame, path.with_suffix(".png"), options.seeds)


def show(frame: "pd.DataFrame", picture: Path, seeds: int) -> None:
    """Prints the shares, named payoffs one by one and random ones as a mean, and draws them."""
    from marlx.analysis.comparisons import share_table

    random = frame["payoff"].str.startswith("random")
    grouped = frame.assign(payoff=frame["payoff"].where(~random, frame["payoff"].str.replace(r" #\d+", "", regex=True)))
    shares = grouped.pivot_table(index="method", columns="payoff", values="share", sort=False)
    table = Table("method", *shares.columns, title=f"share of {seeds} seeds at a best joint action, uniform data")
    for method, row in shares.iterrows():
        table.add_row(str(method), *(f"{share:.0%}" for share in row))
    Console(width=200).print(table)
    record.write_picture(picture, share_table(shares))
    print(f"picture: {picture}")


if __name__ == "__main__":
    sys.exit(guarded(main))
