"""QTRAN's nets written out in NumPy, one state and joint action at a time, with the concatenations of their equations;
and gradients of functions of parameters against central differences."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np


def doubles(tree: Any) -> Any:
    return jax.tree.map(lambda x: np.asarray(x, np.float64), tree)


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def affine(p: Any, x: np.ndarray) -> np.ndarray:
    return x @ p["kernel"] + p["bias"]


def stacked(*parts: Any) -> dict[str, np.ndarray]:
    """The affine layer of several inputs side by side; the bias is the first one's."""
    return {"kernel": np.concatenate([p["kernel"] for p in parts]), "bias": parts[0]["bias"]}


def onehot(actions: Any, size: int) -> np.ndarray:
    return np.eye(size)[np.asarray(actions)]


def head(p: Any, x: np.ndarray) -> np.ndarray:
    for name in sorted(p):
        x = affine(p[name], relu(x))
    return x


def encoded(p: Any, memory: np.ndarray, actions: Any, size: int) -> np.ndarray:
    """g(h_i || onehot(u_i)) for each agent, [N H+A]."""
    first = stacked(p["first"]["memory"], p["first"]["action"])
    return affine(p["encoder"], relu(affine(first, np.concatenate([memory, onehot(actions, size)], -1))))


def joint_value(p: Any, memory: np.ndarray, state: np.ndarray, actions: Any, size: int) -> float:
    """Q_jt from memory [N H], state [D], actions [N]; either architecture."""
    if "encoder" in p:
        layer, seen = stacked(p["state"], p["encoded"]), encoded(p, memory, actions, size).sum(0)
    else:
        layer, seen = stacked(p["state"], p["actions"]), onehot(actions, size).reshape(-1)
    return float(head(p["head"], affine(layer, np.concatenate([state, seen])))[0])


def counterfactual(p: Any, memory: np.ndarray, state: np.ndarray, actions: Any, size: int) -> np.ndarray:
    """F [N A]."""
    k1, n = encoded(p, memory, actions, size), len(memory)
    rows = []
    for i in range(n):
        k2 = affine(p["own"], relu(affine(p["own_first"], memory[i])))
        seen = k2 + sum(k1) / n - k1[i] / n
        rows.append(head(p["head"], affine(stacked(p["state"], p["encoded"]), np.concatenate([state, seen]))))
    return np.stack(rows)


def state_value(p: Any, state: np.ndarray) -> float:
    return float(head(p["_Head_0"], affine(p["Dense_0"], state))[0])


def assert_gradient(found: Any, function: Callable[[Any], float], params: Any, directions: int = 3) -> None:
    """A float32 gradient against slopes of a float64 function of parameters, in random directions in each leaf."""
    leaves, tree = jax.tree.flatten(params)
    random, step = np.random.default_rng(0), 1e-6
    for place, (leaf, gradient) in enumerate(zip(leaves, jax.tree.leaves(found), strict=True)):
        for _ in range(directions):
            direction = random.standard_normal(leaf.shape)
            moved = (
                [*leaves[:place], leaf + sign * step * direction, *leaves[place + 1 :]] for sign in (1, -1)
            )  # fmt: skip
            above, below = (function(jax.tree.unflatten(tree, x)) for x in moved)
            scale = float(np.linalg.norm(gradient) * np.linalg.norm(direction))
            slope = float((np.asarray(gradient) * direction).sum())
            np.testing.assert_allclose(slope, (above - below) / (2 * step), rtol=1e-5, atol=1e-6 * scale + 1e-7)
