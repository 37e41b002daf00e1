"""How far a batch is, on stderr: a bar on a terminal, otherwise a line every few seconds."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from typing import TYPE_CHECKING

from prodia_async.cli.terminal import plain, say
from prodia_async.cli.words import dollars, duration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from prodia_async.batch import Progress

_EVERY = 5.0
"""Seconds between two lines."""


class Shown:
    """What is shown while it goes on: `finished` of `total`, if that is known, and `text`."""

    finished = 0
    total: int | None = None

    def text(self) -> str:
        """Describe the progress in a line."""
        raise AssertionError("each has its own text")


class State(Shown):
    """The newest progress of a batch, and about how many jobs it has in all, once that is known."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.progress: Progress | None = None
        self._clock = clock
        self._started: float | None = None
        self._is_rough = False

    def expect(self, lines: int, parts: int = 1) -> None:
        """Take note of how many lines the manifest has; of so many `parts`, one is run."""
        self.total = round(lines / parts)
        self._is_rough = parts > 1

    def update(self, progress: Progress) -> None:
        """Take note of a change."""
        before = None if self.progress is None else self.progress.paused
        self.progress = progress
        self.finished = progress.done + progress.failed + progress.problems
        if self._started is None and progress.requests:
            self._started = self._clock()
        if before is not None and progress.paused is None:
            say("the batch goes on")  # its pause was told by a warning in the log

    @property
    def in_flight(self) -> int:
        """How many jobs are in flight."""
        return 0 if self.progress is None else self.progress.in_flight

    def text(self) -> str:
        """Describe the progress in a line."""
        of = "" if self.total is None else f"/{'~' if self._is_rough else ''}{self.total:,}"
        seconds = 0.0 if self._started is None else self._clock() - self._started
        left = None if self.total is None else max(0, self.total - self.finished)
        return describe(self.progress, of, left, seconds)


def describe(progress: Progress | None, of: str, left: int | None, seconds: float) -> str:
    """Return a line: counts, jobs a second of this run, and the time left where it can be told.

    `seconds` are those since the first request: jobs that an earlier run has ended do not count in the speed.
    """
    if progress is None:
        return "starting"
    parts = [f"{progress.done:,}{of} done", f"{progress.failed:,} failed"]
    parts.append(f"{progress.in_flight:,} in flight (limit {progress.limit:,})")
    parts.append(f"{progress.shed:,} shed")
    ended = progress.done + progress.failed - progress.skipped
    if ended and seconds > 0:
        parts.append(f"{ended / seconds:.1f} jobs/s")
        if left is not None:
            parts.append(f"{duration(left * seconds / ended)} left")
    if progress.dollars is not None:
        parts.append(dollars(progress.dollars))
    if progress.paused is not None:
        parts.insert(0, f"paused: {progress.paused}")
    return " · ".join(parts)


def display(shown: Shown) -> AbstractContextManager[object]:
    """Return what suits stderr: a bar on a terminal, lines elsewhere."""
    return _bar(shown) if sys.stderr.isatty() else lines(shown, every=_EVERY)


@contextlib.contextmanager
def lines(shown: Shown, *, every: float) -> Iterator[None]:
    """Write a line to stderr every so many seconds."""

    async def tell() -> None:
        while True:
            await asyncio.sleep(every)
            say(shown.text())

    teller = asyncio.create_task(tell())
    try:
        yield
    finally:
        teller.cancel()


def _bar(shown: Shown) -> AbstractContextManager[object]:
    # Loaded here: `--help` and lines in a log need no rich.
    from rich.console import Console  # noqa: PLC0415 - as above
    from rich.live import Live  # noqa: PLC0415 - as above
    from rich.progress_bar import ProgressBar  # noqa: PLC0415 - as above
    from rich.table import Table  # noqa: PLC0415 - as above
    from rich.text import Text  # noqa: PLC0415 - as above

    def render() -> Table:
        row = Table.grid(padding=(0, 1))
        total = None if shown.total is None else max(1, shown.total)
        row.add_row(ProgressBar(total=total, completed=shown.finished, width=24), Text(plain(shown.text())))
        return row

    return Live(get_renderable=render, console=Console(stderr=True), transient=True, refresh_per_second=5)
