"""Train again what a run says it was, from its experiment.toml and run.toml."""

import argparse


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declares what the command takes."""
    parser.add_argument("run", metavar="RUN", help="a run directory")
    parser.add_argument("--out", metavar="DIR", help="directory of the new run (default: a new one in runs/)")
    parser.add_argument("--seeds", metavar="N", help="how many, or ids as 3,16:32 (default: the run's)")
    parser.add_argument(
        "--continue", dest="go_on", action="store_true", help="from RUN's newest checkpoint, not from the start"
    )
    parser.add_argument(
        "--steps", metavar="N", help="with --continue: environment steps of a seed in all, more than RUN has"
    )
    parser.add_argument("--quiet", action="store_true", help="show no progress")


def run(found: argparse.Namespace) -> int:
    """Runs the command; returns the exit code."""
    from marlx_envs.options import UsageError

    from marlx.host.commands.words import whole

    steps = None if found.steps is None else whole("--steps", found.steps, least=1)
    if steps is not None and not found.go_on:
        raise UsageError("--steps needs --continue; another experiment is trained by `marlx train`")

    from marlx.host import backend, seed_ids
    from marlx.host.branching import branch, longer
    from marlx.host.runs import train
    from marlx.host.shares import load_run
    from marlx.host.summary import show_run

    backend.prepare(backend.cores())
    before = load_run(found.run)
    seeds = before.seeds if found.seeds is None else seed_ids.seed_ids(found.seeds)
    out = branch(before, seeds, found.out, steps) if found.go_on else found.out
    layout = {} if found.go_on else before.record.get("layout", {})  # a branch has its own
    again = train(
        longer(before, steps),
        seeds,
        out=out,
        resume=found.go_on,
        base_seed=before.record["base_seed"],
        grid=before.lanes.grid,
        width=layout.get("width"),
        split_rows=not found.go_on and before.shares_rows,
        progress=not found.quiet,
    )
    return show_run(again)
