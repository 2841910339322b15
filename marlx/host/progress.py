"""What a person sees while seeds train: a bar on a terminal, else a plain line every few seconds."""

import sys
import time
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

_SECONDS = 5.0  # between plain lines


class Reporter:
    """Shows how far a run has come.

    Args:
        total_steps: environment steps of one seed.
        seeds: how many there are; they are trained in chunks.
        show: False shows nothing.
    """

    def __init__(self, total_steps: int, seeds: int, show: bool) -> None:
        self._each, self._seeds, self._show = total_steps, seeds, show
        self._total = total_steps * seeds
        self._console = Console(file=sys.stdout, soft_wrap=True, highlight=False)
        self._bar: Progress | None = None
        self._task: Any = None
        self._started = self._said = 0.0
        self._first: tuple[int, int] | None = None
        self._planned = 0  # steps done at the latest update
        self._latest = ""

    def say(self, line: str) -> None:
        """One line, above the bar if there is one."""
        if self._show:
            self._console.print(line, markup=False)

    def __enter__(self) -> "Reporter":
        """Starts the clock of rate and time left."""
        self._started = self._said = time.monotonic()
        if self._show and self._console.is_terminal:
            columns = (BarColumn(20), TextColumn("{task.percentage:>3.0f}%"), TextColumn("{task.description}"))
            self._bar = Progress(*columns, console=self._console, transient=True)
            self._task = self._bar.add_task("starting", total=self._total)
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def evaluated(self, name: str, value: float) -> None:
        """The latest evaluation, shown from now on."""
        self._latest = f", {name.removeprefix('evaluation_')} {value:.4g}"

    def update(self, finished: int, at_work: int, steps: int, all_steps: int) -> None:
        """Of `finished` seeds all steps are done, of each of those `at_work` `steps`; `all_steps` in all."""
        now = time.monotonic()
        done = finished * self._each + at_work * steps
        line = self.rate(done, all_steps, now) + self._latest
        first, last = finished + 1, finished + at_work
        which = f"seeds {first:,} to {last:,}" if at_work > 1 else f"seed {first:,}"
        chunk = f" of {which} of {self._seeds:,}"
        line = f"{steps:,} of {self._each:,} steps{chunk if at_work < self._seeds else ' of each seed'}, {line}"
        if self._bar:
            self._bar.update(self._task, completed=done, description=line)
        elif now - self._said >= _SECONDS:
            self._said = now
            self.say(line)

    def rate(self, planned: int, all_steps: int, now: float) -> str:
        """Rate over all seeds since the first update, and time left; nothing is known at the first.

        Args:
            planned: how many of all planned steps are done; `all_steps` are those that really were steps of episodes.
                Fewer than before: a chunk begins again, with less memory, and its rate is another one.
        """
        again, self._planned = planned < self._planned, planned
        if self._first is None or again:
            self._first, self._started = (planned, all_steps), now
            return "measuring"
        elapsed, done = now - self._started, planned - self._first[0]
        left = elapsed * max(self._total - planned, 0) / max(done, 1)
        rate = quantity((all_steps - self._first[1]) / max(elapsed, 1e-9))
        return f"{rate} steps/s{' in all' if self._seeds > 1 else ''}, {duration(left)} left"


def quantity(value: float) -> str:
    """A number with three digits and k, M or G."""
    for factor, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:.3g}{unit}"
    return f"{value:.3g}"


def duration(seconds: float) -> str:
    """Hours, minutes and seconds as 1:02:03 or 2:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
