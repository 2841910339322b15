"""`marlx plot --kind tables|stages|weights`: what runs recorded of joint actions and weights, as pictures."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from marlx_envs.options import UsageError

from marlx.analysis.heat_maps import Stage, Weights, table_stages, weight_maps
from marlx.analysis.plots import OF_MOST, payoff_tables
from marlx.host.abreast import STANDING, abreast
from marlx.host.drawing import labels, picture_path, save_figure
from marlx.host.results import Run
from marlx.host.shares import load_run

if TYPE_CHECKING:
    import pandas as pd

KINDS = ("tables", "stages", "weights")
STAGES = 3
MOST_RUNS = 6
_COUNT, _LEFT = "seeds drawn", "seeds left out"
_TITLES = {  # in the order of drawing
    "joint": r"$Q_{tot}$",
    "recognition": r"$Q_r$",
    "explained": r"$Q_{jt}$",
    "transformed": r"$Q_{tot}+V$",
    "critic": r"$Q_{jt}$",
}


def draw_kind(paths: Sequence[str], out: str | None, kind: str, seed: int | None) -> Path:
    """Draws what runs recorded; returns where the picture lies.

    Args:
        out: None writes KIND.png, beside the metrics of a single run or here for several.
        kind: of `KINDS`.
        seed: the id of one that is drawn alone; None draws means over all that did not die.

    Raises:
        UsageError: no run, nothing recorded, a game that has no such picture, another kind of picture, or a disk that
            refuses.
    """
    runs = [load_run(path) for path in paths]
    where = picture_path(out if out is not None else (runs[0].path if len(runs) == 1 else Path()) / f"{kind}.png")
    if kind == "stages" and len(runs) > 1:
        raise UsageError(f"the stages of one run are drawn, not of {len(runs)}")
    if len(runs) > MOST_RUNS:
        raise UsageError(f"at most {MOST_RUNS} runs fit beside each other, not {len(runs)}")
    names = labels(runs)
    if kind == "weights":
        figure = weight_maps([_weights(run, name, seed) for run, name in zip(runs, names, strict=True)])
    elif kind == "stages":
        figure = _stages(runs[0], seed)
    else:
        figure = _tables(runs, names, seed)
    save_figure(figure, where)
    return where


def _tables(runs: Sequence[Run], names: Sequence[str], seed: int | None) -> Any:
    """The tables of every run at its end, beside the payoff they have in common."""
    payoffs = [_payoff(run) for run in runs]
    if any(not np.array_equal(payoff, payoffs[0]) for payoff in payoffs):
        raise UsageError("tables of different payoffs cannot be put side by side; draw each run by itself")
    tables, shares, greedy, whose = {}, {}, {}, {}
    for run, name in zip(runs, names, strict=True):
        found = _recorded(run, seed)
        stage = _stage(run, found, -1, "")
        whose[name] = _whose(found, seed)
        chosen = _grid(found, "greedy", len(payoffs[0]))[-1]
        for kind, table in stage.tables.items():
            title = f"{name}  {kind}{_standing(found)}"
            tables[title], greedy[title] = table, stage.greedy
            if seed is None:
                shares[title] = float(chosen[payoffs[0] == payoffs[0].max()].sum())
    what, frame = next(iter(whose.values()))
    if len(set(whose.values())) > 1:
        what, frame = "\n".join(f"{name}: {words or 'one seed'}" for name, (words, _) in whose.items()), OF_MOST
    return payoff_tables(tables, payoffs[0], shares, greedy=greedy, what=what, frame=frame)


def _stages(run: Run, seed: int | None) -> Any:
    """The tables of a run at its first, middle and last evaluation."""
    payoff, found = _payoff(run), _recorded(run, seed)
    steps = found["env_steps"].to_numpy()
    chosen = np.unique(np.linspace(0, len(steps) - 1, STAGES).round().astype(int))
    names = [f"{steps[k]:,.0f} steps{_standing(found)}" for k in chosen]
    stages = [_stage(run, found, k, name) for k, name in zip(chosen, names, strict=True)]
    return table_stages(stages, payoff, *_whose(found, seed))


def _stage(run: Run, found: "pd.DataFrame", number: int, title: str) -> Stage:
    """Evaluation `number` of a run. Raises `UsageError` if it has no tables, or none that are finite."""
    mine = [name for name in map(str, found) if name.startswith("table_") and name.endswith("/AA")]
    names = [name.removeprefix("table_").removesuffix("/AA") for name in mine]
    if not names:
        raise UsageError(f"{run.path} has no tables; train it with evaluation.record_tables=true")
    names.sort(key=lambda name: list(_TITLES).index(name) if name in _TITLES else len(_TITLES))
    actions = run.experiment.make_environment().spec.n_actions
    tables = {_title(run, name): _grid(found, f"table_{name}", actions)[number] for name in names}
    if not all(np.isfinite(table).all() for table in tables.values()):
        raise UsageError(f"no seed of {run.path} that is to be drawn has finite values")
    chosen = _grid(found, "greedy", actions)[number]
    return Stage(title, tables, [int(i) for i in np.unravel_index(chosen.argmax(), chosen.shape)])


def _weights(run: Run, title: str, seed: int | None) -> Weights:
    """Weights of a run over its evaluations. Raises `UsageError` if they were not recorded."""
    found = _recorded(run, seed)
    shares = [name for name in map(str, found) if name.startswith("weight_share/")]
    if not shares:
        raise UsageError(f"{run.path} has no weights; train it with training.record_weights=true")
    edges = np.concatenate([[0.0], found["env_steps"]])
    joint = [name.partition("/")[2] for name in map(str, found) if name.startswith("data_share/")]
    whose = _whose(found, seed)[0]
    known = Weights(f"{title}{_standing(found)}" + (f"\n{whose}" if whose else ""), edges, found[shares].to_numpy().T)
    if not joint:
        return known
    data, mass = (found[[f"{name}/{u}" for u in joint]].to_numpy().T for name in ("data_share", "weight_mass"))
    mean = np.divide(mass, data, out=np.full_like(mass, np.nan), where=data > 0)
    payoff = _payoff_or_none(run)
    if payoff is None:
        return known._replace(joint=mean, names=joint)
    order = np.argsort(-payoff.reshape(-1), kind="stable")
    return known._replace(joint=mean[order], names=[f"{joint[k]}  {payoff.reshape(-1)[k]:g}" for k in order])


def _recorded(run: Run, seed: int | None) -> "pd.DataFrame":
    """A row for each evaluation: means over seeds that last, or one seed's values; `env_steps` among them.

    Of an unfinished run's seeds the means are over those that are equally far; `standing` says how far (see `abreast`).
    """
    if run.lanes.grid:
        raise UsageError(f"{run.path} is a grid over {', '.join(run.lanes.grid)}; draw runs of one setting each")
    if seed is not None and seed not in run.seeds:
        raise UsageError(f"{run.path} has no seed {seed}; it has {run.record['seeds']}")
    table = run.metrics() if len(run.tidy()) else None
    if table is None:
        raise UsageError(f"{run.path} has no evaluations yet")
    table = abreast(run, table) if seed is None else table[table["seed"] == seed].assign(**{STANDING: ""})
    if not len(table):
        raise UsageError(f"seed {seed} of {run.path} has no evaluations yet")
    table = table.sort_values(["seed", "env_steps"])
    drawn, left = [name for name in map(str, table) if name.startswith(("table_", "weight_share/"))], 0
    if seed is None and drawn:  # the same seeds at every evaluation
        lasts = table[drawn].notna().any(axis=1).groupby(table["seed"]).transform("last")
        if not lasts.any():
            raise UsageError(f"no seed of {run.path} that is to be drawn has finite values")
        left, table = table.loc[~lasts, "seed"].nunique(), table[lasts]
    means = table.drop(columns=STANDING).groupby(table.groupby("seed").cumcount()).mean()
    return means.assign(**{STANDING: table[STANDING].iloc[0], _COUNT: table["seed"].nunique(), _LEFT: left})


def _whose(found: "pd.DataFrame", seed: int | None) -> tuple[str, str]:
    """Whose values are drawn, and what is framed, in words."""
    count, left = (int(found[name].iloc[0]) for name in (_COUNT, _LEFT))
    missing = f", {left} left out" if left else ""
    if seed is None and (count > 1 or left):
        return f"means over {count} seed{'' if count == 1 else 's'}{missing}", OF_MOST
    return "" if seed is None else f"seed {seed}", "greedy joint action"


def _standing(found: "pd.DataFrame") -> str:
    """A line of a title for an unfinished run."""
    return "".join(f"\n{words}" for words in found[STANDING].unique() if words)


def _grid(found: "pd.DataFrame", name: str, actions: int) -> npt.NDArray[np.float64]:
    """A metric of joint actions of two agents, [K A A]."""
    columns = [column for column in map(str, found) if column.startswith(f"{name}/")]
    return found[columns].to_numpy(np.float64).reshape(len(found), actions, actions)


def _payoff(run: Run) -> npt.NDArray[np.float64]:
    """The payoff [A A] of a run's game. Raises `UsageError` for another game than one step of two agents."""
    payoff = _payoff_or_none(run)
    if payoff is None or payoff.ndim != 2:
        raise UsageError(f"{run.path} is no one-step game of two agents, whose tables can be drawn")
    return payoff


def _payoff_or_none(run: Run) -> npt.NDArray[np.float64] | None:
    """The payoff [A .. A] of a one-step game; None of others."""
    environment = run.experiment.make_environment()
    spec, rewards = environment.spec, environment.params.get("rewards")
    if rewards is None or spec.episode_limit > 1 or len(rewards) > 1:
        return None
    return np.asarray(rewards, np.float64)[0]


def _title(run: Run, name: str) -> str:
    """A table's symbol; Q-hat* where a critic is what targets bootstrap from."""
    if name == "critic" and run.experiment.algorithm.get("critic") == "central":
        return r"$\hat{Q}^*$"
    return _TITLES.get(name, name.replace("_", " "))
