"""Trackers as an option, Weights & Biases and TensorBoard: interquartile means over seeds, nothing of single seeds."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from marlx_envs.options import UsageError, shown, unknown

from marlx.host.extras import check_installed

MODES = ("offline", "online")


def check_mode(mode: str | None) -> None:
    """Raises `UsageError` on an unknown mode, or if wandb is asked for and not installed."""
    if mode is None:
        return
    if mode not in MODES:
        raise unknown("value of wandb", mode, MODES)
    check_installed("wandb", "wandb", "--wandb")


def check_tensorboard(wanted: bool) -> None:
    """Raises `UsageError` if TensorBoard's files are asked for and what writes them is not installed."""
    if wanted:
        check_installed("tensorboardX", "tensorboard", "--tensorboard")


class Tracker(Protocol):
    """Where the means of each evaluation go."""

    def log(self, means: Mapping[str, float]) -> None:
        """Metrics of one evaluation, `env_steps` among them; each a mean over seeds."""

    def finish(self, exit_code: int) -> None:
        """The end of the run; 0 is success."""


def trackers(wandb: str | None, tensorboard: bool, directory: Path, config: Mapping[str, Any]) -> list[Tracker]:
    """Those that were asked for. Raises `UsageError` if one refuses to start."""
    found: list[Tracker] = [TensorBoard(directory)] if tensorboard else []
    return [*found, WeightsAndBiases(wandb, directory, config)] if wandb else found


class TensorBoard:
    """Event files in the folder `tensorboard` of a run, read by `tensorboard --logdir`; steps are environment steps."""

    def __init__(self, directory: Path) -> None:
        from tensorboardX import SummaryWriter

        self._writer = SummaryWriter(str(directory / "tensorboard"))

    def log(self, means: Mapping[str, float]) -> None:
        """As `Tracker` says."""
        for name, value in means.items():
            if name != "env_steps":
                self._writer.add_scalar(name, value, int(means["env_steps"]))
        self._writer.flush()

    def finish(self, exit_code: int) -> None:
        """As `Tracker` says."""
        self._writer.close()


class WeightsAndBiases:
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
        """As `Tracker` says."""
        self._run.log(dict(means))

    def finish(self, exit_code: int) -> None:
        """As `Tracker` says."""
        self._run.finish(exit_code=exit_code)
