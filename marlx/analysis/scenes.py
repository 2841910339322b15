"""What an episode looks like: packed states of predator-prey and SMAX as entities on a board, frame by frame."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from marlx_envs.options import UsageError

SHAPES = {"agent": "circle", "stag": "square", "hare": "triangle", "ally": "circle", "enemy": "square"}
_STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))  # right, down, left, up of predator-prey
_CATCH = 5


class Entity(NamedTuple):
    """Something on the board; lengths in cells, y downwards."""

    kind: str  # of `SHAPES`
    label: str
    x: float
    y: float
    radius: float
    health: float = 1.0  # fraction
    aim: tuple[float, float] | None = None  # where its action points
    marked: bool = False  # it tries to catch


class Frame(NamedTuple):
    """One moment."""

    entities: list[Entity]
    caption: str


@dataclass(frozen=True)
class Scene:
    """An episode on a board of `width` x `height` cells."""

    title: str
    width: int
    height: int
    lines: bool  # between cells
    frames: list[Frame]
    signs: str = ""  # what lines, rings and bars say

    @cached_property
    def kinds(self) -> list[str]:
        """Kinds that are seen, in the order of `SHAPES`."""
        seen = {entity.kind for frame in self.frames for entity in frame.entities}
        return [kind for kind in SHAPES if kind in seen]


class Episode(NamedTuple):
    """One greedy episode of T steps."""

    states: Any  # as the environment has them, leaves [T+1 ..]
    actions: npt.NDArray[np.integer]  # [T N]
    rewards: npt.NDArray[np.floating]  # [T]


def check_drawn(name: str) -> None:
    """Raises `UsageError` for an environment that nobody knows how to draw."""
    if name not in _DRAWN:
        raise UsageError(f"{name} cannot be drawn; {' and '.join(_DRAWN)} can")


def scene(name: str, environment: Any, episode: Episode, title: str) -> Scene:
    """The scene of an episode. Raises `UsageError` for an environment that nobody knows how to draw."""
    check_drawn(name)
    width, height, lines, entities, signs = _DRAWN[name](environment, episode)
    total = np.concatenate([[0.0], np.cumsum(episode.rewards)])
    last = len(episode.rewards)
    frames = [
        Frame(
            of,
            f"step {t} of {last}   return {total[t]:.4g}"
            + (f"   reward {episode.rewards[t]:+.3g}" if t < last else ""),
        )
        for t, of in enumerate(entities)
    ]
    return Scene(title, width, height, lines, frames, signs)


_Drawn = tuple[int, int, bool, list[list[Entity]], str]  # the fields of a scene


def _predator_prey(environment: Any, episode: Episode) -> _Drawn:
    grid = environment.grid
    frozen = episode.states.frozen

    def place(cell: int) -> tuple[float, float]:
        return cell % grid.stride + 0.5, cell // grid.stride - 0.5

    frames = []
    for t, (agents, prey) in enumerate(zip(episode.states.agents, episode.states.prey, strict=True)):
        found = []
        for index, cell in enumerate(map(int, prey)):
            if cell != grid.none:
                kind = "stag" if index < environment.n_stags else "hare"
                found.append(Entity(kind, "", *place(cell), 0.32))
        for index, cell in enumerate(map(int, agents)):
            if cell != grid.none:
                x, y = place(cell)
                action = int(episode.actions[t, index]) if t < len(episode.actions) else -1
                aim = None
                if 0 <= action < len(_STEPS):
                    aim = (x + 0.7 * _STEPS[action][0], y + 0.7 * _STEPS[action][1])
                still = frozen is not None and bool(frozen[t, index])
                found.append(Entity("agent", str(index + 1), x, y, 0.36, 0.4 if still else 1.0, aim, action == _CATCH))
        frames.append(found)
    signs = "line: next move; ring: tries to catch" + ("; bar: frozen" if frozen is not None else "")
    return environment.width, environment.height, True, frames, signs


def _smax(environment: Any, episode: Episode) -> _Drawn:
    """North is up; lines say what a unit does next: where it goes, whom it shoots or heals."""
    from marlx_envs.smax_rules import MAP, SHOOT
    from marlx_envs.smax_units import UNITS

    allies, states = environment.spec.n_agents, episode.states
    kinds = np.broadcast_to(environment.core.kinds(states), states.units.health.shape)  # [T+1 L]
    (xs, ys), healths = np.moveaxis(states.units.position, 1, 0), states.units.health  # [T+1 L]
    moves = ((0, -1), (1, 0), (0, 1), (-1, 0))  # north, east, south, west
    frames = []
    for t in range(len(healths)):
        places = [(float(x), MAP - float(y)) for x, y in zip(xs[t], ys[t], strict=True)]
        found = []
        for unit in map(int, np.flatnonzero(healths[t] > 0)):
            own, (x, y) = UNITS[int(kinds[t, unit])], places[unit]
            action = int(states.actions[t + 1, unit]) if t + 1 < len(healths) else -1
            aim = None
            if SHOOT <= action < SHOOT + len(places):
                aim = places[_target(action - SHOOT, unit, allies, len(places), own.heals > 0)]
            elif 0 <= action < len(moves) and unit < allies:
                aim = (x + 1.2 * moves[action][0], y + 1.2 * moves[action][1])
            kind, share = "ally" if unit < allies else "enemy", float(healths[t, unit]) / own.health
            found.append(Entity(kind, own.letter, x, y, 1.4 * own.radius, share, aim))
        frames.append(found)
    return (*_cut(frames), "line: next move, shot or healing; bar: health")


def _target(slot: int, unit: int, allies: int, units: int, heals: bool) -> int:
    """The unit that an attack or a healing names; enemies count from the last unit."""
    if unit < allies:
        return slot if heals else allies + slot
    return units - 1 - slot if heals else allies - 1 - slot


def _cut(frames: list[list[Entity]], margin: float = 2.0) -> tuple[int, int, bool, list[list[Entity]]]:
    """The part of a map on which anything ever stands; a map has no cells."""
    places = np.array([(entity.x, entity.y) for frame in frames for entity in frame])
    left, top = np.floor(places.min(axis=0) - margin)
    width, height = np.ceil(places.max(axis=0) + margin - (left, top))
    moved = [
        [
            entity._replace(
                x=entity.x - left,
                y=entity.y - top,
                aim=None if entity.aim is None else (entity.aim[0] - left, entity.aim[1] - top),
            )
            for entity in frame
        ]
        for frame in frames
    ]
    return int(width), int(height), False, moved


_DRAWN: dict[str, Callable[[Any, Episode], _Drawn]] = {"predator_prey": _predator_prey, "smax": _smax}
