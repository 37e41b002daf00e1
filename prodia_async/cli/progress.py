"""How far a batch is, on stderr: a bar on a terminal, otherwise a line every few seconds."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from typing import TYPE_CHECKING

from prodia_async.cli.terminal import say

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from prodia_async.batch import Progress

_EVERY = 5.0
"""Seconds between two lines."""


class State:
    """The newest progress of a batch, and how many jobs it has in all, once that is known."""

    def __init__(self) -> None:
        self.progress: Progress | None = None
        self.total: int | None = None
        self._started = time.monotonic()

    def update(self, progress: Progress) -> None:
        """Take note of a change."""
        self.progress = progress

    @property
    def in_flight(self) -> int:
        """How many jobs are in flight."""
        return 0 if self.progress is None else self.progress.in_flight

    @property
    def finished(self) -> int:
        """How many lines of the manifest are dealt with."""
        if self.progress is None:
            return 0
        return self.progress.done + self.progress.failed + self.progress.problems

    def text(self) -> str:
        """Describe the progress in a line."""
        return describe(self.progress, self.total, time.monotonic() - self._started)


def describe(progress: Progress | None, total: int | None, seconds: float) -> str:
    """Return a line: counts, jobs a second since the start, and the time left where it can be told."""
    if progress is None:
        return "starting"
    of = "" if total is None else f"/{total}"
    parts = [f"{progress.done}{of} done", f"{progress.failed} failed", f"{progress.in_flight} in flight"]
    parts.append(f"{progress.shed} shed")
    ended = progress.done + progress.failed
    if ended and seconds > 0:
        rate = ended / seconds
        parts.append(f"{rate:.1f} jobs/s")
        if total is not None:
            left = max(0, total - ended - progress.problems)
            parts.append(f"{_duration(left / rate)} left")
    if progress.dollars is not None:
        parts.append(f"${progress.dollars:.2f}")
    return " · ".join(parts)


def _duration(seconds: float) -> str:
    minutes, whole = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {whole} s" if minutes else f"{whole} s"


def display(state: State) -> AbstractContextManager[object]:
    """Return what suits stderr: a bar on a terminal, lines elsewhere."""
    return _bar(state) if sys.stderr.isatty() else lines(state, every=_EVERY)


@contextlib.contextmanager
def lines(state: State, *, every: float) -> Iterator[None]:
    """Write a line to stderr every so many seconds."""

    async def tell() -> None:
        while True:
            await asyncio.sleep(every)
            say(state.text())

    teller = asyncio.create_task(tell())
    try:
        yield
    finally:
        teller.cancel()


def _bar(state: State) -> AbstractContextManager[object]:
    # Loaded here: `--help` and lines in a log need no rich.
    from rich.console import Console  # noqa: PLC0415 - as above
    from rich.live import Live  # noqa: PLC0415 - as above
    from rich.progress_bar import ProgressBar  # noqa: PLC0415 - as above
    from rich.table import Table  # noqa: PLC0415 - as above
    from rich.text import Text  # noqa: PLC0415 - as above

    def render() -> Table:
        row = Table.grid(padding=(0, 1))
        total = None if state.total is None else max(1, state.total)
        row.add_row(ProgressBar(total=total, completed=state.finished, width=24), Text(state.text()))
        return row

    return Live(get_renderable=render, console=Console(stderr=True), transient=True, refresh_per_second=5)
