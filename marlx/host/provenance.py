"""What a result was made with: versions and hardware, for `run.toml` and for benchmarks."""

import importlib.metadata
import os
import platform
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

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
