"""Write a run or a sweep as one page of HTML: what was run, curves to filter and point at, final scores."""

import argparse
import sys


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declares what the command takes."""
    parser.add_argument("directory", metavar="DIRECTORY", help="of a run or of a sweep")
    parser.add_argument("--out", metavar="FILE", help="page: .html (default: DIRECTORY/report.html)")


def run(found: argparse.Namespace) -> int:
    """Runs the command; returns the exit code."""
    from marlx.host.reporting import report

    sys.stdout.write(f"{report(found.directory, found.out)}\n")
    return 0
