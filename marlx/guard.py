"""What is not finite stops learning: an optimiser that freezes for good, and what was bad first.

A seed that went wrong keeps its last finite parameters; what it computes beside the others does not touch them.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from marlx.types import Params

CAUSES = ("nothing", "loss", "gradient", "parameters")  # what was not finite first
_LOSS, _GRADIENT, _PARAMETERS = 1, 2, 3


class Guarded(NamedTuple):
    """State of a guarded optimiser."""

    cause: jax.Array  # int32, index into CAUSES; 0 while all is well
    inner: Any


class Fault(NamedTuple):
    """When a seed went wrong, and by what."""

    env_steps: jax.Array  # int32; -1 while all is well
    cause: jax.Array  # int32, index into CAUSES


def guarded(inner: optax.GradientTransformation) -> optax.GradientTransformation:
    """`inner` until a gradient or a step is not finite; from then on steps of zero, and a state that stays."""

    def init(params: Params) -> Guarded:
        return Guarded(jnp.int32(0), inner.init(params))

    def update(updates: Params, state: Guarded, params: Params | None = None) -> tuple[Params, Guarded]:
        steps, moments = inner.update(updates, state.inner, params)
        found = jnp.where(_finite(updates), jnp.where(_finite(steps), 0, _PARAMETERS), _GRADIENT)
        cause = jnp.where(state.cause == 0, found, state.cause)
        steps, moments = jax.tree.map(
            lambda new, old: jnp.where(cause == 0, new, old),
            (steps, moments),
            (jax.tree.map(jnp.zeros_like, steps), state.inner),
        )
        return steps, Guarded(cause, moments)

    return optax.GradientTransformation(init, update)


def no_fault() -> Fault:
    """All is well."""
    return Fault(jnp.int32(-1), jnp.int32(0))


def watched(fault: Fault, loss: jax.Array, learner: Any, env_steps: jax.Array) -> tuple[Fault, Any]:
    """The fault after an update, the first of the loss and of every guarded optimiser; and the learner's state.

    From a fault on all optimisers of the seed stand still, whichever of them it was, and those too that could go on.
    """
    cause = jnp.where(jnp.isfinite(loss), 0, _LOSS)
    for state in jax.tree.leaves(learner, is_leaf=_is_guarded):
        if _is_guarded(state):
            cause = jnp.where(cause == 0, state.cause, cause)
    first = (fault.cause == 0) & (cause != 0)
    fault = Fault(jnp.where(first, env_steps, fault.env_steps), jnp.where(first, cause, fault.cause))

    def stopped(state: Any) -> Any:
        if not _is_guarded(state):
            return state
        return state._replace(cause=jnp.where(state.cause == 0, fault.cause, state.cause))

    return fault, jax.tree.map(stopped, learner, is_leaf=_is_guarded)


def _is_guarded(x: Any) -> bool:
    return isinstance(x, Guarded)


def _finite(tree: Any) -> jax.Array:
    return jnp.stack([jnp.isfinite(x).all() for x in jax.tree.leaves(tree)] or [jnp.bool_(True)]).all()
