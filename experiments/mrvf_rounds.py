"""What MRVF's joint value and its second round believe of risk-reward games: `python -m experiments.mrvf_rounds`.

For each game and seed: what the greedy joint action pays, how far Q_jt is off at the agreements (the joint actions that
pay), how many joint actions Q_jt holds to be better than the greedy one, and the most that round 2 expects of any.
"""

import sys
from collections.abc import Sequence

import numpy as np
from rich.table import Table

from experiments.risk_reward import drawn
from experiments.words import positive, whole
from marlx.host.cli import guarded, one_line_parser
from marlx.host.console import console


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = one_line_parser("python -m experiments.mrvf_rounds", __doc__)
    parser.add_argument("--games", nargs="+", type=whole, default=[0, 3], help="numbers of games of risk_reward's 20")
    parser.add_argument("--seeds", type=positive, default=2)
    parser.add_argument("--steps", type=positive, default=60_000)
    parser.add_argument("overrides", nargs="*", metavar="section.name=value")
    options = parser.parse_args(arguments)

    import jax
    import jax.numpy as jnp
    from marlx_envs.risk_reward import normalised_return, payoff

    import marlx
    from marlx import joint_actions
    from marlx.analysis.joint_table import greedy_actions, learned_tables
    from marlx.engine.seeds import Fleet
    from marlx.host import backend
    from marlx.program import Program

    backend.prepare(options.seeds)
    experiment = marlx.configure(
        "mrvf", "risk_reward", f"training.total_steps={options.steps}", "evaluation.interval=0", *options.overrides
    )
    program = Program(experiment)
    spec = program.environment.spec
    fleet = Fleet(program, experiment.numbers(), range(options.seeds))
    fleet.compile()
    joint = jnp.asarray(joint_actions.listed(spec.n_agents, spec.n_actions))
    games = drawn(max(options.games) + 1, spec.n_agents, spec.n_actions)
    table = Table("game", "seed", "normalised return", "Q_jt off at agreements", "better by Q_jt", "round 2 at most")
    for number in options.games:
        game = {name: values[number] for name, values in games.items()}
        true = np.asarray(jax.vmap(payoff, (None, 0))(game, joint))
        fleet.numbers = {**fleet.numbers, "environment": game}
        learner = fleet.cut(fleet.train(0, program.plan.iterations, fleet.init()).learner)
        tables = {
            name: x.reshape(options.seeds, -1) for name, x in learned_tables(program, learner, fleet.numbers).items()
        }
        chosen = np.ravel_multi_index(
            tuple(greedy_actions(program, learner, fleet.numbers).T), (spec.n_actions,) * spec.n_agents
        )
        for seed, (critic, second, cell) in enumerate(zip(tables["critic"], tables["round_2"], chosen, strict=True)):
            off = np.sqrt(((critic - true)[true >= 0] ** 2).mean())
            table.add_row(
                str(number), str(seed), f"{float(normalised_return(game, true[cell])):.2f}", f"{off:.2f}",
                str((critic > critic[cell] + 1e-6).sum()), f"{second.max():.2f}",
            )  # fmt: skip
    console().print(table)


if __name__ == "__main__":
    sys.exit(guarded(main))
