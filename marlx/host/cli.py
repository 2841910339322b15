"""The command `marlx`: arguments in, exit code out. 0 success, 2 a mistake of the user (one line on stderr), 1 a fault,
130 and 143 for Ctrl-C and SIGTERM. Nothing heavy is imported before a command needs it.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from marlx_envs.options import UsageError, nearest, shown, unknown

import marlx
from marlx.host import listing


class _Parser(argparse.ArgumentParser):
    """Raises instead of printing the usage and exiting."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see `{self.prog} --help`)")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        return _dispatch(arguments)
    except UsageError as error:
        _complain(str(error))
        return 2
    except KeyboardInterrupt as error:
        _complain(str(error) or "stopped")
        return int(getattr(error, "exit_code", 130))
    except SystemExit as error:  # argparse, after --help or --version
        return int(error.code or 0)
    except BrokenPipeError:  # as in `marlx list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _complain(message: str) -> None:
    sys.stderr.write(f"marlx: {' '.join(message.split())}\n")


def _dispatch(arguments: list[str]) -> int:
    if arguments and arguments[0] in _COMMANDS:
        build, command = _COMMANDS[arguments[0]]
        parser = _Parser(prog=f"marlx {arguments[0]}", description=command.__doc__, allow_abbrev=False)
        build(parser)
        found, rest = parser.parse_known_intermixed_args(arguments[1:])
        if rest:
            _refuse(parser, rest[0])
        found.given = arguments[1:]
        return command(found)
    parser = _Parser(
        prog="marlx",
        usage="marlx [--help] [--version] COMMAND ...",
        description="Cooperative multi-agent value factorization, trained end to end inside one XLA program.",
        epilog=_overview(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"marlx {marlx.__version__}")
    _, rest = parser.parse_known_args(arguments)
    if not rest:
        raise UsageError(f"a command is missing; valid: {', '.join(_COMMANDS)} (see `marlx --help`)")
    if rest[0].startswith("-"):
        raise unknown("option", rest[0], ("--help", "--version"))
    raise unknown("command", rest[0], _COMMANDS)


def _refuse(parser: argparse.ArgumentParser, word: str) -> NoReturn:
    """The error for an argument that a command does not take."""
    if not word.startswith("-"):
        raise UsageError(f"one argument too many: {shown(word)} (see `{parser.prog} --help`)")
    options = [name for action in parser._actions for name in action.option_strings if name.startswith("--")]
    raise UsageError(f"unknown option {shown(word)} of `{parser.prog}`{nearest(word, options)}")


def _overview() -> str:
    lines = [f"  {name:<10} {str(command.__doc__).splitlines()[0]}" for name, (_, command) in _COMMANDS.items()]
    example = "marlx train qmix matrix_game training.total_steps=200_000 --seeds 64 --out runs/first"
    return "\n".join(["commands:", *lines, "", "`marlx COMMAND --help` says more. An example:", f"  {example}"])


def _train_arguments(parser: argparse.ArgumentParser) -> None:
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
    parser.add_argument("--width", metavar="N", help="seeds computed together on a device (default: chosen)")
    parser.add_argument("--chunk", metavar="N", help="seeds resident at a time (default: as many as fit memory)")
    parser.add_argument(
        "--checkpoint-interval", metavar="STEPS", help="environment steps between checkpoints (default: two minutes)"
    )
    parser.add_argument("--checkpoint-replay", metavar="yes|no", help="save the replay too (default: if it is small)")
    parser.add_argument(
        "--split-rows", action="store_true", help="spare devices share each seed's batches (equal up to rounding)"
    )
    parser.add_argument("--processes", metavar="N", help="train in N processes of this host, a share of the seeds each")
    parser.add_argument(
        "--distributed",
        metavar="auto|HOST:PORT,K/N",
        help="this is one of several processes, as JAX finds out or as given",
    )
    parser.add_argument("--share", metavar="K/N", help="train only share K of N; it is written to DIR/part-K-of-N")
    parser.add_argument("--no-cache", action="store_true", help="compile anew; do not keep compiled programs")
    parser.add_argument("--quiet", action="store_true", help="show no progress")


def _train(arguments: argparse.Namespace) -> int:
    """Train seeds of an algorithm in an environment."""
    from marlx_envs import ENVIRONMENTS

    from marlx.algorithms import ALGORITHMS
    from marlx.host import seed_ids, tracking

    # Names and numbers first: a slip of the pen is answered before anything heavy is imported.
    ALGORITHMS[arguments.algorithm]
    ENVIRONMENTS[arguments.environment]
    seeds = seed_ids.seed_ids(arguments.seeds)
    base_seed = _whole("--base-seed", arguments.base_seed)
    settings: dict[str, Any] = {
        name: None if word is None else _whole(f"--{name.replace('_', '-')}", word, least=1)
        for name in ("width", "chunk", "checkpoint_interval")
        for word in (getattr(arguments, name),)
    }
    replay = arguments.checkpoint_replay
    if replay not in (None, "yes", "no"):
        raise unknown("value of --checkpoint-replay", replay, ("yes", "no"))
    tracking.check_mode(arguments.wandb)
    tracking.check_tensorboard(arguments.tensorboard)
    if arguments.resume and arguments.out is None:
        raise UsageError("--resume needs --out, the directory of the run to go on with")
    if arguments.processes is not None:
        return _in_processes(arguments, len(seeds))
    seeds, out = _my_share(arguments, seeds)

    from marlx.host import backend

    backend.prepare(backend.cores() if arguments.split_rows else len(seeds), not arguments.no_cache)

    from marlx.experiment import configure
    from marlx.host.runs import train
    from marlx.host.summary import show_run

    experiment = configure(arguments.algorithm, arguments.environment, *arguments.overrides)
    run = train(
        experiment,
        seeds,
        out=out,
        resume=arguments.resume,
        base_seed=base_seed,
        wandb=arguments.wandb,
        tensorboard=arguments.tensorboard,
        progress=not arguments.quiet,
        cache=not arguments.no_cache,
        split_rows=arguments.split_rows,
        checkpoint_replay=None if replay is None else replay == "yes",
        **settings,
    )
    show_run(run)
    return 0


def _my_share(arguments: argparse.Namespace, seeds: list[int]) -> tuple[list[int], Any]:
    """The seeds of this process, and where it writes."""
    from marlx.host import shares

    if arguments.share is None and arguments.distributed is None:
        return seeds, arguments.out
    if arguments.out is None:
        raise UsageError("several processes need --out, the directory that they share")
    index, count = (
        shares.parse(arguments.share) if arguments.share is not None else shares.distributed(arguments.distributed)
    )
    return shares.split(seeds, index, count), shares.part(arguments.out, index, count)


def _in_processes(arguments: argparse.Namespace, seeds: int) -> int:
    """Starts the processes of --processes, each with a device of its own where there are several."""
    from pathlib import Path

    from marlx.host import shares

    count = _whole("--processes", arguments.processes, least=1)
    if arguments.out is None or count > seeds:
        raise UsageError("--processes needs --out, and at least as many seeds as processes")
    gpus = len(list(Path("/dev").glob("nvidia[0-9]*")))
    words, position = list(arguments.given), arguments.given.index("--processes")
    return shares.run_here(
        count, words[:position] + words[position + 2 :], "CUDA_VISIBLE_DEVICES" if gpus > 1 else None
    )


def _evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="a run directory")
    parser.add_argument("--episodes", metavar="N", help="greedy episodes for each seed (default: as in training)")


