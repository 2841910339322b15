"""Mixers by name (`MIXERS`) and by class (`marlx.mixers.QMIX`): one file each, registered by its `Entry`."""

from pathlib import Path
from typing import Any

from marlx_envs.discovery import Entry, Registry

MIXERS: Registry[Entry] = Registry("marlx.mixers", Path(__file__).parent, Entry, "mixer")


def __getattr__(name: str) -> Any:
    for entry in MIXERS.values():
        if entry.factory == name:
            return entry.load()
    raise AttributeError(f"module 'marlx.mixers' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *(entry.factory for entry in MIXERS.values() if isinstance(entry.factory, str))})
