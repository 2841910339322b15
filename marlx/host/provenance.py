"""What a result was made with: versions, code and hardware, for `run.toml` and for benchmarks."""

import hashlib
import importlib.metadata
import inspect
import os
import platform
import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marlx_envs.options import full_name

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
    """Digests of the source of an experiment's parts: its environment, its method's rule, and what that is made of.

    Of a class it is that of the modules in which it and its bases are; of one of a notebook that of its functions.
    """
    import marlx_envs

    from marlx.algorithms import ALGORITHMS

    rule = ALGORITHMS[experiment.algorithm_name].load_rule()
    classes = [marlx_envs.ENVIRONMENTS[experiment.environment_name].load()]
    classes += [part for part, _ in rule.parts(experiment.algorithm)]
    sources = {rule.__name__: _source(rule)}
    for part in classes:
        own = _source(part) or "".join(_source(getattr(x, "fget", x)) for x in vars(part).values())
        modules = (sys.modules.get(base.__module__) for base in part.__mro__[:-1])
        sources[full_name(part)] = own + "".join(map(_source, modules))
    return {name: hashlib.sha256(source.encode()).hexdigest()[:16] for name, source in sources.items()}


def rewritten(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """The parts whose source is another than before, in words; empty if there are none."""
    return ", ".join(name for name in now if before.get(name, now[name]) != now[name])


def _source(of: Any) -> str:
    """Of a module, class or function; empty where there is none."""
    with suppress(OSError, TypeError):
        return inspect.getsource(of)
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
