"""One job type's line: who waits for a slot, who is sent next, and when to look again."""

from __future__ import annotations

import asyncio
import bisect
import math
from collections import OrderedDict
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING

from msgspec import Struct

from prodia_async._pacing.capacity import Round, Want
from prodia_async._pacing.clock import Alarm, Timer

if TYPE_CHECKING:
    from collections.abc import Callable

    from prodia_async._pacing.capacity import Capacity
    from prodia_async._pacing.clock import Clock

FORGET = 60.0  # seconds after which a type with nothing waiting or in flight is forgotten


class Phase(Enum):
    """Where a turn stands."""

    IDLE = "it has no slot, and stands in no queue"
    FRESH = "it stands in line, and was never sent"
    DUE = "it stands in line to be sent again"
    RESTING = "it was shed, and its Retry-After has not passed"
    SENDING = "it has a slot"
    LINGERING = "its reply is still being read, and its slot is free again"


class Place(Struct, eq=False, kw_only=True):
    """What is known of a turn and, from `sent_at` on, of its present attempt."""

    priority: int = 0
    phase: Phase = Phase.IDLE
    waiter: asyncio.Future[None] | None = None
    rest: Timer | None = None
    left: bool = False
    first_sent: int = 0  # when, among all; 0 before that
    sent_at: float = 0.0
    body_sent_at: float | None = None
    lingers_at: float | None = None  # when its slot is free, should its reply not be complete by then
    round: Round | None = None  # whose verdict waits for the body


class Line:
    """One job type's queues. Fresh turns were never sent; due ones were, and may be sent again."""

    def __init__(self, key: str, capacity: Capacity, clock: Clock, look: Callable[[Line], None]) -> None:
        self.key = key
        self.capacity = capacity
        self.turns = 0
        self.ready: int = 0  # of those that wait, turns that may be sent
        self.resting = 0  # turns that were shed, and keep their slots
        self.shed = self.completed = 0
        self.last_grant = 0
        self.idle_since: float = clock.monotonic()
        self.state = capacity.state  # as the log was told last
        self.alarm: Alarm = Alarm(clock, partial(look, self))
        self._fresh: dict[int, OrderedDict[Place, None]] = {}  # by priority, each by arrival
        self._due: list[tuple[int, int, Place]] = []  # by priority and first sending

    @property
    def in_use(self) -> int:
        """Slots that this type takes up: in flight, or kept by a turn that was shed."""
        return self.capacity.in_flight + self.resting

    def last_used(self, now: float) -> float:
        """Return when it was last in use."""
        return now if self.turns or self.in_use else self.idle_since

    def queue(self, turn: Place) -> None:
        """Let a turn stand in line."""
        self.ready += 1
        if turn.first_sent:
            turn.phase = Phase.DUE
            bisect.insort(self._due, (turn.priority, turn.first_sent, turn))
            return
        turn.phase = Phase.FRESH
        if turn.priority not in self._fresh:
            self._fresh[turn.priority] = OrderedDict()
        self._fresh[turn.priority][turn] = None

    def drop(self, turn: Place) -> None:
        """Take out of line a turn that has gone, or gets its slot."""
        self.ready -= 1
        if turn.phase is Phase.DUE:
            self._due.remove((turn.priority, turn.first_sent, turn))
        else:
            queue = self._fresh[turn.priority]
            del queue[turn]
            if not queue:
                del self._fresh[turn.priority]
        turn.phase = Phase.IDLE

    def want(self, now: float, *, more: bool) -> Want:
        """Say what this type would do with a free slot, and see to it that the question is asked again.

        `more`: whether more jobs are to come than stand in line.
        """
        want = self.capacity.want(now, math.inf if more and self.ready else self.ready)
        if self.capacity.wake != self.alarm.at:
            self.alarm.set(self.capacity.wake)
        return want

    def rank(self) -> tuple[int, int, int]:
        """Smallest priority, fewest slots in use, not served for longest."""
        priorities = [*self._fresh, *(due[0] for due in self._due[:1])]
        return min(priorities), self.in_use, self.last_grant

    def next(self, want: Want) -> Place | None:
        """Take the turn that is next out of line; None where all that stand in it have just been cancelled.

        A refill goes to the smallest priority, and there to one that was sent before. Growth sends a fresh
        one, if there is any: the least important, once a 429 was seen.
        """
        due, fresh = self._due, self._fresh
        while self.ready:
            probes = fresh and want == "grow"
            if due and not probes and (not fresh or due[0][0] <= min(fresh)):
                turn = due[0][2]
            else:
                choose = max if probes and self.capacity.state != "SLOW_START" else min
                turn = next(iter(fresh[choose(fresh)]))
            self.drop(turn)
            if turn.waiter is not None and not turn.waiter.done():
                return turn
        return None
