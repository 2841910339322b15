"""Weightings by name (`WEIGHTINGS`), and as plain functions of arrays: `marlx.weightings.ow(joint_value, target)`."""

import importlib
from pathlib import Path
from typing import Any

from marlx_envs.discovery import Entry, Registry

WEIGHTINGS: Registry[Entry] = Registry("marlx.weightings", Path(__file__).parent, Entry, "weighting")

_FUNCTIONS = {  # plain function -> module
    **dict.fromkeys(("cw", "ow", "ideal_cw"), "wqmix"),
    "potentially_optimal": "pow",
    **dict.fromkeys(("gap", "exponential", "policy", "regret", "rescale"), "remix"),
}


def __getattr__(name: str) -> Any:
    if name in _FUNCTIONS:
        return getattr(importlib.import_module(f"marlx.weightings.{_FUNCTIONS[name]}"), name)
    for entry in WEIGHTINGS.values():
        if entry.factory == name:
            return entry.load()
    raise AttributeError(f"module 'marlx.weightings' has no attribute {name!r}")


def __dir__() -> list[str]:
    classes = (entry.factory for entry in WEIGHTINGS.values() if isinstance(entry.factory, str))
    return sorted({*globals(), *_FUNCTIONS, *classes})
