"""How much a run bears: kills, damage, other company, poison, odd configurations. `python -m benchmarks.reliability`.

Each test compares with a run that nobody disturbed, to the bit, and prints what it counted. It takes minutes.
"""

import argparse
import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.common import Table, write

# A small run, so that hundreds of them take minutes; seven seeds of IQL in two chunks.
WORK = (
    "iql", "matrix_game", "training.total_steps=40_000", "training.num_envs=8", "training.batch_size=8",
    "training.buffer_size=64", "agent.hidden_size=8", "evaluation.interval=4_000", "evaluation.episodes=2",
)  # fmt: skip
SEEDS = ("--seeds", "7", "--chunk", "4", "--width", "2", "--checkpoint-interval", "2000", "--quiet")

_IN_MID_SAVE = """
import os, random, signal, sys, threading, time
from marlx.host import checkpoints
from marlx.host.cli import main
save, saves = checkpoints.Checkpoints.save, random.randrange(1, 12)
def killing(self, *arguments):
    global saves
    saves -= 1
    if saves == 0:
        threading.Timer(random.random() * 0.12, os.kill, (os.getpid(), signal.SIGKILL)).start()
    save(self, *arguments)
checkpoints.Checkpoints.save = killing
sys.exit(main(sys.argv[1:]))
"""

_COMPANY = """
import hashlib, json, sys
import jax
jax.config.update("jax_num_cpu_devices", int(sys.argv[1]))
import marlx
import numpy as np
from marlx.engine.seeds import Fleet
from marlx.program import Program
found = {}
for words in json.loads(sys.argv[2]):
    experiment = marlx.configure(*words)
    program = Program(experiment)
    for seeds in ([3], range(7), range(64), range(1000)):
        fleet = Fleet(program, experiment.numbers(), seeds)
        state, record = fleet.record(12, fleet.train(0, 12, fleet.init()))
        leaves = jax.tree.leaves((fleet.cut(state.learner.params), record))
        print(json.dumps([words[:2], len(seeds), {
            seed: hashlib.blake2b(b"".join(np.ascontiguousarray(x[i]).tobytes() for x in leaves)).hexdigest()
            for i, seed in enumerate(seeds)
        }]), flush=True)
"""


