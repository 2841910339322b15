"""Train again what a run says it was, from its experiment.toml and run.toml."""

import argparse


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declares what the command takes."""
    parser.add_argument("run", metavar="RUN", help="a run directory")
    parser.add_argument("--out", metavar="DIR", help="directory of the new run (default: a new one in runs/)")
    parser.add_argument("--seeds", metavar="N", help="other seeds than the run's")
    parser.add_argument("--quiet", action="store_true", help="show no progress")


def run(found: argparse.Namespace) -> int:
    """Runs the command; returns the exit code."""
    from marlx.host import backend
    from marlx.host.runs import train
    from marlx.host.shares import load_run
    from marlx.host.summary import show_run

    backend.prepare(backend.cores())
    before = load_run(found.run)
    again = train(
        before.experiment,
        before.seeds if found.seeds is None else found.seeds,
        out=found.out,
        base_seed=before.record["base_seed"],
        grid=before.lanes.grid,
        width=before.record.get("layout", {}).get("width"),
        split_rows=before.record.get("layout", {}).get("split", 1) > 1,
        progress=not found.quiet,
    )
    show_run(again)
    return 0
