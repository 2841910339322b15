"""ALGORITHMS: name -> method. A module of this package registers itself by a `Method(...)` declaration."""

from pathlib import Path

from marlx_envs.discovery import Registry

from marlx.algorithms.method import Method

ALGORITHMS: Registry[Method] = Registry("marlx.algorithms", Path(__file__).parent, Method, "algorithm")

__all__ = ["ALGORITHMS", "Method"]
