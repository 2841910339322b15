"""Train a grid of algorithms, environments and options; what is done already is kept."""

import argparse

from marlx_envs.options import UsageError

from marlx.host.commands.words import whole


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declares what the command takes."""
    parser.add_argument("file", metavar="FILE.toml", help="algorithms, environments, seeds, [set] and [axes]")
    parser.add_argument("--out", metavar="DIR", help="directory of the sweep (default: runs/NAME OF FILE)")
    parser.add_argument("--variant", metavar="NAME", help="a table of [variants] in the file, such as small")
    parser.add_argument("--status", action="store_true", help="say what is done, running, failed, missing; train none")
    parser.add_argument("--launcher", metavar="NAME", help="local or slurm: runs as jobs, by submitit")
    parser.add_argument(
        "--resource", metavar="name=value", action="append", default=[], help="of a job, as submitit names it"
    )
    parser.add_argument("--run", metavar="NAME", help="only this one of the sweep's runs, named as its directory")
    parser.add_argument("--processes", metavar="N", help="of this host, at work at a time (default: one for each GPU)")
    parser.add_argument("--share", metavar="K/N", help="only share K of N of the seeds of each run, in this process")
    parser.add_argument("--width", metavar="N", help="seeds computed together on a device (default: by rule)")
    parser.add_argument("--chunk", metavar="N", help="seeds resident at a time (default: as many as fit memory)")
    parser.add_argument("--no-cache", action="store_true", help="compile anew; do not keep compiled programs")
    parser.add_argument("--quiet", action="store_true", help="show no progress")


def run(found: argparse.Namespace) -> int:
    """Runs the command; returns the exit code."""
    from pathlib import Path

    from marlx.host import backend, directory, launcher, shares

    launcher.check_launcher(found.launcher)
    if found.resource and found.launcher is None:
        raise UsageError(f"--resource {found.resource[0]} is of a job, and needs --launcher")
    chunk, width = (
        None if word is None else whole(option, word, least=1)
        for option, word in (("--chunk", found.chunk), ("--width", found.width))
    )
    share = None if found.share is None else shares.parse(found.share)
    resources = launcher.resources(found.resource)
    processes = _processes(found)
    if processes > 1:
        import jax

        jax.config.update("jax_platforms", "cpu")  # this process only looks at what the others write
    backend.prepare(backend.cores(), not found.no_cache)

    from marlx.host import sweeping
    from marlx.host.sweep import read_sweep

    file = Path(found.file)
    name = file.stem + (f"-{found.variant}" if found.variant else "")
    out = directory.locate(found.out) if found.out is not None else Path("runs") / name
    plan = read_sweep(file, found.variant)
    if found.status:
        sweeping.show_states(plan if found.run is None else plan.only(found.run), out)
        return 0
    settings = {"chunk": chunk, "width": width, "cache": not found.no_cache, "progress": not found.quiet}
    return sweeping.sweep(plan, out, found.launcher, settings, resources, found.run, share, processes)


def _processes(found: argparse.Namespace) -> int:
    """How many processes of this host are at work at a time: as asked, else one for each GPU."""
    from marlx.host.processes import accelerators

    given = [option for option in ("--launcher", "--share", "--processes") if getattr(found, option[2:]) is not None]
    if len(given) > 1:
        raise UsageError(f"{given[0]} does not go with {given[1]}")
    if found.processes is not None:
        return whole("--processes", found.processes, least=1)
    return 1 if given else max(len(accelerators()), 1)
