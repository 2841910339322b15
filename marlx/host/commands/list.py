"""List algorithms, environments and parts of algorithms, or the fields of one."""

import argparse
import sys

from marlx.host import listing


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declares what the command takes."""
    parser.add_argument(
        "what",
        metavar="NAME",
        nargs="?",
        help="algorithms, environments, the name of one of either; mixers, weightings, intrinsics; or agent, "
        "algorithm, training, evaluation",
    )


def run(found: argparse.Namespace) -> int:
    """Runs the command; returns the exit code."""
    sys.stdout.write(f"{listing.listing(found.what)}\n")
    return 0
