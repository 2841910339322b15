"""Registries filled from declarations, read without running the modules that hold them.

A module declares what it offers with a top-level call whose arguments are literals, such as
`Entry(name="predator_prey", ...)`. Listings read these calls from the source text, so that they need not import
jax; a new file with a declaration in it is registered by being there. Modules elsewhere call `Registry.register`; every
process first imports those that the user names in MARLX_MODULES, and no others, whatever a run directory says.
"""

import ast
import importlib
import os
import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, get_origin

from marlx_envs.options import UsageError, full_name, options_of, shown, unknown

MODULES = "MARLX_MODULES"  # environment variable


class Declared(Protocol):
    """What a registry asks of its entries."""

    @property
    def name(self) -> str: ...

    @property
    def module(self) -> str: ...


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

    def load(self, base: type = object) -> Any:
        """The class behind the name; imports its module.

        Raises:
            UsageError: there is no such class, or it is no `base`, no frozen dataclass, not complete or without these
                options.
        """
        part = self._class()
        if not isinstance(part, type) or not issubclass(part, base):
            raise UsageError(f"factory of {shown(self.name)} must be a subclass of {base.__name__}, not {shown(part)}")
        place, settings = full_name(part), getattr(part, "__dataclass_params__", None)
        undecorated = any(isinstance(value, Field) for value in vars(part).values())  # its bases may be dataclasses
        if settings is None or not settings.frozen or undecorated:
            raise UsageError(f"class {place} needs @dataclass(frozen=True) above it")
        if missing := sorted(getattr(part, "__abstractmethods__", ())):
            raise UsageError(f"class {place} lacks {', '.join(missing)} of {base.__name__}")
        for name in self.options:
            if name not in options_of(part):
                raise unknown(f"option of {place}", name, options_of(part))
        return part

    def _class(self) -> Any:
        if not isinstance(self.factory, str):
            return self.factory
        if not self.module:  # not read from a file
            raise UsageError(f"factory of {shown(self.name)} must be the class itself, not {shown(self.factory)}")
        module = importlib.import_module(self.module)
        if not hasattr(module, self.factory):
            classes = [name for name, x in vars(module).items() if isinstance(x, type) and x.__module__ == self.module]
            raise unknown(f"class of {self.module}", self.factory, classes)
        return getattr(module, self.factory)


E = TypeVar("E", bound=Declared)


