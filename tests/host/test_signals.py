"""The first signal asks, the second stops."""

import gc
import importlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from marlx.host import signals
from marlx.host.signals import SAME, Interrupted, StopRequest


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_asks_and_the_second_stops(number: signal.Signals, monkeypatch: pytest.MonkeyPatch) -> None:
    before, times = signal.getsignal(number), iter([5.0, 5.0 + 2 * SAME])
    monkeypatch.setattr(signals.time, "monotonic", times.__next__)
    with StopRequest() as stop:
        assert stop.number is None
        os.kill(os.getpid(), number)
        assert stop.number == number
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before


def test_a_queue_that_sends_two_is_not_impatient() -> None:
    """SIGTERM and then SIGUSR2: the run is to stop soon, and to be run again."""
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGUSR2)
        assert stop.number == signal.SIGUSR2


def test_a_queue_that_signals_a_whole_job_is_not_impatient() -> None:
    """A process has SIGTERM from the queue, and again from the one that started it."""
    with StopRequest() as stop:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGTERM)
        assert stop.number == signal.SIGTERM


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_queue_that_says_it_twice_says_it_once(number: signal.Signals) -> None:
    with StopRequest() as stop:
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)
        assert stop.number == number


@pytest.fixture
def usual_interrupt() -> Iterator[None]:
    """Ctrl-C is Python's own, whoever started the tests."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("usual_interrupt")
def test_an_interrupt_is_not_lost_in_a_hook_of_the_garbage_collector() -> None:
    """Python prints what such a hook raises, and goes on; JAX has one."""
    waiting: list[int] = []

    def hook(phase: str, info: dict[str, int]) -> None:
        if waiting:
            waiting.pop()
            os.kill(os.getpid(), signal.SIGINT)

    usual = sys.unraisablehook
    gc.callbacks.append(hook)
    try:
        with pytest.raises(KeyboardInterrupt), signals.interrupts():
            waiting.append(1)
            gc.collect()
            time.sleep(10)
        assert sys.unraisablehook is usual
        with pytest.raises(KeyboardInterrupt), signals.interrupts():
            os.kill(os.getpid(), signal.SIGINT)
    finally:
        gc.callbacks.remove(hook)
    assert not waiting


def test_a_hook_that_is_set_meanwhile_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as the one for threads of a save that failed, which may still work when the command is over."""
    told: list[type[BaseException]] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda lost: told.append(lost.exc_type))

    def quiet(lost: "sys.UnraisableHookArgs") -> None:
        if lost.exc_type is not RuntimeError:
            before(lost)

    class Lost:
        def __init__(self, error: type[BaseException]) -> None:
            self.error = error

        def __del__(self) -> None:
            raise self.error

    with signals.interrupts():
        before, sys.unraisablehook = sys.unraisablehook, quiet
    for error in (RuntimeError, ValueError, KeyboardInterrupt):
        Lost(error)
    assert told == [ValueError, KeyboardInterrupt]


@pytest.mark.usefixtures("usual_interrupt")
@pytest.mark.parametrize("times", [1, 2])
def test_an_interrupt_waits_for_an_import(times: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often it comes, it is one, and none comes later."""
    lines = ["import os, signal, time", *["os.kill(os.getpid(), signal.SIGINT)"] * times, "done = 1"]
    (tmp_path / "slow_to_start.py").write_text("\n".join(lines))
    monkeypatch.delitem(sys.modules, "slow_to_start", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(KeyboardInterrupt), signals.interrupts():
        module = importlib.import_module("slow_to_start")
        time.sleep(10)
    assert module.done == 1 and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    time.sleep(0.15)


@pytest.mark.usefixtures("usual_interrupt")
def test_an_interrupt_does_not_wait_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that runs inside an import can be stopped."""
    lines = ["import os, signal, time", "os.kill(os.getpid(), signal.SIGINT)", "time.sleep(10)"]
    (tmp_path / "runs_for_ever.py").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(signals, "PATIENCE", 0.2)
    with pytest.raises(KeyboardInterrupt), signals.interrupts():
        importlib.import_module("runs_for_ever")


def test_what_nohup_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with StopRequest() as stop:
            os.kill(os.getpid(), signal.SIGINT)
            assert stop.number is None
    finally:
        signal.signal(signal.SIGINT, before)


def test_outside_of_the_main_thread_nothing_is_touched() -> None:
    found: list[object] = []

    def enter() -> None:
        with StopRequest() as stop:
            found.append(stop.number)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert found == [None]


def test_exit_codes() -> None:
    assert Interrupted("", signal.SIGINT).exit_code == 130
    assert Interrupted("", signal.SIGTERM).exit_code == 143
