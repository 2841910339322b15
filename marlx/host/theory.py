"""`marlx theory`: the theory desk in a terminal, and its map as a picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from marlx_envs.options import Option, UsageError, check, unknown
from rich.table import Table
from rich.text import Text

from marlx.analysis.theory.exploration import EXPLORATIONS
from marlx.analysis.theory.projection import project
from marlx.analysis.theory.rounds import rounds
from marlx.analysis.theory.stable_points import StablePoints
from marlx.analysis.theory.survey import Setting, Verdict, points, verdicts
from marlx.experiment import configure
from marlx.host.console import console
from marlx.host.drawing import picture_path, save_figure
from marlx.joint_actions import letter

Floats = npt.NDArray[np.float64]
_WORDS = {
    Verdict.ALWAYS: "yes",
    Verdict.WEAK: "not for certain",
    Verdict.SOME: "depends on the start",
    Verdict.NEVER: "no",
}


def setting(
    epsilon: str | None, exploration: str | None, alpha: str | None, tolerance: str | None, rounds: str | None
) -> Setting:
    """What the shell's words say. Raises `UsageError` for a word that is none of a value's."""
    defaults = Setting()
    if exploration is not None and exploration not in EXPLORATIONS:
        raise unknown("value of --exploration", exploration, EXPLORATIONS)
    return Setting(
        epsilon=_number("--epsilon", epsilon, defaults.epsilon, 1.0),
        exploration=exploration or defaults.exploration,
        alpha=_number("--alpha", alpha, defaults.alpha, 1.0),
        tolerance=_number("--tolerance", tolerance, defaults.tolerance, None),
        rounds=defaults.rounds if rounds is None else check(Option("size", "", 1, 100), _value(rounds), "--rounds"),
    )


def show(payoff: str, overrides: Sequence[str], where: Setting) -> None:
    """Prints the ideal monotonic table of a payoff, the stable points of every method, and MRVF's rounds.

    Raises:
        UsageError: no such payoff, or one too large to be looked at exactly.
    """
    game = _game(payoff, overrides)
    try:
        data = where.data(game.shape)
        best = project(game, np.full(game.shape, 1 / game.size))
        found = points(game[None], where)
        steps = rounds(game[None], data, where.rounds)
    except ValueError as error:
        raise UsageError(f"{payoff}: {error}") from error
    screen = console()
    size = " x ".join(map(str, game.shape))
    optimal = [_cell(cell) for cell in np.argwhere(game >= game.max() - 1e-9 * max(1.0, abs(game.max())))]
    screen.print(f"{payoff}: {size} actions, best {game.max():.6g} at {' '.join(optimal)}", markup=False)
    screen.print(_described(where), markup=False)
    if game.ndim == 2:
        screen.print(_grid(game))
    screen.print(f"ideal monotonic table, uniform data: loss {best.loss:.6g}, greedy {_cell(best.greedy)}")
    if game.ndim == 2:
        screen.print(_grid(best.table))
    screen.print(_methods(game, found))
    path = [f"{_number_cell(k, game)} {v:.6g}" for k, v in zip(steps.greedy[:, 0], steps.value[:, 0], strict=True)]
    screen.print(f"MRVF, round by round: {' -> '.join(path)}", markup=False)


def draw_map(where: Setting, out: str | None) -> Path:
    """Draws which methods find the optimum over punishment and safe payoff; returns where the picture lies.

    Raises:
        UsageError: another kind of picture, or a disk that refuses.
    """
    from marlx.analysis.maps import PUNISHMENT, family_verdicts, stability_map

    path = picture_path(out or "theory_map.png")
    save_figure(stability_map(PUNISHMENT, family_verdicts(PUNISHMENT, where), _described(where)), path)
    return path


def _game(payoff: str, overrides: Sequence[str]) -> Floats:
    """The payoff [A_1 .. A_N] of a game's first step."""
    experiment = configure("qmix", "matrix_game", f"environment.payoff={payoff}", *overrides)
    tables: Any = getattr(experiment.make_environment(), "tables")  # noqa: B009  (of tabular environments only)
    game = np.asarray(tables.rewards[0], np.float64).round(6)
    if tables.available is None:
        return game
    return game[tuple(slice(int(count)) for count in tables.available[0].sum(axis=1))]


def _methods(game: Floats, found: dict[str, StablePoints]) -> Table:
    table = Table("method", "stable points (~ weak)", "may circle", "finds an optimum")
    for name, marks in found.items():
        cells = [f"{_number_cell(k, game)}{'' if marks.strong[0, k] else '~'}" for k in np.flatnonzero(marks.stable[0])]
        shown = " ".join(cells[:12]) + (f" and {len(cells) - 12} more" if len(cells) > 12 else "")
        table.add_row(
            name,
            Text(shown or "none"),
            "yes" if marks.circles[0] else "no",
            _WORDS[Verdict(int(verdicts(game[None], marks)[0]))],
        )
    return table


def _grid(values: Floats) -> Table:
    """A table of two agents, rows for the first; its best entries have a star."""
    table = Table("", *map(letter, range(values.shape[1])))
    rounding = 1e-9 * max(1.0, np.abs(values).max())
    best = values.max() - rounding
    values = np.where(np.abs(values) < rounding, 0, values)
    for row, entries in enumerate(values):
        table.add_row(letter(row), *(f"{entry:.4g}{'*' if entry >= best else ''}" for entry in entries))
    return table


def _described(where: Setting) -> str:
    if where.epsilon == 1:
        return "uniform data"
    return f"{where.exploration} exploration, epsilon {where.epsilon:.6g}"


def _cell(actions: Any) -> str:
    return f"({','.join(letter(int(action)) for action in actions)})"


def _number_cell(number: "int | np.integer[Any]", game: Floats) -> str:
    return "none" if number < 0 else _cell(np.unravel_index(number, game.shape))


def _number(option: str, word: str | None, default: float, high: float | None) -> float:
    return default if word is None else float(check(Option("number", "", 0.0, high), _value(word), option))


def _value(word: str) -> Any:
    """A word as the number that it is, or itself."""
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return word
