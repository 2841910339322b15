"""Whether an environment is what its `Spec` says, asked by tracing one reset and one step: nothing is compiled."""

from collections.abc import Mapping
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from marlx_envs.base import Environment, Params, Spec
from marlx_envs.options import UsageError, described, shown

_STEP = "state, reward, terminated, truncated, info"


def check(environment: Environment) -> None:
    """Holds the shapes and dtypes of every function of an environment against its spec.

    Raises:
        UsageError: a function returns something else; one line that names it, what came and what the spec says. What
            the environment itself raises is passed on.
    """
    spec, name = environment.spec, type(environment).__name__
    if not isinstance(spec, Spec):
        raise UsageError(f"{name}.spec must be a Spec, not {described(spec)}")
    jax.eval_shape(lambda key, params: _traced(environment, key, params), jax.random.key(0), environment.params)


def _traced(environment: Environment, key: chex.PRNGKey, params: Params) -> None:
    """A reset, a step, and what is seen before it."""
    spec, name = environment.spec, type(environment).__name__
    before = environment.reset(key, params)
    found: Any = environment.step(key, before, jnp.zeros(spec.n_agents, jnp.int32), params)
    if not isinstance(found, tuple | list):
        raise UsageError(f"{name}.step returned {described(found)}, not the five of {_STEP}")
    if len(found) != 5:
        raise UsageError(f"{name}.step returned {len(found)} values, not the five of {_STEP}")
    after, reward, terminated, truncated, info = found
    _check_same(f"{name}.step", after, before)
    _check_array(f"{name}.step returned as reward", reward, np.float32, ())
    _check_array(f"{name}.step returned as terminated", terminated, np.bool_, ())
    _check_array(f"{name}.step returned as truncated", truncated, np.bool_, ())
    _check_info(f"{name}.step", info, spec)

    def seen(function: str, kind: Any, *sizes: str) -> None:
        value = getattr(environment, function)(before, params)  # and of the state after: it has the same shapes
        shape = tuple(getattr(spec, size) for size in sizes)
        _check_array(f"{name}.{function} returned", value, kind, shape, f", [{' '.join(sizes)}] of its spec")

    seen("observe", np.generic, "n_agents", "observation_size")
    seen("global_state", np.generic, "state_size")
    seen("available_actions", np.bool_, "n_agents", "n_actions")


def _check_array(what: str, value: Any, kind: Any, shape: tuple[int, ...], said: str = "") -> None:
    """Raises `UsageError` unless a value is an array, or a number, of this kind and shape.

    Features are of any kind (`np.generic`): networks read whole numbers and masks as floats.
    """
    is_array = hasattr(value, "dtype") or isinstance(value, bool | int | float)
    if is_array and jnp.issubdtype(jnp.result_type(value), kind) and jnp.shape(value) == shape:
        return
    word = "bool" if kind is np.bool_ else "float32"
    raise UsageError(f"{what} {described(value)}; it must be {word} [{' '.join(map(str, shape))}]{said}")


def _check_same(what: str, after: Any, before: Any) -> None:
    """Raises `UsageError` unless the state of a step has the structure, shapes and dtypes of that of a reset."""
    then, first = (str(jax.tree.structure(tree)).removeprefix("PyTreeDef") for tree in (after, before))
    if then != first:
        raise UsageError(f"{what} returned a state of structure {shown(then)}, reset one of {shown(first)}")
    places = jax.tree_util.tree_leaves_with_path(before)
    for (path, old), new in zip(places, jax.tree.leaves(after), strict=True):
        kinds = [described(jax.ShapeDtypeStruct(jnp.shape(x), jnp.result_type(x))) for x in (new, old)]
        if kinds[0] != kinds[1]:
            place = f"state{jax.tree_util.keystr(path)}"
            raise UsageError(f"{what} returned {place} as {kinds[0]}, reset as {kinds[1]}")


def _check_info(what: str, info: Any, spec: Spec) -> None:
    """Raises `UsageError` unless info is a dictionary that has scalars for what the spec names."""
    if not isinstance(info, Mapping):
        raise UsageError(f"{what} returned as info {described(info)}; it is a dictionary of scalars")
    wanted = dict.fromkeys(spec.metrics, "metrics") | ({"won": "can_be_won"} if spec.can_be_won else {})
    for name, said in wanted.items():
        if name not in info:
            raise UsageError(f"{what} returned info without {shown(name)}, which spec.{said} promises")
        if not jax.tree_util.all_leaves([info[name]]) or jnp.shape(info[name]) != ():
            raise UsageError(f"{what} returned info[{shown(name)}] as {described(info[name])}; it is a scalar")
