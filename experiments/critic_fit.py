"""How many updates until a joint value knows which joint actions pay: `python -m experiments.critic_fit`.

Joint values alone, without a method around them, learn random risk-reward games from joint actions drawn uniformly.
Few of them are agreements, which pay; all others cost. A method looks for the best agreement with what its joint value
believes; its own data are less even than these, and narrow to what it plays.
"""

import itertools
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from marlx_envs.options import UsageError
from rich.table import Table

from experiments import record
from experiments.record import RESULTS
from experiments.risk_reward import drawn
from experiments.words import check_names, folder, positive, sizes, stem
from marlx.host.cli import guarded, one_line_parser
from marlx.host.console import console

if TYPE_CHECKING:
    import jax
    from matplotlib.figure import Figure

MEMORY = 64  # width of an agent's memory
# Of CW-QMIX, ResQ and POW; of MRVF; of MRVF with `algorithm.critic_embedding=index`; of QTRAN.
CRITICS = ("feed_forward", "features", "indices", "encoder")
EMBEDDINGS = {"features": "features", "indices": "index"}  # MRVF's two forms
LEARNING_RATE = 1e-3
POINTS = 16  # of a curve
MOST_JOINT_ACTIONS = 1_000_000  # all are looked at, at every point
COLUMNS = ("error at agreements", "error elsewhere", "argmax is an agreement", "argmax is the optimum")


def model(critic: str, agents: int, actions: int) -> "Model":
    """A joint value of one state.

    In these games an agent sees the same in every episode. What its network would make of it, utilities [N A] or a
    memory [N H], is a parameter here.
    """
    import jax.numpy as jnp

    from marlx.agents import take
    from marlx.critics import FeatureValue, JointValue
    from marlx.mixers.feed_forward import FeedForward

    if critic == "feed_forward":
        mixer = FeedForward(n_agents=agents, state_size=1)
        return Model(
            (agents, actions), mixer.init, lambda net, q, u: mixer.apply(net, take(q, u), jnp.ones((len(u), 1)))
        )
    of = {"n_agents": agents, "n_actions": actions, "state_size": 1, "memory_size": MEMORY}
    value = JointValue(**of) if critic == "encoder" else FeatureValue(**of, critic_embedding=EMBEDDINGS[critic])
    return Model(
        (agents, MEMORY), value.init, lambda net, h, u: value.apply(net, h, jnp.ones((len(u), 1)), u)[0].reshape(-1)
    )


class Model(NamedTuple):
    """Q(u) of joint actions u [B N] -> [B], with what agents make of their observation as parameters [N ..]."""

    shape: tuple[int, int]
    init_net: "Callable[[jax.Array], Any]"
    apply_net: "Callable[[Any, jax.Array, jax.Array], jax.Array]"  # net, what agents make of it [B N ..], u -> [B]

    def init(self, key: "jax.Array") -> Any:
        """Parameters {"agents", "net"}."""
        import jax

        of_agents, of_net = jax.random.split(key)
        return {"agents": 0.1 * jax.random.normal(of_agents, self.shape), "net": self.init_net(of_net)}

    def apply(self, params: Any, joint: "jax.Array") -> "jax.Array":
        """Values [B] of joint actions [B N]."""
        import jax.numpy as jnp

        seen = jnp.broadcast_to(params["agents"], (len(joint), *self.shape))
        return self.apply_net(params["net"], seen, joint)


