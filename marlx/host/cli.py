"""The command `marlx`: arguments in, exit code out. 0 success, 2 a mistake of the user (one line on stderr), 1 a fault
or every seed of a training died, 130 and 143 for Ctrl-C and SIGTERM. Nothing heavy is imported before it is needed.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from marlx_envs.options import UsageError, nearest, shown, unknown

import marlx
from marlx.host.signals import interrupts

COMMANDS = ("train", "repeat", "evaluate", "sweep", "plot", "report", "render", "compare", "export", "theory", "list")


class _Parser(argparse.ArgumentParser):
    """Raises instead of printing the usage and exiting."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see `{self.prog} --help`)")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    return guarded(lambda: _dispatch(arguments))


def guarded(work: Callable[[], int | None]) -> int:
    """Runs a program; returns its exit code (None: 0). A mistake of its user is one line and code 2."""
    try:
        with interrupts():
            return work() or 0
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


def one_line_parser(prog: str, description: str | None) -> argparse.ArgumentParser:
    """A parser of arguments whose errors are a `UsageError`."""
    return _Parser(prog=prog, description=description, allow_abbrev=False)


def _complain(message: str) -> None:
    sys.stderr.write(f"marlx: {' '.join(message.split())}\n")


def _dispatch(arguments: list[str]) -> int:
    if arguments and arguments[0] in COMMANDS:
        command = importlib.import_module(f"marlx.host.commands.{arguments[0]}")
        parser = one_line_parser(f"marlx {arguments[0]}", command.__doc__)
        command.arguments(parser)
        found, rest = parser.parse_known_intermixed_args(arguments[1:])
        if rest:
            _refuse(parser, rest[0])
        found.given = arguments[1:]
        return int(command.run(found))
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
        raise UsageError(f"a command is missing; valid: {', '.join(COMMANDS)} (see `marlx --help`)")
    if rest[0].startswith("-"):
        raise unknown("option", rest[0], ("--help", "--version"))
    raise unknown("command", rest[0], COMMANDS)


def _refuse(parser: argparse.ArgumentParser, word: str) -> NoReturn:
    """The error for an argument that a command does not take."""
    if not word.startswith("-"):
        raise UsageError(f"one argument too many: {shown(word)} (see `{parser.prog} --help`)")
    options = [name for action in parser._actions for name in action.option_strings if name.startswith("--")]
    raise UsageError(f"unknown option {shown(word)} of `{parser.prog}`{nearest(word, options)}")


def _overview() -> str:
    docs = {name: importlib.import_module(f"marlx.host.commands.{name}").__doc__ for name in COMMANDS}
    lines = [f"  {name:<10} {str(doc).splitlines()[0]}" for name, doc in docs.items()]
    example = "marlx train qmix matrix_game training.total_steps=200_000 --seeds 64 --out runs/first"
    return "\n".join(["commands:", *lines, "", "`marlx COMMAND --help` says more. An example:", f"  {example}"])
