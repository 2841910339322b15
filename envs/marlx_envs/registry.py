"""ENVIRONMENTS: name -> entry, and `make`. A module of this package registers itself by an `Entry(...)` declaration."""

import importlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marlx_envs.discovery import declarations
from marlx_envs.options import checked, unknown

if TYPE_CHECKING:
    from marlx_envs.base import Environment


@dataclass(frozen=True)
class Entry:
    """What a listing says of an environment, and how to build it.

    `factory` is the name of a class in the declaring module (a frozen dataclass of options), or the class itself.
    `options` are overrides of the class's defaults that this name stands for; the user's own options win over them.
    """

    name: str
    summary: str
    source: str
    factory: "str | Callable[..., Environment]"
    options: Mapping[str, Any] = field(default_factory=dict)
    module: str = ""

    def load(self) -> "Callable[..., Environment]":
        """The class behind the name; imports its module."""
        if not isinstance(self.factory, str):
            return self.factory
        return getattr(importlib.import_module(f"marlx_envs.{self.module}"), self.factory)


class Registry(Mapping[str, Entry]):
    """Names to entries, in alphabetical order; `register` adds the user's own."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] | None = None

    def _all(self) -> dict[str, Entry]:
        if self._entries is None:
            found = declarations(Path(__file__).parent, "Entry")
            entries = [Entry(**{**keywords, "module": module}) for module, keywords in found]
            self._entries = {entry.name: entry for entry in sorted(entries, key=lambda e: e.name)}
        return self._entries

    def register(self, entry: Entry) -> None:
        """Adds an entry under its name; a name already taken is replaced."""
        self._all()[entry.name] = entry

    def __getitem__(self, name: str) -> Entry:
        if name not in self._all():
            raise unknown("environment", name, self._all())
        return self._all()[name]

    def __contains__(self, name: object) -> bool:
        return name in self._all()

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())


ENVIRONMENTS = Registry()


def make(name: str, **options: Any) -> "Environment":
    """An environment by name. Raises `UsageError` on an unknown name or field, a wrong type or a wrong range."""
    entry = ENVIRONMENTS[name]
    factory = entry.load()
    return factory(**checked(factory, {**entry.options, **options}, "environment"))  # type: ignore[arg-type]
