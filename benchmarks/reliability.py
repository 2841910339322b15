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
# The same length with a memory, a mixer and the best parameters of evaluations that move.
RECURRENT = ("qmix", "two_step_game", "agent.network=gru", *WORK[2:])
SEEDS = ("--seeds", "7", "--chunk", "4", "--width", "2", "--checkpoint-interval", "2000", "--quiet")

MOST_COST = 0.03  # of the time of a run, for its checkpoints
Words = tuple[str, ...]

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
from marlx.host import backend
jax.config.update("jax_num_cpu_devices", int(sys.argv[1]))
backend.prepare(1, cache=False)
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
        fleet.compile()
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
            failed |= bool(re.search(r"FAILED|[1-9]\d* (seeds )?(differ|neither|crash|unreadable)", outcome))
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
    """SIGKILL at random moments and in mid-save, then resume, against a run that was never killed; two methods."""
    return [row for work in (WORK, RECURRENT) for row in _kills(work, share)]


def _kills(work: Words, share: float) -> Rows:
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "whole"
        _train(whole, work, check=True)
        started = time.perf_counter()
        _train(Path(folder) / "timed", work, check=True)
        life = time.perf_counter() - started
        rows = []
        for moment, wanted, kill in (
            ("at a random moment", round(80 * share), _killed_after(work, life)),
            ("in mid-save", round(20 * share), _killed_in_save(work)),
        ):
            label, killed = f"{work[0]} on {work[1]}, SIGKILL {moment}", 0
            counts = {"same": 0, "differ": 0, "unreadable": 0}
            while killed < wanted:
                out, state = Path(folder) / f"run-{sum(counts.values())}", "killed"
                while state in ("killed", "between saves"):
                    state = kill(out)
                    if state == "killed":
                        killed += 1
                        _progress(label, killed, wanted, _listed(counts))
                    if killed >= wanted:
                        state = "ended" if _train(out, work).returncode == 0 else "failed"
                found = _compared(whole, out) if state == "ended" else "unreadable"
                counts[found if found in counts else "unreadable"] += 1
                shutil.rmtree(out)
            rows.append((label, killed, f"of {sum(counts.values())} runs that went on to their end {_listed(counts)}"))
        return rows


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {word}" for word, count in counts.items())


