"""QMIX without its sign constraint on Games A and B (paper "Beyond Monotonicity"): `python -m experiments.nm_qmix`.

Epsilon-greedy against uniform data, and the ablations that the paper's open questions ask for. In a game of one step
the target is the reward, and the distilled network sees no step that goes on: there the ablations of target and of RND
are the method itself. So each game is also played several times in a row, where they differ.
"""

import sys
from collections.abc import Sequence

from experiments import record
from experiments.payoff import Laboratory, Outcome, named, report
from experiments.record import RESULTS
from experiments.words import check_names, folder, positive
from marlx.host.cli import guarded, one_line_parser

GAMES = ("game_a", "game_b")
NM = ("nm_qmix", "algorithm.intrinsic=rnd")
VARIANTS: dict[str, tuple[str, ...]] = {
    "nm_qmix": NM,
    "softmax": (*NM, "algorithm.exploration=softmax"),
    "count bonus": ("nm_qmix", "algorithm.intrinsic=count"),
    "uniform data": (*NM, "training.epsilon_end=1"),
    "qmix": ("qmix",),
    "qmix, uniform": ("qmix", "training.epsilon_end=1"),
    "Q-learning target": (*NM, "algorithm.target=td_lambda"),
    "no RND": ("nm_qmix", "algorithm.intrinsic=none"),
    "neither": ("nm_qmix", "algorithm.intrinsic=none", "algorithm.target=td_lambda"),
    "qmix, SARSA": ("qmix", "algorithm.target=sarsa_lambda"),
}
# No ablations: numbers that the paper leaves open, its batches of 128, and pymarl's RMSprop in place of its Adam.
GAPS: dict[str, tuple[str, ...]] = {
    "learning rate 5e-4": (*NM, "training.learning_rate=5e-4"),
    "learning rate 1e-4": (*NM, "training.learning_rate=1e-4"),
    "RMSprop 5e-4": (*NM, "training.learning_rate=5e-4", "training.optimiser=rmsprop"),
    "batches of 128": (*NM, "training.batch_size=128"),
    "orthogonal": (*NM, "agent.initialiser=orthogonal"),
    "linear hypernets": (*NM, "algorithm.hypernet_layers=1"),
    "epsilon at once": (*NM, "training.epsilon_start=0.05"),
    "epsilon to the end": (*NM, "training.epsilon_steps={steps}"),
    "lambda 0": (*NM, "training.td_lambda=0"),
    "lambda 1": (*NM, "training.td_lambda=1"),
}
OF_MANY_STEPS = ("lambda 0", "lambda 1", "Q-learning target", "no RND", "neither", "qmix, SARSA")


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = one_line_parser("python -m experiments.nm_qmix", __doc__)
    parser.add_argument("--variants", nargs="+", metavar="NAME", help="by default all that differ")
    parser.add_argument(
        "--gaps", action="store_true", help="other numbers in place of ablations, in files of their own"
    )
    parser.add_argument("--repeats", type=positive, default=1, help="times that a game is played in a row")
    parser.add_argument("--seeds", type=positive, default=64)
    parser.add_argument("--steps", type=positive, default=60_000, help="environment steps of each seed")
    parser.add_argument("--out", type=folder, default=str(RESULTS))
    parser.add_argument("overrides", nargs="*", metavar="section.name=value")
    options = parser.parse_args(arguments)

    import pandas as pd

    from marlx.analysis.comparisons import share_table

    outcomes: dict[str, dict[str, Outcome]] = {game: {} for game in GAMES}
    offered = {"nm_qmix": NM, **GAPS} if options.gaps else VARIANTS
    check_names("variant", options.variants or (), offered)
    for variant in options.variants or (name for name in offered if options.repeats > 1 or name not in OF_MANY_STEPS):
        method, *overrides = (word.format(steps=options.steps) for word in offered[variant])
        laboratory = Laboratory(
            method, 2, 3, options.seeds, options.steps, f"environment.repeats={options.repeats}",
            "training.epsilon_end=0.05", f"training.epsilon_steps={options.steps / 6}", *overrides, *options.overrides,
        )  # fmt: skip
        for game in GAMES:
            outcome = outcomes[game][variant] = laboratory.study(named(game))
            print(f"{game}, {variant}: {outcome.share:.0%}, {outcome.seconds:.0f} s", flush=True)
    name = "nm_qmix_gaps" if options.gaps else "nm_qmix"
    name += "" if options.repeats == 1 else f"_{options.repeats}_steps"
    for game, found in outcomes.items():
        words = f"{options.repeats} in a row, {options.seeds} seeds, {options.steps:,} steps each"
        report(game, found, words, options.out / f"{name}_{game}.png" if options.repeats == 1 else None)
    shares = {game: {variant: outcome.share for variant, outcome in found.items()} for game, found in outcomes.items()}
    record.write_picture(options.out / f"{name}.png", share_table(pd.DataFrame(shares)))
    plain = {game: {variant: o.plain() for variant, o in found.items()} for game, found in outcomes.items()}
    record.write(options.out / f"{name}.json", outcomes=plain)


if __name__ == "__main__":
    sys.exit(guarded(main))
