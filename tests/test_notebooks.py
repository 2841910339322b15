"""Every notebook runs from top to bottom, and is kept with its pictures and without traces of whoever ran it."""

from pathlib import Path

import nbformat
import pytest

from experiments.execute_notebooks import NOTEBOOKS, executed, tidied

MOST = 600_000  # bytes of all notebooks


LONG = ("payoff_laboratory", "sweep_on_an_accelerator")  # half a minute each


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=pytest.mark.slow if path.stem in LONG else (), id=path.stem) for path in NOTEBOOKS],
)
def test_a_notebook_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cell that raises fails here; so does one that warns, for a reader would ask what is wrong."""
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "1")  # programs for one device compile sooner
    monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "0")  # here training takes longer than compiling
    found = executed(path, tmp_path)
    outputs = [output for cell in found.cells if cell.cell_type == "code" for output in cell.outputs]
    assert [output for output in outputs if output.get("name") == "stderr"] == []
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 1


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_tidy(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    pictures = [o for cell in notebook.cells for o in cell.get("outputs", ()) if "image/png" in o.get("data", {})]
    before = nbformat.writes(notebook)
    assert pictures and before == nbformat.writes(tidied(notebook))


def test_notebooks_of_the_slow_tier_exist() -> None:
    assert set(LONG) < {path.stem for path in NOTEBOOKS}


def test_there_are_notebooks_and_they_are_small() -> None:
    assert len(NOTEBOOKS) >= 4
    assert sum(path.stat().st_size for path in NOTEBOOKS) < MOST
