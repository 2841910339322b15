"""Play greedy episodes with the parameters of a run."""

import argparse

from marlx.host.commands.words import whole


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declares what the command takes."""
    parser.add_argument("run", metavar="RUN", help="a run directory")
    parser.add_argument("--episodes", metavar="N", help="greedy episodes for each seed (default: as in training)")


def run(found: argparse.Namespace) -> int:
    """Runs the command; returns the exit code."""
    episodes = None if found.episodes is None else whole("--episodes", found.episodes, least=1)

    from marlx.host import backend
    from marlx.host.shares import load_run
    from marlx.host.summary import show_evaluation

    backend.prepare(backend.cores())
    run = load_run(found.run)
    show_evaluation(run, run.evaluate(episodes), episodes or run.experiment.evaluation["episodes"])
    return 0
