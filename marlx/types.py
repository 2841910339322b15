"""The values that flow between rooms, and the legend of axes.

    T  slots of a row (environment steps; the last slot of a stored row is the bootstrap slot, so rows hold T+1, but T
       where an episode is one step that terminates)
    B  rows of a batch        E  environments of one seed       S  seeds (always the leading axis, added by vmap)
    N  agents                 A  actions of one agent           O  observation features, `state` axis: D
    H  width of the agent's memory, [H R] when acting: R = E N rows, agents fastest

Trajectories are time-major, [T B ...]. A row is packed: when an episode ends, the next one begins in the next slot.
A slot that only holds the last observation of a truncated episode is not `valid`: it is there to be bootstrapped from.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax

Params = Any  # a pytree of arrays
Metrics = dict[str, jax.Array]  # name -> scalar


class View(NamedTuple):
    """What a team sees at a slot, with any leading axes (`[E]` when acting, `[T+1 B]` when learning)."""

    observation: jax.Array  # float32 [.. N O]
    state: jax.Array  # float32 [.. D]
    available: jax.Array  # bool [.. N A]
    previous_actions: jax.Array  # int32 [.. N]; A where there is none
    starts: jax.Array  # bool [..], True at the first slot of an episode: memory is reset before it


class Batch(NamedTuple):
    """Rows to learn from."""

    view: View  # leading axes [T+1 B]
    actions: jax.Array  # int32 [T+1 B N]; the action of a bootstrap slot is selected but not executed
    rewards: jax.Array  # float32 [T B]
    terminated: jax.Array  # bool [T B]
    valid: jax.Array  # bool [T B]
    optimal: jax.Array | None = None  # bool [T B], the joint action is a best one; None where that is not known

    def of_steps(self, tree: Any) -> Any:
        """Leaves [T+1 ..] -> [T ..], without the slot that is only bootstrapped from; nothing to do where none is."""
        return jax.tree.map(lambda x: x[: len(self.rewards)], tree)


class Sampling(NamedTuple):
    """How a batch is drawn: `recent` of its rows out of the latest `window` rows, the others out of all rows."""

    recent: int = 0
    window: int = 0


UNIFORM = Sampling()


class Progress(NamedTuple):
    """How far one seed has come, as float32 scalars; schedules depend on this alone."""

    env_steps: jax.Array
    episodes: jax.Array
    updates: jax.Array


class Algorithm(NamedTuple):
    """A method, as pure functions; the engine, the seed axis and the host know nothing else about it."""

    init: Callable[[chex.PRNGKey], Any]  # -> learner state, a NamedTuple with a field `params`: what acting depends on
    initial_carry: Callable[[int], Any]  # number of environments -> memory of the acting team
    act: Callable[[Any, Any, View, chex.PRNGKey, jax.Array], tuple[Any, jax.Array]]
    # (learner state, carry, view [E], key, epsilon) -> carry, actions int32 [E N]
    update: Callable[[Any, Batch, chex.PRNGKey, Progress], tuple[Any, Metrics]]
    # (learner state, batch, key, progress) -> learner state, metrics
    joint_values: Callable[[Any, View, jax.Array], dict[str, jax.Array]]
    # (learner state, view [E] of first slots of episodes, joint actions int32 [E N]) -> what the method believes of
    # them, [E] each: "joint" (Q_tot) and whatever else it learns of joint actions ("critic", "recognition", ..)
    sampling: Sampling = UNIFORM
    report: Callable[[Any], Metrics] = lambda _: {}  # final carry of an evaluation -> what it tells of its steps
