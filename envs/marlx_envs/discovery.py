"""Registries filled from declarations, read without running the modules that hold them.

A module declares what it offers with a top-level call whose arguments are literals, such as
`Entry(name="predator_prey", ...)`. Listings read these calls from the source text, so that they need not import
jax; a new file with a declaration in it is registered by being there.
"""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def declarations(package: Path, call: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields (module name, keyword arguments) for each top-level `call(...)` in the modules of a package folder."""
    for path in sorted(package.glob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            value = getattr(node, "value", None)
            if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == call:
                yield path.stem, {str(k.arg): ast.literal_eval(k.value) for k in value.keywords}