def main() -> int:
    """Runs the tests named, all without a name."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reliability", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="|".join(TESTS), help="which to run; all by default")
    parser.add_argument("--share", type=float, default=1.0, help="of the counts, to see that all of it runs")
    parser.add_argument("--json", type=Path, default=Path("reliability.json"))
    options = parser.parse_args()
    for name in options.names:
        if name not in TESTS:
            parser.error(f"unknown test {name!r}; valid: {', '.join(TESTS)}")
    rows, failed = [], False
    for name in options.names or TESTS:
        started = time.perf_counter()
        for label, count, outcome in TESTS[name](options.share):
            rows.append((label, count, outcome, time.perf_counter() - started))
            print(*rows[-1], flush=True)
            failed |= bool(re.search(r"[1-9]\d* (seeds )?(differ|neither|crash)", outcome))
    table = Table("Reliability", ("test", "count", "outcome", "s"), rows)
    table.show()
    write(options.json, [table])
    return int(failed)


Rows = list[tuple[str, int, str]]


def company(share: float) -> Rows:
    """A seed alone, among 7, 64 and 1,000, on 1, 2 and 8 CPU devices."""
    small = ("training.batch_size=16", "training.num_envs=8", "training.buffer_size=64")
    hunt = ("environment.episode_limit=10", "environment.n_agents=3", "environment.height=5", "environment.width=5")
    works = [
        ("qmix", "matrix_game", *small),
        ("pow_qmix", "matrix_game", *small),
        ("vdn", "predator_prey", *small, *hunt),
    ]
    rows = []
    seen: dict[tuple[str, int], set[str]] = {}
    for devices in (1, 2, 8):
        command = [sys.executable, "-c", _COMPANY, str(devices), json.dumps(works)]
        lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
        for names, _, prints in map(json.loads, lines):
            for seed, digest in prints.items():
                seen.setdefault((" ".join(names), seed), set()).add(digest)
    different = {work: sum(len(v) > 1 for (w, _), v in seen.items() if w == work) for work, _ in seen}
    for work, count in different.items():
        rows.append((f"{work}: seeds alone, in 7, 64, 1,000; on 1, 2, 8 devices", 1000, f"{count} seeds differ"))
    return rows


def kills(share: float) -> Rows:
    """SIGKILL at random moments, then resume, against a run that was never killed."""
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "whole"
        _train(whole, check=True)
        started = time.perf_counter()
        _train(Path(folder) / "timed", check=True)
        life = time.perf_counter() - started
        rows = []
        for label, wanted, kill in (
            ("SIGKILL at a random moment", round(80 * share), _killed_after(life)),
            ("SIGKILL in mid-save", round(20 * share), _killed_in_save),
        ):
            killed, ended, different = 0, 0, 0
            while killed < wanted:
                out = Path(folder) / f"run-{ended}"
                while kill(out):
                    killed += 1
                    if killed >= wanted:
                        _train(out, check=True)
                        break
                different += not _same(whole, out)
                shutil.rmtree(out)
                ended += 1
                _progress(label, killed, wanted, f"{different} runs differ")
            rows.append((label, killed, f"{ended} runs went on to their end, {different} differ"))
        return rows


def _killed_after(life: float) -> Callable[[Path], bool]:
    def killed(out: Path) -> bool:
        """Whether the process was killed before it ended."""
        process = subprocess.Popen(_command(out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            code = process.wait(timeout=random.uniform(0.3, 1.0) * life)
            if code:
                raise RuntimeError(f"{out} ended with {code} of itself")
            return False
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            return True

    return killed


def _killed_in_save(out: Path) -> bool:
    command = [sys.executable, "-c", _IN_MID_SAVE, *_command(out)[3:]]
    return subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode == -signal.SIGKILL


def damage(share: float) -> Rows:
    """Bytes cut and flipped, files missing, in checkpoints and metrics of a run that was stopped."""
    with tempfile.TemporaryDirectory() as folder:
        whole, stopped = Path(folder) / "whole", Path(folder) / "stopped"
        _train(whole, check=True)
        process = subprocess.Popen(_command(stopped), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not list(stopped.glob("metrics/00000004-000004.parquet")):
            assert process.poll() is None, "it ended before it was stopped"
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        process.wait()
        recovered = told = wrong = 0
        for _ in range(round(200 * share)):
            out = Path(folder) / "run"
            shutil.copytree(stopped, out)
            _damage(out)
            result = _train(out)
            if result.returncode == 0:
                recovered += _same(whole, out)
                wrong += not _same(whole, out)
            else:
                one_line = result.returncode == 2 and result.stderr.count("\n") == 1
                told, wrong = told + one_line, wrong + (not one_line)
            shutil.rmtree(out)
            _progress(
                "damaged", recovered + told + wrong, round(200 * share), f"{recovered} recovered, {wrong} neither"
            )
        outcome = f"{recovered} recovered to the bit, {told} told in one line, {wrong} neither"
        return [("damaged checkpoints and metrics", recovered + told + wrong, outcome)]


def _progress(label: str, done: int, wanted: int, found: str) -> None:
    """A line for every tenth: these tests take minutes, and what was seen so far should outlive a stop."""
    if done % max(wanted // 10, 1) == 0 or done == wanted:
        print(f"{label}: {done} of {wanted}, {found}", flush=True)


def _damage(out: Path) -> None:
    """One random file of a run's checkpoints or metrics is cut, has a bit flipped, or is gone."""
    files = [p for part in ("checkpoints", "metrics", "parameters") for p in (out / part).rglob("*") if p.is_file()]
    victim = random.choice(files)
    content = bytearray(victim.read_bytes())
    kind = random.choice(("cut", "flip", "missing"))
    place = random.randrange(max(len(content), 1))
    if kind == "missing" or not content:
        victim.unlink()
    elif kind == "cut":
        victim.write_bytes(content[:place])
    else:
        content[place] ^= 1 << random.randrange(8)
        victim.write_bytes(content)


