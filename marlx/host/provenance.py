"""What a result was made with: versions, code and hardware, for `run.toml` and for benchmarks."""

import hashlib
import importlib.metadata
import inspect
import os
import platform
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from marlx.experiment import Experiment

DRIVER = Path("/proc/driver/nvidia/version")
PACKAGES = ("jax", "jaxlib", "flax", "optax", "distrax", "chex", "numpy", "pandas", "pyarrow")


def versions() -> dict[str, str]:
    """Versions of Python, marlx and the packages that numbers depend on."""
    import marlx

    found = {"python": platform.python_version(), "marlx": marlx.__version__}
    for name in PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def code(experiment: "Experiment") -> dict[str, str]:
    """A digest of the source of each part of an experiment: its environment, and what its method is made of."""
    import marlx_envs

    from marlx.algorithms import ALGORITHMS

    parts = ALGORITHMS[experiment.algorithm_name].load_rule().parts(experiment.algorithm)
    classes = [marlx_envs.ENVIRONMENTS[experiment.environment_name].load(), *(part for part, _ in parts)]
    return {part.__name__: hashlib.sha256(_source(part).encode()).hexdigest()[:16] for part in classes}


def rewritten(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """The parts whose source is another than before, in words; empty if there are none."""
    return ", ".join(name for name in now if before.get(name, now[name]) != now[name])


def _source(part: type) -> str:
    with suppress(OSError, TypeError):
        return inspect.getsource(part)
    functions = (getattr(x, "fget", x) for x in vars(part).values())  # of a class of a notebook they alone have one
    with suppress(OSError, TypeError):
        return "".join(inspect.getsource(x) for x in functions if inspect.isfunction(x))
    return ""


def hardware() -> dict[str, Any]:
    """The machine and the devices of JAX, which this starts."""
    import jax

    from marlx.host.backend import cores

    devices = jax.local_devices()
    found: dict[str, Any] = {
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu(),
        "cores": cores(),
        "platform": devices[0].platform,
        "device": devices[0].device_kind,
        "devices": len(devices),
    }
    if driver := _driver():
        found["driver"] = driver
    with suppress(OSError, ValueError, AttributeError):
        found["memory_bytes"] = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return found


def _driver() -> str | None:
    """The version of NVIDIA's kernel module, where there is one."""
    with suppress(OSError):
        version = re.search(r"\d+(\.\d+)+", DRIVER.read_text())
        return version and version[0]
    return None


def _cpu() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"