def _evaluate(arguments: argparse.Namespace) -> int:
    """Play greedy episodes with the parameters of a run."""
    episodes = None if arguments.episodes is None else _whole("--episodes", arguments.episodes, least=1)

    from marlx.host import backend
    from marlx.host.shares import load_run
    from marlx.host.summary import show_evaluation

    backend.prepare(backend.cores())
    run = load_run(arguments.run)
    show_evaluation(run, run.evaluate(episodes), episodes or run.experiment.evaluation["episodes"])
    return 0


def _plot_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", metavar="RUN", nargs="+", help="run directories; one curve for each")
    parser.add_argument("--out", metavar="FILE", help="picture: .png, .pdf or .svg (default: learning_curve.png)")
    parser.add_argument("--metric", metavar="NAME", default="evaluation_return", help="default: evaluation_return")


def _plot(arguments: argparse.Namespace) -> int:
    """Draw learning curves: interquartile mean and 95% interval over seeds."""
    from marlx.host.drawing import draw_runs

    sys.stdout.write(f"{draw_runs(arguments.runs, arguments.out, arguments.metric)}\n")
    return 0


def _render_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="a run directory")
    parser.add_argument("--out", metavar="FILE", help="film: .gif or .html (default: RUN/episode.gif)")
    parser.add_argument("--seed", metavar="ID", help="whose agents play (default: the first seed's)")
    parser.add_argument("--episode", metavar="N", default="0", help="which episode; each begins anew (default 0)")


def _render(arguments: argparse.Namespace) -> int:
    """Film a greedy episode of predator-prey or SMAX: an animated GIF, or a page with a slider."""
    seed = None if arguments.seed is None else _whole("--seed", arguments.seed)
    episode = _whole("--episode", arguments.episode)

    from marlx.host import backend

    backend.prepare(1)

    from marlx.host.rendering import render

    sys.stdout.write(f"{render(arguments.run, arguments.out, seed, episode)}\n")
    return 0


