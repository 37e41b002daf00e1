"""Who may send now: the pool of slots that all job types share.

A free slot goes to the job type with the smallest priority waiting, then the fewest slots in use, then the
one not served for longest; within a type to the oldest. The pool knows no HTTP, has no task of its own, and
takes its clock and its random generator as arguments.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, TypeAlias

from prodia_async._errors import QueueFullError
from prodia_async._pacing.adaptive import AdaptiveCapacity
from prodia_async._pacing.capacity import FixedCapacity, Want
from prodia_async._pacing.line import Line
from prodia_async._pacing.turns import Permit, Turn, closed_error
from prodia_async._settings import Adaptive, Fixed

if TYPE_CHECKING:
    import random

    from prodia_async._models import TypeStats
    from prodia_async._pacing.clock import Clock, Timer

FORGET = 60.0
"""Seconds after which a type with nothing waiting or in flight is forgotten, with all that was learned."""


Learned: TypeAlias = dict[str, tuple[float, int]]
"""The limits that job types had, and when they were last in use: a new event loop starts from them."""


class Pool:
    """The lines of all job types, and the slots that they share. Nothing of it runs by itself but timers."""

    def __init__(
        self,
        settings: Adaptive | Fixed,
        clock: Clock,
        random: random.Random,
        *,
        limit: int | None = None,
        learned: Learned | None = None,
    ) -> None:
        self.limit = settings.max_concurrency if limit is None else limit
        self.clock = clock
        self.random = random
        self.in_use = 0
        self.lingering = 0
        self.feeders = 0
        self._replies: deque[tuple[float, Permit]] = deque()
        self._replies_timer: Timer | None = None
        self.closed = False
        self.lines: dict[str, Line] = {}
        self._settings = settings
        self._learned = {} if learned is None else learned
        self._wanting: dict[Line, None] = {}
        self._joined = 0
        self._grants = 0
        self._granting = False

    def join(self, key: str, priority: int = 0, *, bounded: bool = True) -> Turn:
        """Join the line of `key`.

        Raises QueueFullError when no slot is free and `max_waiting` turns wait in all lines already;
        `bounded=False` is for callers that bound how many they start themselves.
        """
        line = self.lines.get(key)
        most = self._settings.max_waiting
        if bounded and not self._has_room(line) and self.waiting >= most:
            raise QueueFullError(
                f"{self.waiting} jobs already wait in the client's line (max_waiting={most}); "
                "nothing was sent. Start fewer jobs at once, or raise max_waiting."
            )
        if line is None or self._is_forgotten(line):
            line = self._open_line(key)
        line.turns += 1
        self._joined += 1
        return Turn(line, priority, self._joined)

    def end_later(self, permit: Permit, when: float) -> None:
        """End a permit at `when`, should its reply not be complete by then; `when` never goes back.

        One timer serves all: most replies are complete long before, and are only passed over.
        """
        if self.closed:
            return
        self._replies.append((when, permit))
        if self._replies_timer is None:
            self._replies_timer = self.clock.call_at(when, self._end_lingering)

    def _end_lingering(self) -> None:
        self._replies_timer = None
        now = self.clock.monotonic()
        replies = self._replies
        while replies and (replies[0][0] <= now or replies[0][1].has_ended):
            if self.lingering >= self.limit and not replies[0][1].has_ended:
                return  # until one that lingers ends
            replies.popleft()[1].linger()
        if replies:
            self._replies_timer = self.clock.call_at(replies[0][0], self._end_lingering)

    def lingers_no_more(self) -> None:
        """Take note that a reply has ended that lingered: another may."""
        self.lingering -= 1
        if not self.closed and self._replies and self._replies_timer is None:
            self._end_lingering()

    def expect_more(self, yes: bool) -> None:
        """Say that a feeder has more jobs than it lets stand in line, or (`False`) that it has no more."""
        self.feeders += 1 if yes else -1

    def _has_room(self, line: Line | None) -> bool:
        if self.in_use >= self.limit:
            return False
        return line is None or (line.in_use < line.capacity.limit and not line.ready)

    @property
    def waiting(self) -> int:
        """Turns that wait for a permit."""
        return sum(len(line.waiters) for line in self.lines.values())

    @property
    def in_flight(self) -> int:
        """Permits that are out."""
        return sum(line.capacity.in_flight for line in self.lines.values())

    def touch(self, line: Line) -> None:
        """Look at a line again, after each event and each timer of it, and give away what slots are free."""
        now = self.clock.monotonic()
        if line.idle:
            line.idle_since = now
        if self.closed:
            return
        line.settled = False
        self._wanting[line] = None  # perhaps: it is asked when a slot is free
        if self._granting:  # a permit that ended while it was being handed over: the loop below goes on
            return
        self._granting = True
        try:
            while self.in_use < self.limit and self._grant(now):
                pass
        finally:
            self._granting = False
        line.log_state()

    def _grant(self, now: float) -> bool:
        """Give one free slot to the line that ranks first: max-min fairness between types of one priority."""
        best: tuple[Line, Want] | None = None
        first = (0, 0, 0)
        for line in list(self._wanting):
            want = line.want(now)
            if want is Want.NOTHING:
                del self._wanting[line]
                continue
            rank = line.rank
            if best is None or rank < first:
                best, first = (line, want), rank
        if best is None:
            return False
        self._send(*best, now)
        return True

    def _send(self, line: Line, want: Want, now: float) -> None:
        turn = line.take(want)
        waiter = turn.waiter
        if waiter is None:
            raise AssertionError("only waiting turns are served")
        self._grants += 1
        line.last_grant = self._grants
        self.in_use += 1
        if turn.first_sent is None:
            turn.first_sent = self._grants
        permit = Permit(turn, line.capacity.send(want, now))
        if want is Want.GROW:
            line.log_state()
        turn.stop_waiting()
        waiter.set_result(permit)

    def stats(self) -> dict[str, TypeStats]:
        """Return the counts of each job type."""
        return {key: line.stats() for key, line in self.lines.items()}

    def close(self) -> None:
        """Send away with an error whoever waits, and whoever still comes."""
        self.closed = True
        self.remember()
        self._replies.clear()
        if self._replies_timer is not None:
            self._replies_timer.cancel()
        for line in self.lines.values():
            line.close()
            for turn in list(line.waiters):
                if isinstance(turn.waiter, asyncio.Future) and not turn.waiter.done():
                    turn.waiter.set_exception(closed_error())

    def remember(self) -> None:
        """Keep what was learned for the pool of another event loop."""
        now = self.clock.monotonic()
        for key, line in self.lines.items():
            self._learned[key] = (line.idle_since if line.idle else now, line.capacity.limit)

    def _open_line(self, key: str) -> Line:
        for name, line in list(self.lines.items()):
            if self._is_forgotten(line):
                line.close()
                self._wanting.pop(line, None)
                del self.lines[name]
        line = self.lines[key] = Line(self, key, self._capacity(key, self.clock.monotonic()))
        return line

    def _is_forgotten(self, line: Line) -> bool:
        if not line.idle:
            return False
        now = self.clock.monotonic()
        return now - line.idle_since >= FORGET and not line.capacity.held(now)

    def _capacity(self, key: str, now: float) -> FixedCapacity:
        if isinstance(self._settings, Fixed):
            return FixedCapacity(self.limit)
        at, limit = self._learned.pop(key, (-FORGET, 0))
        learned = limit if now - at < FORGET else None
        return AdaptiveCapacity(self._settings, self.limit, self.random, learned)
