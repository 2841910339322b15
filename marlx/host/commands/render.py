"""Film a greedy episode of predator-prey or SMAX: an animated GIF, or a page with a slider."""

import argparse
import sys

from marlx.host.commands.words import whole
from marlx.host.seed_ids import LARGEST


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declares what the command takes."""
    parser.add_argument("run", metavar="RUN", help="a run directory")
    parser.add_argument("--out", metavar="FILE", help="film: .gif or .html (default: RUN/episode.gif)")
    parser.add_argument("--seed", metavar="ID", help="whose agents play (default: the first seed's)")
    parser.add_argument("--episode", metavar="N", default="0", help="which episode; each begins anew (default 0)")


def run(found: argparse.Namespace) -> int:
    """Runs the command; returns the exit code."""
    seed = None if found.seed is None else whole("--seed", found.seed, most=LARGEST)
    episode = whole("--episode", found.episode)

    from marlx.host import backend

    backend.prepare(1)

    from marlx.host.rendering import render

    sys.stdout.write(f"{render(found.run, found.out, seed, episode)}\n")
    return 0
