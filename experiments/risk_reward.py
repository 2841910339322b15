"""Random risk-reward games (paper MRVF, Figures 5, 11 and 14): `python -m experiments.risk_reward`.

Every method plays the same drawn games, some seeds of each, all side by side in one program: the game is an axis. What
has been measured stays in the table, so that a command can be stopped and given again, and methods can be added.
"""

import itertools
import json
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marlx_envs.options import UsageError
from rich.table import Table

from experiments import record
from experiments.record import RESULTS
from experiments.words import check_names, folder, positive, sizes, stem
from marlx.host.cli import guarded, one_line_parser
from marlx.host.console import console

if TYPE_CHECKING:
    import jax
    import pandas as pd
    from matplotlib.figure import Figure

    import marlx

# The paper does not say whether rounds share their parameters: on these games they do not, unless asked to.
SHARED = "mrvf, rounds shared"
VARIANTS = {
    SHARED: ("mrvf", "algorithm.share_rounds=true"),
    # Other gaps of the paper, asked for by name.
    "mrvf, rounds see indices": ("mrvf", "algorithm.embedding=index"),
    "mrvf, joint value sees indices": ("mrvf", "algorithm.critic_embedding=index"),
    "mrvf, recorded actions": ("mrvf", "algorithm.learnt_actions=recorded"),
    "mrvf, no preselection": ("mrvf", "algorithm.preselection=0"),
    "mrvf, last round preselected": ("mrvf", "algorithm.preselected=last"),
    "mrvf, preselection first": ("mrvf", "algorithm.preselection_first=true"),
    "mrvf, preselected for an episode": ("mrvf", "algorithm.preselected=episode"),
    "mrvf, target chooses": ("mrvf", "algorithm.bootstrap=target"),
    "mrvf, monotone joint value": ("mrvf", "algorithm.critic_monotone=true"),
    "mrvf, decentralised epsilon": ("mrvf", "algorithm.exploration=decentralised"),
    "mrvf, five rounds": ("mrvf", "algorithm.rounds=5"),
    "mrvf, joint value counts tenfold": ("mrvf", "algorithm.critic_loss_scale=10"),
    # QTRAN by its authors' numbers and forms in place of pymarl's; and pymarl's optimiser in place of the house's.
    "qtran, lambda_nopt 1": ("qtran", "algorithm.lambda_nopt=1"),
    "qtran, no state value": ("qtran", "algorithm.state_value=false"),
    "qtran, actions concatenated": ("qtran", "algorithm.joint_arch=concatenated_actions"),
    "qtran, authors' numbers": (
        "qtran",
        "algorithm.lambda_nopt=1",
        "algorithm.state_value=false",
        "algorithm.joint_arch=concatenated_actions",
    ),
    "qtran, RMSprop 5e-4": ("qtran", "training.optimiser=rmsprop", "training.learning_rate=5e-4"),
}
METHODS = (
    "mrvf", SHARED, "mrvf_single", "mrvf_non_strict", "qmix", "qtran", "cw_qmix", "qplex", "resq", "na2q",
    "pow_qmix",
)  # fmt: skip
SETTINGS = ("3x5", "5x5", "5x8")  # agents x actions
ROUNDS = ["round_share_1", "round_share_2", "round_share_3"]
COLUMNS = ("normalised_return", "return", *ROUNDS)


def experiment_of(method: str, setting: str, *overrides: str) -> "marlx.Experiment":
    """What a method or variant trains in games of a setting."""
    import marlx

    method, *own = VARIANTS.get(method, (method,))
    agents, actions = setting.split("x")
    return marlx.configure(
        method, "risk_reward", f"environment.n_agents={agents}", f"environment.n_actions={actions}",
        "evaluation.episodes=1", *own, *overrides,
    )  # fmt: skip


def drawn(games: int, agents: int, actions: int) -> dict[str, "jax.Array"]:
    """The first of the games that all methods play, with a leading axis [G]."""
    import jax
    from marlx_envs.risk_reward import draw_game

    found: dict[str, jax.Array] = jax.vmap(draw_game, (0, None, None))(
        jax.random.split(jax.random.key(0), games), agents, actions
    )
    return found


