"""What the README promises: every file, function and equation that it names is there, and every command parses."""

import argparse
import ast
import importlib
import re
import shlex
from pathlib import Path

import pytest

from marlx.host.cli import COMMANDS

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
PAPERS = ("POW", "MRVF", "ReMIX", "QPro", "Beyond Monotonicity")
ROWS = [
    (paper, equation, name, path)
    for paper, equation, functions in re.findall(rf"^\| ({'|'.join(PAPERS)}) \| (.*?) \| .*? \| (.*) \|$", TEXT, re.M)
    for name, path in re.findall(r"\[`([\w.]+)`\]\(([\w/.]+)\)", functions)
]


def docstring(path: Path, name: str) -> str:
    """Of a top-level function or class, or of "Class.method"."""
    scope: ast.Module | ast.ClassDef | ast.FunctionDef = ast.parse(path.read_text(encoding="utf-8"))
    for part in name.split("."):
        kinds = (ast.ClassDef, ast.FunctionDef)
        scope = next(node for node in scope.body if isinstance(node, kinds) and node.name == part)
    assert not isinstance(scope, ast.Module)
    return ast.get_docstring(scope) or ""


@pytest.mark.parametrize("paper, equation, name, path", ROWS)
def test_an_equation_is_where_the_table_says(paper: str, equation: str, name: str, path: str) -> None:
    """Its function says so too: it names the paper, and one of the row's numbers where it has any."""
    found = docstring(ROOT / path, name)
    assert paper in found
    numbers = re.findall(r"\d+[abc]?", equation)
    assert not numbers or set(numbers) & set(re.findall(r"\d+[abc]?", found))


def test_every_paper_has_its_rows() -> None:
    assert {paper for paper, *_ in ROWS} == set(PAPERS) and len(ROWS) > 40


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#:]+)\)", TEXT))))
def test_a_link_leads_somewhere(link: str) -> None:
    assert (ROOT / link).exists()


@pytest.mark.parametrize("line", re.findall(r"^marlx (\w.*)$", TEXT, re.M))
def test_a_command_takes_what_it_is_given(line: str) -> None:
    name, *words = shlex.split(line, comments=True)
    assert name in COMMANDS
    parser = argparse.ArgumentParser()
    importlib.import_module(f"marlx.host.commands.{name}").arguments(parser)
    assert parser.parse_known_intermixed_args([word for word in words if word != "..."])[1] == []
