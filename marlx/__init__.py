"""marlx: cooperative multi-agent value factorization, trained end to end inside one XLA program.

    import marlx
    experiment = marlx.configure("qmix", "predator_prey", "environment.miss_penalty=-2")
    result = jax.jit(jax.vmap(marlx.make_train(experiment)))(jax.random.split(jax.random.key(0), 64))

Names are imported when they are first used, so that `import marlx` and `marlx --help` stay quick.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from marlx_envs.options import UsageError

    from marlx import critics, exploration, intrinsic, mixers, targets, weightings
    from marlx.algorithms import ALGORITHMS, Method
    from marlx.experiment import Experiment, configure
    from marlx.host.results import Run
    from marlx.host.runs import train
    from marlx.host.shares import load_run
    from marlx.program import make_train

__version__ = "0.1.0"

_HOMES = {
    "ALGORITHMS": "marlx.algorithms",
    "Method": "marlx.algorithms",
    "Run": "marlx.host.results",
    "UsageError": "marlx_envs.options",
    "Experiment": "marlx.experiment",
    "configure": "marlx.experiment",
    "load_run": "marlx.host.shares",
    "make_train": "marlx.program",
    "train": "marlx.host.runs",
}
_MODULES = ("critics", "exploration", "intrinsic", "mixers", "targets", "weightings")

__all__ = [
    "ALGORITHMS",
    "Experiment",
    "Method",
    "Run",
    "UsageError",
    "configure",
    "critics",
    "exploration",
    "intrinsic",
    "load_run",
    "make_train",
    "mixers",
    "targets",
    "train",
    "weightings",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name in _MODULES:
        return importlib.import_module(f"marlx.{name}")
    raise AttributeError(f"module 'marlx' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
