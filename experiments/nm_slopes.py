"""Which way up utilities settle in a battle where slopes are free: `python -m experiments.nm_slopes`.

For each way to train, each seed and some points of training, where the team is greedy and where each agent acts at
random half of the time: the mean return; the share of slopes dQ_tot/dq_i, at the greedy joint action, that are negative
(there Q_tot falls, locally, as the utility of an agent's greedy action rises); and the share of steps at which Q_tot
would be larger if one agent alone chose another action. Both shares are 0 for a monotone mixer.
"""

import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table

from experiments import record
from experiments.record import RESULTS
from experiments.words import folder, positive
from marlx.host.cli import guarded, one_line_parser
from marlx.host.console import console

if TYPE_CHECKING:
    import jax
    from matplotlib.figure import Figure

    from marlx.program import Program

# As in the small variants of the ablations (sweeps/nm_qmix_ablations.toml, nm_qmix_beta.toml).
BATTLE = ("algorithm.profile=nm", "environment.scenario=3m", "training.batch_size=32", "evaluation.interval=0")
WAYS = {
    "NM-QMIX, beta from 0.5": ("nm_qmix",),
    "NM-QMIX, beta from 0.1": ("nm_qmix", "algorithm.intrinsic_start=0.1"),
    "NM-QMIX, no RND": ("nm_qmix", "algorithm.intrinsic=none"),
    "QMIX, beta from 0.5": ("qmix", "algorithm.target=sarsa_lambda", "algorithm.intrinsic=rnd"),
}
COLUMNS = ("epsilon", "return", "negative slopes", "one agent could gain")
TEAMS = 32  # that play side by side; the first episode of each counts


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = one_line_parser("python -m experiments.nm_slopes", __doc__)
    parser.add_argument("--seeds", type=positive, default=2)
    parser.add_argument("--steps", type=positive, nargs="+", default=[40_000, 80_000, 160_000], help="where to look")
    parser.add_argument("--out", type=folder, default=str(RESULTS))
    parser.add_argument("overrides", nargs="*", metavar="section.name=value")
    options = parser.parse_args(arguments)

    from marlx.host import backend

    backend.prepare(options.seeds)
    table, rows = Table("way to train", "steps", "seed", *COLUMNS), []
    with record.unfinished(options.out / "nm_slopes.json") as partial:
        for name, words in WAYS.items():
            for found in looked_at(words, options.seeds, sorted(options.steps), *options.overrides):
                rows.append({"way": name, **found})
                table.add_row(*(f"{x:.2f}" if isinstance(x, float) else str(x) for x in rows[-1].values()))
            record.write(partial, found=rows)
    console().print(table)
    record.write_picture(options.out / "nm_slopes.png", picture(rows))


def picture(rows: Sequence[dict[str, Any]]) -> "Figure":
    """Both shares over training, of greedy teams and of half-random ones: means over seeds within their range."""
    import pandas as pd

    from marlx.analysis.plots import Curve, curve_panels

    frame, panels = pd.DataFrame(rows), {}
    for share, (epsilon, team) in itertools.product(COLUMNS[2:], ((0.0, "greedy team"), (0.5, "half-random team"))):
        shown = frame[frame["epsilon"] == epsilon].groupby(["way", "steps"], sort=False)[share]
        points = shown.agg(["mean", "min", "max", "count"]).reset_index()
        panels[f"{share}\n{team}"] = [
            Curve(
                str(way),
                steps=own["steps"].to_numpy(float),
                mean=own["mean"].to_numpy(float),
                low=own["min"].to_numpy(float),
                high=own["max"].to_numpy(float),
                seeds=int(own["count"].max()),
            )
            for way, own in points.groupby("way", sort=False)
        ]
    return curve_panels(panels, "mean_share")


