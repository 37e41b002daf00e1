"""One job type's line: who waits for a slot, who is sent next, and when to look again."""

from __future__ import annotations

import heapq
import math
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from prodia_async._pacing.capacity import Phase, Want
from prodia_async._pacing.clock import Alarm
from prodia_async._settings import log

if TYPE_CHECKING:
    from collections.abc import Callable

    from prodia_async._pacing.capacity import Capacity, Place
    from prodia_async._pacing.clock import Clock

_SLACK = 64  # how many turns that have gone a queue may keep, beside one for each that waits

Queue: TypeAlias = "list[tuple[int, int, Place]]"
"""A heap of turns. One that has gone stays until it comes up, or until most have gone."""


class Line:
    """One job type's queues. Fresh turns were never sent; due ones were, and may be sent again."""

    def __init__(self, key: str, capacity: Capacity, clock: Clock, look: Callable[[Line], None]) -> None:
        self.key = key
        self.capacity = capacity
        self.turns = 0
        self.ready = 0  # of those that wait, turns that may be sent
        self.resting = 0  # turns that were shed, and keep their slots
        self.shed = self.completed = 0
        self.last_grant = 0
        self.idle_since = clock.monotonic()
        self.best: Place | None = None  # the turn that a refill would send, when `want` was asked last
        self._fresh: Queue = []
        self._least: Queue = []  # the same turns, the least important first
        self._due: Queue = []
        self.alarm = Alarm(clock, partial(look, self))
        self._state = capacity.state

    @property
    def in_use(self) -> int:
        """Slots that this type takes up: in flight, or kept by a turn that was shed."""
        return self.capacity.in_flight + self.resting

    def queue(self, turn: Place) -> None:
        """Let a turn stand in line: by arrival if it is fresh, by its first sending if it is not."""
        self.ready += 1
        if turn.first_sent is None:
            turn.phase = Phase.FRESH
            heapq.heappush(self._fresh, (turn.priority, turn.order, turn))
            heapq.heappush(self._least, (-turn.priority, turn.order, turn))
        else:
            turn.phase = Phase.DUE
            heapq.heappush(self._due, (turn.priority, turn.first_sent, turn))

    def drop(self, turn: Place) -> None:
        """Take out of line a turn that has gone, or gets its slot."""
        gone, turn.phase = turn.phase, Phase.IDLE
        self.ready -= 1
        for queue in (self._due,) if gone is Phase.DUE else (self._fresh, self._least):
            if len(queue) > 2 * self.ready + _SLACK:
                queue[:] = [entry for entry in queue if entry[2].phase is gone]
                heapq.heapify(queue)

    def want(self, now: float, *, more: bool) -> Want:
        """Say what this type would do with a free slot, and see to it that the question is asked again.

        `more`: whether more jobs are to come than stand in line.
        """
        due, fresh = _first(self._due, Phase.DUE), _first(self._fresh, Phase.FRESH)
        self.best = due if fresh is None or (due is not None and due.priority <= fresh.priority) else fresh
        backlog = 0 if self.best is None else math.inf if more else self.ready
        want = self.capacity.want(now, backlog)
        self.alarm.set(self.capacity.wake)
        return want

    def rank(self) -> tuple[int, int, int]:
        """Smallest priority, fewest slots in use, not served for longest; as `want` found it just now."""
        return 0 if self.best is None else self.best.priority, self.in_use, self.last_grant

    def next(self, want: Want) -> Place:
        """Take the turn that is next, as `want` found it just now, out of line.

        Growth sends a fresh one, if there is any: the least important, once a 429 was seen.
        """
        turn = self.best
        if want == "grow":
            fresh = self._fresh if self.capacity.state == "SLOW_START" else self._least
            turn = _first(fresh, Phase.FRESH) or turn
        if turn is None:
            raise AssertionError("a slot is only offered to a line in which somebody waits")
        self.drop(turn)
        return turn

    def log_state(self) -> None:
        """Tell the log when the state machine has moved."""
        capacity = self.capacity
        before, self._state = self._state, capacity.state
        if before != self._state:
            told = self.key, before, self._state, capacity.limit, capacity.in_flight
            log.debug("%s: %s to %s, limit %d, in flight %d", *told)


def _first(queue: Queue, phase: Phase) -> Place | None:
    """Return the first turn in `phase` that still waits; drop those before it."""
    while queue:
        turn = queue[0][2]
        if turn.phase is phase and turn.waiter is not None and not turn.waiter.done():
            return turn
        heapq.heappop(queue)
    return None
