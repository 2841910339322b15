"""Say what each method would do with a payoff if it found the least of its loss; or draw a map of payoffs."""

import argparse
import sys

from marlx_envs.options import UsageError, shown


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declares what the command takes."""
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


def run(found: argparse.Namespace) -> int:
    """Runs the command; returns the exit code."""
    from marlx.host import theory

    setting = theory.setting(found.epsilon, found.exploration, found.alpha, found.tolerance, found.rounds)
    for word in found.overrides:
        name = word.partition("=")[0].strip()
        if not name.startswith("environment.") or name == "environment.payoff":
            raise UsageError(
                f"{shown(word)} is no option of a payoff; give environment.name=value (`marlx list matrix_game`), "
                "--epsilon, --exploration, --alpha, --tolerance or --rounds"
            )
    if found.payoff == "map" and found.overrides:
        raise UsageError(f"{found.overrides[0]} is of a named payoff; the map has payoffs of its own")
    if found.payoff != "map" and found.out is not None:
        raise UsageError("--out is of the map; what is said of one payoff is printed")
    if found.payoff == "map":
        sys.stdout.write(f"{theory.draw_map(setting, found.out)}\n")
    else:
        theory.show(found.payoff, found.overrides, setting)
    return 0
