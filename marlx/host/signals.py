"""Ctrl-C, SIGTERM, and SIGUSR1 or SIGUSR2 of clusters: the first asks to stop soon, a second one stops at once."""

import _thread
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
SAME = 1.0  # second within which a queue's signal is one request: it goes to all processes, which may pass it on
PATIENCE = 10.0  # seconds that Ctrl-C waits for an import
IMPORTING = "<frozen importlib._bootstrap>"  # the file of frames that import
REQUEUE = 75  # "try again later" (EX_TEMPFAIL of sysexits.h)


def exit_code(number: int) -> int:
    """128 + number of a signal: 130 for Ctrl-C, 143 for SIGTERM; 75 for SIGUSR1 and SIGUSR2, to be run again."""
    return REQUEUE if number in (signal.SIGUSR1, signal.SIGUSR2) else 128 + number


class Interrupted(KeyboardInterrupt):
    """A run was stopped by a signal after it wrote what it had; the message says how to go on."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.number = number

    @property
    def exit_code(self) -> int:
        """That of its signal."""
        return exit_code(self.number)


@contextmanager
def interrupts() -> Iterator[None]:
    """While entered, no Ctrl-C is lost, and none aborts the process.

    It waits for imports (not for ever: a program may run inside one): the compiled parts of some packages abort the
    process if it comes while they start. And where Python would print the exception and go on, it is sent again: in
    callbacks of the garbage collector, of which JAX has one, of weak references, and in `__del__`.
    """
    usual, again = sys.unraisablehook, _Again()
    mine = threading.current_thread() is threading.main_thread()
    mine = mine and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    asked: float | None = None  # since when one waits for an import

    def passed_over(lost: "sys.UnraisableHookArgs") -> None:
        if issubclass(lost.exc_type, KeyboardInterrupt) and not again.over:
            again.soon(0.01)
        else:
            usual(lost)

    def patient(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        now = time.monotonic()
        asked = now if asked is None else asked
        if _imports(frame) and now - asked < PATIENCE:
            again.soon(0.05)
        else:
            asked = None
            raise KeyboardInterrupt

    sys.unraisablehook = passed_over
    if mine:
        signal.signal(signal.SIGINT, patient)
    try:
        yield
    finally:
        again.over = True
        if sys.unraisablehook is passed_over:  # else someone's own, which was set inside, stays
            sys.unraisablehook = usual
        if mine:
            signal.signal(signal.SIGINT, signal.default_int_handler)


class _Again:
    """Sends Ctrl-C to this process, once however often it is asked to, and not when all is over."""

    def __init__(self) -> None:
        self.over = self._waiting = False

    def soon(self, seconds: float) -> None:
        if not self._waiting:
            self._waiting = True
            _thread.start_new_thread(self._send, (seconds,))  # `threading` takes locks, which a hook must not

    def _send(self, seconds: float) -> None:
        time.sleep(seconds)
        self._waiting = False
        if not self.over:
            os.kill(os.getpid(), signal.SIGINT)


def _imports(frame: FrameType | None) -> bool:
    """Whether a frame is part of an import."""
    while frame is not None and frame.f_code.co_filename != IMPORTING:
        frame = frame.f_back
    return frame is not None


class StopRequest:
    """While entered, `number` is the signal that asked to stop, or None. Outside of the main thread it never is set."""

    latest: int | None = None  # of any request of this process, also of one that came when all was done

    def __init__(self) -> None:
        self.number: int | None = None
        self._asked = 0.0
        self._previous: dict[int, Any] = {}

    @classmethod
    def forget(cls) -> None:
        """From now on there was no request."""
        cls.latest = None

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
                    self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)

    def _note(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        again = number == self.number != signal.SIGINT and now - self._asked < SAME
        if self.number is not None and number != signal.SIGUSR2 and not again:  # a queue sends it right after SIGTERM
            raise KeyboardInterrupt
        self._asked = now
        self.number = StopRequest.latest = number
