"""Parameters on disk: one .npz of plain arrays named by their place in the tree, leading axis [S]; until the run ends,
a part for each chunk of seeds. Beside the final ones lie, under `best/`, those of each seed's highest evaluation.
"""

import math
import os
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import numpy.typing as npt
from marlx_envs.options import UsageError

from marlx.host.directory import PARAMETER_PARTS, PARAMETERS
from marlx.host.files import disk, write_whole
from marlx.types import Params

BEST, SCORE = "best/", "best/score"
_SPARE = 1000  # bytes for what an archive has beside the numbers of one array

_Arrays = dict[str, npt.NDArray[Any]]
_Scores = npt.NDArray[np.floating[Any]]


def save_part(
    directory: Path, first: int, params: Params, best: Params | None = None, score: _Scores | None = None
) -> None:
    """Parameters of a chunk of lanes [S ..], from lane `first` on. Raises `DiskError`.

    Args:
        best: of the same form, those of the highest evaluation; `score` [S], its return, -inf where there was none.
    """
    folder = directory / PARAMETER_PARTS
    with disk("make the directory", folder):
        folder.mkdir(exist_ok=True)
    arrays = _named(params) | {BEST + name: array for name, array in _named(best).items()}
    if score is not None:
        arrays[SCORE] = np.asarray(score)
    write_whole(_part(directory, first), lambda file: np.savez(file, **arrays))  # type: ignore[arg-type]


def keep(directory: Path, firsts: Sequence[int]) -> None:
    """Removes the parts of all chunks but those that begin with the lanes `firsts`, and what was made of all of them.

    Raises:
        DiskError: a file cannot be removed.
        UsageError: one that should be there is missing or damaged.
    """
    wanted = [_part(directory, first) for first in firsts]
    for path in wanted:
        _read(path)
    for path in (*(directory / PARAMETER_PARTS).glob("*"), *directory.glob(PARAMETERS)):
        if path not in wanted:
            with disk("remove", path):
                path.unlink()


def merge(directory: Path) -> None:
    """Puts the parameters of all chunks into one file, in the order of lanes; `tidy` removes what parts are left.

    Raises:
        DiskError: the disk refuses.
        UsageError: one is damaged.
    """
    parts = _parts(directory)
    if len(parts) == 1:
        _read(parts[0])  # it is the whole file already, if it is not damaged
        with disk("move", parts[0]):
            os.replace(parts[0], directory / PARAMETERS)
    elif parts:
        arrays = _joined(parts)
        write_whole(directory / PARAMETERS, lambda file: np.savez(file, **arrays))  # type: ignore[arg-type]


def tidy(directory: Path) -> None:
    """Removes the parts, once the run has all its files."""
    shutil.rmtree(directory / PARAMETER_PARTS, ignore_errors=True)


def load(directory: Path, shapes: Params, lanes: int, best: bool = False) -> Params:
    """Parameters [S ...] of a run that has ended, or that was stopped with all its seeds at work.

    Args:
        shapes: the tree of one seed's parameters, leaves with `shape` and `dtype`.
        lanes: S.
        best: those of each seed's highest evaluation, not those of the end; NaN for a seed that has none.

    Raises:
        UsageError: there are none, they are damaged, or they belong to another composition.
    """
    whole = [directory / PARAMETERS]
    parts = whole if whole[0].is_file() else _parts(directory)
    if not parts:
        raise UsageError(f"{directory} holds no parameters: the run has not ended")
    most = 2 * lanes * sum(_SPARE + x.size * x.dtype.itemsize for x in jax.tree.leaves(shapes)) + lanes * 8
    try:
        arrays = _joined(parts, most + _SPARE)
    except UsageError:
        if parts == whole or not whole[0].is_file():
            raise
        parts = whole  # the run has just come to its end
        arrays = _joined(parts, most + _SPARE)
    scores, unfinished = arrays.get(SCORE, np.zeros(0)), parts[0].name != PARAMETERS
    if best and not np.isfinite(scores).any():
        raise UsageError(f"{directory} holds no best parameters: no evaluation compared them while it trained")

    def leaf(place: Any, shape: Any) -> Any:
        array = arrays.get((BEST if best else "") + place_name(place))
        if array is None or array.shape != (lanes, *shape.shape) or array.dtype != shape.dtype:
            found = "is missing" if array is None else f"has shape {list(array.shape)}"
            if (
                unfinished
                and array is not None
                and array.ndim
                and (array.dtype, array.shape[1:]) == (shape.dtype, shape.shape)
            ):
                raise UsageError(
                    f"{directory} holds parameters of {len(array)} of its {lanes} seeds; go on with it first"
                )
            raise UsageError(f"parameters of {directory} do not fit the experiment: {place_name(place)} {found}")
        if best and np.issubdtype(array.dtype, np.floating):
            array[~np.isfinite(scores)] = np.nan
        return array

    return jax.tree_util.tree_map_with_path(leaf, shapes)


def _named(params: Params) -> _Arrays:
    return {place_name(path): np.asarray(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(params)}


def _joined(parts: Sequence[Path], most: float = math.inf) -> _Arrays:
    archives = [_read(path, most) for path in parts]
    if len(archives) == 1:
        return archives[0]
    return {name: np.concatenate([archive[name] for archive in archives]) for name in archives[0]}


def _parts(directory: Path) -> list[Path]:
    return sorted((directory / PARAMETER_PARTS).glob("[0-9]*.npz"))


def _read(path: Path, most: float = math.inf) -> _Arrays:
    """The arrays of a file, which may hold at most so many bytes. Raises `UsageError`."""
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            # nothing in a file of ours is compressed, so that its arrays are never larger than the file
            if sum(entry.file_size for entry in entries) > min(most, os.fstat(file.fileno()).st_size):
                raise ValueError("its arrays are larger than they can be")
            return {entry.filename.removesuffix(".npy"): _array(archive, entry) for entry in entries}
    except Exception as error:  # zipfile, zlib and numpy's parser of headers raise many kinds
        words = " ".join(str(error).split()) or type(error).__name__
        raise UsageError(f"{path} is damaged: {words[:120]}") from error


def _array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> npt.NDArray[Any]:
    """One array, if it is as large as its header says: of one that is read in part no checksum is compared."""
    layout = np.lib.format
    with archive.open(entry) as file:
        read_header = (
            layout.read_array_header_1_0 if layout.read_magic(file) == (1, 0) else layout.read_array_header_2_0
        )
        shape, _, dtype = read_header(file)
        if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != entry.file_size - file.tell():
            raise ValueError(f"{entry.filename} has another size than its header says")
        file.seek(0)
        return layout.read_array(file, allow_pickle=False)


def _part(directory: Path, first: int) -> Path:
    return directory / PARAMETER_PARTS / f"{first:08d}.npz"


def place_name(path: Any) -> str:
    """A leaf's place in its tree, keys joined by slashes: what arrays on disk are called."""
    return jax.tree_util.keystr(path, simple=True, separator="/")
