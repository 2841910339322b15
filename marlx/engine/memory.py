"""How many seeds are resident at a time: what a seed's state takes against the memory there is."""

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import jax

PROCESSES = "MARLX_PROCESSES"  # environment variable: processes of one run on this host
SHARE = 0.6  # of the free memory that a chunk may take
COPIES = 2.2  # of its state that a chunk may come to: phases work in place, the rest is for what they need meanwhile


def fitting_seeds(init: Callable[..., Any], numbers: Any) -> int:
    """Seeds whose states fit the free memory of this process's devices, with room for what phases need meanwhile.

    Args:
        init: (key, numbers) -> the state of one seed.
        numbers: of one seed.
    """
    return int(SHARE * free_memory(jax.local_devices()) / (COPIES * state_bytes(init, numbers)))


def chunk_size(fitting: int, seeds: int, width: int) -> int:
    """Seeds of a chunk: all of them if they fit, else the fewest equal chunks of whole groups.

    Args:
        fitting: seeds that fit memory; a group is never cut.
        width: seeds of a group, which are computed together.
    """
    groups, most = -(-seeds // width), max(1, fitting // width)
    chunks = -(-groups // most)
    return min(seeds, -(-groups // chunks) * width)


def state_bytes(init: Callable[..., Any], numbers: Any) -> int:
    """Bytes of one seed's state."""
    return tree_bytes(jax.eval_shape(init, jax.random.key(0), numbers))


def tree_bytes(tree: Any) -> int:
    """Bytes of all arrays (or shapes) of a pytree."""
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))


def free_memory(devices: Iterable[Any]) -> int:
    """Bytes that some of this process's devices have free, together."""
    found = [device.memory_stats() or {} for device in devices]
    if all("bytes_limit" in stats for stats in found):
        return sum(stats["bytes_limit"] - stats.get("bytes_in_use", 0) for stats in found)
    return _host_memory()


def is_exhaustion(error: BaseException) -> bool:
    """Whether a device had no memory left."""
    return isinstance(error, MemoryError) or (
        isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" in str(error)
    )


def _host_memory() -> int:
    """What the system says is available, and a container's limit."""
    processes = int(os.environ.get(PROCESSES, "1"))  # that share this host
    available = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with suppress(OSError, ValueError, IndexError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        available = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    for limit, used in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        with suppress(OSError, ValueError):  # "max" is no number: no limit
            available = min(available, int(Path(limit).read_text()) - int(Path(used).read_text()))
    return max(available // processes, 0)
