"""Runs the notebooks from top to bottom and writes them with what came out: `python -m experiments.execute_notebooks`.

Nothing of when or how long is kept, so that a notebook changes in git only where its sources or its results do.
"""

import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from marlx.host.cli import guarded, one_line_parser

NOTEBOOKS = sorted((Path(__file__).parent / "notebooks").glob("*.ipynb"))
_ROOT = Path(__file__).parents[1]
_LONGEST = 600  # seconds of a cell


def executed(path: Path, folder: Path) -> Any:
    """A notebook (nbformat) with fresh outputs; what it writes goes into a folder.

    Raises:
        CellExecutionError: a cell raises; its message shows the cell.
    """
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    packages = [str(_ROOT), str(_ROOT / "envs"), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(packages)}
    place = {"metadata": {"path": str(folder)}}
    client = NotebookClient(
        notebook,
        timeout=_LONGEST,
        startup_timeout=_LONGEST,
        kernel_name="python3",
        resources=place,
        record_timing=False,
    )
    client.execute(env=environment)
    return tidied(notebook)


def tidied(notebook: Any) -> Any:
    """A notebook without counts, times and settings of whoever ran it."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        cell.metadata = {}
        if cell.cell_type == "code":
            cell.execution_count = None
            for output in cell.outputs:
                output.pop("execution_count", None)
                if output.output_type in ("execute_result", "display_data"):
                    output.metadata = {}
                if output.output_type == "execute_result":
                    output.execution_count = None
    return notebook


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    import nbformat

    parser = one_line_parser("python -m experiments.execute_notebooks", __doc__)
    parser.add_argument("files", nargs="*", type=Path, default=NOTEBOOKS, help="notebooks (default: all)")
    for path in parser.parse_args(arguments).files:
        with tempfile.TemporaryDirectory() as folder:
            found = executed(path, Path(folder))
        nbformat.validate(found)
        nbformat.write(found, path)
        sys.stdout.write(f"{path}: {path.stat().st_size / 1e3:.0f} kB\n")


if __name__ == "__main__":
    sys.exit(guarded(main))
