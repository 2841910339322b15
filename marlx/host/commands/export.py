"""Write trained agents for use elsewhere: safetensors, and a file of Python that needs numpy only."""

import argparse
import sys


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declares what the command takes."""
    parser.add_argument("run", metavar="RUN", help="a run directory")
    parser.add_argument("--out", metavar="DIR", help="a new or empty folder (default: RUN/exported)")


def run(found: argparse.Namespace) -> int:
    """Runs the command; returns the exit code."""
    from marlx.host.exporting import export

    sys.stdout.write(f"{export(found.run, found.out)}\n")
    return 0