def _export_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="a run directory")
    parser.add_argument("--out", metavar="DIR", help="a new or empty folder (default: RUN/exported)")


def _export(arguments: argparse.Namespace) -> int:
    """Write trained agents for use elsewhere: safetensors, and a file of Python that needs numpy only."""
    from marlx.host.exporting import export

    sys.stdout.write(f"{export(arguments.run, arguments.out)}\n")
    return 0


def _compare_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", metavar="RUN", nargs="+", help="run directories; the first is held against the others")
    parser.add_argument("--metric", metavar="NAME", default="evaluation_return", help="default: evaluation_return")
    parser.add_argument("--json", metavar="FILE", help="also write every evaluation in the form of marl-eval")
    parser.add_argument("--profile", metavar="FILE", help="also draw performance profiles: .png, .pdf or .svg")


def _compare(arguments: argparse.Namespace) -> int:
    """Compare runs: means with intervals, probability of improvement, and which differences are clear."""
    from marlx.host.comparing import compare

    compare(arguments.runs, arguments.metric, arguments.json, arguments.profile)
    return 0


def _theory_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("payoff", metavar="PAYOFF", help="a name from `marlx list matrix_game`, a file, or `map`")
    parser.add_argument(
        "overrides", metavar="environment.name=value", nargs="*", default=[], help="options of a named payoff"
    )
    parser.add_argument("--epsilon", metavar="X", help="exploration of the data (default 1: uniform)")
    parser.add_argument("--exploration", metavar="KIND", help="decentralised (default) or centralised")
    parser.add_argument("--alpha", metavar="X", help="weight of CW- and OW-QMIX (default 0.1)")
    parser.add_argument("--tolerance", metavar="X", help="C of POW (default 0.05)")
    parser.add_argument("--rounds", metavar="N", help="rounds of MRVF (default 3)")
    parser.add_argument(
        "--out", metavar="FILE", help="picture of the map: .png, .pdf or .svg (default: theory_map.png)"
    )


def _theory(arguments: argparse.Namespace) -> int:
    """Say what each method would do with a payoff if it found the least of its loss; or draw a map of payoffs."""
    from marlx.host import theory

    setting = theory.setting(
        arguments.epsilon, arguments.exploration, arguments.alpha, arguments.tolerance, arguments.rounds
    )
    if arguments.payoff == "map":
        sys.stdout.write(f"{theory.draw_map(setting, arguments.out)}\n")
    else:
        theory.show(arguments.payoff, arguments.overrides, setting)
    return 0


def _sweep_arguments(parser: argparse.ArgumentParser) -> None:
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


def _sweep(arguments: argparse.Namespace) -> int:
    """Train a grid of algorithms, environments and options; what is done already is kept."""
    from pathlib import Path

    from marlx.host import backend, launcher

    launcher.check_launcher(arguments.launcher)
    chunk = None if arguments.chunk is None else _whole("--chunk", arguments.chunk, least=1)
    resources = launcher.resources(arguments.resource)
    backend.prepare(backend.cores(), not arguments.no_cache)

    from marlx.host import sweeping

    file = Path(arguments.file)
    name = file.stem + (f"-{arguments.variant}" if arguments.variant else "")
    out = Path(arguments.out) if arguments.out is not None else Path("runs") / name
    settings = {"chunk": chunk, "cache": not arguments.no_cache, "progress": not arguments.quiet}
    return sweeping.sweep(file, out, arguments.status, arguments.launcher, settings, resources, arguments.variant)


def _list_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what",
        metavar="NAME",
        nargs="?",
        help="algorithms, environments, the name of one of either, or agent, training, evaluation",
    )


def _list(arguments: argparse.Namespace) -> int:
    """List algorithms and environments, or the fields of one."""
    sys.stdout.write(f"{listing.listing(arguments.what)}\n")
    return 0


def _whole(option: str, word: str, least: int = 0) -> int:
    """The whole number after an option."""
    if not (word.isascii() and word.isdigit() and len(word) <= 10) or int(word) < least:
        raise UsageError(f"{option} must be a whole number of at least {least}, not {shown(word)}")
    return int(word)


_COMMANDS: dict[str, tuple[Callable[[argparse.ArgumentParser], None], Callable[[Any], int]]] = {
    "train": (_train_arguments, _train),
    "evaluate": (_evaluate_arguments, _evaluate),
    "sweep": (_sweep_arguments, _sweep),
    "plot": (_plot_arguments, _plot),
    "render": (_render_arguments, _render),
    "compare": (_compare_arguments, _compare),
    "export": (_export_arguments, _export),
    "theory": (_theory_arguments, _theory),
    "list": (_list_arguments, _list),
}
