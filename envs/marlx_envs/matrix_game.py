"""Payoff games: one joint decision, or the same (or another) one repeated, with any payoff tensor for 2 to N agents."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from marlx_envs.discovery import Entry
from marlx_envs.options import Option, UsageError, check, data, flag, shown, size, text
from marlx_envs.payoff_input import numbers, read_payoff
from marlx_envs.payoffs import MAX_ENTRIES, PAYOFFS, Payoff, options_taken
from marlx_envs.tables import Tables
from marlx_envs.tabular import TabularEnvironment

Entry(
    name="matrix_game",
    summary="Payoff tensor for 2 to N agents, by name, as nested lists or from a file",
    source="QTRAN, QPLEX, ResQ, POW, MRVF, PyMARL2, matrax",
    factory="MatrixGame",
)
Entry(
    name="repeated_game",
    summary="Payoff tensor played ten times in a row",
    source="matrix games, repeated",
    factory="MatrixGame",
    options={"repeats": 10},
)

RECORDED_ENTRIES = 100_000
RULE_OPTIONS = ("n_agents", "n_actions", "w", "needed", "win", "lose", "diagonal", "miss")


@dataclass(frozen=True)
class MatrixGame(TabularEnvironment):
    """A payoff tensor as a game of `repeats` steps; the episode then terminates, or is truncated on request.

    Observation and global state are [1.0] in a one-step game, else the one-hot step. Agents with fewer actions than
    others have the rest unavailable; such an action counts as the agent's last one.

    Raises:
        UsageError: a payoff that cannot be read (see `read_payoff`), or options that do not fit it.
    """

    payoff: Any = data("resq79", "a payoff by name, nested lists, or a .csv, .npy or .json file")
    repeats: int = size(1, "steps of an episode", high=1000)
    per_step: bool = flag(False, "the first axis of the payoff is the step of the episode; it then sets `repeats`")
    limit_is_terminal: bool = flag(True, "the last step terminates the episode; otherwise it is truncated")
    must_stay_optimal: bool = flag(False, "the episode ends at the first joint action that is not the best of its step")
    n_agents: int = size(2, "agents of son_n, resq_n, climb_n and k_of_n", low=2, high=24)
    n_actions: int = size(3, "actions of son_n, resq_n, k_of_n and coord_n", low=2, high=3000)
    w: Any = data(10.4, "best payoff of qplex_w")
    needed: int = size(2, "agents needed on action 0 in k_of_n")
    win: Any = data(10.0, "payoff of k_of_n with enough agents on action 0")
    lose: Any = data(-2.0, "payoff of k_of_n with too few agents on action 0")
    diagonal: Any = data((11.0, 7.0, 5.0), "payoffs of climb_n when all agents pick the same action, one per action")
    miss: Any = data(-30.0, "payoff of climb_n when they do not")
    payoff_digest: str = text("", "what a large payoff file must hold; recorded with a run, so that no other is read")

    def __post_init__(self) -> None:
        for name in ("w", "win", "lose", "miss"):  # numbers, but static: what varies between seeds is the whole payoff
            object.__setattr__(self, name, check(Option("number", ""), getattr(self, name), f"environment.{name}"))
        diagonal = numbers(self.diagonal, "environment.diagonal")
        if diagonal.ndim != 1 or len(diagonal) < 2:
            raise UsageError("environment.diagonal must be a list of at least 2 numbers")
        object.__setattr__(self, "diagonal", tuple(diagonal.tolist()))
        self.tables  # noqa: B018  (mistakes in the payoff show here, not at first use)
        if not isinstance(self.payoff, str | Path):  # tuples, so that the environment can be hashed
            object.__setattr__(self, "payoff", _frozen(getattr(self.payoff, "tolist", lambda: self.payoff)()))

    @classmethod
    def self_contained(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """With the numbers of a payoff file in place of its name, up to 100,000 of them.

        A larger file stays a name, beside the digest of its numbers.
        """
        payoff = options["payoff"]
        if isinstance(payoff, str | Path) and payoff not in PAYOFFS:
            payoff = read_payoff(payoff)
            if payoff.size <= RECORDED_ENTRIES:
                return {**options, "payoff": payoff.tolist()}
            return {**options, "payoff_digest": options["payoff_digest"] or _digest(payoff)}
        return dict(options)

    @classmethod
    def named_values(cls) -> dict[str, tuple[str, ...]]:
        """The payoffs known by name."""
        return {"payoff": tuple(PAYOFFS)}

    @cached_property
    def tables(self) -> Tables:
        """One state per step."""
        payoffs, counts = _padded(self._payoffs)  # [1 or K, A ... A]
        steps = payoffs.shape[0] if self.per_step else self.repeats
        ones = (1,) * (payoffs.ndim - 1)
        terminal = (self.limit_is_terminal & (np.arange(steps) == steps - 1)).reshape(steps, *ones)
        if self.must_stay_optimal:
            _refuse_large(steps * payoffs[0].size)
            best = payoffs.max(axis=tuple(range(1, payoffs.ndim)), keepdims=True)
            terminal = terminal | (payoffs < best)
        features = np.eye(steps, dtype=np.float32)
        available = np.arange(payoffs.shape[-1]) < np.array(counts)[:, None]
        return Tables(
            rewards=payoffs,
            transitions=np.minimum(np.arange(steps) + 1, steps - 1).astype(np.int32).reshape(steps, *ones),
            terminal=terminal,
            observations=features[:, None],
            states=features,
            episode_limit=steps,
            limit_is_terminal=self.limit_is_terminal,
            available=None if available.all() else np.repeat(available[None], steps, axis=0),
        )

    @cached_property
    def _payoffs(self) -> Payoff:
        """float32 [1 or K, A_1 ... A_N], before padding."""
        named = isinstance(self.payoff, str) and self.payoff in PAYOFFS
        taken = options_taken(self.payoff) if named else ()
        defaults = {field.name: field.default for field in fields(self)}
        for name in RULE_OPTIONS:
            if name not in taken and getattr(self, name) != defaults[name]:
                users = ", ".join(payoff for payoff in PAYOFFS if name in options_taken(payoff))
                raise UsageError(f"environment.{name} has no effect on this payoff; it is an option of {users}")
        options = {name: getattr(self, name) for name in taken}
        tensor = PAYOFFS[self.payoff](**options) if named else read_payoff(self.payoff)
        if self.payoff_digest not in ("", _digest(tensor)):
            file = f" file {str(self.payoff)!r}" if isinstance(self.payoff, str | Path) else ""
            raise UsageError(
                f"environment.payoff{file} is not what it was: the digest of its numbers is {_digest(tensor)}, "
                f"and environment.payoff_digest is {shown(self.payoff_digest)}"
            )
        if not self.per_step:
            return tensor[None]
        if tensor.ndim < 3:
            raise UsageError("environment.payoff needs an axis of steps and at least 2 of agents with per_step")
        if self.repeats not in (1, len(tensor)):
            raise UsageError(f"environment.repeats must be the payoff's {len(tensor)} steps, not {self.repeats}")
        return tensor


def _padded(payoffs: Payoff) -> tuple[Payoff, tuple[int, ...]]:
    """Payoffs [K A ... A] with equally many actions for all agents, and how many each had."""
    counts = payoffs.shape[1:]
    most = max(counts)
    _refuse_large(payoffs.shape[0] * most ** len(counts))
    return np.pad(payoffs, [(0, 0)] + [(0, most - count) for count in counts], mode="edge"), counts


def _refuse_large(entries: int) -> None:
    if entries > MAX_ENTRIES:
        raise UsageError(
            f"environment.payoff needs a table of {entries} entries, at most {MAX_ENTRIES} are allowed; "
            "choose fewer agents, actions or steps"
        )


def _digest(payoff: Payoff) -> str:
    """A fingerprint of the numbers and their shape."""
    found = hashlib.blake2b(f"{payoff.shape}".encode(), digest_size=16)
    found.update(np.ascontiguousarray(payoff, "<f4").tobytes())
    return found.hexdigest()


def _frozen(value: Any) -> Any:
    """Nested lists as nested tuples."""
    return tuple(map(_frozen, value)) if isinstance(value, list | tuple) else value