def poison(share: float) -> Rows:
    """One seed of 64 with a learning rate that is too large: the other 63 against a run without it."""
    import jax
    import numpy as np

    import marlx

    rates = [1e-3 * (1 + i / 64) for i in range(64)]
    with tempfile.TemporaryDirectory() as folder:
        runs = []
        for name, rate in (("bad", 1e38), ("good", rates[17])):
            grid = {"training.learning_rate": [*rates[:17], rate, *rates[18:]]}
            runs.append(marlx.train(marlx.configure(*WORK), 1, Path(folder) / name, grid=grid, progress=False))
        unchanged = np.ones(64, bool)
        for a, b in zip(*(jax.tree.leaves(run.params) for run in runs), strict=True):
            unchanged &= (a == b).reshape(64, -1).all(1)
        dead = [entry["training.learning_rate"] for entry in runs[0].record["dead"]]
        different = 63 - int(unchanged.sum())
        return [("a poisoned seed among 64", 1, f"dead: {dead}; of the other 63, {different} differ")]


def cost(share: float) -> Rows:
    """Checkpoints each 5% of a run of two minutes, with and without them in turn, replay included."""
    import marlx

    experiment = marlx.configure("qmix", "predator_prey", f"training.total_steps={round(800_000 * share)}",
                                 "training.buffer_size=1000", "evaluation.interval=0")  # fmt: skip
    never = 2**31 - 1
    times: dict[str, list[float]] = {"none": [], "each 5%": []}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(3):
            for label, interval in (("none", never), ("each 5%", experiment.training["total_steps"] // 20)):
                out = Path(folder) / f"{label}-{number}"
                run = marlx.train(
                    experiment, 2, out, checkpoint_interval=interval, checkpoint_replay=True, progress=False
                )
                times[label].append(run.record["train_seconds"])
    plain, saving = (sorted(times[label])[1] for label in times)
    return [
        ("cost of 20 checkpoints in a run", 3, f"{plain:.1f} s without, {saving:.1f} s with: {saving / plain - 1:+.1%}")
    ]


def configurations(share: float) -> Rows:
    """Random configurations: how many train for two iterations, are refused in one line, or do anything else."""
    wanted, workers = round(1000 * share), len(os.sched_getaffinity(0))
    each = [wanted * (i + 1) // workers - wanted * i // workers for i in range(workers)]
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        found = list(pool.map(_attempts, each))
    counts = {word: sum(of[word] for of in found) for word in found[0]}
    outcome = ", ".join(f"{count} {word}" for word, count in counts.items())
    return [("random configurations", sum(counts.values()), outcome)]


def _attempts(wanted: int) -> dict[str, int]:
    """What became of so many random configurations, in a process of their own."""
    import jax
    from hypothesis import given, settings

    from tests.test_fuzz import QUIET
    from tests.test_fuzz import configurations as cases
    from tests.test_fuzz import trains as attempt

    counts = {"train": 0, "are refused in one line": 0, "crash": 0}
    quiet: Any = {**QUIET, "derandomize": False}

    @settings(max_examples=wanted, **quiet)
    @given(cases())
    def one(case: Any) -> None:
        if sum(counts.values()) == wanted:
            return
        try:
            counts["train" if attempt(case) else "are refused in one line"] += 1
        except Exception as error:
            counts["crash"] += 1
            print("crash:", case, repr(error)[:300], flush=True)
        if sum(counts.values()) % 20 == 0:
            jax.clear_caches()
            print(os.getpid(), counts, flush=True)

    one()
    return counts


def _command(out: Path) -> list[str]:
    return [sys.executable, "-m", "marlx", "train", *WORK, *SEEDS, "--out", str(out), "--resume"]


def _train(out: Path, check: bool = False) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"JAX_LOG_COMPILES": "0"}
    return subprocess.run(_command(out), capture_output=True, text=True, check=check, env=environment)


def _same(one: Path, other: Path) -> bool:
    """Whether metrics and parameters of two runs are equal to the bit."""
    import numpy as np
    import pandas as pd

    import marlx

    tables = [marlx.load_run(path).metrics() for path in (one, other)]
    with np.load(one / "parameters.npz") as a, np.load(other / "parameters.npz") as b:
        same = a.files == b.files and all(np.array_equal(a[name], b[name], equal_nan=True) for name in a.files)
    try:
        pd.testing.assert_frame_equal(tables[0], tables[1], check_exact=True)
    except AssertionError:
        return False
    return same


TESTS: dict[str, Callable[[float], Any]] = {
    "company": company,
    "kills": kills,
    "damage": damage,
    "poison": poison,
    "cost": cost,
    "configurations": configurations,
}


if __name__ == "__main__":
    sys.exit(main())
