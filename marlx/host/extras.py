"""Packages that only some users need."""

import importlib.util

from marlx_envs.options import UsageError


def check_installed(package: str, extra: str, option: str) -> None:
    """Raises `UsageError` if a package that an option of the command line needs is missing; it is not imported."""
    if importlib.util.find_spec(package) is None:
        raise UsageError(f"{package} is not installed; install marlx[{extra}], or leave {option} out")
