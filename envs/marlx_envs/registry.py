"""ENVIRONMENTS: name -> entry, and `make`. A module of this package registers itself by an `Entry(...)` declaration."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from marlx_envs.discovery import Entry, Registry
from marlx_envs.options import checked

if TYPE_CHECKING:
    from marlx_envs.base import Environment

ENVIRONMENTS: Registry[Entry] = Registry("marlx_envs", Path(__file__).parent, Entry, "environment")


def make(name: str, /, **options: Any) -> "Environment":
    """An environment by name. Raises `UsageError` on an unknown name or field, a wrong type or a wrong range."""
    from marlx_envs.base import Environment  # with it jax

    entry = ENVIRONMENTS[name]
    factory = entry.load(Environment)
    return factory(**checked(factory, {**entry.options, **options}, "environment"))
