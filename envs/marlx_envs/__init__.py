"""Cooperative multi-agent environments as pure JAX functions. Knows nothing of learning; never imports marlx."""

from marlx_envs.discovery import Entry
from marlx_envs.options import UsageError
from marlx_envs.registry import ENVIRONMENTS, make

__all__ = ["ENVIRONMENTS", "Entry", "UsageError", "make"]