class Registry(Mapping[str, E], Generic[E]):
    """Names to entries, in alphabetical order; `register` adds the user's own at the end.

    The first use of one reads the declarations and raises `UsageError` where they cannot be read, or share a name; and
    imports the user's modules.

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
            found: dict[str, E] = {}
            for module, keywords in declarations(self._package, self._folder, self._entry):
                entry = self._entry(**{**keywords, "module": module})
                if entry.name in found:
                    places = f"{found[entry.name].module} and in {module}"
                    raise UsageError(f"{self._what} {shown(entry.name)} is declared in {places}; rename one")
                found[entry.name] = entry
            self._entries = dict(sorted(found.items()))
            _import_users_modules()
        return self._entries

    def register(self, entry: E) -> None:
        """Adds an entry under its name; a name already taken is replaced. Raises `UsageError` on anything else."""
        if not isinstance(entry, self._entry):
            kind = self._entry.__name__
            raise UsageError(f"register takes {kind}(...) for a new {self._what}, not {shown(entry)}")
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


@dataclass(frozen=True)
class OrNone(Collection[str]):
    """The names of a registry, and "none"."""

    registry: Registry[Any]

    def __contains__(self, name: object) -> bool:
        return name == "none" or name in self.registry

    def __iter__(self) -> Iterator[str]:
        yield from ("none", *self.registry)

    def __len__(self) -> int:
        return 1 + len(self.registry)


def _import_users_modules() -> None:
    """Imports the modules that MARLX_MODULES names, from the current folder too; they register what they have.

    Raises:
        UsageError: there is no such module.
    """
    for name in users_modules():
        missing = UsageError(f"{MODULES} names {shown(name)}, and there is no such module, here or installed")
        if not all(part.isidentifier() for part in name.split(".")):
            raise missing
        if (here := os.getcwd()) not in sys.path:
            sys.path.append(here)  # where `python -m marlx` looks anyway, and the command `marlx` does not
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            if not f"{name}.".startswith(f"{error.name}."):
                raise  # the module is there, and what it imports is not
            raise missing from None


def users_modules() -> list[str]:
    """The names in MARLX_MODULES, between commas."""
    return [name for word in os.environ.get(MODULES, "").split(",") if (name := word.strip())]


def declarations(package: str, folder: Path, entry: type) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields (module, keyword arguments) for each top-level call of a class in a package's folder or in one file.

    Raises:
        UsageError: a file that is no Python; a call that does not stand at the top level, whose arguments are not
            literals, or that the class does not take.
    """
    for path in [folder] if folder.is_file() else sorted(folder.glob("*.py")):
        module = package if folder.is_file() else f"{package}.{path.stem}"
        for top in _parsed(path).body:
            for node in _run(top):
                call = getattr(node, "value", None)
                if not isinstance(call, ast.Call) or entry.__name__ != _name(call.func):
                    continue
                if node is top:
                    yield module, _keywords(call, entry, path)
                elif isinstance(node, ast.Expr):
                    words = "is read without running the module and must stand at its top level"
                    raise UsageError(f"{path}, line {call.lineno}: {entry.__name__}(...) {words}")


def _run(node: ast.AST) -> Iterator[ast.AST]:
    """A statement and all in it that runs when its module is imported: not the bodies of functions and classes."""
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
        yield node
        for child in ast.iter_child_nodes(node):
            yield from _run(child)


def _parsed(path: Path) -> ast.Module:
    try:
        return ast.parse(path.read_text(encoding="utf-8"))
    except SyntaxError as error:
        raise UsageError(f"{path}, line {error.lineno}: {error.msg}") from None
    except ValueError as error:  # no UTF-8, or a null byte
        raise UsageError(f"{path}: {error}") from None


def _name(function: ast.expr) -> str | None:
    """`Entry` of both `Entry(...)` and `discovery.Entry(...)`."""
    return function.id if isinstance(function, ast.Name) else getattr(function, "attr", None)


def _keywords(call: ast.Call, entry: type[Any], path: Path) -> dict[str, Any]:
    """The arguments of a declaration, where its class takes them."""
    place, name = f"{path}, line {call.lineno}", entry.__name__
    taken = {field.name: field for field in fields(entry) if field.name != "module"}
    if call.args or any(keyword.arg is None for keyword in call.keywords):
        raise UsageError(f"{place}: {name}(...) takes name=value alone")
    found = {str(keyword.arg): _literal(keyword, path) for keyword in call.keywords}
    for argument, value in found.items():
        if argument not in taken:
            raise UsageError(f"{place}: {unknown(f'argument of {name}', argument, taken)}")
        kind: Any = get_origin(taken[argument].type) or taken[argument].type
        if kind is not Any and not isinstance(value, kind):
            raise UsageError(f"{place}: {argument} of {name} must be a {kind.__name__}, not {shown(value)}")
    needed = [x.name for x in taken.values() if x.default is MISSING and x.default_factory is MISSING]
    if missing := [argument for argument in needed if argument not in found]:
        raise UsageError(f"{place}: {name}(...) lacks {', '.join(missing)}")
    return found


def _literal(keyword: ast.keyword, path: Path) -> Any:
    try:
        return ast.literal_eval(keyword.value)
    except ValueError:
        place = f"{path}, line {keyword.value.lineno}"
        raise UsageError(f"{place}: {keyword.arg} is read without an import and must be a plain value") from None
