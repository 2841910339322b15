"""Compare runs: means with intervals, probability of improvement, and which differences are clear."""

import argparse


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declares what the command takes."""
    parser.add_argument("runs", metavar="RUN", nargs="+", help="run directories; the first is held against the others")
    parser.add_argument("--metric", metavar="NAME", default="evaluation_return", help="default: evaluation_return")
    parser.add_argument(
        "--absolute", action="store_true", help="compare fresh episodes, played with the best parameters of each seed"
    )
    parser.add_argument(
        "--json",
        metavar="FILE",
        help="also write every evaluation in the form of marl-eval; its absolute_metrics are fresh episodes with "
        "--absolute, else the best evaluation of each seed",
    )
    parser.add_argument("--profile", metavar="FILE", help="also draw performance profiles: .png, .pdf or .svg")


def run(found: argparse.Namespace) -> int:
    """Runs the command; returns the exit code."""
    if found.absolute:
        from marlx.host import backend

        backend.prepare(backend.cores())

    from marlx.host.comparing import compare

    compare(found.runs, found.metric, found.json, found.profile, found.absolute)
    return 0
