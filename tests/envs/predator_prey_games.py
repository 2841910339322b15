"""Positions on the grid by hand: states from coordinates, coordinates from states, what is seen, one transition."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from marlx_envs.predator_prey import PredatorPrey, PredatorPreyState

MOVES = [(0, 1), (1, 0), (0, -1), (-1, 0)]
LETTERS = {"R": 0, "D": 1, "L": 2, "U": 3, "S": 4, "C": 5}
Cell = tuple[int, int] | None


def place(
    env: PredatorPrey, agents: list[Cell], prey: list[Cell], frozen: list[bool] | None = None
) -> PredatorPreyState:
    """A state with entities at (row, column), None for those that have left."""

    def cells(entities: list[Cell]) -> jax.Array:
        return jnp.asarray([env.grid.none if e is None else env.grid.cell(*e) for e in entities], env.grid.dtype)

    template = env.reset(jax.random.key(0))
    standing = None if template.frozen is None else jnp.asarray(frozen or [False] * len(agents))
    return PredatorPreyState(cells(agents), cells(prey), jnp.zeros_like(template.time), standing)


def positions(env: PredatorPrey, cells: Any) -> list[Cell]:
    """The inverse of `place`."""
    stride = env.grid.stride
    return [None if c == env.grid.none else (int(c) // stride - 1, int(c) % stride) for c in np.asarray(cells)]


_look = jax.jit(
    lambda env, state: jax.vmap(lambda s: (env.observe(s), env.global_state(s), env.available_actions(s)))(state),
    static_argnums=0,
)


def look(env: Any, states: PredatorPreyState) -> list[np.ndarray]:
    """Observations, global states and available actions of a batch of states."""
    return [np.asarray(x) for x in _look(env, states)]


def look_at(env: Any, state: PredatorPreyState) -> list[np.ndarray]:
    """The same of one state."""
    return [x[0] for x in look(env, jax.tree.map(lambda x: x[None], state))]


_transition = jax.jit(lambda env, *arguments: env.transition(*arguments), static_argnums=0)


def transition(
    env: Any,
    state: PredatorPreyState,
    actions: Any,
    agent_order: Any,
    prey_order: Any,
    uniforms: Any,
    params: Any = None,
) -> Any:
    """`env.transition` on lists."""
    orders = (jnp.asarray(list(order), jnp.int32) for order in (agent_order, prey_order))
    return _transition(env, state, jnp.asarray(actions, jnp.int32), *orders, jnp.asarray(uniforms, jnp.float32), params)
