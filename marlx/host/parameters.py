"""Final parameters on disk: one .npz of plain arrays named by their place in the tree, leading axis [S]; until the run
ends, a part for each chunk of seeds.
"""

import shutil
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import numpy.typing as npt
from marlx_envs.options import UsageError

from marlx.host.directory import PARAMETER_PARTS, PARAMETERS
from marlx.host.files import disk, write_whole
from marlx.types import Params

_Arrays = dict[str, npt.NDArray[Any]]


def save_part(directory: Path, first: int, params: Params) -> None:
    """Parameters of a chunk of lanes [S ..], from lane `first` on. Raises `DiskError`."""
    folder = directory / PARAMETER_PARTS
    with disk("make the directory", folder):
        folder.mkdir(exist_ok=True)
    arrays = {_name(path): np.asarray(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(params)}
    write_whole(_part(directory, first), lambda file: np.savez(file, **arrays))  # type: ignore[arg-type]


def check_parts(directory: Path, firsts: Iterable[int]) -> None:
    """Raises `UsageError` if the parameters of a chunk are missing or damaged."""
    for first in firsts:
        _read(_part(directory, first))


def merge(directory: Path) -> None:
    """Puts the parameters of all chunks into one file, in the order of lanes.

    Raises:
        DiskError: the disk refuses; the parts then stay.
        UsageError: one is damaged.
    """
    arrays = _joined(directory)
    write_whole(directory / PARAMETERS, lambda file: np.savez(file, **arrays))  # type: ignore[arg-type]
    shutil.rmtree(directory / PARAMETER_PARTS, ignore_errors=True)


def load(directory: Path, shapes: Params, lanes: int) -> Params:
    """Parameters [S ...] of a run that has ended, or that was stopped with all its seeds at work.

    Args:
        shapes: the tree of one seed's parameters, leaves with `shape` and `dtype`.
        lanes: S.

    Raises:
        UsageError: there are none, they are damaged, or they belong to another composition.
    """
    arrays = _joined(directory)

    def leaf(place: Any, shape: Any) -> Any:
        array = arrays.get(_name(place))
        if array is None or array.shape != (lanes, *shape.shape) or array.dtype != shape.dtype:
            found = "is missing" if array is None else f"has shape {list(array.shape)}"
            raise UsageError(f"parameters of {directory} do not fit the experiment: {_name(place)} {found}")
        return array

    return jax.tree_util.tree_map_with_path(leaf, shapes)


def _joined(directory: Path) -> _Arrays:
    """The file of the end, or the parts of a run that has not ended."""
    parts = sorted((directory / PARAMETER_PARTS).glob("[0-9]*.npz"))
    if (directory / PARAMETERS).is_file():
        parts = [directory / PARAMETERS]
    if not parts:
        raise UsageError(f"{directory} holds no parameters: the run has not ended")
    archives = [_read(path) for path in parts]
    if len(archives) == 1:
        return archives[0]
    return {name: np.concatenate([archive[name] for archive in archives]) for name in archives[0]}


def _read(path: Path) -> _Arrays:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, EOFError, zipfile.BadZipFile, ValueError, KeyError) as error:
        raise UsageError(f"{path} is damaged: {str(error)[:120]}") from error


def _part(directory: Path, first: int) -> Path:
    return directory / PARAMETER_PARTS / f"{first:08d}.npz"


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")
