"""Play greedy episodes with the parameters of a run, or with exported agents."""

import argparse

from marlx_envs.options import UsageError

from marlx.host.commands.words import whole


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declares what the command takes."""
    parser.add_argument("run", metavar="RUN", help="a run directory, or what `marlx export` wrote")
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

    from marlx.host import backend, exported
    from marlx.host.shares import load_run
    from marlx.host.summary import show_evaluation, show_scores

    backend.prepare(backend.cores())
    if exported.holds_policy(found.run):
        if found.parameters != "final":
            raise UsageError(f"--parameters {found.parameters} is of runs; exported agents have one set of parameters")
        show_scores(f"{found.run}: greedy episodes of exported agents", exported.evaluate(found.run, episodes))
        return 0
    run = load_run(found.run)
    usual = run.episodes(found.parameters)
    count = episodes or usual
    show_evaluation(run, run.evaluate(count, found.parameters), count, found.parameters)
    return 0
