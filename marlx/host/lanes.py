"""What trains side by side in one compiled program: every seed at every point of a grid of traced numbers.

Lane i is seed i % S of point i // S; points are in the order of the grid's product, the last name fastest.
"""

import itertools
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import jax
import numpy as np
import numpy.typing as npt
from marlx_envs.options import UsageError, plain, shown

from marlx.experiment import Experiment

MOST_POINTS = 100_000
Grid = Mapping[str, Sequence[Any]]  # "section.name" -> values


@dataclass(frozen=True)
class Lanes:
    """Seeds x points of an experiment.

    Args:
        seeds: ids.
        grid: "section.name" of traced numbers -> a sequence of values, or an array [K]; empty: the experiment's own
            numbers alone.
    """

    experiment: Experiment
    seeds: Sequence[int]
    grid: Grid = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "grid", {name: _listed(values) for name, values in self.grid.items()})
        points = 1
        for name, values in self.grid.items():
            self.experiment.traced(name)
            if not isinstance(values, list) or not values:
                raise UsageError(f"{name} needs a list of values, not {shown(values)}")
            check_distinct(name, values)
            points *= len(values)
        if points > MOST_POINTS:
            raise UsageError(f"the grid has {points:,} points; at most {MOST_POINTS:,}")

    def __len__(self) -> int:
        return len(self.points) * len(self.seeds)

    @cached_property
    def points(self) -> list[dict[str, Any]]:
        """The coordinates of every point."""
        return [dict(zip(self.grid, values, strict=True)) for values in itertools.product(*self.grid.values())]

    def ids(self, lanes: slice = slice(None)) -> list[int]:
        """Seed ids of some lanes."""
        return (list(self.seeds) * len(self.points))[lanes]

    def columns(self, lanes: slice = slice(None)) -> dict[str, npt.NDArray[Any]]:
        """`seed` and every coordinate, name -> value for each of some lanes."""
        of = self._points_of(lanes)
        grid = {name: np.asarray([point[name] for point in self.points], np.float64)[of] for name in self.grid}
        return {"seed": np.asarray(self.ids(lanes), np.int64), **grid}

    @cached_property
    def varied(self) -> Any:
        """The tree of traced numbers, True where they differ between points."""
        return jax.tree.map(lambda x: isinstance(x, _Stack), self._stacked)

    def numbers(self, lanes: slice = slice(None)) -> Any:
        """The traced numbers of some lanes; leaves that are varied have them as leading axis."""
        of = self._points_of(lanes)
        return jax.tree.map(lambda x: x.values[of] if isinstance(x, _Stack) else x, self._stacked)

    def _points_of(self, lanes: slice) -> npt.NDArray[np.int64]:
        return np.repeat(np.arange(len(self.points)), len(self.seeds))[lanes]

    @cached_property
    def _stacked(self) -> Any:
        """Leaves that differ between points as stacks [P ..]. Raises `UsageError` for a value out of its range."""
        own = self.experiment.numbers()
        if not self.grid:
            return own
        trees = [self.experiment.replace(point).numbers() for point in self.points]

        def leaf(*values: Any) -> Any:
            stack = np.stack([np.asarray(value) for value in values])
            return _Stack(stack) if (stack != stack[:1]).any() else values[0]

        return jax.tree.map(leaf, *trees)


def _listed(values: Any) -> Any:
    """A sequence of values, or an array of numpy or JAX [K], as a list of Python numbers; anything else as it is."""
    if (isinstance(values, Sequence) and not isinstance(values, str)) or getattr(values, "ndim", None) == 1:
        return [plain(value) for value in values]
    return values


def check_distinct(name: str, values: Sequence[Any]) -> None:
    """Raises `UsageError` if an axis is too long or has a value twice: two points could not be told apart."""
    if len(values) > MOST_POINTS:
        raise UsageError(f"{name} has {len(values):,} values; at most {MOST_POINTS:,}")
    try:
        distinct = len({_key(value) for value in values})
    except RecursionError:
        raise UsageError(f"a value of {name} is nested too deeply") from None
    if distinct < len(values):
        raise UsageError(f"{name} has a value twice: {shown(values)}")


def _key(value: Any) -> Any:
    """What can be in a set, equal for equal values: 1 and 1.0, not (1,) and [1]."""
    if isinstance(value, list | tuple):
        return (type(value), *map(_key, value))
    if isinstance(value, Mapping):
        return (dict, frozenset((name, _key(x)) for name, x in value.items()))
    return value if isinstance(value, Hashable) else repr(value)


@dataclass(frozen=True)
class _Stack:
    """A leaf of its own (not a pytree): values [P ..]."""

    values: npt.NDArray[Any]
