"""Where tables are printed."""

import os

from rich.console import Console

WIDE = 140  # columns


def console() -> Console:
    """As wide as the terminal; to a file or another program, where nothing should be folded, wide (or COLUMNS)."""
    usual = Console(highlight=False)
    fixed = usual.is_terminal or usual.is_jupyter or "COLUMNS" in os.environ
    return usual if fixed else Console(highlight=False, width=WIDE)