def looked_at(words: Sequence[str], seeds: int, points: Sequence[int], *overrides: str) -> Iterator[dict[str, Any]]:
    """Trains, and measures each seed at each of the points, environment steps in ascending order."""
    import marlx
    from marlx.engine.seeds import Fleet
    from marlx.program import Program

    experiment = marlx.configure(
        words[0], "smax", *BATTLE, f"training.total_steps={points[-1]}", *words[1:], *overrides
    )
    program = Program(experiment)
    fleet = Fleet(program, experiment.numbers(), range(seeds))
    fleet.compile()
    measured = measuring(program)
    state, at = fleet.init(), 0
    for point in points:
        iteration = -(-point // program.plan.steps_per_iteration)
        state, at = fleet.train(at, iteration - at, state), iteration
        learners = fleet.cut(state.learner)
        for epsilon in (0.0, 0.5):
            found = [x.tolist() for x in measured(learners, epsilon)]
            for seed, row in enumerate(zip(*found, strict=True)):
                yield {"steps": point, "seed": seed, **dict(zip(COLUMNS, (epsilon, *row), strict=True))}


def measuring(program: "Program") -> Any:
    """A compiled function of (learners [S], epsilon): return and both shares, [S] each, over the first episodes."""
    import jax
    import jax.numpy as jnp

    from marlx import exploration
    from marlx.agents import AgentOptions
    from marlx.settings import Training

    experiment, spec = program.experiment, program.environment.spec
    rollout = program.trainer(experiment.numbers()).rollout
    agent, training = AgentOptions(**experiment.agent), Training(**experiment.training)
    method = program.rule.make(spec, agent, experiment.algorithm, training)

    def one(learner: Any, epsilon: jax.Array) -> tuple[jax.Array, ...]:
        team = rollout.reset(jax.random.key(1), TEAMS)
        _, rows, episodes = rollout.run(learner, team, jax.random.key(2), epsilon, spec.episode_limit)
        batch = rollout.batch(rows)
        played = method.play(learner.params, batch.view)
        steps, greedy = batch.of_steps((played, exploration.greedy(played.utilities, batch.view.available)))
        available = steps.view.available

        def mix(utilities: jax.Array) -> jax.Array:
            joint: jax.Array = method.mixer.apply(learner.params["mixer"], utilities, steps.view.state)
            return joint

        slopes, gain = slopes_and_gain(mix, steps.utilities, greedy, available)
        ends = jnp.cumsum(episodes.ended, axis=0)
        first = batch.valid & (ends - episodes.ended == 0)
        deciding = first[..., None] & (available.sum(-1) > 1)  # an agent that has died has one action
        returns = jnp.where(episodes.ended & (ends == 1), episodes.returns, 0).sum(0)
        return (
            returns.mean(),
            (deciding & (slopes < 0)).sum() / deciding.sum(),
            (first & (gain > 1e-4)).sum() / first.sum(),
        )

    return jax.jit(jax.vmap(one, (0, None)))


def slopes_and_gain(
    mix: "Callable[[jax.Array], jax.Array]", utilities: "jax.Array", greedy: "jax.Array", available: "jax.Array"
) -> "tuple[jax.Array, jax.Array]":
    """dQ_tot/dq_i [.. N] at greedy joint actions, and the most that Q_tot gains there by one agent's other action [..].

    Args:
        mix: Q_tot [..] of utilities [.. N], and of ones with more leading axes.
        utilities: [.. N A]; greedy: int [.. N]; available: bool [.. N A].
    """
    import jax
    import jax.numpy as jnp

    from marlx.agents import take

    chosen = take(utilities, greedy)
    joint, pull = jax.vjp(mix, chosen)
    here = jnp.eye(chosen.shape[-1], dtype=bool).reshape(-1, *(1,) * chosen.ndim, chosen.shape[-1])  # [N 1 .. N]
    alone = jnp.where(here, jnp.moveaxis(utilities, -1, 0), chosen)  # [N A .. N]
    may = jnp.moveaxis(available, (-2, -1), (0, 1))  # [N A ..]
    return pull(jnp.ones_like(joint))[0], jnp.where(may, mix(alone), -jnp.inf).max((0, 1)) - joint


if __name__ == "__main__":
    sys.exit(guarded(main))
