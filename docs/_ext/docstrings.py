"""Docstrings as reStructuredText: single backticks are code, and what is indented by itself is set as it stands.

Fields of classes and constants of modules have no docstrings; they are described by their options or by the comment
that follows them.
"""

import importlib
import inspect
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from marlx_envs.options import options_of
from sphinx.application import Sphinx
from sphinx.ext.napoleon import Config, GoogleDocstring

SECTION = re.compile(r"(Args|Attributes|Raises|Returns|Yields):$")
COMMENTED = re.compile(r"(?:    )?(\w+)(?:: .*?| = .*?)  # (?!noqa|type:)(.*)$")
# One entry of Args may describe several arguments; fields have entries of their own already.
GOOGLE = Config(napoleon_use_param=False, napoleon_use_rtype=False, napoleon_use_ivar=True)


def as_rest(lines: list[str]) -> Iterator[str]:
    """The lines of a docstring as reStructuredText, with Google's sections left for napoleon."""
    section = literal = False
    before = ""
    for line in lines:
        indented = line.startswith("    ")
        if line and not indented:
            if literal:
                yield ""
            section, literal = SECTION.match(line) is not None, False
        elif indented and not section and not literal and not before:
            literal = True
            yield from ("::", "")
        yield line if literal else _escaped(line)
        before = line


def _escaped(line: str) -> str:
    """Code in double backticks; other marks of the markup as the characters that they are."""
    parts = re.split(r"`+(.+?)`+", line)
    for index, part in enumerate(parts):
        parts[index] = f"\\ ``{part}``\\ " if index % 2 else re.sub(r"([*|\\]|_\b)", r"\\\1", part)
    return "".join(parts)


@cache
def comments(owner: Any) -> dict[str, str]:
    """What is said of the fields of a class, or of the constants of a module."""
    found = dict(match.groups() for line in inspect.getsource(owner).splitlines() if (match := COMMENTED.match(line)))
    options = options_of(owner) if hasattr(owner, "__dataclass_fields__") else {}
    return {**found, **{name: option.doc for name, option in options.items()}}


def process(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Autodoc's event for every docstring; changes `lines` in place."""
    path, _, last = name.rpartition(".")
    if what == "data":  # which would have the docstring of its type
        lines[:] = [comments(importlib.import_module(path)).get(last, "")]
    elif what == "attribute":
        module, _, owner = path.rpartition(".")
        said = comments(getattr(importlib.import_module(module), owner)).get(last)
        if said or (lines and lines[0].startswith("Alias for field number")):
            lines[:] = [said or ""]
    lines[:] = GoogleDocstring(list(as_rest(lines)), GOOGLE).lines()


def setup(app: Sphinx) -> dict[str, bool]:
    """In place of the extension for Google's style, which takes words before a colon for the type of an attribute."""
    app.connect("autodoc-process-docstring", process)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
