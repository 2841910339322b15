"""Processes of this host, each with GPUs of its own: no two share fate, one that dies leaves the others at work."""

import itertools
import os
import re
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from marlx.engine.memory import PROCESSES
from marlx.host.signals import SIGNALS, exit_code

VISIBLE = "CUDA_VISIBLE_DEVICES"
DEVICES = Path("/dev")
PLUGINS = ("jax_cuda12_plugin", "jax_cuda13_plugin")  # of JAX, for its GPUs
MARLX = ("-m", "marlx")
_PAUSE = 0.1  # seconds between looks at the processes


def run_here(
    commands: Sequence[Sequence[str]], count: int, begins: Callable[[int], None] = lambda number: None
) -> list[int]:
    """Runs commands of `marlx` in processes of this host, `count` at a time; their exit codes.

    One of those at work shows its progress, all of them their errors. Signals are passed on, also that the terminal is
    gone, and no further command begins: those that are left have the signal's exit code. A process killed in a way that
    it cannot notice leaves the others at work.

    Args:
        begins: hears the number of each command that begins.
    """
    asked: list[int] = []

    def note(number: int, _: Any) -> None:
        asked.append(signal.SIGTERM if number == signal.SIGHUP else number)

    places, waiting, told = environments(count), deque(range(len(commands))), 0
    running: dict[int, tuple[int, subprocess.Popen[bytes]]] = {}  # place -> number of the command, process
    codes: dict[int, int] = {}
    noticed = [number for number in (*SIGNALS, signal.SIGHUP) if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, note) for number in noticed}
    try:
        while running or (waiting and not asked):
            for place in range(count):
                if place not in running and waiting and not asked:
                    begins(waiting[0])
                    command = [sys.executable, *MARLX, *commands[waiting[0]]]
                    shown_to = subprocess.DEVNULL if place else None
                    # A group of its own: a terminal sends Ctrl-C to its whole group; the second stops it at once.
                    process = subprocess.Popen(
                        command, env=os.environ | places[place], stdout=shown_to, process_group=0
                    )
                    running[place] = waiting.popleft(), process
            while told < len(asked):
                for _, process in running.values():
                    process.send_signal(asked[told])
                told += 1
            time.sleep(_PAUSE)
            for place, (number, process) in list(running.items()):
                code = process.poll()
                if code is not None:
                    codes[number] = code if code >= 0 else 128 - code
                    del running[place]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return [codes[number] if number in codes else exit_code(asked[0]) for number in range(len(commands))]


def is_one_of_several() -> bool:
    """Whether this process was started by `run_here`."""
    return PROCESSES in os.environ


def environments(count: int) -> list[dict[str, str]]:
    """Environment variables of each of `count` processes: its GPUs, and how many share this host.

    GPUs are dealt out. Where there are fewer than processes some share one and its memory; without any they share cores
    and memory.
    """
    devices = accelerators()
    found: list[dict[str, str]] = [{PROCESSES: str(count)} for _ in range(count)]
    for index, own in enumerate(found if devices else ()):
        mine = devices[index::count] or [devices[index % len(devices)]]
        # Named, so that a GPU that does not start is an error: JAX would go on with the CPU.
        own |= {VISIBLE: ",".join(mine), "JAX_PLATFORMS": "cuda,cpu"}
        if count > len(devices):
            own["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{0.75 / -(-count // len(devices)):.2f}"
    return found


def accelerators() -> list[str]:
    """The GPUs that JAX would take here, as `CUDA_VISIBLE_DEVICES` names them; JAX is not asked, it would take them."""
    platforms = os.environ.get("JAX_PLATFORMS") or os.environ.get("JAX_PLATFORM_NAME") or "cuda"
    there = sorted(re.sub(r"\D", "", path.name) for path in DEVICES.glob("nvidia[0-9]*"))
    if platforms.split(",")[0] not in ("cuda", "gpu") or not there or not any(map(find_spec, PLUGINS)):
        return []
    mine = os.environ.get(VISIBLE)
    if mine is None:
        return there
    named = itertools.takewhile(lambda word: not word.strip().startswith("-"), mine.split(","))  # -1 hides what follows
    return [word for word in named if word.strip()]


def common_width(lanes: int, count: int) -> list[str]:
    """--width for all of `count` processes, though shares of at most so many lanes differ in size; [] without GPUs."""
    from marlx.engine.seeds import accelerator_width

    devices = len(accelerators())
    return ["--width", str(accelerator_width(-(-lanes // max(devices // count, 1))))] if devices else []
