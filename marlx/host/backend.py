"""What must be settled before JAX starts: one CPU device per core, and where compiled programs are kept."""

import os
from contextlib import suppress
from pathlib import Path

from marlx.host.cache import tidy

LEAST_SECONDS = "jax_persistent_cache_min_compile_time_secs"


def prepare(seeds: int, cache: bool = True) -> None:
    """Settles devices and compilation cache; does nothing to what the user has settled or what has started already.

    Args:
        seeds: no more CPU devices than this.
        cache: keep compiled programs in the user's cache directory.
    """
    import jax

    settings = jax.config.values
    if cores() == 1:  # XLA compiles otherwise for one thread than for several: a seed's last bits would differ
        os.environ.setdefault("NPROC", "2")
    if "cpu" in (settings["jax_platforms"] or "cpu").split(",") and settings["jax_num_cpu_devices"] < 0:
        with suppress(RuntimeError):  # the backend has started: its devices stay as they are
            jax.config.update("jax_num_cpu_devices", min(cores(), seeds))
    if cache and not settings["jax_compilation_cache_dir"]:
        folder = cache_directory()
        with suppress(OSError):  # a home that cannot be written to: compile anew each time
            folder.mkdir(parents=True, exist_ok=True)
            if os.access(folder, os.W_OK):
                tidy(folder)
                jax.config.update("jax_compilation_cache_dir", str(folder))
                if settings[LEAST_SECONDS] == 1.0:  # JAX's own
                    jax.config.update(LEAST_SECONDS, 0.2)


def cores() -> int:
    """CPU cores that this process may use: its affinity, and a container's quota."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        if quota != "max":
            count = min(count, -(-int(quota) // int(period)))
    from marlx.engine.memory import PROCESSES

    return max(count // int(os.environ.get(PROCESSES, "1")), 1)


def cache_directory() -> Path:
    """Where compiled programs are kept: $XDG_CACHE_HOME/marlx/xla, by default ~/.cache/marlx/xla."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    return Path(home if os.path.isabs(home) else os.path.expanduser("~/.cache")) / "marlx" / "xla"
