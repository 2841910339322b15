"""What tests of stopped, killed and damaged runs share: the small run, and how it is stopped and compared."""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd
import pytest

import marlx
from marlx.host.metrics import Recorder
from marlx.host.signals import Interrupted

from .conftest import SMALL


def experiment(algorithm: str = "iql", *more: str, game: str = "matrix_game") -> marlx.Experiment:
    return marlx.configure(algorithm, game, *SMALL, *more)


def run(out: Path, algorithm: str = "iql", *more: str, game: str = "matrix_game", **options: Any) -> marlx.Run:
    options = {"seeds": 3, "out": out, "progress": False, "checkpoint_interval": 40, **options}
    return marlx.train(experiment(algorithm, *more, game=game), **options)


def stopped(out: Path, monkeypatch: pytest.MonkeyPatch, *names: str, after: int = 1, **options: Any) -> str:
    """A run that a signal stops after evaluation number `after`; returns what it says."""
    add = Recorder.add
    seen = iter(range(100))

    def add_and_stop(self: Recorder, *arguments: Any) -> None:
        add(self, *arguments)
        if next(seen) == after:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "add", add_and_stop)
        with pytest.raises(Interrupted) as told:
            run(out, *names, **options)
    return str(told.value)


def assert_same(one: Path, other: Path) -> None:
    """Metrics and parameters are equal to the bit."""
    a, b = marlx.load_run(one), marlx.load_run(other)
    pd.testing.assert_frame_equal(a.metrics(), b.metrics(), check_exact=True)
    every = [(x.params, x.best_params if x.experiment.evaluation["interval"] else ()) for x in (a, b)]
    for x, y in zip(*map(jax.tree.leaves, every), strict=True):
        np.testing.assert_array_equal(x, y)


def paths() -> dict[str, str]:
    """For processes of their own."""
    return {"PYTHONPATH": os.pathsep.join(sys.path)}
