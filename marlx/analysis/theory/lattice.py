"""Orders of actions and the upper sets of joint actions that they have: what lies beneath every monotonic table.

Joint actions are numbered in row-major order; "in ordered coordinates" action 0 is each agent's lowest.
"""

import itertools
import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Shape = tuple[int, ...]
MOST_SETS, MOST_ORDERS = 20_000, 1_000_000


class UpperSets(NamedTuple):
    """Sets of joint actions that hold, with each member, all that lie above it; from the empty one to the full one."""

    member: Bools  # [U C]
    above: Bools  # [U U]: whether the second holds the first and more


@lru_cache(maxsize=32)
def upper_sets(shape: Shape) -> UpperSets:
    """All upper sets of joint actions in ordered coordinates; 20 of a 3x3 game.

    Raises:
        ValueError: more than 20,000.
    """
    strides = [math.prod(shape[i + 1 :]) for i in range(len(shape))]
    successors = [
        sum(
            1 << (cell + stride)
            for stride, size in zip(strides, shape, strict=True)
            if cell // stride % size < size - 1
        )
        for cell in range(math.prod(shape))
    ]
    found, frontier = {0}, [0]
    while frontier:
        grown = {
            held | 1 << cell
            for held in frontier
            for cell, above in enumerate(successors)
            if not held >> cell & 1 and held & above == above
        }
        frontier = list(grown - found)
        found |= grown
        if len(found) > MOST_SETS:
            raise ValueError(f"a game of {_size(shape)} actions has more than {MOST_SETS:,} upper sets: too many")
    masks = sorted(found, key=lambda held: (held.bit_count(), held))
    member = np.array([[held >> cell & 1 for cell in range(math.prod(shape))] for held in masks], bool)
    inside = member.astype(np.float32) @ (~member).T.astype(np.float32) == 0  # [U U]: the first lies in the second
    return UpperSets(member, inside & ~np.eye(len(masks), dtype=bool))


def orders(shape: Shape, twins: Sequence[Sequence[int]]) -> tuple[Ints, Ints]:
    """Every order of every agent's actions that needs to be looked at.

    Args:
        twins: for each agent the class of each action; actions of a class can be exchanged without any change, so
            that only orders with the lower index first are listed.

    Returns:
        Cells int [P C]: the joint action at each place in ordered coordinates; and the last one's number, int [P].

    Raises:
        ValueError: more than 1,000,000.
    """
    counts = [math.factorial(len(of)) // math.prod(math.factorial(list(of).count(k)) for k in set(of)) for of in twins]
    if math.prod(counts) > MOST_ORDERS:
        raise ValueError(f"a game of {_size(shape)} actions has {math.prod(counts):,} orders: too many")
    each = [_arrangements(tuple(of)) for of in twins]
    numbers = np.arange(math.prod(shape)).reshape(shape)
    cells = np.array([numbers[np.ix_(*choice)].reshape(-1) for choice in itertools.product(*each)])
    return cells, cells[:, -1]


def _arrangements(classes: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Orders of actions in which those of one class stand by index, by depth first."""
    members = {of: [a for a, other in enumerate(classes) if other == of] for of in sorted(set(classes))}

    def grow(used: dict[int, int], prefix: tuple[int, ...]) -> list[tuple[int, ...]]:
        if len(prefix) == len(classes):
            return [prefix]
        free = [of for of in members if used[of] < len(members[of])]
        return [order for of in free for order in grow({**used, of: used[of] + 1}, (*prefix, members[of][used[of]]))]

    return grow(dict.fromkeys(members, 0), ())


def _size(shape: Shape) -> str:
    return " x ".join(map(str, shape))
