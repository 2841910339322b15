"""Functions of many environments at once, with the axis of environments last.

`jax.vmap` puts its axis first, and a CPU's vector units then work along axes as short as a team. A function made by
`batch_last` is written for arrays with a last axis [L], of environments; it is called for one environment, and all
`vmap`s around the call, however many, become that axis of one call.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap


def batch_last(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of one environment from a function of many.

    Args:
        function: pure; every array of its arguments and results, pytrees, has the last axis [L].

    Returns:
        the same without that axis.
    """
    compiled = jax.jit(function)

    @custom_vmap
    def many(*arguments: Any) -> Any:
        results = compiled(*jax.tree.map(lambda x: jnp.moveaxis(x, 0, -1), arguments))
        return jax.tree.map(lambda x: jnp.moveaxis(x, -1, 0), results)

    @many.def_vmap
    def more(size: int, batched: Any, *arguments: Any) -> tuple[Any, Any]:
        merged = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), _spread(size, batched, arguments))
        results = jax.tree.map(lambda x: x.reshape(size, -1, *x.shape[1:]), many(*merged))
        return results, _all_batched(results)

    @custom_vmap
    def one(*arguments: Any) -> Any:
        return jax.tree.map(lambda x: x[0], many(*jax.tree.map(lambda x: x[None], arguments)))

    @one.def_vmap
    def first(size: int, batched: Any, *arguments: Any) -> tuple[Any, Any]:
        results = many(*_spread(size, batched, arguments))
        return results, _all_batched(results)

    return one


def _spread(size: int, batched: Any, arguments: Any) -> Any:
    """Arguments with the leading axis [size]; those without it are repeated."""
    return jax.tree.map(lambda x, has: x if has else jnp.broadcast_to(x, (size, *x.shape)), arguments, tuple(batched))


def _all_batched(results: Any) -> Any:
    return jax.tree.map(lambda _: True, results)
