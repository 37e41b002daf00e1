"""Rows written ahead of their turns: no job waits for the disk with a slot of the limiter in hand.

Of each type at most as many jobs as may be in flight have a row before they are sent, those included that
keep theirs after a 429: a kill names about twice as many jobs as may be in flight.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import defaultdict
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
        self._armed = defaultdict[str, int](int)
        self._resting = defaultdict[str, int](int)
        self._lines: dict[str, list[tuple[int, int, asyncio.Future[bool]]]] = {}
        self._order = itertools.count()

    async def enter(self, job: Job) -> bool:
        """Wait until a job may have its row: `leave` must follow. False where those that rest have all."""
        kind = job.type
        line, has_room = self._lines.setdefault(kind, []), self._room(kind) > 0
        if not line and (has_room or not self._armed[kind]):
            self._armed[kind] += has_room
            return has_room
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
        line, room = self._lines[kind], self._room(kind)
        while line and (room > 0 or not self._armed[kind]):
            waiter = heapq.heappop(line)[2]
            if not waiter.done():
                self._armed[kind] += room > 0
                waiter.set_result(room > 0)
                room -= 1

    def rest(self, kind: str) -> bool:
        """Tell whether a job that was shed keeps its row until it is sent again; `wake` must follow then."""
        limit = self._room(kind) + self._armed[kind] + self._resting[kind]
        rests = self._resting[kind] < max(1, limit // 2)
        self._resting[kind] += rests
        return rests

    def wake(self, kind: str) -> None:
        """Take note that a job that rested is sent, or is not to be."""
        self._resting[kind] -= 1

    def _room(self, kind: str) -> int:
        """Return how many more rows a type may have ahead, for so many of its jobs may be in flight now."""
        limit, lines = 0, self._limiter.lines
        for name in (kind, f"{kind} (async)"):
            if name in lines:
                limit += lines[name].capacity.limit
        return min(limit or _UNKNOWN, self._limiter.limit) - self._armed[kind] - self._resting[kind]
