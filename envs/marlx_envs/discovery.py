"""Registries filled from declarations, read without running the modules that hold them.

A module declares what it offers with a top-level call whose arguments are literals, such as
`Entry(name="predator_prey", ...)`. Listings read these calls from the source text, so that they need not import
jax; a new file with a declaration in it is registered by being there.
"""

import ast
import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from marlx_envs.options import UsageError, unknown


class Declared(Protocol):
    """What a registry asks of its entries."""

    @property
    def name(self) -> str: ...


@dataclass(frozen=True)
class Entry:
    """What a listing says of a part, and how to build it.

    `factory` is the name of a class in the declaring module (a frozen dataclass of options), or the class itself.
    `options` are overrides of the class's defaults that this name stands for; the user's own options win over them.
    """

    name: str
    summary: str
    source: str
    factory: Any
    options: Mapping[str, Any] = field(default_factory=dict)
    module: str = ""

    def load(self) -> Any:
        """The class behind the name; imports its module."""
        if not isinstance(self.factory, str):
            return self.factory
        return getattr(importlib.import_module(self.module), self.factory)


E = TypeVar("E", bound=Declared)


class Registry(Mapping[str, E], Generic[E]):
    """Names to entries, in alphabetical order; `register` adds the user's own at the end.

    Args:
        package: the package whose modules' source is read, e.g. "marlx_envs".
        folder: its folder, or one module file.
        entry: class of the declarations; takes their keywords and `module`.
        what: the word for an entry in error messages.
    """

    def __init__(self, package: str, folder: Path, entry: type[E], what: str) -> None:
        self._package, self._folder, self._entry, self._what = package, folder, entry, what
        self._entries: dict[str, E] | None = None

    def _all(self) -> dict[str, E]:
        if self._entries is None:
            found = [
                self._entry(**{**keywords, "module": module})
                for module, keywords in declarations(self._package, self._folder, self._entry.__name__)
            ]
            self._entries = {entry.name: entry for entry in sorted(found, key=lambda e: e.name)}
        return self._entries

    def register(self, entry: E) -> None:
        """Adds an entry under its name; a name already taken is replaced."""
        self._all()[entry.name] = entry

    def __getitem__(self, name: str) -> E:
        if name not in self._all():
            raise unknown(self._what, name, self._all())
        return self._all()[name]

    def __contains__(self, name: object) -> bool:
        return name in self._all()

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())


def declarations(package: str, folder: Path, call: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields (module, keyword arguments) for each top-level `call(...)` in a package's folder or in one file.

    Raises:
        UsageError: an argument is not a literal.
    """
    for path in [folder] if folder.is_file() else sorted(folder.glob("*.py")):
        module = package if folder.is_file() else f"{package}.{path.stem}"
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            value = getattr(node, "value", None)
            if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == call:
                yield module, {str(k.arg): _literal(k, path) for k in value.keywords}


def _literal(keyword: ast.keyword, path: Path) -> Any:
    try:
        return ast.literal_eval(keyword.value)
    except ValueError:
        place = f"{path}, line {keyword.value.lineno}"
        raise UsageError(f"{place}: {keyword.arg} is read without an import and must be a plain value") from None
