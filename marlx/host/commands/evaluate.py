"""Play greedy episodes with the parameters of a run."""

import argparse

from marlx.host.commands.words import whole


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declares what the command takes."""
    parser.add_argument("run", metavar="RUN", help="a run directory")
    parser.add_argument(
        "--parameters", metavar="WHICH", default="final", help="final, or best: of each seed's highest evaluation"
    )
    parser.add_argument(
        "--episodes",
        metavar="N",
        help="greedy episodes for each seed (default: as in training; with the best parameters ten times as many)",
    )


def run(found: argparse.Namespace) -> int:
    """Runs the command; returns the exit code."""
    episodes = None if found.episodes is None else whole("--episodes", found.episodes, least=1)

    from marlx.host import backend
    from marlx.host.shares import load_run
    from marlx.host.summary import show_evaluation

    backend.prepare(backend.cores())
    run = load_run(found.run)
    usual = run.episodes(found.parameters)
    count = episodes or usual
    show_evaluation(run, run.evaluate(count, found.parameters), count, found.parameters)
    return 0
