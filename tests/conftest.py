"""Tests run on the CPU, as two devices of it, so that what spreads seeds over devices is tested everywhere."""

import os

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "2")
os.environ.setdefault("MPLBACKEND", "agg")
# Hundreds of small programs: most of the time goes into compiling them. (Speed is measured in benchmarks/, not here.)
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

from hypothesis import settings

# The first example of a property compiles its program, so no deadline; the same examples at every run.
settings.register_profile("marlx", deadline=None, derandomize=True)
settings.load_profile("marlx")
