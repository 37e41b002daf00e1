"""Rows written ahead of their turns: no job waits for the disk with a slot of the limiter in hand.

Of each type at most as many jobs as may be in flight have a row before they are sent, those included that
keep theirs after a 429: a kill names about twice as many jobs as may be in flight.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prodia_async._models import Job
    from prodia_async._pacing.limiter import Limiter

_UNKNOWN = 4
"""How many jobs of a type may be in flight that none was sent of."""


class Arming:
    """Who may have a row ahead: those with the smallest priority first, then in order of arrival."""

    def __init__(self, limiter: Limiter) -> None:
        self._limiter = limiter
        self._armed: Counter[str] = Counter()
        self._resting: Counter[str] = Counter()
        self._lines: dict[str, list[tuple[int, int, asyncio.Future[bool]]]] = {}
        self._order = itertools.count()

    async def enter(self, job: Job) -> bool:
        """Wait until a job may have its row: `leave` must follow. False where those that rest have all."""
        kind = job.type
        line = self._lines.setdefault(kind, [])
        if not line and (self._has_room(kind) or not self._armed[kind]):
            return self._let_in(kind)
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        heapq.heappush(line, (job.priority, next(self._order), waiter))
        try:
            return await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled() and waiter.result():  # it was let in that very moment
                self.leave(kind)
            raise

    def leave(self, kind: str) -> None:
        """Take note that an armed job is sent, or is not to be; the next may have their rows."""
        self._armed[kind] -= 1
        line = self._lines[kind]
        while line and (self._has_room(kind) or not self._armed[kind]):
            waiter = heapq.heappop(line)[2]
            if not waiter.done():
                waiter.set_result(self._let_in(kind))

    def rest(self, kind: str) -> bool:
        """Tell whether a job that was shed keeps its row until it is sent again; `wake` must follow then."""
        rests = self._resting[kind] < max(1, self._limit(kind) // 2)
        self._resting[kind] += rests
        return rests

    def wake(self, kind: str) -> None:
        """Take note that a job that rested is sent, or is not to be."""
        self._resting[kind] -= 1

    def _let_in(self, kind: str) -> bool:
        has_room = self._has_room(kind)
        self._armed[kind] += has_room
        return has_room

    def _has_room(self, kind: str) -> bool:
        return self._armed[kind] + self._resting[kind] < self._limit(kind)

    def _limit(self, kind: str) -> int:
        """Return how many jobs of a type may be in flight now."""
        lines = [line for name in (kind, f"{kind} (async)") if (line := self._limiter.lines.get(name))]
        return min(sum(line.capacity.limit for line in lines) or _UNKNOWN, self._limiter.limit)
