"""A clock whose time stands still until a test moves it: waits of minutes cost nothing."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
from collections.abc import AsyncIterator, Callable

START = 1_735_689_600.0
"""Wall time at the start: 2025-01-01T00:00:00Z."""


class FakeTimer:
    """A callback that is due at some time."""

    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        self.callback = None


class FakeClock:
    """The `Clock` of a client under test. Timers fire inside `advance`, in order, each at its own time."""

    def __init__(self) -> None:
        self._now = 0.0
        self._order = itertools.count()
        self._timers: list[tuple[float, int, FakeTimer]] = []

    def monotonic(self) -> float:
        return self._now

    def wall(self) -> float:
        return START + self._now

    async def sleep(self, seconds: float) -> None:
        woken = asyncio.Event()
        timer = self.call_at(self._now + seconds, woken.set)
        try:
            await woken.wait()
        finally:
            timer.cancel()

    def call_at(self, when: float, callback: Callable[[], object]) -> FakeTimer:
        timer = FakeTimer(callback)
        heapq.heappush(self._timers, (when, next(self._order), timer))
        return timer

    @property
    def next_due(self) -> float | None:
        """When the next timer fires; None where nothing waits."""
        while self._timers and self._timers[0][2].callback is None:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def advance(self, seconds: float) -> None:
        """Move on, and fire what is due on the way."""
        end = self._now + seconds
        while (due := self.next_due) is not None and due <= end:
            _, _, timer = heapq.heappop(self._timers)
            callback, timer.callback = timer.callback, None
            self._now = max(self._now, due)
            if callback is not None:
                callback()
        self._now = end

    @contextlib.asynccontextmanager
    async def jumping(self, when: Callable[[], bool]) -> AsyncIterator[None]:
        """Inside the block, jump to the next timer whenever `when()` says that nothing real is under way."""
        jumper = asyncio.ensure_future(self._jump(when))
        try:
            yield
        finally:
            jumper.cancel()
            await asyncio.wait([jumper])

    async def _jump(self, when: Callable[[], bool]) -> None:
        while True:
            await asyncio.sleep(0.001)
            due = self.next_due
            if due is not None and when():
                self.advance(max(0.0, due - self._now))
