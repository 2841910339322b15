"""The sweeps of the papers' results are sweeps: every file, and every variant of it, names what there is."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pandas as pd
import pytest

from experiments import papers
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


PAPERS = ("mrvf", "pow", "remix", "nm")
OF_PAPERS = [(file, paper) for file in FILES for paper in PAPERS if file.stem.startswith(f"{paper}_")]


@pytest.mark.parametrize("file, paper", OF_PAPERS, ids=lambda value: getattr(value, "stem", None))
def test_a_paper_has_its_own_numbers(file: Path, paper: str) -> None:
    """Those of training, and how often it evaluates where it says so; small games of one step have the house's."""
    values = tomllib.loads(file.read_text())
    if values["environment"] in ("predator_prey", "smax"):
        assert values["set"]["algorithm"]["profile"] == paper
    evaluation = values["set"]["evaluation"]
    if paper == "mrvf" or file.stem in ("remix_predator_prey", "remix_smac", "remix_factors", "remix_weight_range"):
        assert evaluation["interval"] == 10_000
    if values["environment"] == "smax" and paper != "nm":  # MRVF's is the only reward without an absolute value
        assert values["set"]["environment"]["reward"] == ("smac20" if paper == "mrvf" else "smac20_absolute")


RECORDS = sorted((FOLDER / "results").glob("*-small*.json"))


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_a_record_is_of_the_file_as_it_is(path: Path) -> None:
    name, _, variant = path.stem.partition("-")
    sweep = read_sweep(FOLDER / "sweeps" / f"{name}.toml", variant)
    found = json.loads(path.read_text())
    assert found["sweep"] == sweep.plan, f"run `python -m experiments.papers {name} --variant {variant}`"
    assert {name: run["status"] for name, run in found["runs"].items()} == {
        cell.name: "finished" for cell in sweep.cells
    }
    for suffix in (".png", ".parquet"):
        assert path.with_suffix(suffix).stat().st_size > 1_000


def test_every_small_variant_is_recorded() -> None:
    assert {file.stem for file in FILES} <= {path.stem.removesuffix("-small") for path in RECORDS}


def test_exploration_of_mrvf_lasts_longer_in_its_hardest_battle() -> None:
    values = tomllib.loads((FOLDER / "sweeps" / "mrvf_smac.toml").read_text())
    longer = values["variants"]["6h_vs_8z"]
    assert longer["set"]["training"]["epsilon_steps"] == 1_000_000
    assert longer["axes"]["environment"]["scenario"] == ["6h_vs_8z"]
    assert "6h_vs_8z" not in values["axes"]["environment"]["scenario"]


@pytest.mark.parametrize(
    "name, maps",
    [
        ("remix_smac", {"1c3s5z", "3s_vs_5z", "5m_vs_6m", "6h_vs_8z", "MMM2", "6z_vs_24zg_open"}),
        ("pow_smac", {"3s_vs_5z", "6z_vs_24zg_open", "MMM2"}),
        ("mrvf_smac", {"3s_vs_5z", "3s5z", "5m_vs_6m", "2c_vs_64zg", "bane_vs_bane", "MMM2"}),
        ("mrvf_smacv2", {"protoss_5v5_lite", "terran_5v5_lite", "zerg_5v5_lite"}),
    ],
)
def test_battles_of_a_paper_are_all_there(name: str, maps: set[str]) -> None:
    values = tomllib.loads((FOLDER / "sweeps" / f"{name}.toml").read_text())
    assert set(values["axes"]["environment"]["scenario"]) == maps


def test_every_punishment_is_that_of_a_paper() -> None:
    def punishments(name: str) -> set[float]:
        return set(tomllib.loads((FOLDER / "sweeps" / name).read_text())["axes"]["environment"]["miss_penalty"])

    of_papers = [punishments(f"{paper}_predator_prey.toml") for paper in ("mrvf", "pow", "remix")]
    assert punishments("predator_prey_penalties.toml") == set().union(*of_papers)


def test_the_list_of_results_has_every_file() -> None:
    listed = (FOLDER / "README.md").read_text()
    assert len(FILES) >= 20 and [file.name for file in FILES if f"`{file.name}`" not in listed] == []
    assert set(re.findall(r"`(\w+\.toml)`", listed)) <= {file.name for file in FILES}


def test_a_result_is_trained_drawn_and_recorded_by_one_command(tmp_path: Path) -> None:
    file = tmp_path / "tiny.toml"
    file.write_text(
        """title = "tiny"
algorithm = "vdn"
environment = "matrix_game"
seeds = 2

[set]
training.total_steps = 3_200
evaluation.interval = 1_600

[axes]
environment.payoff = ["climb", "penalty_100"]

[variants.small]
set.training.total_steps = 1_600
"""
    )
    papers.result(file, "small", tmp_path / "runs", tmp_path / "results")
    found = json.loads((tmp_path / "results" / "tiny-small.json").read_text())
    assert [place["environment.payoff"] for place in found["last"]] == ["climb", "penalty_100"]
    assert all(len(place["evaluation_return"]) == 2 for place in found["last"])
    assert len(found["runs"]) == 2 and found["sweep"]["title"] == "tiny" and found["versions"]["jax"]
    table = pd.read_parquet(tmp_path / "results" / "tiny-small.parquet")
    assert len(table) == 4 and set(table["env_steps"]) == {1_600}
    assert (tmp_path / "results" / "tiny-small.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    "words, told",
    [
        ("payoff --methods qmx", "unknown method 'qmx'; did you mean 'qmix'?"),
        ("papers pow_payof", "unknown result 'pow_payof'; did you mean 'pow_payoff'?"),
        ("demo --sed", "unrecognized arguments: --sed"),
    ],
)
def test_a_mistake_is_one_line(words: str, told: str) -> None:
    command = [sys.executable, "-m", *f"experiments.{words}".split()]
    done = subprocess.run(command, cwd=FOLDER.parent, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and told in done.stderr
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("marlx: ")
