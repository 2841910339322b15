"""ENVIRONMENTS: name -> entry, and `make`. A module of this package registers itself by an `Entry(...)` declaration."""

from dataclasses import MISSING, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marlx_envs.discovery import Entry, Registry
from marlx_envs.options import UsageError, checked, full_name

if TYPE_CHECKING:
    from marlx_envs.base import Environment

ENVIRONMENTS: Registry[Entry] = Registry("marlx_envs", Path(__file__).parent, Entry, "environment")


def make(name: str, /, **options: Any) -> "Environment":
    """An environment by name.

    Raises:
        UsageError: an unknown name or field, a wrong type or a wrong range; a class that is no environment of options.
    """
    from marlx_envs.base import Environment  # with it jax

    entry = ENVIRONMENTS[name]
    factory = entry.load(Environment)
    for field in fields(factory):
        if field.default is MISSING and field.default_factory is MISSING:
            words = "needs a default, as by number, size, flag or choice"
            raise UsageError(f"field {field.name} of {full_name(factory)} {words}")
    return factory(**checked(factory, {**entry.options, **options}, "environment"))
