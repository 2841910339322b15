"""Final parameters on disk: one .npz of plain arrays named by their place in the tree, leading axis [S]."""

import zipfile
from pathlib import Path
from typing import Any

import jax
import numpy as np
from marlx_envs.options import UsageError

from marlx.host.directory import PARAMETERS
from marlx.host.files import write_whole
from marlx.types import Params


def save(directory: Path, params: Params) -> None:
    """Writes parameters [S ...], whole or not at all. Raises `DiskError`."""
    arrays = {_name(path): np.asarray(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(params)}
    write_whole(directory / PARAMETERS, lambda file: np.savez(file, **arrays))  # type: ignore[arg-type]


def load(directory: Path, shapes: Params, seeds: int) -> Params:
    """Parameters [S ...] of a run.

    Args:
        shapes: the tree of one seed's parameters, leaves with `shape` and `dtype`.
        seeds: S.

    Raises:
        UsageError: there are none, they are damaged, or they belong to another composition.
    """
    path = directory / PARAMETERS
    if not path.is_file():
        raise UsageError(f"{directory} holds no parameters: the run has not ended")

    def leaf(place: Any, shape: Any) -> Any:
        array = archive[_name(place)]
        if array.shape != (seeds, *shape.shape) or array.dtype != shape.dtype:
            raise UsageError(f"{path} does not fit the experiment: {_name(place)} has shape {list(array.shape)}")
        return array

    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return jax.tree_util.tree_map_with_path(leaf, shapes)
    except KeyError as error:
        raise UsageError(f"{path} does not fit the experiment: it has no {error.args[0]}") from error
    except (OSError, EOFError, zipfile.BadZipFile, ValueError) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"{path} is damaged: {str(error)[:120]}") from error


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")
