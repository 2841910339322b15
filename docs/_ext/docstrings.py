"""Docstrings as reStructuredText: single backticks are code, and what is indented by itself is set as it stands.

Fields of classes and constants of modules have no docstrings; they are described by their options or by the comment
that follows them.
"""

import importlib
import inspect
import re
from collections.abc import Iterator
from dataclasses import is_dataclass
from functools import cache
from typing import Any

from marlx_envs.options import options_of
from sphinx.application import Sphinx
from sphinx.ext.napoleon import Config
from sphinx.ext.napoleon.docstring import GoogleDocstring
from sphinx.pycode import ModuleAnalyzer

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
    """What comments say of the fields of a class, or of the constants of a module."""
    found = (COMMENTED.match(line) for line in inspect.getsource(owner).splitlines())
    return {match[1]: match[2] for match in found if match}


def describe_fields(module: Any) -> None:
    """Gives the fields of a module's classes what their options or comments say, as if written in autodoc's way."""
    said = ModuleAnalyzer.for_module(module.__name__)
    said.analyze()
    for name, cls in inspect.getmembers(module, inspect.isclass):
        if cls.__module__ == module.__name__:
            options = options_of(cls) if is_dataclass(cls) else {}
            docs = {**comments(cls), **{field: option.doc for field, option in options.items()}}
            for field in inspect.get_annotations(cls):
                said.attr_docs.setdefault((name, field), [docs.get(field, ""), ""])


def process(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Autodoc's event for every docstring; changes `lines` in place."""
    if what == "module":  # whose members come next
        describe_fields(obj)
    elif what == "data":  # which would have the docstring of its type
        module, _, constant = name.rpartition(".")
        lines[:] = [comments(importlib.import_module(module)).get(constant, "")]
    lines[:] = GoogleDocstring(list(as_rest(lines)), GOOGLE).lines()


def signature(app: Sphinx, what: str, name: str, obj: Any, options: Any, words: str | None, returns: Any) -> Any:
    """A default that is a function or is made anew as dots; its own words would keep a signature from being read."""
    return words and re.sub(r"<[^,()]*>(?=[,)])", "...", words), returns


def setup(app: Sphinx) -> dict[str, bool]:
    """In place of the extension for Google's style, which takes words before a colon for the type of an attribute."""
    app.connect("autodoc-process-docstring", process)
    app.connect("autodoc-process-signature", signature)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
