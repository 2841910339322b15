"""How large the files of a run may be that is gone on with: what comes from others may be made to fill the memory.

Only what files say of themselves is read here. What is damaged is left to those who read the rest.
"""

import math
import re
from pathlib import Path

import jax
import numpy as np
from marlx_envs.options import UsageError

from marlx.engine.memory import state_bytes
from marlx.host import metrics
from marlx.host.directory import CHECKPOINTS
from marlx.host.results import Run
from marlx.program import Program


def check(run: Run) -> None:
    """Raises `UsageError` if metrics or checkpoints hold more than the run can have written."""
    metrics.check_sizes(run.path, run.lanes)
    folders = [path for path in (run.path / CHECKPOINTS).glob("*") if re.fullmatch(r"\d+", path.name)]
    if not folders:
        return
    most = 2 * len(run.lanes) * state_bytes(Program(run.experiment).init, run.experiment.numbers())
    for folder in folders:
        found = _bytes(folder / "state")
        if found > most:
            raise UsageError(f"{folder} holds {found:,} bytes, more than the run's seeds can have ({most:,})")


def _bytes(state: Path) -> int:
    """What a checkpoint's arrays, and the pieces that they are stored in, take in memory; 0 of a damaged one."""
    from orbax import checkpoint as orbax

    try:
        tree = orbax.PyTreeCheckpointHandler().metadata(state.absolute()).tree
        leaves = jax.tree.leaves(tree, is_leaf=lambda x: hasattr(x, "shape"))
        shapes = [(leaf.dtype, (leaf.shape, leaf.storage.chunk_shape or ())) for leaf in leaves]
        return sum(np.dtype(kind).itemsize * max(map(math.prod, sizes)) for kind, sizes in shapes)
    except Exception:  # whatever orbax makes of broken files
        return 0
