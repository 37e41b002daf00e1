"""How far a command is, on stderr: a bar on a terminal, otherwise a line every few seconds."""

from __future__ import annotations

import asyncio
import contextlib
import time
import unicodedata
from typing import TYPE_CHECKING

from prodia_async.cli import terminal
from prodia_async.cli.terminal import about, count, dollars, duration, plain, say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prodia_async.batch import Progress

_EVERY = 5.0
"""Seconds between two lines."""
_REDRAW = 0.2
"""Seconds between two states of a terminal's line."""
_BAR = 24
_LEAST_BAR = 8
_KEPT = 4
"""Parts of a text that a narrow terminal keeps, such as done, failed, time left, dollars; then the first."""
_SEPARATOR = " · "


class Shown:
    """What is shown while it goes on: `finished` of `total`, if that is known, and `text`."""

    finished: int = 0
    total: int | None = None

    def text(self) -> str:
        """Describe the progress in a line."""
        raise AssertionError("each has its own text")


class State(Shown):
    """The newest progress of a batch. `is_rough`: of how many jobs it has in all only about is known."""

    progress: Progress | None = None
    _started: float | None = None
    _is_stopping = False

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, is_rough: bool = False) -> None:
        self._clock = clock
        self._is_rough = is_rough

    def update(self, progress: Progress) -> None:
        """Take note of a change."""
        before = None if self.progress is None else self.progress.paused
        self.progress = progress
        self.total = None if self._is_stopping else progress.total
        self.finished: int = progress.done + progress.failed + progress.problems
        if self._started is None and progress.requests:
            self._started = self._clock()
        if before is not None and progress.paused is None:
            say("the batch goes on")  # its pause was told by a warning in the log

    def stop(self) -> None:
        """Promise no end any more: only the jobs in flight still finish."""
        self._is_stopping, self.total = True, None

    @property
    def in_flight(self) -> int:
        """How many jobs are in flight."""
        return 0 if self.progress is None else self.progress.in_flight

    def text(self) -> str:
        """Return a line: counts, jobs a second of this run, and the time left where it can be told.

        The speed is of the time since the first request, without the jobs that an earlier run has ended.
        """
        if self._is_stopping:
            return f"stopping: {count(self.in_flight, 'job')} in flight"
        if (now := self.progress) is None:
            return "starting"
        of = "" if self.total is None else f"/{'~' if self._is_rough else ''}{self.total:,}"
        parts = [] if now.paused is None else [f"paused: {now.paused}"]
        parts += [f"{now.done:,}{of} done", f"{now.failed:,} failed"]
        parts += [f"{now.in_flight:,} in flight (limit {now.limit:,})", f"{now.shed:,} shed"]
        seconds = 0.0 if self._started is None else self._clock() - self._started
        ended = now.done + now.failed - now.skipped
        if ended and seconds > 0:
            parts.append(f"{ended / seconds:.1f} jobs/s")
            if now.dollars_a_minute is not None:
                parts.append(f"{about(now.dollars_a_minute)}/min")
            if now.expected is not None:
                parts.append(f"~{about(now.expected)} for all")
            if self.total is not None:
                parts.append(f"{duration(max(0, self.total - self.finished) * seconds / ended)} left")
        if now.dollars is not None:
            parts.append(dollars(now.dollars))
        return _SEPARATOR.join(parts)


@contextlib.contextmanager
def display(shown: Shown, *, every: float | None = _EVERY) -> Iterator[None]:
    """Show it on stderr in a task: a bar on a terminal, elsewhere a line `every` so many seconds, if ever."""

    async def tell() -> None:
        while True:
            if width := terminal.columns():
                terminal.status(bar(shown, width))
            elif every is None:
                return
            await asyncio.sleep(_REDRAW if width else every or 0)
            if not width:
                say(shown.text())

    teller = asyncio.create_task(tell())
    try:
        yield
    finally:
        teller.cancel()
        terminal.status("")


def bar(shown: Shown, width: int) -> str:
    """Return one line of less than `width` columns: the text, less of it where it is long, after a bar."""
    width -= 1  # a full line would wrap
    parts = plain(shown.text()).split(_SEPARATOR)
    while _width(line := _SEPARATOR.join(parts)) > width and len(parts) > 1:
        del parts[2 if len(parts) > _KEPT else 1]
    if _width(line) > width:
        while _width(line) >= width:
            line = line[:-1]
        line += "…"
    room = min(_BAR, width - _width(line) - 1)
    if shown.total is None or room < _LEAST_BAR:
        return line
    filled = round(room * min(1.0, shown.finished / max(1, shown.total)))
    return f"{'━' * filled:<{room}} {line}"


def _width(text: str) -> int:
    """Return the columns that a text takes on a terminal."""
    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in text)
    return len(text) + wide - sum(unicodedata.combining(char) > 0 for char in text)
