"""The sweeps of the papers' results are sweeps: every file, and every variant of it, names what there is."""

import tomllib
from pathlib import Path

import pytest

from marlx.host.sweep import read_sweep

FILES = sorted((Path(__file__).parents[1] / "experiments" / "sweeps").glob("*.toml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_file_and_its_small_variant_can_be_run(file: Path) -> None:
    values = tomllib.loads(file.read_text())
    assert values["title"] and "small" in values["variants"]
    whole, small = read_sweep(file), read_sweep(file, "small")
    assert len(small.seeds) <= len(whole.seeds) and 0 < len(small.cells) <= len(whole.cells)

    def steps(cells: list) -> int:
        return sum(cell.experiment.training["total_steps"] for cell in cells)

    assert steps(small.cells) < steps(whole.cells)


def test_there_are_files() -> None:
    assert len(FILES) >= 8
