"""The seed axis: devices x sequential map x vmap width, around the phases of one seed.

    fleet = Fleet(program, numbers, seeds=range(64))
    state, metrics = fleet.record(end, fleet.train(first, count, fleet.init()))

Seed i has the key fold_in(key(base_seed), i) wherever it runs. Between runs of one width its results are the same to
the bit; at another width batched products round differently. On CPU the width does not depend on how many seeds there
are: they are padded to devices x maps x width; the padding repeats the last seed and is cut from every result. State is
donated; seeds never communicate, only devices that share the rows of one seed's batches do.

Numbers can differ between seeds (hyperparameters as an axis): leaves marked in `varied` have a leading axis [S].
"""

import copy
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from marlx.types import Metrics

ROWS = "rows"  # mesh axis of the devices that share a batch
UNOPTIMISED: dict[str, bool | int] = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
}
# XLA's newer emitters take as long to compile as all the rest; later versions have no others.
if jax.__version_info__ < (0, 11):
    UNOPTIMISED["xla_cpu_use_fusion_emitters"] = False
WIDEST = 1024  # seeds vmapped together on an accelerator
FEW_ROWS = 256  # up to so many, two seeds together are faster on a CPU device than one after the other


class Phases(Protocol):
    """The phases of a run of one seed; pure functions.

    `rows` is how many rows (slots x batch x agents) the largest step of one seed computes.
    """

    @property
    def rows(self) -> int: ...

    def init(self, key: Any, numbers: Any) -> Any: ...

    def train(self, first: Any, count: Any, state: Any, numbers: Any) -> Any: ...

    def record(self, index: Any, state: Any, numbers: Any) -> tuple[Any, Metrics]: ...

    def refill(self, iteration: Any, state: Any, numbers: Any) -> Any: ...


@dataclass(frozen=True)
class Layout:
    """How S seeds lie: on `devices`, each maps over groups of `width` seeds that are vmapped."""

    devices: int
    maps: int
    width: int
    split: int = 1  # devices that share the batches of a seed; `devices` counts groups of so many

    @property
    def padded(self) -> int:
        """Seeds computed, padding included."""
        return self.devices * self.maps * self.width


