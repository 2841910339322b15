"""Weights & Biases as an option: interquartile means over seeds at each evaluation, nothing of single seeds."""

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from marlx_envs.options import UsageError, shown, unknown

MODES = ("offline", "online")


def check_mode(mode: str | None) -> None:
    """Raises `UsageError` on an unknown mode, or if wandb is asked for and not installed."""
    if mode is None:
        return
    if mode not in MODES:
        raise unknown("value of wandb", mode, MODES)
    if importlib.util.find_spec("wandb") is None:
        raise UsageError("wandb is not installed; install marlx[wandb], or leave --wandb out")


class Tracker:
    """One wandb run, in the run's own directory.

    Raises:
        UsageError: wandb refuses to start, such as online without a login.
    """

    def __init__(self, mode: str, directory: Path, config: Mapping[str, Any]) -> None:
        import wandb

        try:
            self._run = wandb.init(
                project="marlx",
                name=directory.name,
                dir=str(directory),
                mode="online" if mode == "online" else "offline",
                config=dict(config),
                settings=wandb.Settings(silent=True, console="off"),
            )
        except (wandb.Error, OSError) as error:
            raise UsageError(f"wandb cannot start: {shown(str(error), 160)}") from error
        self._run.define_metric("*", step_metric="env_steps")

    def log(self, means: Mapping[str, float]) -> None:
        """Metrics of one evaluation, `env_steps` among them; each a mean over seeds."""
        self._run.log(dict(means))

    def finish(self, exit_code: int) -> None:
        """Ends the wandb run; 0 is success."""
        self._run.finish(exit_code=exit_code)
