"""Masses of seeds through the command line: time, peak memory, a grid against plain seeds, what the host loop costs."""

import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path

import marlx
from benchmarks.common import Table
from marlx.engine.seeds import Fleet
from marlx.program import Program

WORK = ("qmix", "matrix_game", "training.total_steps=20_000")  # the game's own numbers: 32 environments, batches of 32
GRID = """
algorithm = "qmix"
environment = "matrix_game"
seeds = {seeds}
[set]
training.total_steps = 20_000
[axes]
training.learning_rate = {{ from = 1e-4, to = 3e-3, count = {count}, scale = "log" }}
training.epsilon_steps = {{ from = 1_000, to = 20_000, count = {count} }}
"""

# A small process between, since a child is born with its parent's size on its account.
_PEAK = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def run(*, quick: bool) -> list[Table]:
    """Plain seeds and a grid in turn, each in a process of its own; then the size of programs."""
    side, each, repeats = (2, 4, 1) if quick else (8, 16, 2)
    seeds = side * side * each
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        plan = Path(folder) / "grid.toml"
        plan.write_text(GRID.format(seeds=each, count=side))
        for number in range(repeats):
            plain, grid = Path(folder) / f"plain-{number}", Path(folder) / f"grid-{number}"
            train = ["train", *WORK, "--seeds", str(seeds), "--processes", "1", "--out", str(plain)]
            sweep = ["sweep", str(plan), "--processes", "1", "--out", str(grid)]
            rows.append(_row("plain seeds", seeds, train, plain))
            rows.append(_row(f"grid {side} x {side} x {each}", seeds, sweep, grid / "qmix-matrix_game"))
    columns = (
        "work",
        "seeds",
        "wall s",
        "train s",
        "compile s",
        "steps/s of all",
        "host loop %",
        "saving %",
        "peak MB",
    )
    masses = Table("QMIX on the 3x3 game, 20,000 steps a seed, one command", columns, rows)
    return [masses, _sizes(quick)]


def _row(label: str, seeds: int, words: list[str], out: Path) -> tuple[str | float | int, ...]:
    """One command: its wall time, what its run.toml says, and the most memory it held."""
    started = time.perf_counter()
    command = [sys.executable, "-c", _PEAK, sys.executable, "-m", "marlx", *words, "--quiet"]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    wall = time.perf_counter() - started
    peak = int(printed) / 1024
    record = tomllib.loads((out / "run.toml").read_text())
    train, device, saving = (record[f"{name}_seconds"] for name in ("train", "device", "checkpoint"))
    loop, saved = 100 * (train - device - saving) / train, 100 * saving / train
    return label, seeds, wall, train, record["compile_seconds"], record["steps_per_second"], loop, saved, peak


def _sizes(quick: bool) -> Table:
    """Bytes of the training program as text, against the number of seeds."""
    experiment = marlx.configure(*WORK)
    program = Program(experiment)
    rows = []
    for seeds in (16, 64, 256, 1024):
        fleet = Fleet(program, experiment.numbers(), range(seeds))
        rows.append((seeds, len(fleet._train.lower(0, 0, fleet.shapes, fleet.numbers).as_text())))
        if quick:
            break
    return Table("The training program against the number of seeds", ("seeds", "characters of StableHLO"), rows)
