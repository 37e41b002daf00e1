"""Who may send now: the slots that all job types share.

A free slot goes to the job type with the smallest priority waiting, then the fewest slots in use, then the
one not served for longest; within a type to the oldest. The limiter knows no HTTP, has no task of its own,
and takes its clock and its random generator as arguments. It, not the retry loop, holds a turn that was shed
until its Retry-After has passed.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from prodia_async._errors import ClientClosedError, QueueFullError
from prodia_async._pacing.capacity import Capacity, Want
from prodia_async._pacing.clock import Alarm
from prodia_async._pacing.line import FORGET, Line, Phase, Place
from prodia_async._settings import Adaptive, Fixed, log
from prodia_async._stats import LimitChange, TypeStats

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from prodia_async._pacing.clock import Clock

HISTORY = 1000  # changes of limits that are kept, the latest

Learned: TypeAlias = dict[str, tuple[float, int]]
"""When job types were last in use, and their limits then: a new event loop starts from them."""

CLOSED = "the client was closed while this job waited: run it with a client that is open"


class Limiter:
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
        self.limit: int = settings.max_concurrency if limit is None else limit
        self.clock = clock
        self.random = random
        self.in_use: int = 0
        self.lingering = 0
        self.grants: int = 0
        self.feeders: int = 0
        self.closed: bool = False
        self.history: deque[LimitChange] = deque(maxlen=HISTORY)
        self.lines: dict[str, Line] = {}
        self.wanting: dict[Line, Want] = {}  # perhaps: each is asked when a slot is free
        self.waiters: dict[Place, Line] = {}
        self.replies: deque[tuple[float, Place, Callable[[], None]]] = deque()  # when each begins to linger
        self.replies_alarm: Alarm = Alarm(clock, self.watch_replies)
        self._settings = settings
        self._learned = {} if learned is None else learned
        self._peers: list[Capacity] = []

    def join(self, key: str, *, bounded: bool = True) -> Line:
        """Return the line of `key` for one more turn, which leaves it in the end.

        Raises QueueFullError when no slot is free and `max_waiting` turns wait in all lines already;
        `bounded=False` is for callers that bound how many they start themselves.
        """
        line, waiting, most = self.lines.get(key), len(self.waiters), self._settings.max_waiting
        if bounded and waiting >= most:
            is_full = line is not None and (line.ready > 0 or line.in_use >= line.capacity.limit)
            if is_full or self.in_use >= self.limit:
                raise QueueFullError(
                    f"{waiting} jobs already wait in the client's line (max_waiting={most}); "
                    "nothing was sent. Start fewer jobs at once, or raise max_waiting."
                )
        if line is None or self.clock.monotonic() - line.idle_since >= FORGET:
            line = self._line(key)
        line.turns += 1
        return line

    def _line(self, key: str) -> Line:
        """Return the line of `key`, new unless it is in use; all that are idle are forgotten."""
        now, settings = self.clock.monotonic(), self._settings
        for name, line in list(self.lines.items()):
            if now - line.last_used(now) >= FORGET and now >= line.capacity.hold_until:
                line.alarm.set(math.inf)
                line.capacity.share_no_more()
                self._peers.remove(line.capacity)
                self.wanting.pop(line, None)
                del self.lines[name]
        if key in self.lines:
            return self.lines[key]
        if isinstance(settings, Fixed):
            room = Capacity(self.limit, self.limit, self.random, self._peers, fixed=True)
        else:
            # Types that start together share the first guess: they may share the capacity, too.
            starting = sum(each.turns and each.capacity.state == "SLOW_START" for each in self.lines.values())
            at, limit = self._learned.pop(key, (-FORGET, 0))
            if now - at >= FORGET:
                limit = max(1, settings.initial // (1 + starting))
            initial, probing = settings.initial, settings.probing
            room = Capacity(limit, self.limit, self.random, self._peers, initial=initial, probing=probing)
        line = self.lines[key] = Line(key, room, self.clock, self.touch)
        room.tell = partial(self._note, line)
        return line

    def set_limit(self, limit: int) -> None:
        """Let at most so many jobs be in flight from now on; those that are may end."""
        self.limit = limit
        for line in self.lines.values():
            room = line.capacity
            before, room.most = room.limit, limit
            room.limit = limit if room.fixed else min(before, limit)
            if room.limit != before:
                self._note(line, "set_limit")
            self.wanting[line] = "refill"
        for line in self.lines.values():
            self.touch(line)

    def _note(self, line: Line, why: str) -> None:
        """Keep a change of a limit, and tell the log when the state machine has moved."""
        room, before = line.capacity, line.state
        line.state = room.state
        self.history.append(LimitChange(self.clock.wall(), line.key, room.limit, room.in_flight, why))
        if line.state != before:
            told = line.key, before, line.state, why, room.limit, room.in_flight
            log.debug("%s: %s to %s (%s), limit %d, in flight %d", *told)

    def expect_more(self, yes: bool) -> None:
        """Say that a feeder has more jobs than it lets stand in line, or (`False`) that it has no more."""
        self.feeders += 1 if yes else -1

    def stats(self) -> dict[str, TypeStats]:
        """Return the counts of each job type."""
        waiting, found, now = Counter(self.waiters.values()), {}, self.clock.monotonic()
        for key, line in self.lines.items():
            room = line.capacity
            counts = room.in_flight, waiting[line], line.shed, line.completed
            shares = tuple(name for name, other in self.lines.items() if other.capacity in room.shares)
            found[key] = TypeStats(room.state, room.limit, *counts, room.latency, room.is_moving(now), shares)
        return found

    def touch(self, line: Line) -> None:
        """Look at a line again, after what may change its wants, and give away what slots are free.

        Each goes to the line that ranks first: max-min fairness between types of one priority.
        """
        if self.closed:
            return
        now, more = self.clock.monotonic(), self.feeders > 0
        self.wanting[line] = "refill"
        if self.in_use >= self.limit:  # all the same silence may have told, and there is a next time to look
            line.want(now, more=more)
        while self.in_use < self.limit:
            wants = {each: each.want(now, more=more) for each in self.wanting}
            self.wanting = {each: want for each, want in wants.items() if want}
            if not self.wanting:
                break
            first = min(self.wanting, key=Line.rank) if len(self.wanting) > 1 else next(iter(self.wanting))
            turn = first.next(wants[first])
            if turn is not None:
                self.give(first, turn, wants[first], now)

    def give(self, line: Line, turn: Place, want: Want, now: float) -> None:
        """Give a turn a slot, and tell whoever waits for it."""
        self.in_use += 1
        self.grants += 1
        line.last_grant = self.grants
        turn.first_sent = turn.first_sent or self.grants
        turn.phase = Phase.SENDING
        turn.sent_at = now
        turn.body_sent_at = turn.lingers_at = None
        turn.round = line.capacity.send(want, now)
        if turn.waiter is not None:
            waiter, turn.waiter = turn.waiter, None
            del self.waiters[turn]
            waiter.set_result(None)

    def hand_over(self, line: Line) -> None:
        """Leave the slot of a job that has just ended to another type: the smallest that waits at its limit.

        One that shares the capacity gets it, if this type has nothing to send or has more in flight; should
        it be shed, the two share a little less. Any other may search at once, if nothing is to be sent here.
        """
        room, lines = line.capacity, self.lines.values()
        full = [
            each for each in lines if each.ready and each.in_use >= each.capacity.limit and each is not line
        ]
        sharing = [
            each
            for each in full
            if each.capacity in room.shares
            and each.capacity.limit < each.capacity.most
            and (not line.ready or each.in_use < line.in_use)
        ]
        if sharing and room.limit > 1:
            first = min(sharing, key=Line.rank)
            room.limit -= 1
            first.capacity.limit += 1
            self.wanting[first] = "refill"
        elif full and not line.ready:
            first = min(full, key=Line.rank)
            first.capacity.offer(self.clock.monotonic())
            self.wanting[first] = "refill"

    def watch_replies(self) -> None:
        """Have replies linger from their times on, should they not be complete by then.

        One timer serves all: most replies are complete long before, and are only passed over.
        """
        now = self.clock.monotonic()
        while self.replies and not self.closed:
            when, turn, linger = self.replies[0]
            if turn.phase is Phase.SENDING and turn.lingers_at == when:
                if when > now:
                    self.replies_alarm.set(when)
                    break
                if self.lingering >= self.limit:
                    break  # until one that lingers ends
                linger()
            self.replies.popleft()

    def close(self) -> None:
        """Send away with an error whoever waits, and whoever still comes."""
        self.closed = True
        self.remember()
        self.replies.clear()
        self.replies_alarm.set(math.inf)
        for line in self.lines.values():
            line.alarm.set(math.inf)
        for turn in self.waiters:
            if turn.waiter is not None and not turn.waiter.done():
                turn.waiter.set_exception(ClientClosedError(CLOSED))

    def remember(self) -> None:
        """Keep what was learned for the limiter of another event loop."""
        now = self.clock.monotonic()
        for key, line in self.lines.items():
            self._learned[key] = line.last_used(now), line.capacity.limit
