"""What a program computes and moves, and what devices do at best: the scale of a rate.

XLA's own account counts the body of a loop once, however often it runs, and of a program for GPUs it leaves out the
products, which are calls of a library there. So loops are counted here, each body as a program of its own, and all of
them as they are compiled for a CPU. That is what a program of this kind has to do, not what a machine's counters saw.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax.extend.core import Jaxpr, jaxpr_as_fun, jaxprs_in_params
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from benchmarks.common import seconds

# Rows of a square product, and numbers copied, on each device: far more than its caches hold, and than a launch takes.
SIZES = {"cpu": (2048, 2**25), "gpu": (8192, 2**28), "tpu": (8192, 2**28)}


class Cost(NamedTuple):
    """Of a program, or what a device does of it in a second."""

    flops: float  # float operations: 2 n m k of a product, 1 for each element of most others
    bytes: float  # read and written by all its fused operations; what a cache serves is counted too


def cost(program: Any, *arguments: Any, rounds: Sequence[int] = ()) -> Cost:
    """What one call of a function costs, by XLA's account, with all rounds of its loops.

    Args:
        arguments: arrays or shapes.
        rounds: of loops whose number of rounds is found as they run: of the outermost, of those inside of them, ...; 1
            of any further in.
    """
    _, total = _counted(jax.make_jaxpr(program)(*arguments), tuple(rounds))
    return Cost(*map(float, total))


def _counted(program: Any, rounds: tuple[int, ...]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """[flops, bytes] of a closed jaxpr with every loop's body counted once, and as often as it runs."""
    with jax.default_device(jax.local_devices(backend="cpu")[0]):
        shapes = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in program.in_avals]
        compiled: Any = jax.jit(jaxpr_as_fun(program)).lower(*shapes).compile()
    found = compiled.cost_analysis()
    once = np.array([found.get("flops", 0.0), found.get("bytes accessed", 0.0)])
    total = once.copy()
    for times, body, inner in _loops(program.jaxpr, rounds):
        body_once, body_total = _counted(body, inner)
        total += times * body_total - body_once
    return once, total


def _loops(jaxpr: Jaxpr, rounds: tuple[int, ...]) -> Iterator[tuple[int, Any, tuple[int, ...]]]:
    """The outermost loops: rounds, body, and what is left of `rounds` for the loops inside of it."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "scan":
            yield equation.params["length"], equation.params["jaxpr"], rounds
        elif equation.primitive.name == "while":
            yield (rounds or (1,))[0], equation.params["body_jaxpr"], rounds[1:]
        else:
            for inside in jaxprs_in_params(equation.params):
                yield from _loops(inside, rounds)


def best(devices: Sequence[jax.Device], repeats: int) -> Cost:
    """Rates of devices together, all at work: FLOP/s of a square product, bytes/s of a copy, both of float32."""
    rows, numbers = SIZES[devices[0].platform]
    product = _seconds(devices, lambda x: x @ x, (rows, rows), repeats)
    copy = _seconds(devices, lambda x: x + 1, (numbers,), repeats)
    return Cost(2 * rows**3 * len(devices) / product, 2 * 4 * numbers * len(devices) / copy)


def _seconds(devices: Sequence[jax.Device], work: Any, shape: tuple[int, ...], repeats: int) -> float:
    """Seconds of a function of an array [shape] of float32, on every device at a time."""
    mesh, spread = Mesh(np.array(devices), ("each",)), PartitionSpec("each")
    # Donated, so that no memory is asked of the system, which would take longer than to write it.
    program = jax.jit(jax.shard_map(work, mesh=mesh, in_specs=spread, out_specs=spread), donate_argnums=0)
    x = jnp.ones((len(devices) * shape[0], *shape[1:]), device=NamedSharding(mesh, spread))

    def step() -> None:
        nonlocal x
        x = jax.block_until_ready(program(x))

    return seconds(step, repeats)
