"""What the README promises: every file, function and equation that it names is there, and every command parses."""

import argparse
import ast
import importlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from marlx.host import metrics
from marlx.host.cli import COMMANDS

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
PAPERS = ("POW", "MRVF", "ReMIX", "QPro", "Beyond Monotonicity")
ROWS = [
    (paper, equation, name, path)
    for paper, equation, functions in re.findall(rf"^\| ({'|'.join(PAPERS)}) \| (.*?) \| .*? \| (.*) \|$", TEXT, re.M)
    for name, path in re.findall(r"\[`([\w.]+)`\]\(([\w/.]+)\)", functions)
]


PARTS = dict(re.findall(r"^\*\*An? \w+\*\*: `([\w/]+\.py)`.*?\n\n```python\n(.*?)^```$", TEXT, re.M | re.S))


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


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository with the files that the README adds."""
    root = tmp_path_factory.mktemp("extended")
    for name in ("marlx", "envs", "tests"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", root)
    assert len(PARTS) == 4
    for name, text in PARTS.items():
        assert (root / name).parent.is_dir() and not (root / name).exists()
        (root / name).write_text(text, encoding="utf-8")
    return root


def told(root: Path, *words: str) -> str:
    """What a command prints, in the copy and by the copy's packages."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (root, root / "envs"))), "COLUMNS": "150"}
    done = subprocess.run(
        [sys.executable, "-m", *words], capture_output=True, text=True, check=False, env=environment, cwd=root
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_added_files_are_found_and_train(extended: Path) -> None:
    """A mixer, a weighting, an environment and a method of the README, registered by being there, in one run."""
    assert re.search(r"mine\b.*all must choose alike", told(extended, "marlx", "list", "environments"))
    assert "a traced option" in told(extended, "marlx", "list", "mine")
    parts = ("algorithm.weighting=mine", "algorithm.scale=0.5", "environment.reward=2")
    sizes = ("training.total_steps=400", "training.num_envs=4", "training.batch_size=4", "training.buffer_size=16")
    more = ("agent.hidden_size=4", "evaluation.interval=200", "evaluation.episodes=2", "--seeds", "2", "--quiet")
    told(extended, "marlx", "train", "my_qmix", "mine", *parts, *sizes, *more, "--out", "run")
    table = metrics.wide(metrics.read(extended / "run"))
    assert table.env_steps.tolist() == [200, 400] * 2 and table.loss.notna().all()
    assert table.evaluation_return.between(0, 20).all() and table.evaluation_length.eq(10).all()


@pytest.mark.parametrize("name", PARTS)
def test_an_added_file_runs_as_it_stands(name: str) -> None:
    """Though a declaration is read without running it."""
    namespace: dict[str, Any] = {"__name__": "added"}
    exec(compile(PARTS[name], name, "exec"), namespace)
    declared = re.search(r'factory="(\w+)"', PARTS[name])
    assert isinstance(namespace[declared[1]], type) if declared else "Method" in namespace


@pytest.mark.slow
def test_added_files_pass_the_tests_of_their_kind(extended: Path) -> None:
    """Which find them by being registered."""
    files = ("tests/envs/test_protocol.py", "tests/parts/test_mixers.py", "tests/parts/test_weightings.py")
    for file in files:
        found = told(extended, "pytest", file, "-k", "mine", "-p", "no:cacheprovider")
        assert int(re.findall(r"(\d+) passed", found)[0]) >= 2 and "failed" not in found, found
