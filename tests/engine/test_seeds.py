"""What a fleet compiles to: a program that does not grow with seeds, no word between devices, states in place."""

import re
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import pytest

import marlx
from marlx.engine.seeds import ROWS, Fleet
from marlx.program import Program

COLLECTIVES = re.compile("all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter|collective-broadcast")
SMALL = (
    "training.num_envs=4", "training.batch_size=4", "training.buffer_size=16", "agent.hidden_size=4",
    "agent.network=mlp", "evaluation.episodes=2",
)  # fmt: skip


def fleet(seeds: int, width: int, split: int = 1) -> Fleet:
    experiment = marlx.configure("iql", "matrix_game", *SMALL)
    return Fleet(Program(experiment, ROWS if split > 1 else None), experiment.numbers(), range(seeds), 0, width, split)


def lowered(fleet: Fleet) -> list[Any]:
    """The programs of init, training and evaluation, before XLA has seen them."""
    index = jnp.int32(0)
    return [
        fleet._init.lower(fleet.keys, fleet.numbers),
        fleet._train.lower(index, index, fleet.shapes, fleet.numbers),
        fleet._record.lower(index, fleet.shapes, fleet.numbers),
    ]


@cache
def lines(seeds: int, width: int) -> list[int]:
    """Lines of each of those programs."""
    return [len(program.as_text().splitlines()) for program in lowered(fleet(seeds, width))]


@pytest.mark.parametrize("width", ["one", "all"])
def test_the_program_does_not_grow_with_seeds(width: str) -> None:
    """Neither one after another, as on a CPU, nor all beside each other, as on a GPU."""
    few, many = (lines(seeds, 1 if width == "one" else seeds) for seeds in (4, 64))
    assert few == many and min(few) > 20


@pytest.mark.skipif(jax.local_device_count() < 2, reason="needs two devices")
def test_devices_do_not_talk_and_states_are_donated() -> None:
    many = fleet(4, width=1)
    many.compile()
    assert many.mesh.size == 2
    for program in (many._init, many._train, many._record):
        assert not COLLECTIVES.findall(program.as_text())
    shared = fleet(1, width=1, split=2)  # its devices do, so the words above are those to look for
    assert COLLECTIVES.search(lowered(shared)[1].compile().as_text())

    state = many.init()
    after = many.train(0, 1, state)
    assert all(x.is_deleted() for x in jax.tree.leaves(state))
    many.record(1, after)
    assert all(x.is_deleted() for x in jax.tree.leaves(after))
