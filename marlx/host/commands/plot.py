"""Draw learning curves, or what was recorded of joint actions: tables, their stages, weights over training."""

import argparse
import sys

from marlx_envs.options import UsageError, unknown

from marlx.host.commands.words import whole
from marlx.host.seed_ids import LARGEST

KINDS = ("curves", "tables", "stages", "weights")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declares what the command takes."""
    parser.add_argument("runs", metavar="RUN", nargs="+", help="run directories, one curve for each; or one sweep's")
    parser.add_argument("--out", metavar="FILE", help=".png, .pdf or .svg (default: learning_curve.png or KIND.png)")
    parser.add_argument("--metric", metavar="NAME", help="of curves (default: evaluation_return)")
    parser.add_argument("--kind", metavar="NAME", default="curves", help=f"{', '.join(KINDS)} (default: curves)")
    parser.add_argument("--seed", metavar="ID", help="of tables, stages and weights: one seed's (default: means)")


def run(found: argparse.Namespace) -> int:
    """Runs the command; returns the exit code."""
    if found.kind not in KINDS:
        raise unknown("kind of picture", found.kind, KINDS)
    seed = None if found.seed is None else whole("--seed", found.seed, most=LARGEST)
    if found.kind == "curves":
        if seed is not None:
            raise UsageError("--seed is of tables, stages and weights; curves show all seeds")
        from marlx.host.drawing import draw_runs

        path = draw_runs(found.runs, found.out, "evaluation_return" if found.metric is None else found.metric)
    else:
        if found.metric is not None:
            raise UsageError(f"--metric is of curves, not of {found.kind}")
        from marlx.host.joint_drawing import draw_kind

        path = draw_kind(found.runs, found.out, found.kind, seed)
    sys.stdout.write(f"{path}\n")
    return 0
