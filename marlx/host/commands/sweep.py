"""Train a grid of algorithms, environments and options; what is done already is kept."""

import argparse

from marlx.host.commands.words import whole


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declares what the command takes."""
    parser.add_argument("file", metavar="FILE.toml", help="algorithms, environments, seeds, [set] and [axes]")
    parser.add_argument("--out", metavar="DIR", help="directory of the sweep (default: runs/NAME OF FILE)")
    parser.add_argument("--variant", metavar="NAME", help="a table of [variants] in the file, such as small")
    parser.add_argument("--status", action="store_true", help="say what is done, running and missing; train nothing")
    parser.add_argument("--launcher", metavar="NAME", help="local or slurm: runs as jobs, by submitit")
    parser.add_argument(
        "--resource", metavar="name=value", action="append", default=[], help="of a job, as submitit names it"
    )
    parser.add_argument("--chunk", metavar="N", help="seeds resident at a time (default: as many as fit memory)")
    parser.add_argument("--no-cache", action="store_true", help="compile anew; do not keep compiled programs")
    parser.add_argument("--quiet", action="store_true", help="show no progress")


def run(found: argparse.Namespace) -> int:
    """Runs the command; returns the exit code."""
    from pathlib import Path

    from marlx.host import backend, launcher

    launcher.check_launcher(found.launcher)
    chunk = None if found.chunk is None else whole("--chunk", found.chunk, least=1)
    resources = launcher.resources(found.resource)
    backend.prepare(backend.cores(), not found.no_cache)

    from marlx.host import sweeping

    file = Path(found.file)
    name = file.stem + (f"-{found.variant}" if found.variant else "")
    out = Path(found.out) if found.out is not None else Path("runs") / name
    settings = {"chunk": chunk, "cache": not found.no_cache, "progress": not found.quiet}
    return sweeping.sweep(file, out, found.status, found.launcher, settings, resources, found.variant)