def study(experiment: "marlx.Experiment", games: int, seeds: int) -> "pd.DataFrame":
    """Greedy evaluations of `seeds` seeds on each of `games` games, by game, seed and environment steps."""
    import numpy as np
    import pandas as pd

    from experiments import side_by_side

    shape = (experiment.environment[name] for name in ("n_agents", "n_actions"))
    metrics = side_by_side.train(experiment, drawn(games, *shape), seeds)
    game, seed, _ = np.indices(metrics["env_steps"].shape)
    columns = {"game": game.ravel(), "seed": seed.ravel(), "env_steps": metrics["env_steps"].ravel()}
    nothing = np.full(game.shape, np.nan)  # methods without rounds
    return pd.DataFrame({**columns, **{name: metrics.get(f"evaluation_{name}", nothing).ravel() for name in COLUMNS}})


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = one_line_parser("python -m experiments.risk_reward", __doc__)
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--settings", nargs="+", type=sizes, default=SETTINGS)
    parser.add_argument("--games", type=positive, default=20)
    parser.add_argument("--seeds", type=positive, default=2, help="of each game")
    parser.add_argument("--steps", type=positive, default=100_000)
    parser.add_argument("--out", type=folder, default=str(RESULTS))
    parser.add_argument("--name", type=stem, default="risk_reward", help="of the files")
    parser.add_argument("overrides", nargs="*", metavar="section.name=value")
    options = parser.parse_args(arguments)

    import pandas as pd

    import marlx
    from marlx.host import backend

    check_names("method", options.methods, [*VARIANTS, *marlx.ALGORITHMS])
    backend.prepare(options.games * options.seeds)
    path = options.out / f"{options.name}.parquet"
    frame = pd.DataFrame({"method": [], "setting": []})
    if path.exists():
        frame = record.read_table(path, "method", "setting", "asked", *COLUMNS)
    words = (f"{options.games} games", f"{options.seeds} seeds", f"{options.steps:,} steps", *options.overrides)
    asked, missing = ", ".join(words), {}
    numbers = (f"training.total_steps={options.steps}", f"evaluation.interval={options.steps // 10}")
    for setting, method in itertools.product(dict.fromkeys(options.settings), options.methods):
        measured = frame[(frame["method"] == method) & (frame["setting"] == setting)]
        if not len(measured):
            missing[setting, method] = experiment_of(method, setting, *numbers, *options.overrides)
        elif (has := measured["asked"].iloc[0]) != asked:
            raise UsageError(f"{path} has {method} in {setting} with {has}, not {asked}; give another --name")
    for (setting, method), experiment in missing.items():
        started = time.perf_counter()
        found = study(experiment, options.games, options.seeds)
        seconds, command = time.perf_counter() - started, record.command()
        found = found.assign(method=method, setting=setting, seconds=seconds, asked=asked, command=command)
        frame = pd.concat([frame, found], ignore_index=True) if len(frame) else found
        record.write_table(path, frame)
        print(f"{setting}, {method}: {seconds:.0f} s", flush=True)
    means, pictures = report(frame)
    if list(means) == recorded(path.with_suffix(".json")):
        return  # nothing was measured: the record keeps its date and versions
    for name, figure in pictures.items():
        record.write_picture(path.with_name(f"{path.stem}{name}.png"), figure)
    record.write(path.with_suffix(".json"), means=means)


def recorded(path: Path) -> list[str]:
    """The rows that a record has, which is written last; none if there is no record, or it is no JSON."""
    try:
        return list(json.loads(path.read_text(encoding="utf-8"))["means"])
    except (OSError, ValueError, KeyError):
        return []


def report(frame: "pd.DataFrame") -> "tuple[dict[str, Any], dict[str, Figure]]":
    """Prints the final evaluations; returns them, and pictures by the ends of their names."""
    from marlx.analysis.comparisons import proportions, spreads

    run = ["setting", "method", "game", "seed"]
    last = record.final(frame, *run).set_index(run)
    alive = last["return"].notna()
    if not alive.all():
        print(f"{(~alive).sum()} of {len(last)} runs died and are left out")
    last = last[alive]
    last["optimal"] = last["normalised_return"] > 1 - 1e-4
    last["agreement"] = last["return"] >= 0
    means = last.groupby(["setting", "method"], sort=False).mean(numeric_only=True)
    games = last.reset_index().groupby(["setting", "method"])["game"].nunique()
    commands = frame.groupby(["setting", "method"])["command"].first().dropna()  # the oldest rows have none
    known = [*itertools.product(SETTINGS, METHODS)]
    order = sorted(means.index, key=lambda pair: known.index(pair) if pair in known else len(known))
    means = means.loc[order].reset_index()
    table = Table("setting", "method", "normalised return", "at the optimum [95%]", "agreement", "rounds 1, 2, 3", "s")
    values: dict[str, dict[str, Any]] = {setting: {} for setting in means["setting"]}
    found: dict[str, Any] = {}
    for mean in means.to_dict("records"):
        setting, method = mean.pop("setting"), mean.pop("method")
        table.add_row(
            setting, method, f"{mean['normalised_return']:.2f}",
            f"{mean['optimal']:.0%} {interval(mean['optimal'], games[setting, method])}", f"{mean['agreement']:.0%}",
            ", ".join(f"{mean[name]:.0%}" for name in ROUNDS if mean[name] >= 0), f"{mean['seconds']:.0f}",
        )  # fmt: skip
        values[setting][method] = last["normalised_return"].xs((setting, method)).to_numpy()
        numbers = {name: round(value, 4) for name, value in mean.items() if value == value}
        own = {"command": commands[setting, method]} if (setting, method) in commands else {}
        found[f"{setting}, {method}"] = {**numbers, **own}
    console().print(table)
    pictures = {"": spreads(values, "normalised return of the greedy joint action")}
    shown = means[means["round_share_2"] >= 0].set_index(["setting", "method"])[ROUNDS]
    if len(shown):
        pictures["_rounds"] = proportions(shown, "% of final actions taken from each round")
    return found, pictures


def interval(share: float, games: int, z: float = 1.96) -> str:
    """Wilson's 95% interval of a share, with games as trials: the seeds of one game are not independent."""
    middle, half = share + z**2 / (2 * games), z * math.sqrt(share * (1 - share) / games + (z / (2 * games)) ** 2)
    low, high = ((middle + side * half) / (1 + z**2 / games) for side in (-1, 1))
    return f"[{abs(low):.0%}, {high:.0%}]"  # of none, -0 by rounding


if __name__ == "__main__":
    sys.exit(guarded(main))
