"""Processes of this host: which GPUs each has, and what becomes of them."""

import os
import signal
import threading
from pathlib import Path

import pytest

from marlx.host import processes


def test_commands_one_after_another_and_what_becomes_of_them(capfd: pytest.CaptureFixture[str]) -> None:
    begun: list[int] = []
    assert processes.run_here([["--version"], ["trane"], ["--version"]], 1, begun.append) == [0, 2, 0]
    assert begun == [0, 1, 2]
    told = capfd.readouterr()
    assert told.out.count("marlx ") == 2 and "did you mean 'train'" in told.err


def test_one_that_dies_leaves_the_others_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(processes, "MARLX", ("-c",))
    dies = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    done = [f"import time; time.sleep(0.5); open({str(tmp_path / name)!r}, 'w').close()" for name in "ab"]
    assert processes.run_here([[done[0]], [dies], [done[1]]], 2) == [0, 137, 0]
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b"}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGHUP, 143), (signal.SIGUSR1, 75)])
def test_a_signal_is_passed_on_and_nothing_more_begins(
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    number: signal.Signals,
    code: int,
) -> None:
    """The first process ends well when asked, as one that had just come to its end; the others never begin."""
    monkeypatch.setattr(processes, "MARLX", ("-c",))
    sent = signal.SIGTERM if number == signal.SIGHUP else number
    waits = (  # not for the next signal, which may come before it waits
        f"import signal, time; asked = []; signal.signal({int(sent)}, lambda *_: asked.append(1))\n"
        f"open({str(tmp_path / 'ready')!r}, 'w').close()\nwhile not asked: time.sleep(0.01)"
    )
    own, before = signal.signal(number, signal.SIG_DFL), signal.SIG_DFL  # under nohup it would be ignored
    request.addfinalizer(lambda: signal.signal(number, own))

    def ask() -> None:
        while not (tmp_path / "ready").exists():
            threading.Event().wait(0.02)
        os.kill(os.getpid(), number)

    asking = threading.Thread(target=ask)
    asking.start()
    assert processes.run_here([[waits], ["raise SystemExit(5)"]], 1) == [0, code]
    asking.join()
    assert signal.getsignal(number) == before


@pytest.mark.usefixtures("three_gpus")
def test_one_width_for_shares_of_different_sizes() -> None:
    assert [processes.common_width(lanes, 3) for lanes in (1, 5, 8)] == [["--width", str(x)] for x in (1, 8, 8)]
    assert processes.common_width(6, 1) == ["--width", "2"]  # spread over three GPUs


def test_the_width_is_left_to_each_process_on_cpu() -> None:
    assert processes.common_width(5, 2) == []


def test_gpus_that_jax_would_take(three_gpus: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert processes.accelerators() == ["0", "2", "5"]
    monkeypatch.setenv("JAX_PLATFORMS", "cuda,cpu")
    assert processes.accelerators() == ["0", "2", "5"]
    for name, value in (
        ("JAX_PLATFORMS", "cpu,cuda"),
        ("CUDA_VISIBLE_DEVICES", ""),
        ("CUDA_VISIBLE_DEVICES", "-1"),
        ("CUDA_VISIBLE_DEVICES", " -1,2"),
    ):
        with monkeypatch.context() as patched:
            patched.setenv(name, value)
            assert processes.accelerators() == []
    with monkeypatch.context() as patched:
        patched.delenv("CUDA_VISIBLE_DEVICES")
        assert processes.accelerators() == list("01234567")
    with monkeypatch.context() as patched:
        patched.setattr(processes, "PLUGINS", ("no_such_plugin",))
        assert processes.accelerators() == []
    monkeypatch.setattr(processes, "DEVICES", Path("/no/such/folder"))
    assert processes.accelerators() == []


@pytest.mark.usefixtures("three_gpus")
def test_gpus_are_dealt_to_processes() -> None:
    dealt = {count: [own["CUDA_VISIBLE_DEVICES"] for own in processes.environments(count)] for count in range(1, 5)}
    assert dealt == {1: ["0,2,5"], 2: ["0,5", "2"], 3: ["0", "2", "5"], 4: ["0", "2", "5", "0"]}
    one, four = processes.environments(3)[0], processes.environments(4)
    assert one["JAX_PLATFORMS"] == "cuda,cpu" and "XLA_PYTHON_CLIENT_MEM_FRACTION" not in one
    assert float(four[0]["XLA_PYTHON_CLIENT_MEM_FRACTION"]) < 0.5  # two on one GPU
