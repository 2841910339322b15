"""The sweeps of the papers' results are sweeps: every file, and every variant of it, names what there is."""

import re
import tomllib
from pathlib import Path

import pytest

from marlx.host.sweep import read_sweep

FOLDER = Path(__file__).parents[1] / "experiments"
FILES = sorted((FOLDER / "sweeps").glob("*.toml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_small_variant_can_be_run(file: Path) -> None:
    small = read_sweep(file, "small")
    assert small.cells and small.plan["title"]


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_file_can_be_run_and_its_small_variant_is_smaller(file: Path) -> None:
    values = tomllib.loads(file.read_text())
    assert values["title"] and "small" in values["variants"]
    whole, small = read_sweep(file), read_sweep(file, "small")
    assert len(small.seeds) <= len(whole.seeds) and 0 < len(small.cells) <= len(whole.cells)

    def steps(cells: list) -> int:
        return sum(cell.experiment.training["total_steps"] for cell in cells)

    assert steps(small.cells) < steps(whole.cells)


@pytest.mark.slow
def test_every_other_variant_can_be_run() -> None:
    variants = [
        (file, name) for file in FILES for name in tomllib.loads(file.read_text())["variants"] if name != "small"
    ]
    assert variants and all(read_sweep(file, name).cells for file, name in variants)


def test_the_list_of_results_has_every_file() -> None:
    listed = (FOLDER / "README.md").read_text()
    assert len(FILES) >= 20 and [file.name for file in FILES if f"`{file.name}`" not in listed] == []
    assert set(re.findall(r"`(\w+\.toml)`", listed)) <= {file.name for file in FILES}