def fit(critic: str, agents: int, actions: int, games: int, batch: int, updates: int) -> list[dict[str, Any]]:
    """At some points of learning, means over games: errors at agreements and elsewhere, and what the argmax is."""
    import jax
    import jax.numpy as jnp
    import optax
    from marlx_envs.risk_reward import payoff

    from marlx import joint_actions

    net = model(critic, agents, actions)
    adam = optax.adam(LEARNING_RATE)
    joint = jnp.asarray(joint_actions.listed(agents, actions))

    def loss(params: Any, true: "jax.Array", chosen: "jax.Array") -> "jax.Array":
        return ((net.apply(params, joint[chosen]) - true[chosen]) ** 2).mean()

    def learn(game: Any, key: "jax.Array") -> "tuple[jax.Array, ...]":
        true = jax.vmap(payoff, (None, 0))(game, joint)
        pays = true >= 0

        def update(carry: Any, key: "jax.Array") -> Any:
            params, state = carry
            chosen = jax.random.randint(key, (batch,), 0, len(joint))
            step, state = adam.update(jax.grad(loss)(params, true, chosen), state)
            return (optax.apply_updates(params, step), state), None

        def look(carry: Any, key: "jax.Array") -> Any:
            carry, _ = jax.lax.scan(update, carry, jax.random.split(key, updates // POINTS))
            believed = net.apply(carry[0], joint)
            wrong = (believed - true) ** 2
            off = (jnp.sqrt(wrong.mean(where=pays)), jnp.sqrt(wrong.mean(where=~pays)))
            return carry, (*off, pays[believed.argmax()], believed.argmax() == true.argmax())

        params = net.init(key)
        return jax.lax.scan(look, (params, adam.init(params)), jax.random.split(key, POINTS))[1]

    found = jax.jit(lambda runs: jax.lax.map(lambda run: learn(*run), runs))(
        (drawn(games, agents, actions), jax.random.split(jax.random.key(1), games))
    )
    means = np.mean(found, axis=1, dtype=float).round(4).T  # [POINTS, COLUMNS]
    return [
        {"updates": (k + 1) * (updates // POINTS), **dict(zip(COLUMNS, row.tolist(), strict=True))}
        for k, row in enumerate(means)
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = one_line_parser("python -m experiments.critic_fit", __doc__)
    parser.add_argument("--critics", nargs="+", default=CRITICS)
    parser.add_argument("--settings", nargs="+", type=sizes, default=["3x5", "5x5", "5x8"], help="agents x actions")
    parser.add_argument("--games", type=positive, default=2)
    parser.add_argument("--batches", type=positive, nargs="+", default=[32], help="joint actions of an update")
    parser.add_argument("--updates", type=positive, default=48_000)
    parser.add_argument("--out", type=folder, default=str(RESULTS))
    parser.add_argument("--name", type=stem, default="critic_fit", help="of the files")
    options = parser.parse_args(arguments)
    check_names("joint value", options.critics, CRITICS)
    if options.updates % POINTS:
        raise UsageError(f"--updates must be a multiple of {POINTS}, not {options.updates}")
    settings = {setting: tuple(map(int, setting.split("x"))) for setting in options.settings}
    for setting, (agents, actions) in settings.items():
        if (count := actions**agents) > MOST_JOINT_ACTIONS:
            raise UsageError(f"{setting} has {count:,} joint actions; at most {MOST_JOINT_ACTIONS:,} can be fit")

    from marlx.host import backend

    backend.prepare(1)
    shown = [options.updates * quarter // 4 for quarter in (1, 2, 3, 4)]
    table = Table("setting, batch", "joint value", *(f"error, {k:,}" for k in shown), "argmax agrees", "is best")
    path = options.out / f"{options.name}.json"
    curves: dict[str, dict[str, list[dict[str, Any]]]] = {}
    plan = itertools.product(settings.items(), dict.fromkeys(options.batches), options.critics)
    with record.unfinished(path) as partial:
        for (setting, (agents, actions)), batch, critic in plan:
            panel = curves.setdefault(f"{setting}, {batch} joint actions an update", {})
            panel[critic] = fit(critic, agents, actions, options.games, batch, options.updates)
            errors = [f"{point[COLUMNS[0]]:.2f}" for point in panel[critic][POINTS // 4 - 1 :: POINTS // 4]]
            last = [f"{panel[critic][-1][name] * options.games:.0f} of {options.games}" for name in COLUMNS[2:]]
            table.add_row(f"{setting}, {batch}", critic, *errors, *last)
            record.write(partial, games=options.games, found=curves)
    console().print(table)
    record.write_picture(path.with_suffix(".png"), drawing(curves))


def drawing(curves: dict[str, dict[str, list[dict[str, Any]]]]) -> "Figure":
    """Error at agreements against updates, a panel for each setting."""
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, len(curves), figsize=(4.2 * len(curves), 3.2), sharey=True, squeeze=False)
    for axis, (title, panel) in zip(axes[0], curves.items(), strict=True):
        for critic, points in panel.items():
            axis.plot([p["updates"] / 1000 for p in points], [p[COLUMNS[0]] for p in points], label=critic)
        axis.set(title=title, xlabel="thousands of updates")
    axes[0, 0].set(ylabel=COLUMNS[0], ylim=(0, None))  # the axes share it
    axes[0, 0].legend(frameon=False)
    figure.tight_layout()
    return figure


if __name__ == "__main__":
    sys.exit(guarded(main))
