"""Draw learning curves: interquartile mean and 95% interval over seeds."""

import argparse
import sys


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declares what the command takes."""
    parser.add_argument("runs", metavar="RUN", nargs="+", help="run directories; one curve for each")
    parser.add_argument("--out", metavar="FILE", help="picture: .png, .pdf or .svg (default: learning_curve.png)")
    parser.add_argument("--metric", metavar="NAME", default="evaluation_return", help="default: evaluation_return")


def run(found: argparse.Namespace) -> int:
    """Runs the command; returns the exit code."""
    from marlx.host.drawing import draw_runs

    sys.stdout.write(f"{draw_runs(found.runs, found.out, found.metric)}\n")
    return 0
