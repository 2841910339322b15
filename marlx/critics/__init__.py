"""Joint values without a mixer's constraint: what bootstraps, what is left over, and what recognises optima.

As classes and plain functions of arrays: `marlx.critics.Recognition`, `marlx.critics.recognise(advantages, ..)`.
"""

import importlib
from typing import Any

_HOMES = {
    **dict.fromkeys(("JointCritic", "residual", "beside_greedy"), "central"),
    "FeatureValue": "mrvf",
    **dict.fromkeys(("StateValue", "JointValue", "Counterfactual"), "qtran"),
    **dict.fromkeys(("Recognition", "recognise"), "recognition"),
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"marlx.critics.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'marlx.critics' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
