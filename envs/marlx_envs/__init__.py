"""Cooperative multi-agent environments as pure JAX functions. Knows nothing of learning; never imports marlx."""

from typing import TYPE_CHECKING, Any

from marlx_envs.discovery import Entry
from marlx_envs.options import UsageError
from marlx_envs.registry import ENVIRONMENTS, make

if TYPE_CHECKING:
    from marlx_envs.checking import check

__all__ = ["ENVIRONMENTS", "Entry", "UsageError", "check", "make"]


def __getattr__(name: str) -> Any:
    if name == "check":  # imported when it is first used: it needs JAX, which listings do without
        from marlx_envs.checking import check

        return check
    raise AttributeError(f"module 'marlx_envs' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
