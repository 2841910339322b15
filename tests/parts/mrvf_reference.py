"""MRVF's nets in NumPy, one state and joint action at a time, with the concatenations of their equations."""

from typing import Any

import numpy as np

from marlx.rounds import Rounds
from tests.parts.qtran_reference import affine, onehot, relu, stacked


def memories(p: Any, inputs: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """[T+1 B N H] of inputs [T+1 B N I], from the equations of the cell."""
    memory, found = np.zeros((*inputs.shape[1:3], len(p["recurrent_bias"])), float), []
    for seen, start in zip(inputs, starts, strict=True):
        memory = memory * (1 - start.astype(float))[:, None, None]
        x = relu(seen @ p["encoder_kernel"].T + p["encoder_bias"])
        i = [x @ k.T + c for k, c in zip(p["input_kernel"], p["input_bias"], strict=True)]
        k = [memory @ kernel.T for kernel in p["recurrent_kernel"]]
        r, z = 1 / (1 + np.exp(-(i[0] + k[0]))), 1 / (1 + np.exp(-(i[1] + k[1])))
        n = np.tanh(i[2] + r * (k[2] + p["recurrent_bias"]))
        memory = (1 - z) * n + z * memory
        found.append(memory)
    return np.stack(found)


def utilities(
    p: Any, options: Rounds, number: int, memory: np.ndarray, observation: np.ndarray, preceding: Any
) -> np.ndarray:
    """q [N A] of a round (from 0) after a joint action [N] (None: the first), memory [N H], observation [N O]."""
    n, a, c = options.n_agents, options.n_actions, options.embedding_width
    if options.embedding == "index":
        own = np.zeros((n, a)) if preceding is None else onehot(preceding, a)
        team = own.reshape(-1)
    else:
        default = p["default_row"][0, 0]
        own = np.stack([
            default if preceding is None else affine(p["embedding"], observation[i]).reshape(a, c)[preceding[i]]
            for i in range(n)
        ])  # fmt: skip
        team = own.mean(0)
    last = p[f"last_{1 if options.share_rounds else number + 1}"]
    layer = stacked(last["memory"], last["own"], last["team"])
    return np.stack([
        affine(last["utilities"], relu(affine(layer, np.concatenate([memory[i], own[i], team])))) for i in range(n)
    ])  # fmt: skip


def joint_value(p: Any, memory: np.ndarray, state: np.ndarray, actions: Any, size: int) -> float:
    """Q_jt from memory [N H], state [D], actions [N]; either embedding, with the state or without."""
    features = []
    for h, u in zip(memory, actions, strict=True):
        if "table" in p:
            features.append(relu(affine(p["table"], h).reshape(size, -1)[u]))
        else:
            features.append(relu(affine(stacked(p["memory"], p["action"]), np.concatenate([h, onehot(u, size)]))))
    seen, layer = np.concatenate(features), p["first"]
    if "state_1" in p:
        layer = stacked(layer, p["state_3"])
        seen = np.concatenate([seen, relu(affine(p["state_2"], relu(affine(p["state_1"], state))))])
    return float(affine(p["out"], relu(affine(layer, seen)))[0])


def qmix(p: Any, q: np.ndarray, state: np.ndarray, width: int, hidden: int) -> float:
    """Q_tot of utilities [N] in a state [D]."""
    w1, w2, value, b1 = np.split(affine(p["first"], state), np.cumsum([hidden, hidden, width]))
    w1 = np.abs(affine(p["w1"], relu(w1))).reshape(len(q), width)
    mixed = q @ w1 + b1
    mixed = np.where(mixed > 0, mixed, np.expm1(np.minimum(mixed, 0)))
    return float(mixed @ np.abs(affine(p["w2"], relu(w2))) + affine(p["value"], relu(value))[0])
