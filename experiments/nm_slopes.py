"""Which way up utilities settle in a battle where slopes are free: `python -m experiments.nm_slopes`.

For each way to train, at some points of it: what the greedy team returns; the share of slopes dQ_tot/dq_i that are
negative (there an agent's greedy action is the one that Q_tot likes least); and how often Q_tot would be larger if one
agent alone chose another action. In the steps of a greedy team, and of one that acts at random half of the time.
"""

import sys
from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from experiments import record
from experiments.record import RESULTS
from marlx.host.cli import guarded, one_line_parser

# As in the small variants of the ablations (sweeps/nm_qmix_ablations.toml, nm_qmix_beta.toml).
BATTLE = ("algorithm.profile=nm", "environment.scenario=3m", "training.batch_size=32", "evaluation.interval=0")
WAYS = {
    "NM-QMIX, beta from 0.5": ("nm_qmix",),
    "NM-QMIX, beta from 0.1": ("nm_qmix", "algorithm.intrinsic_start=0.1"),
    "NM-QMIX, no RND": ("nm_qmix", "algorithm.intrinsic=none"),
    "QMIX, beta from 0.5": ("qmix", "algorithm.target=sarsa_lambda", "algorithm.intrinsic=rnd"),
}
COLUMNS = ("epsilon", "return", "negative slopes", "one agent could gain")


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = one_line_parser("python -m experiments.nm_slopes", __doc__)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, nargs="+", default=[40_000, 80_000, 160_000], help="where to look")
    parser.add_argument("overrides", nargs="*", metavar="section.name=value")
    options = parser.parse_args(arguments)

    from marlx.host import backend

    backend.prepare(options.seeds)
    table, rows = Table("way to train", "steps", "seed", *COLUMNS), []
    for name, words in WAYS.items():
        for found in looked_at(words, options.seeds, sorted(options.steps), *options.overrides):
            rows.append({"way": name, **found})
            table.add_row(*(f"{x:.2f}" if isinstance(x, float) else str(x) for x in rows[-1].values()))
    Console().print(table)
    record.write(RESULTS / "nm_slopes.json", found=rows)


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
    state, at = fleet.init(), 0
    for point in points:
        iteration = -(-point // program.plan.steps_per_iteration)
        state, at = fleet.train(at, iteration - at, state), iteration
        learners = fleet.cut(state.learner)
        for epsilon in (0.0, 0.5):
            found = [x.tolist() for x in _measured(program, learners, experiment, epsilon)]
            for seed, row in enumerate(zip(*found, strict=True)):
                yield {"steps": point, "seed": seed, **dict(zip(COLUMNS, (epsilon, *row), strict=True))}


def _measured(program: Any, learners: Any, experiment: Any, epsilon: float) -> Any:
    """Return, share of negative slopes, and share of steps with a better deviation, [S] each; over 32 episodes."""
    import jax
    import jax.numpy as jnp

    from marlx.agents import AgentOptions, take
    from marlx.settings import Training

    spec, rollout = program.environment.spec, program.trainer(experiment.numbers()).rollout
    method = program.rule.make(
        spec, AgentOptions(**experiment.agent), experiment.algorithm, Training(**experiment.training)
    )

    def one(learner: Any) -> tuple[jax.Array, ...]:
        team = rollout.reset(jax.random.key(1), 32)
        _, rows, episodes = rollout.run(learner, team, jax.random.key(2), jnp.float32(epsilon), spec.episode_limit)
        batch = rollout.batch(rows)
        played = method.play(learner.params, batch.view)
        greedy = jnp.where(batch.view.available, played.utilities, -jnp.inf).argmax(-1)
        steps, greedy = batch.of_steps((played, greedy))

        def mixed(utilities: jax.Array) -> jax.Array:
            joint: jax.Array = method.mixer.apply(learner.params["mixer"], utilities, steps.view.state)
            return joint

        chosen = take(steps.utilities, greedy)  # [T B N]
        joint, pull = jax.vjp(mixed, chosen)
        (slopes,) = pull(jnp.ones_like(joint))
        eye = jnp.eye(spec.n_agents)[:, None, None, None]  # agent i alone takes action a: [N A T B N]
        alone = jnp.where(eye == 1, jnp.moveaxis(steps.utilities, -1, 0)[None], chosen)
        may = jnp.moveaxis(steps.view.available, (-2, -1), (0, 1))  # [N A T B]
        best = jnp.where(may, mixed(alone), -jnp.inf).max((0, 1))
        valid = batch.valid
        gains = (best > joint + 1e-4) & valid
        ended = episodes.ended
        return (
            jnp.where(ended, episodes.returns, 0).sum() / ended.sum(),
            ((slopes < 0) & valid[..., None]).sum() / (valid.sum() * spec.n_agents),
            gains.sum() / valid.sum(),
        )

    return jax.jit(jax.vmap(one))(learners)


if __name__ == "__main__":
    sys.exit(guarded(main))
