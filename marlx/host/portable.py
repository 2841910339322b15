"""Trained agents as a function of arrays: needs numpy only (or jax.numpy in its place), nothing of the library.

`marlx export` puts this file, as policy.py, beside the parameters it reads:

    from policy import Policy
    policy = Policy("exported", seed=0)
    memory, previous = policy.initial_memory(), None          # at the start of every episode
    memory, utilities = policy.utilities(memory, observations, previous)      # observations [.. N O]
    actions = policy.greedy(utilities, available)             # int [.. N]; previous = actions

Leading axes are free. With `Policy("exported", array=jax.numpy)` both functions may be compiled and vmapped.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

PARAMETERS, ABOUT = "policy.safetensors", "policy.json"
_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "BOOL": "|b1"}


def read_safetensors(path: str | Path) -> dict[str, Any]:
    """The arrays of a .safetensors file by name: a length of 8 bytes, a header in JSON, then the numbers."""
    content = Path(path).read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    found = {}
    for name, entry in json.loads(content[8:start]).items():
        if name != "__metadata__":
            first, last = entry["data_offsets"]
            flat = np.frombuffer(content[start + first : start + last], _TYPES[entry["dtype"]])
            found[name] = flat.reshape(entry["shape"])
    return found


class Policy:
    """The agents of one seed.

    Args:
        folder: what `marlx export` wrote.
        seed: its id, as in policy.json; None takes the first.
        array: numpy, or jax.numpy.
    """

    def __init__(self, folder: str | Path, seed: int | None = None, array: Any = np) -> None:
        self.about: dict[str, Any] = json.loads((Path(folder) / ABOUT).read_text(encoding="utf-8"))
        seeds = self.about["seeds"]
        if seed is not None and seed not in seeds:
            some = ", ".join(map(str, seeds[:8])) + (f", .. {seeds[-1]}" if len(seeds) > 8 else "")
            raise ValueError(f"seed {seed} was not exported; there are {some}")
        row = 0 if seed is None else seeds.index(seed)
        self.array = array
        self.stacked = read_safetensors(Path(folder) / PARAMETERS)  # of all seeds, [S ..]
        self.params: dict[str, Any] = {name: array.asarray(rows[row]) for name, rows in self.stacked.items()}

    def initial_memory(self, *leading: int) -> Any:
        """Memory before an episode's first step, [.. N H]."""
        return self.array.zeros((*leading, self.about["n_agents"], self.about["hidden_size"]), "float32")

    def utilities(self, memory: Any, observations: Any, previous_actions: Any = None) -> tuple[Any, Any]:
        """One step: memory [.. N H], observations [.. N O], actions of the step before int [.. N] (None at the first).

        Returns:
            Memory after the step, and the utilities of all actions [.. N A].
        """
        inputs = self._inputs(observations, previous_actions)
        memory = self._gru(memory, inputs) if self.about["network"] == "gru" else self._layers(inputs)
        return memory, self._head(memory)

    def greedy(self, utilities: Any, available: Any = None) -> Any:
        """The available action (bool [.. N A]; None: any) of highest utility, int [.. N]; the first of equals."""
        if available is not None:
            utilities = self.array.where(available, utilities, -self.array.inf)
        return utilities.argmax(axis=-1)

    def _inputs(self, observations: Any, previous_actions: Any) -> Any:
        xp, agents, actions = self.array, self.about["n_agents"], self.about["n_actions"]
        parts = [xp.asarray(observations, "float32")]
        leading = parts[0].shape[:-1]
        if self.about["last_action"]:
            before = xp.full(leading, actions) if previous_actions is None else xp.asarray(previous_actions)
            parts.append((before[..., None] == xp.arange(actions)).astype("float32"))
        if self.about["agent_id"]:
            parts.append(xp.broadcast_to(xp.eye(agents, dtype="float32"), (*leading, agents)))
        return xp.concatenate(parts, axis=-1)

    def _layers(self, inputs: Any) -> Any:
        xp, p = self.array, self.params
        features = xp.maximum(inputs @ p["encoder/kernel"] + p["encoder/bias"], 0)
        return xp.maximum(features @ p["body/kernel"] + p["body/bias"], 0)

    def _gru(self, memory: Any, inputs: Any) -> Any:
        xp, p = self.array, self.params
        features = xp.maximum(inputs @ p["encoder_kernel"].T + p["encoder_bias"], 0)
        reset, update, new = (features @ p["input_kernel"][k].T + p["input_bias"][k] for k in range(3))
        old = [memory @ p["recurrent_kernel"][k].T for k in range(3)]
        reset, update = (0.5 * xp.tanh(0.5 * gate) + 0.5 for gate in (reset + old[0], update + old[1]))
        new = xp.tanh(new + reset * (old[2] + p["recurrent_bias"]))
        return (1 - update) * new + update * memory

    def _head(self, memory: Any) -> Any:
        xp, p = self.array, self.params
        if "utilities/kernel" in p:
            return memory @ p["utilities/kernel"] + p["utilities/bias"]
        if "head_weights_kernel" in p:  # made of group states (GoMARL)
            hidden = xp.maximum(memory @ p["group/first/kernel"] + p["group/first/bias"], 0)
            group = xp.tanh(hidden @ p["group/second/kernel"] + p["group/second/bias"])
            weights = group @ p["head_weights_kernel"] + p["head_weights_bias"]
            weights = weights.reshape(*memory.shape, self.about["n_actions"])  # [.. N H A]
            return (memory[..., None] * weights).sum(-2) + group @ p["head_bias_kernel"] + p["head_bias_bias"]
        kernel, bias = p["head_kernel"], p["head_bias"]
        if "own_kernel" in p:  # one more for each agent (NA2Q)
            return xp.einsum("...nh,nah->...na", memory, kernel + p["own_kernel"]) + bias + p["own_bias"]
        return memory @ kernel.T + bias
