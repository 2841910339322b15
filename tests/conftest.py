"""Tests run on the CPU, as two devices of it, so that what spreads seeds over devices is tested everywhere."""

import os
import signal
from importlib.metadata import version

import pytest
from hypothesis import settings

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "2")
os.environ.setdefault("MPLBACKEND", "agg")
# Hundreds of small programs: most of the time goes into compiling them. (Speed is measured in benchmarks/, not here.)
quick = os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1") == "1"
if quick and version("jaxlib").startswith("0.10."):  # as in marlx.engine.seeds; XLA ends the process at an unknown flag
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_use_fusion_emitters=false"

# A shell's background job has this one ignored, and so would every process that a test starts and interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The first example of a property compiles its program, so no deadline; the same examples at every run.
settings.register_profile("marlx", deadline=None, derandomize=True)
settings.load_profile("marlx")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Notebooks first: each takes half a minute, and one worker would be left alone with them at the end."""
    items.sort(key=lambda item: "test_notebooks" not in item.nodeid)
