"""`marlx export`: the trained agents of a run for use elsewhere, as safetensors and one file of Python."""

import json
from pathlib import Path
from typing import Any, BinaryIO

import jax
import numpy as np
import numpy.typing as npt
from marlx_envs.options import UsageError

import marlx
from marlx.host import directory, parameters, portable
from marlx.host.files import disk, write_whole
from marlx.host.results import recorded
from marlx.host.shares import load_run

_PREFIX = "agent/params/"
_TYPES = {"float64": "F64", "float32": "F32", "float16": "F16", "int64": "I64", "int32": "I32", "bool": "BOOL"}


def export(run_path: str, out: str | Path | None) -> Path:
    """Writes policy.safetensors, policy.json and policy.py; returns their folder.

    Parameters have a leading axis [S]; their names are those of the run without "agent/params/".

    Args:
        out: a new or empty folder; None takes `exported` in the run's.

    Raises:
        UsageError: no run, one whose agents do not act by utilities of their own alone (MRVF), or a folder in use;
            `exported` is a link.
    """
    run = load_run(run_path)
    if run.record.get("grid"):
        raise UsageError(f"{run.path} is a grid over {', '.join(run.record['grid'])}; export runs of one setting each")
    arrays = _agents(run.params)
    if not arrays:
        name = run.experiment.algorithm_name
        raise UsageError(f"{run.path}: agents of {name} act by rounds with a joint value; there is no form to export")
    if out is None:
        directory.refuse_links(run.path, [directory.EXPORTED])
    folder = directory.locate(out) if out is not None else run.path / directory.EXPORTED
    with disk("make the folder", folder):
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise UsageError(f"{folder} is not empty; choose another --out")
    spec, agent = run.experiment.make_environment().spec, run.experiment.agent
    about = {
        "format": 2,
        "marlx": marlx.__version__,
        "algorithm": run.experiment.algorithm_name,
        "environment": run.experiment.environment_name,
        "environment_options": recorded(run.experiment)["environment"],
        "episodes": run.episodes(),
        "seeds": run.seeds,
        "n_agents": spec.n_agents,
        "n_actions": spec.n_actions,
        "observation_size": spec.observation_size,
        **{name: agent[name] for name in ("network", "hidden_size", "last_action", "agent_id", "head")},
    }
    write_whole(folder / portable.PARAMETERS, lambda file: write_safetensors(file, arrays))
    write_whole(folder / portable.ABOUT, lambda file: file.write(f"{json.dumps(about, indent=1)}\n".encode()))
    source = Path(str(portable.__file__)).read_bytes()
    write_whole(folder / "policy.py", lambda file: file.write(source))
    return folder


def write_safetensors(file: BinaryIO, arrays: dict[str, npt.NDArray[Any]]) -> None:
    """Arrays by name in the format of safetensors."""
    header, start = {}, 0
    for name, array in arrays.items():
        header[name] = {
            "dtype": _TYPES[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [start, start + array.nbytes],
        }
        start += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    for array in arrays.values():
        file.write(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes())


def _agents(params: Any) -> dict[str, npt.NDArray[Any]]:
    """The parameters that agents act by, [S ..] by name."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    named = {parameters.place_name(path): np.asarray(leaf) for path, leaf in leaves}
    return {name.removeprefix(_PREFIX): array for name, array in named.items() if name.startswith(_PREFIX)}