def choose_layout(seeds: int, devices: int, width: int, split: int = 1) -> Layout:
    """Groups of `width` seeds, spread evenly over as many of the devices as there are groups."""
    groups = -(-seeds // width)
    devices = min(devices // split, groups)
    return Layout(devices, -(-groups // devices), width, split)


def halved(layout: Layout) -> tuple[int, int]:
    """Seeds resident at a time and their width, for about half the memory of a layout; no seeds: there is no half.

    CPU devices share one memory, so there are fewer seeds, and narrower groups only where less than one is left. Any
    other device has memory of its own: all of them hold half as many.
    """
    devices = 1 if on_cpu() else layout.devices
    each = layout.padded // devices // 2
    return devices * each, min(layout.width, each)


def on_cpu() -> bool:
    """Whether this process computes on CPU devices."""
    return bool(jax.local_devices()[0].platform == "cpu")


def choose_width(rows: int, seeds: int, fitting: int | None = None) -> int:
    """Seeds to vmap together on this process's devices, for a program whose largest step has `rows` rows.

    It depends on the program alone on CPU. Elsewhere launches of kernels are what company amortises: all seeds of a
    device, up to the next power of two and at most 1,024.

    Args:
        fitting: seeds that fit the memory of all devices; an accelerator's group is no wider than its share of them.
    """
    if on_cpu():
        return cpu_width(rows)
    devices = jax.local_device_count()
    return accelerator_width(-(-seeds // devices), WIDEST if fitting is None else fitting // devices)


def accelerator_width(seeds: int, fitting: int = WIDEST) -> int:
    """Seeds to vmap on an accelerator that has `seeds` of them and memory for `fitting`: a power of two."""
    largest = 1 << max(fitting, 1).bit_length() - 1
    return min(1 << (seeds - 1).bit_length(), largest, WIDEST)


def cpu_width(rows: int) -> int:
    """Seeds to vmap on a CPU device: two where steps have few rows, else each alone.

    Wider groups gain no more than a tenth on small games (`python -m benchmarks seeds`), cost a single seed its
    padding, and are slower for methods with large nets, whose batched products with weights of their own are slow.
    """
    return 2 if rows <= FEW_ROWS else 1


def spare_split(seeds: int, devices: int, batch_size: int) -> int:
    """How many devices can share each seed's batches when there are more devices than seeds."""
    return max(n for n in range(1, max(1, devices // seeds) + 1) if batch_size % n == 0)


class Fleet:
    """Many seeds of one program, on the devices of this process.

    Args:
        numbers: the traced numbers, a pytree.
        seeds: seed ids; results are in this order, leading axis [S].
        width: seeds vmapped together on a device; None chooses by platform.
        split: devices that share the batches of a seed; the program must then be made with `axis=ROWS`. Sums run in
            another order than on one device, so results differ in the last bits.
        varied: a pytree of booleans like `numbers`: which leaves have a leading axis [S]; None: seeds share them all.
    """

    def __init__(
        self,
        program: Phases,
        numbers: Any,
        seeds: Sequence[int],
        base_seed: int = 0,
        width: int | None = None,
        split: int = 1,
        varied: Any = None,
    ) -> None:
        self.program, self.base_seed = program, base_seed
        self.varied = jax.tree.map(lambda _: False, numbers) if varied is None else varied
        devices = jax.local_devices()
        self.layout = choose_layout(len(seeds), len(devices), width or choose_width(program.rows, len(seeds)), split)
        used = np.array(devices[: self.layout.devices * split])
        self.mesh = Mesh(used.reshape(-1, split), ("seed", ROWS))
        self._seat(seeds, numbers)
        self._init: Any = jax.jit(self._spread(program.init, 0, in_place=False))
        self._train: Any = jax.jit(self._spread(lambda *x: (program.train(*x), ()), 2), donate_argnums=2)
        self._record: Any = jax.jit(self._spread(program.record, 1), donate_argnums=1)
        self.bytes = 0  # that the largest phase holds, by the compiler's account; known once compiled
        self.shapes: Any = jax.eval_shape(self._init, self.keys, self.numbers)  # of all seats, padding included

    def reseated(self, seeds: Sequence[int], numbers: Any) -> "Fleet":
        """The same compiled program for other seeds and numbers; at most as many as its layout has places."""
        other = copy.copy(self)
        other._seat(seeds, numbers)
        return other

    def _seat(self, seeds: Sequence[int], numbers: Any) -> None:
        self.seeds = list(seeds)
        fold = jax.vmap(partial(jax.random.fold_in, jax.random.key(self.base_seed)))
        self.keys = self.pad(fold(jnp.asarray(self.seeds, jnp.uint32)))
        self.numbers = jax.tree.map(lambda x, own: self.pad(x) if own else x, numbers, self.varied)

    def pad(self, tree: Any) -> Any:
        """Arrays [S ..] on the devices, with the last seed repeated in every place of the layout that is free."""
        sharding = NamedSharding(self.mesh, PartitionSpec("seed"))
        free = self.layout.padded - len(self.seeds)

        def placed(x: Any) -> jax.Array:
            x = jnp.asarray(x)
            return jax.device_put(jnp.concatenate([x, jnp.repeat(x[-1:], free, axis=0)]) if free else x, sharding)

        return jax.tree.map(placed, tree)

    def _spread(self, phase: Any, shared: int, in_place: bool = True) -> Any:
        """`phase(*shared, state, numbers) -> (state, others)` of one seed -> of all seeds.

        Args:
            shared: leading arguments that have no seed axis.
            in_place: each group's states are written where they were read; a map would write all of them anew. False:
                for `init`, which makes something else of its keys.
        """
        seed, everywhere = PartitionSpec("seed"), PartitionSpec()
        maps, width = self.layout.maps, self.layout.width
        leaves, structure = jax.tree.flatten(self.varied)

        def on_device(*arguments: Any) -> Any:
            *common, state, numbers = arguments
            flat = jax.tree.leaves(numbers)
            mine = [x for x, own in zip(flat, leaves, strict=True) if own]

            def one(state: Any, mine: list[Any]) -> Any:
                own = iter(mine)
                every = [next(own) if varies else x for x, varies in zip(flat, leaves, strict=True)]
                return phase(*common, state, jax.tree.unflatten(structure, every))

            # An axis of one would make every product a batched one, which is slower on CPU.
            group, inner = (jax.vmap(one), (width,)) if width > 1 else (one, ())

            def turn(states: Any, lane: Any) -> Any:
                index, mine = lane
                before = jax.tree.map(lambda x: jax.lax.dynamic_index_in_dim(x, index, keepdims=False), states)
                after, others = group(before, mine)
                put = partial(jax.lax.dynamic_update_index_in_dim, index=index, axis=0)
                return jax.tree.map(put, states, after), others

            states, mine = jax.tree.map(lambda x: x.reshape(maps, *inner, *x.shape[1:]), (state, mine))
            if maps == 1:
                found = jax.tree.map(lambda x: x[None], group(*jax.tree.map(lambda x: x[0], (states, mine))))
            elif in_place:
                found = jax.lax.scan(turn, states, (jnp.arange(maps), mine))
            else:
                found = jax.lax.map(lambda lane: group(*lane), (states, mine))
            return jax.tree.map(lambda x: x.reshape(maps * width, *x.shape[1 + len(inner) :]), found)

        numbers = jax.tree.map(lambda own: seed if own else everywhere, self.varied)
        specs = (everywhere,) * shared + (seed, numbers)
        return jax.shard_map(on_device, mesh=self.mesh, in_specs=specs, out_specs=seed, check_vma=False)

    def compile(self) -> float:
        """Compiles all phases ahead of time; returns the seconds it took."""
        started = time.perf_counter()
        index = jax.ShapeDtypeStruct((), jnp.int32)
        sharding = NamedSharding(self.mesh, PartitionSpec("seed"))
        # Init runs once and is all small draws of parameters; a record is one evaluation. Unoptimised, they take about
        # twice as long and compile in a fraction.
        quickly = UNOPTIMISED if self.mesh.devices.flat[0].platform == "cpu" else None
        # XLA compiles without holding the interpreter, so the phases compile side by side and while others are traced.
        with ThreadPoolExecutor(3) as pool:
            init = self._init.lower(self.keys, self.numbers)
            compiled = [pool.submit(init.compile, quickly)]
            state = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), self.shapes)
            compiled.append(pool.submit(self._train.lower(index, index, state, self.numbers).compile))
            compiled.append(pool.submit(self._record.lower(index, state, self.numbers).compile, quickly))
            self._init, self._train, self._record = (phase.result() for phase in compiled)
        self.bytes = self.mesh.size * max(map(_bytes, (self._init, self._train, self._record)))
        return time.perf_counter() - started

    def init(self) -> Any:
        """States of all seeds before iteration 0, leading axis the padded seed axis; returns when they are there."""
        return jax.block_until_ready(self._init(self.keys, self.numbers))

    def train(self, first: int, count: int, state: Any) -> Any:
        """`count` iterations from number `first`; returns when they are done. The given state is consumed."""
        return jax.block_until_ready(self._train(np.int32(first), np.int32(count), state, self.numbers)[0])

    def refill(self, iteration: int, state: Any) -> Any:
        """States whose replay, empty or not, holds fresh play instead, as much as there was before `iteration`."""
        refill = self._spread(lambda *x: (self.program.refill(*x), ()), 1)
        return jax.jit(refill, donate_argnums=1)(np.int32(iteration), state, self.numbers)[0]

    def record(self, index: int, state: Any) -> tuple[Any, dict[str, np.ndarray]]:
        """Metrics [S] since the last record, with a greedy evaluation. The given state is consumed."""
        state, metrics = self._record(np.int32(index), state, self.numbers)
        return state, self.cut(metrics)

    def cut(self, tree: Any) -> Any:
        """Arrays on the host without the padding; waits for the devices."""
        return jax.tree.map(lambda x: np.asarray(x)[: len(self.seeds)], tree)


def _bytes(phase: Any) -> int:
    """Memory of a compiled phase on one device; 0 where the platform does not say."""
    found = phase.memory_analysis()
    if found is None:
        return 0
    inside = found.argument_size_in_bytes + found.output_size_in_bytes - found.alias_size_in_bytes
    return int(inside + found.temp_size_in_bytes)
