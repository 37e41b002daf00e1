"""A clock whose time stands still until a test moves it: waits of minutes cost nothing."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import math
from collections.abc import AsyncIterator, Callable

from prodia_async._pacing.clock import Alarm, Deadlines

START = 1_735_689_600.0
"""Wall time at the start: 2025-01-01T00:00:00Z."""


class FakeTimer:
    """A callback that is due at some time."""

    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        self.callback = None


def is_waited_for(callback: Callable[[], object] | None) -> bool:
    """Tell whether a timer counts: that of deadlines does nothing while no block of theirs has a time."""
    alarm = getattr(callback, "__self__", None)
    owner = getattr(alarm.callback, "__self__", None) if isinstance(alarm, Alarm) else None
    if isinstance(owner, Deadlines):
        return any(deadline.when < math.inf for deadline in owner.watched.values())
    return callback is not None


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
        """When the next timer fires that somebody waits for; None where nothing waits."""
        return min((when for when, _, timer in self._timers if is_waited_for(timer.callback)), default=None)

    def advance(self, seconds: float) -> None:
        """Move on, and fire what is due on the way."""
        end = self._now + seconds
        while self._timers and self._timers[0][0] <= end:
            due, _, timer = heapq.heappop(self._timers)
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
