"""Train seeds of an algorithm in an environment."""

import argparse
from typing import Any

from marlx_envs.options import UsageError, shown, unknown

from marlx.host.commands.words import whole


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declares what the command takes."""
    parser.add_argument("algorithm", metavar="ALGORITHM", help="a name from `marlx list algorithms`")
    parser.add_argument("environment", metavar="ENVIRONMENT", help="a name from `marlx list environments`")
    parser.add_argument(
        "overrides", metavar="section.name=value", nargs="*", default=[], help="fields as `marlx list NAME` shows them"
    )
    parser.add_argument("--seeds", metavar="N", default="8", help="number of seeds, or ids as 64:128 (default 8)")
    parser.add_argument("--out", metavar="DIR", help="run directory (default: runs/ALGORITHM-ENVIRONMENT-NUMBER)")
    parser.add_argument("--base-seed", metavar="N", default="0", help="what all seeds derive from (default 0)")
    parser.add_argument("--resume", action="store_true", help="if DIR holds this run: go on with it")
    parser.add_argument("--wandb", metavar="MODE", help="offline or online: means over seeds to Weights & Biases")
    parser.add_argument("--tensorboard", action="store_true", help="means over seeds as files of TensorBoard too")
    parser.add_argument(
        "--width", metavar="N|measure", help="seeds computed together on a device (default: by rule; measure: by trial)"
    )
    parser.add_argument("--chunk", metavar="N", help="seeds resident at a time (default: as many as fit memory)")
    parser.add_argument(
        "--checkpoint-interval", metavar="STEPS", help="environment steps between checkpoints (default: two minutes)"
    )
    parser.add_argument("--checkpoint-replay", metavar="yes|no", help="save the replay too (default: if it is small)")
    parser.add_argument(
        "--split-rows", action="store_true", help="spare devices share each seed's batches (equal up to rounding)"
    )
    parser.add_argument(
        "--processes",
        metavar="N",
        help="of this host, a share of the seeds each (default: with --out one for each GPU)",
    )
    parser.add_argument(
        "--distributed",
        metavar="auto|HOST:PORT,K/N",
        help="this is one of several processes, as JAX finds out or as given",
    )
    parser.add_argument("--share", metavar="K/N", help="train only share K of N; it is written to DIR/part-K-of-N")
    parser.add_argument("--no-cache", action="store_true", help="compile anew; do not keep compiled programs")
    parser.add_argument("--quiet", action="store_true", help="show no progress")


def run(found: argparse.Namespace) -> int:
    """Runs the command; returns the exit code."""
    from marlx_envs import ENVIRONMENTS

    from marlx.algorithms import ALGORITHMS
    from marlx.host import seed_ids, tracking

    # Names and numbers first: a slip of the pen is answered before anything heavy is imported.
    ALGORITHMS[found.algorithm]
    ENVIRONMENTS[found.environment]
    seeds = seed_ids.seed_ids(found.seeds)
    base_seed = whole("--base-seed", found.base_seed, most=seed_ids.LARGEST)
    settings: dict[str, Any] = {
        name: None if word is None else whole(f"--{name.replace('_', '-')}", word, least=1)
        for name in ("chunk", "checkpoint_interval")
        for word in (getattr(found, name),)
    }
    settings["width"] = _width(found)
    replay = found.checkpoint_replay
    if replay not in (None, "yes", "no"):
        raise unknown("value of --checkpoint-replay", replay, ("yes", "no"))
    tracking.check_mode(found.wandb)
    tracking.check_tensorboard(found.tensorboard)
    if found.resume and found.out is None:
        raise UsageError("--resume needs --out, the directory of the run to go on with")
    count = _processes(found, len(seeds))
    if count > 1:
        return _in_processes(found, count, len(seeds))
    seeds, out, settings["largest_share"] = _my_share(found, seeds)

    from marlx.host import backend

    shared = found.split_rows or (found.resume and _shares_rows(out))
    backend.prepare(backend.cores() if shared else len(seeds), not found.no_cache)

    from marlx.experiment import configure
    from marlx.host.processes import is_one_of_several
    from marlx.host.runs import train
    from marlx.host.summary import show_run

    experiment = configure(found.algorithm, found.environment, *found.overrides)
    run = train(
        experiment,
        seeds,
        out=out,
        resume=found.resume,
        base_seed=base_seed,
        wandb=found.wandb,
        tensorboard=found.tensorboard,
        progress=not found.quiet,
        cache=not found.no_cache,
        split_rows=found.split_rows,
        checkpoint_replay=None if replay is None else replay == "yes",
        **settings,
    )
    code = 0 if is_one_of_several() else show_run(run)
    return 0 if found.share or found.distributed else code  # the seeds of one share are not all


def _shares_rows(out: Any) -> bool:
    """Whether a run that was stopped in a directory has devices that share rows, which it then needs again."""
    from marlx.host import directory
    from marlx.host.results import load_run

    return directory.holds_run(directory.locate(out)) and load_run(out).shares_rows


def _width(found: argparse.Namespace) -> int | str | None:
    """--width: a number, or the word that asks for a measurement."""
    if found.width != "measure":
        if found.width is not None and not found.width.isdigit():
            raise UsageError(f"--width must be a whole number from 1 on, or the word measure, not {shown(found.width)}")
        return None if found.width is None else whole("--width", found.width, least=1)
    if found.processes not in (None, "1") or found.distributed or found.share:
        raise UsageError("--width measure is for one process; several must all have the same width, so give a number")
    if found.split_rows:
        raise UsageError("--width measure does not go with --split-rows, which has a device for each seed")
    return "measure"


def _my_share(found: argparse.Namespace, seeds: list[int]) -> tuple[list[int], Any, int]:
    """The seeds of this process, where it writes, and how many seeds the largest share has."""
    from marlx.host import shares

    if found.share is None and found.distributed is None:
        return seeds, found.out, len(seeds)
    if found.out is None:
        raise UsageError("several processes need --out, the directory that they share")
    index, count = shares.parse(found.share) if found.share is not None else shares.distributed(found.distributed)
    shares.check_count(found.out, count)
    return shares.split(seeds, index, count), shares.part(found.out, index, count), -(-len(seeds) // count)


def _processes(found: argparse.Namespace, seeds: int) -> int:
    """How many processes of this host train the run: as asked, else one for each of several GPUs."""
    from marlx.host import shares

    given = [name for name in ("processes", "share", "distributed") if getattr(found, name) is not None]
    if len(given) > 1:
        raise UsageError(f"--{given[0]} does not go with --{given[1]}")
    if found.processes is None:
        alone = found.share or found.distributed or found.split_rows or found.wandb or found.width == "measure"
        return 1 if alone else shares.usual_count(found.out, seeds)
    count = whole("--processes", found.processes, least=1)
    if count > 1 and (found.out is None or count > seeds):
        raise UsageError("--processes needs --out, and at least as many seeds as processes")
    return count


def _in_processes(found: argparse.Namespace, count: int, seeds: int) -> int:
    """Starts processes of this host, each with a GPU of its own where there are several."""
    import jax

    from marlx.host import processes, shares

    jax.config.update("jax_platforms", "cpu")  # this process only looks at names, and at what the others wrote

    from marlx.experiment import configure
    from marlx.host.summary import show_run

    configure(found.algorithm, found.environment, *found.overrides)
    shares.check_count(found.out, count)
    words = [word for word in found.given if not word.startswith("--processes=")]
    if "--processes" in words:
        place = words.index("--processes")
        del words[place : place + 2]
    if found.width is None and found.chunk is None:  # with a chunk, the width goes by that
        words += processes.common_width(-(-seeds // count), count)
    code = max(processes.run_here([["train", *words, "--share", f"{index}/{count}"] for index in range(count)], count))
    return code or show_run(shares.load_run(found.out))
