"""Compile time of a run, cold and with JAX's persistent cache, each in a process of its own."""

import json
import os
import subprocess
import sys
import tempfile

from benchmarks.common import GAME, REFERENCE, Table

_CHILD = """
import json, sys, time
started = time.perf_counter()
import marlx
from marlx.host import backend
seeds = int(sys.argv[1])
backend.prepare(seeds)
from marlx.engine.seeds import Fleet
from marlx.program import Program
experiment = marlx.configure(*json.loads(sys.argv[2]))
program = Program(experiment)
fleet = Fleet(program, experiment.numbers(), range(seeds))
ready = time.perf_counter()
print(json.dumps([fleet.compile(), ready - started]))
"""


def run(*, quick: bool) -> list[Table]:
    """Cold, then with the cache that the first one left (the best of a few)."""
    rows = []
    for label, arguments, seeds in [
        ("QMIX, predator-prey", REFERENCE, 1),
        ("QMIX, predator-prey", REFERENCE, 4),
        ("QMIX, 3x3 game", GAME, 64),
    ]:
        with tempfile.TemporaryDirectory() as cache:
            cold, imports = _child(arguments, seeds, cache)
            cached = min(_child(arguments, seeds, cache)[0] for _ in range(1 if quick else 3))
        rows.append((label, seeds, cold, cached, imports))
    columns = ("work", "seeds", "cold s", "cached s", "imports and set-up s")
    return [Table("Compile time: init, a chunk of training, a record with its evaluation", columns, rows)]


def _child(arguments: tuple[str, ...], seeds: int, cache: str) -> tuple[float, float]:
    environment = {**os.environ, "XDG_CACHE_HOME": cache, "JAX_COMPILATION_CACHE_DIR": ""}
    command = [sys.executable, "-c", _CHILD, str(seeds), json.dumps(arguments)]
    result = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    compile_seconds, imports = json.loads(result.stdout.splitlines()[-1])
    return compile_seconds, imports
