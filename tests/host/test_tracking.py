"""Trackers get aggregates: every value a mean over seeds."""

import sys
import time
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import marlx
from marlx.analysis.statistics import iqm

from .conftest import SMALL


def small(out: Path, **options: Any) -> marlx.Run:
    experiment = marlx.configure("iql", "matrix_game", *SMALL)
    return marlx.train(experiment, **{"seeds": 2, "out": out, "progress": False, **options})


def test_wandb_offline_logs_means(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    small(tmp_path / "run", wandb="offline")
    (log,) = (tmp_path / "run" / "wandb").glob("offline-run-*/run-*.wandb")
    deadline = time.monotonic() + 60  # its service writes in a process of its own
    while b"evaluation_return" not in log.read_bytes():
        assert time.monotonic() < deadline
        time.sleep(0.1)


class _Wandb(types.ModuleType):
    """What marlx uses of the module `wandb`; collects what it is given."""

    Error = RuntimeError

    def __init__(self) -> None:
        super().__init__("wandb")
        self.logged: list[dict[str, Any]] = []
        self.finished: list[int] = []
        self.Settings = dict

    def init(self, config: dict[str, Any], **_: Any) -> "_Wandb":
        """One object is module and run."""
        self.config = config
        return self

    def define_metric(self, *_: Any, **__: Any) -> None:
        """Axes of plots are not looked at."""

    def log(self, values: dict[str, Any]) -> None:
        """One evaluation."""
        self.logged.append(values)

    def finish(self, exit_code: int) -> None:
        """The end."""
        self.finished.append(exit_code)


def test_wandb_gets_aggregates_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every value is one number, the interquartile mean over seeds of what metrics.parquet holds."""
    wandb = _Wandb()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    monkeypatch.setattr("marlx.host.tracking.check_installed", lambda *_: None)
    table = small(tmp_path / "run", seeds=5, wandb="offline").metrics().sort_values(["seed", "env_steps"])
    names = set(table.columns) - {"seed"}
    assert len(wandb.logged) == 4 and wandb.finished == [0] and wandb.config["seeds"] == 5
    for index, logged in enumerate(wandb.logged):
        assert set(logged) == names and {type(value) for value in logged.values()} == {float}
        rows = table.groupby("seed").nth(index)
        assert logged["env_steps"] == rows.env_steps.mean()
        for name in names - {"env_steps"}:
            np.testing.assert_allclose(logged[name], iqm(rows[name].to_numpy()), rtol=1e-6, atol=1e-7, err_msg=name)
    assert table.groupby("env_steps").loss.nunique().tolist()[-1] > 1  # seeds differ: no value is that of one


def test_chunks_have_curves_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their steps begin again: in one curve they would run back and forth."""
    wandb = _Wandb()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    monkeypatch.setattr("marlx.host.tracking.check_installed", lambda *_: None)
    table = small(tmp_path / "run", seeds=3, chunk=2, wandb="offline").metrics()
    names = {name.partition("/")[0] for logged in wandb.logged for name in logged}
    assert names == {"chunk_1", "chunk_2", "env_steps"}
    last = wandb.logged[-1]
    assert last["chunk_2/evaluation_return"] == table[table.seed == 2].evaluation_return.iloc[-1]


def test_tensorboard_holds_means(tmp_path: Path) -> None:
    """Records of a length, its checksum, an event, its checksum."""
    from tensorboardX.proto.event_pb2 import Event

    run = small(tmp_path / "run", tensorboard=True)
    (log,) = (tmp_path / "run" / "tensorboard").iterdir()
    content, found = log.read_bytes(), []
    while content:
        size = int.from_bytes(content[:8], "little")
        event = Event.FromString(content[12 : 12 + size])
        found += [(event.step, value.simple_value) for value in event.summary.value if value.tag == "evaluation_return"]
        content = content[16 + size :]
    table = run.metrics().sort_values(["seed", "env_steps"])
    steps, returns = (table[name].to_numpy().reshape(2, -1) for name in ("env_steps", "evaluation_return"))
    assert [step for step, _ in found] == steps.mean(axis=0).astype(int).tolist()
    np.testing.assert_allclose([value for _, value in found], iqm(returns), rtol=1e-5)
