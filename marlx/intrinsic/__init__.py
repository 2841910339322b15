"""Intrinsic rewards by name (`INTRINSICS`) and by class (`marlx.intrinsic.RND`): a file each, with an `Entry`."""

from pathlib import Path
from typing import Any

from marlx_envs.discovery import Entry, Registry

INTRINSICS: Registry[Entry] = Registry("marlx.intrinsic", Path(__file__).parent, Entry, "intrinsic reward")


def __getattr__(name: str) -> Any:
    for entry in INTRINSICS.values():
        if entry.factory == name:
            return entry.load()
    raise AttributeError(f"module 'marlx.intrinsic' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *(entry.factory for entry in INTRINSICS.values() if isinstance(entry.factory, str))})