def _killed_after(work: Words, life: float) -> Callable[[Path], str]:
    def killed(out: Path) -> str:
        """What became of the process: "killed" before it "ended", or "failed"."""
        process = subprocess.Popen(_command(out, work), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            return "failed" if process.wait(timeout=random.uniform(0.3, 1.0) * life) else "ended"
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            return "killed"

    return killed


def _killed_in_save(work: Words) -> Callable[[Path], str]:
    def killed(out: Path) -> str:
        """Like the other, or "between saves" where nothing is left that was being written."""
        command, before = [sys.executable, "-c", _IN_MID_SAVE, *_command(out, work)[3:]], _unfinished(out)
        code = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode
        if code != -signal.SIGKILL:
            return "failed" if code else "ended"
        return "killed" if _unfinished(out) - before else "between saves"

    return killed


def _unfinished(out: Path) -> set[Path]:
    """What orbax and `write_whole` rename when it is written."""
    return {path for path in out.rglob("*") if ".orbax-checkpoint-tmp" in path.name or path.name.startswith(".")}


def damage(share: float) -> Rows:
    """Bytes cut and flipped, files missing, in a run that was stopped and in one that is finished."""
    with tempfile.TemporaryDirectory() as folder:
        whole, stopped = Path(folder) / "whole", Path(folder) / "stopped"
        _train(whole, check=True)
        process = subprocess.Popen(_command(stopped), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not list(stopped.glob("metrics/00000004-000004.parquet")):
            assert process.poll() is None, "it ended before it was stopped"
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        process.wait()
        rows = []
        for label, source, wanted in (("a stopped run", stopped, 200), ("a finished run", whole, 100)):
            label, wanted = f"{label} with a damaged file", round(wanted * share)
            counts = {"same": 0, "told": 0, "neither": 0}
            for number in range(wanted):
                out = Path(folder) / "run"
                shutil.copytree(source, out)
                done = _damage(out)
                result = _train(out)
                found = _compared(whole, out) if result.returncode == 0 else "told"
                if result.returncode not in (0, 2) or (result.returncode and result.stderr.count("\n") != 1):
                    found = "neither"
                if found not in ("same", "told"):
                    found = "neither"
                    print(f"neither recovered nor told: {done}; {result.stderr[-300:]}", flush=True)
                counts[found] += 1
                shutil.rmtree(out)
                _progress(label, number + 1, wanted, _listed(counts))
            outcome = (
                f"{counts['same']} the same to the bit, {counts['told']} told in one line, {counts['neither']} neither"
            )
            rows.append((label, sum(counts.values()), outcome))
        return rows


def _progress(label: str, done: int, wanted: int, found: str) -> None:
    """A line for every tenth: these tests take minutes, and what was seen so far should outlive a stop."""
    if done % max(wanted // 10, 1) == 0 or done == wanted:
        print(f"{label}: {done} of {wanted}, {found}", flush=True)


def _damage(out: Path) -> str:
    """One random file of a run is cut, has a bit flipped, or is gone; in words. Each part is as likely as another."""
    parts = [path for path in out.iterdir() if path.is_file() or any(p.is_file() for p in path.rglob("*"))]
    part = random.choice(parts)
    victim = part if part.is_file() else random.choice([p for p in part.rglob("*") if p.is_file()])
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
    return f"{victim.relative_to(out)}, {kind} at {place}"


def poison(share: float) -> Rows:
    """One seed of 64 with a learning rate that is too large: the other 63 against a run without it."""
    import jax

    import marlx

    name, poisoned, rates = "training.learning_rate", 17, [1e-3 * (1 + i / 64) for i in range(64)]
    with tempfile.TemporaryDirectory() as folder:
        runs = []
        for label, rate in (("bad", 1e38), ("good", rates[poisoned])):
            grid = {name: [*rates[:poisoned], rate, *rates[poisoned + 1 :]]}
            runs.append(marlx.train(marlx.configure(*WORK), 1, Path(folder) / label, grid=grid, progress=False))
        tables = [dict(list(run.metrics().groupby(name))) for run in runs]
        trees = [jax.tree.leaves((run.params, run.best_params)) for run in runs]
        different = 0
        for i, rate in enumerate(rates):
            if i != poisoned:
                a, b = (table[rate].reset_index(drop=True) for table in tables)
                same = a.equals(b) and all(x[i].tobytes() == y[i].tobytes() for x, y in zip(*trees, strict=True))
                different += not same
        dead = [[entry[name] for entry in run.record["dead"]] for run in runs]
        verdict = "" if dead == [[1e38], []] else ", FAILED: not the poisoned one alone"
        return [("a poisoned seed among 64", 1, f"dead: {dead[0]}{verdict}; of the other 63, {different} differ")]


def cost(share: float) -> Rows:
    """Checkpoints each 5% of a run of about a minute on two cores, with and without them in turn, replay included."""
    import marlx

    experiment = marlx.configure("qmix", "predator_prey", f"training.total_steps={round(800_000 * share)}",
                                 "training.buffer_size=1000", "evaluation.interval=0")  # fmt: skip
    never = 2**31 - 1
    times: dict[str, list[float]] = {"none": [], "each 5%": []}
    waited = []  # of the time with checkpoints; less noisy than a difference of times, but blind to what goes on beside
    with tempfile.TemporaryDirectory() as folder:
        for number in range(3):
            for label, interval in (("none", never), ("each 5%", experiment.training["total_steps"] // 20)):
                out = Path(folder) / f"{label}-{number}"
                run = marlx.train(
                    experiment, 2, out, checkpoint_interval=interval, checkpoint_replay=True, progress=False
                )
                times[label].append(run.record["train_seconds"])
            waited.append(run.record["checkpoint_seconds"] / run.record["train_seconds"])
    plain, saving = (sorted(times[label])[1] for label in times)
    more = saving / plain - 1
    verdict = f", FAILED: more than {MOST_COST:.0%}" if more > MOST_COST else ""
    found = (
        f"{plain:.1f} s without, {saving:.1f} s with: {more:+.1%}; training waited {sorted(waited)[1]:.1%} of its time"
    )
    return [("cost of 20 checkpoints in a run", 3, found + verdict)]


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


def _command(out: Path, work: Words = WORK) -> list[str]:
    return [sys.executable, "-m", "marlx", "train", *work, *SEEDS, "--out", str(out), "--resume"]


def _train(out: Path, work: Words = WORK, check: bool = False) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"JAX_LOG_COMPILES": "0"}
    return subprocess.run(_command(out, work), capture_output=True, text=True, check=check, env=environment)


def _compared(one: Path, other: Path) -> str:
    """Metrics and parameters of a run against another's: "same" to the bit or "differ".

    "told" where a `UsageError` of one line says that the other is damaged; "unreadable" where it ends otherwise.
    """
    import jax
    from marlx_envs.options import UsageError

    import marlx

    tables, trees = [], []
    for path in (one, other):
        try:
            run = marlx.load_run(path)
            tables.append(run.metrics())
            trees.append(jax.tree.leaves((run.params, run.best_params)))
        except UsageError as error:
            return "unreadable" if "\n" in str(error) else "told"
        except Exception as error:
            print(f"unreadable: {error!r}"[:300], flush=True)
            return "unreadable"
    same = tables[0].equals(tables[1]) and len(trees[0]) == len(trees[1])
    return "same" if same and all(a.tobytes() == b.tobytes() for a, b in zip(*trees, strict=True)) else "differ"


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
