"""QMIX on SMAX 2s3z beside JaxMARL's own script, in turn: `python -m benchmarks.beside_jaxmarl path/to/qmix_rnn.py`.

The script is baselines/QLearning/qmix_rnn.py of the repository FLAIROx/JaxMARL, which its package does not carry; it
needs flashbax, hydra-core and omegaconf. Both learn with the same sizes: 16 environments x 128 steps, 8 updates of
32 rows x 128 steps for each, GRU 64, mixer 32/64, replay of 5,000 rows. Compared is the learning phase, compilation
apart: of theirs, the difference between a long and a short run, since a whole run is one program.
"""

import argparse
import importlib.util
import statistics
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

from benchmarks import common
from benchmarks.common import Table

SHORT, LONG = 34, 46  # iterations of theirs; its buffer can be sampled from the 32nd on
TURNS = 5


def main() -> int:
    """Measures in turn, prints medians and writes them with versions and hardware."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.beside_jaxmarl", description=__doc__)
    parser.add_argument("script", type=Path, help="JaxMARL's qmix_rnn.py")
    parser.add_argument("--json", type=Path, default=Path("beside_jaxmarl.json"))
    options = parser.parse_args()
    if not options.script.is_file():
        parser.error(f"there is no file {options.script}")
    if refused := common.refusal(options.json):
        sys.stderr.write(f"{parser.prog}: {refused}\n")
        return 2
    common.prepare()
    import jax

    import marlx
    from marlx.engine.seeds import ROWS, Fleet
    from marlx.program import Program

    experiment = marlx.configure(*common.BATTLE)
    ours = {}
    for label, seeds, split in (("marlx", 1, 1), ("marlx --split-rows", 1, 2), ("marlx, 4 seeds together", 4, 1)):
        if split > jax.local_device_count():
            continue
        program = Program(experiment, ROWS if split > 1 else None)
        each, first = program.plan.steps_per_iteration, program.plan.warm_up + 1
        fleet = Fleet(program, experiment.numbers(), range(seeds), split=split)
        fleet.compile()
        ours[label] = [fleet, fleet.train(0, first, fleet.init()), first]
    script = _loaded(options.script)
    short, long = (_compiled(script, count * each) for count in (SHORT, LONG))
    rates: dict[str, list[float]] = {label: [] for label in ("JaxMARL's script", *ours)}
    for turn in range(TURNS):
        times = [_seconds(run, jax.random.PRNGKey(turn)) for run in (short, long)]
        rates["JaxMARL's script"].append((LONG - SHORT) * each / (times[1] - times[0]))
        for label, cell in ours.items():
            fleet, state, first = cell
            started = time.perf_counter()
            cell[1:] = fleet.train(first, LONG - SHORT, state), first + LONG - SHORT
            rates[label].append((LONG - SHORT) * each * len(fleet.seeds) / (time.perf_counter() - started))
    medians = {label: statistics.median(found) for label, found in rates.items()}
    rows = [(label, rate, rate / medians["JaxMARL's script"]) for label, rate in medians.items()]
    table = Table("QMIX on SMAX 2s3z, learning phase, in turn", ("trainer", "steps/s of all seeds", "times"), rows)
    table.show()
    common.write(options.json, [table])
    return 0


def _loaded(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("jaxmarl_qmix", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _compiled(script: Any, total_steps: int) -> Any:
    """A whole run of theirs, without evaluations and logging."""
    import jax

    config = {
        "ENV_NAME": "HeuristicEnemySMAX", "MAP_NAME": "2s3z", "ALG_NAME": "qmix", "TOTAL_TIMESTEPS": total_steps,
        "ENV_KWARGS": {"see_enemy_actions": True, "walls_cause_death": True, "attack_mode": "closest"},
        "NUM_ENVS": 16, "NUM_STEPS": 128, "NUM_EPOCHS": 8, "BUFFER_SIZE": 5000, "BUFFER_BATCH_SIZE": 32,
        "HIDDEN_SIZE": 64, "MIXER_EMBEDDING_DIM": 32, "MIXER_HYPERNET_HIDDEN_DIM": 64, "MIXER_INIT_SCALE": 0.001,
        "EPS_START": 1.0, "EPS_FINISH": 0.05, "EPS_DECAY": 0.1, "LEARNING_STARTS": 10_000, "REW_SCALE": 10.0,
        "LR": 0.00005, "LR_LINEAR_DECAY": False, "MAX_GRAD_NORM": 10, "TARGET_UPDATE_INTERVAL": 10, "TAU": 1.0,
        "GAMMA": 0.99, "TEST_DURING_TRAINING": False, "WANDB_MODE": "disabled",
        "TEST_INTERVAL": 0.05, "TEST_NUM_STEPS": 128, "TEST_NUM_ENVS": 512,
    }  # fmt: skip
    environment, _ = script.env_from_config(config)
    return jax.jit(script.make_train(config, environment)).lower(jax.random.PRNGKey(0)).compile()


def _seconds(run: Any, key: Any) -> float:
    import jax

    started = time.perf_counter()
    jax.block_until_ready(run(key))
    return time.perf_counter() - started


if __name__ == "__main__":
    sys.exit(main())
