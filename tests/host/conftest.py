"""One small run that many tests look at, and a cache of compiled programs that they share."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

SMALL = (
    "training.total_steps=320",
    "training.num_envs=4",
    "training.batch_size=4",
    "training.buffer_size=16",
    "agent.hidden_size=4",
    "evaluation.interval=80",
    "evaluation.episodes=2",
)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Compiled programs of this session, found by subprocesses too."""
    before = os.environ.get("XDG_CACHE_HOME")
    folder = tmp_path_factory.mktemp("cache")
    os.environ["XDG_CACHE_HOME"] = str(folder)
    yield folder
    if before is None:
        del os.environ["XDG_CACHE_HOME"]
    else:
        os.environ["XDG_CACHE_HOME"] = before


@pytest.fixture
def three_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host whose JAX would take GPUs 0, 2 and 5 of eight."""
    from marlx.host import processes

    for name in ("JAX_PLATFORMS", "JAX_PLATFORM_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,2,5")
    monkeypatch.setattr(processes, "DEVICES", tmp_path)
    monkeypatch.setattr(processes, "PLUGINS", ("json",))
    for number in range(8):
        (tmp_path / f"nvidia{number}").touch()
    (tmp_path / "nvidiactl").touch()


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a finished run: iql on matrix_game, seeds 0 and 1. Not to be changed."""
    import marlx

    out = tmp_path_factory.mktemp("runs") / "finished"
    marlx.train(marlx.configure("iql", "matrix_game", *SMALL), seeds=2, out=out, progress=False)
    return out


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three seeds in one chunk that nobody disturbed, with checkpoints. Not to be changed."""
    from .resuming import run

    out = tmp_path_factory.mktemp("resume") / "whole"
    run(out)
    return out


@pytest.fixture(scope="session")
def whole_one_by_one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a width of 1. Not to be changed."""
    from .resuming import run

    out = tmp_path_factory.mktemp("resume") / "whole"
    run(out, width=1)
    return out
