"""Who may send now: the slots that all job types share.

A free slot goes to the job type with the smallest priority waiting, then the fewest slots in use, then the
one not served for longest; within a type to the oldest. The limiter knows no HTTP, has no task of its own,
and takes its clock and its random generator as arguments. It, not the retry loop, holds a turn that was shed
until its Retry-After has passed.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from collections import Counter, deque
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from prodia_async._errors import ClientClosedError, QueueFullError
from prodia_async._models import TypeStats
from prodia_async._pacing.capacity import DEFAULT_RETRY_AFTER, Capacity, FixedCapacity, Phase, Place, Want
from prodia_async._pacing.clock import Alarm
from prodia_async._pacing.line import Line
from prodia_async._settings import Adaptive, Fixed

if TYPE_CHECKING:
    import random

    from prodia_async._pacing.clock import Clock

FORGET = 60.0  # seconds after which a type with nothing waiting or in flight is forgotten
LINGER = 1.0  # seconds after a reply's headers at which its slot is free: a slow reader holds no capacity

Learned: TypeAlias = dict[str, tuple[float, int]]
"""When job types were last in use, and their limits then: a new event loop starts from them."""

_CLOSED = "the client was closed while this job waited: run it with a client that is open"


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
        self.limit = settings.max_concurrency if limit is None else limit
        self.clock = clock
        self.random = random
        self.in_use = 0
        self.lingering = 0
        self.grants = 0
        self.feeders = 0
        self.closed = False
        self.lines: dict[str, Line] = {}
        self.wanting: dict[Line, Want] = {}  # perhaps: each is asked when a slot is free
        self.waiters: dict[Place, Line] = {}
        self.replies: deque[tuple[float, Turn]] = deque()  # when each begins to linger
        self.replies_alarm = Alarm(clock, self.watch_replies)
        self._settings = settings
        self._learned = {} if learned is None else learned
        self._order = itertools.count()

    def join(self, key: str, priority: int = 0, *, bounded: bool = True) -> Turn:
        """Join the line of `key`.

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
        return Turn(limiter=self, line=line, priority=priority, order=next(self._order))

    def _line(self, key: str) -> Line:
        """Return the line of `key`, new unless it is in use; all that are idle are forgotten."""
        now = self.clock.monotonic()
        for name, line in list(self.lines.items()):
            is_idle = not line.turns and not line.in_use and now - line.idle_since >= FORGET
            if is_idle and now >= line.capacity.hold_until:
                line.alarm.set(math.inf)
                self.wanting.pop(line, None)
                del self.lines[name]
        if key not in self.lines:
            settings, most, chance = self._settings, self.limit, self.random
            at, limit = self._learned.pop(key, (-FORGET, 0))
            if isinstance(settings, Fixed):
                capacity: Capacity = FixedCapacity(most, most, chance)
            else:
                limit = limit if now - at < FORGET else settings.initial
                capacity = Capacity(limit, most, chance, step=settings.initial, probing=settings.probing)
            self.lines[key] = Line(key, capacity, self.clock, self.touch)
        return self.lines[key]

    def expect_more(self, yes: bool) -> None:
        """Say that a feeder has more jobs than it lets stand in line, or (`False`) that it has no more."""
        self.feeders += 1 if yes else -1

    def stats(self) -> dict[str, TypeStats]:
        """Return the counts of each job type."""
        waiting, found = Counter(self.waiters.values()), {}
        for key, line in self.lines.items():
            room = line.capacity
            found[key] = TypeStats(
                room.state, room.limit, room.in_flight, waiting[line], line.shed, line.completed, room.latency
            )
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
            first = min(self.wanting, key=Line.rank)
            self.give(first, first.next(wants[first]), wants[first], now)
        line.log_state()

    def give(self, line: Line, turn: Place, want: Want, now: float) -> None:
        """Give a turn a slot, and tell whoever waits for it."""
        self.in_use += 1
        self.grants += 1
        line.last_grant = self.grants
        if turn.first_sent is None:
            turn.first_sent = self.grants
        turn.phase = Phase.SENDING
        turn.lingers_at = None
        line.capacity.send(turn, want, now)
        if want == "grow":
            line.log_state()
        if turn.waiter is not None:
            waiter, turn.waiter = turn.waiter, None
            del self.waiters[turn]
            waiter.set_result(None)

    def watch_replies(self) -> None:
        """Have replies linger from their times on, should they not be complete by then.

        One timer serves all: most replies are complete long before, and are only passed over.
        """
        now = self.clock.monotonic()
        while self.replies and not self.closed:
            when, turn = self.replies[0]
            if turn.phase is Phase.SENDING and turn.lingers_at == when:
                if when > now:
                    self.replies_alarm.set(when)
                    break
                if self.lingering >= self.limit:
                    break  # until one that lingers ends
                self.lingering += 1
                turn.end(completed=True)
                turn.phase = Phase.LINGERING
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
                turn.waiter.set_exception(ClientClosedError(_CLOSED))

    def remember(self) -> None:
        """Keep what was learned for the limiter of another event loop."""
        now = self.clock.monotonic()
        for key, line in self.lines.items():
            self._learned[key] = (now if line.turns or line.in_use else line.idle_since, line.capacity.limit)


class Turn(Place, eq=False, kw_only=True):
    """A job's place in line, and the slot of its present attempt: a job joins once.

    Before each attempt `take()`, or else `await wait()`; then `body_sent`, `headers`, and exactly one of
    `success`, `end`, `ignore` and `shed` ends the attempt. `leave()` when all is over; a slot that is
    still open then is ended later, by whoever has the turn.
    """

    limiter: Limiter
    line: Line

    def take(self) -> bool:
        """Get a slot at once if one is free and nobody has to be asked before; else only `wait` gets one."""
        line, limiter = self.line, self.limiter
        if limiter.in_use >= limiter.limit or (limiter.waiters and limiter.wanting) or limiter.closed:
            return False
        if line.ready or self.phase is not Phase.IDLE:
            return False
        now = limiter.clock.monotonic()
        want = line.capacity.want(now, math.inf if limiter.feeders else 1)
        if want is not None:
            limiter.give(line, self, want, now)
        return want is not None

    async def wait(self) -> None:
        """Wait for a slot. Leaving the wait by cancellation gives the turn up."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.ask(future)
        try:
            await future
        except BaseException:
            if self.phase is Phase.SENDING:  # granted in the very step of the cancellation
                self.ignore()
            self.leave()
            raise

    def ask(self, waiter: asyncio.Future[None]) -> None:
        """Stand in line, or wait for the time to do so; `waiter` is told of the slot. Raises when closed."""
        line, limiter = self.line, self.limiter
        if limiter.closed:
            raise ClientClosedError(_CLOSED)
        self.waiter = waiter
        limiter.waiters[self] = line
        if self.phase is Phase.IDLE:
            line.queue(self)
            # One turn more changes nothing where no slot is free, nor before the next look at a line.
            is_moot = limiter.in_use >= limiter.limit if line in limiter.wanting else line.alarm.at < math.inf
            if not is_moot or line.ready == 1:
                limiter.touch(line)

    def begins(self) -> None:
        """Say that the attempt begins now: what was waited for since the slot was given is no latency."""
        self.sent_at = self.limiter.clock.monotonic()

    def body_sent(self) -> None:
        """Say that the last byte of the request was handed to the transport."""
        if self.line.capacity.body_sent(self, self.limiter.clock.monotonic()):
            self.limiter.touch(self.line)

    def headers(self) -> None:
        """Say that a good reply has begun: `LINGER` seconds later the slot is free, complete or not.

        So it is while fewer replies than the limit linger, which bounds the connections to twice the limit.
        """
        limiter = self.limiter
        now = limiter.clock.monotonic()
        self.lingers_at = now + LINGER
        self.line.capacity.headers(self, now)
        limiter.replies.append((self.lingers_at, self))
        if limiter.replies_alarm.at == math.inf:
            limiter.watch_replies()

    def success(self) -> None:
        """End: the service ran the job; an asynchronous one has taken all the time since it was sent."""
        self.line.completed += 1
        if self.phase is Phase.SENDING and self.lingers_at is None:
            self.line.capacity.headers(self, self.limiter.clock.monotonic())
        self.end(completed=True)

    def ignore(self) -> None:
        """End: cancelled, or the connection was lost; it says nothing of the service's capacity."""
        self.end(admitted=False)

    def end(self, *, admitted: bool = True, completed: bool = False, told: float | None = None) -> None:
        """End: the service answered, something else than 200 or 429 unless more is said.

        The slot is given back, unless the reply has lingered, whose slot is free.
        """
        line, limiter = self.line, self.limiter
        if self.phase is Phase.SENDING:
            line.idle_since = now = limiter.clock.monotonic()
            self.phase = Phase.IDLE
            limiter.in_use -= 1
            if told is not None:
                line.capacity.shed(self, told, now)
            elif line.capacity.ended(self, now, admitted=admitted, completed=completed) or limiter.waiters:
                limiter.touch(line)  # else nobody gains by it
        elif self.phase is Phase.LINGERING:
            self.phase = Phase.IDLE
            limiter.lingering -= 1
            if limiter.replies_alarm.at == math.inf:  # another may linger
                limiter.watch_replies()
        else:
            raise AssertionError("an attempt ends once")

    def shed(self, retry_after: float | None) -> None:
        """End: 429. The turn is held for `retry_after` seconds × (1 to 1.1), never less."""
        line, limiter = self.line, self.limiter
        seconds = DEFAULT_RETRY_AFTER if retry_after is None else retry_after
        line.shed += 1
        self.end(told=seconds)
        if not self.left:
            self.phase = Phase.RESTING
            if line.capacity.rests_in_slot:
                line.resting += 1
                limiter.in_use += 1
            until = limiter.clock.monotonic() + seconds * limiter.random.uniform(1.0, 1.1)
            self.rest = limiter.clock.call_at(until, partial(self._rest, until))
        limiter.touch(line)

    def _rest(self, until: float) -> None:
        """Be held until then, and go: into line if it waits; a slot that was kept is free again."""
        line, limiter = self.line, self.limiter
        if self.rest is not None:
            self.rest.cancel()
        if limiter.clock.monotonic() < until:
            self.rest = limiter.clock.call_at(until, partial(self._rest, until))
            return
        self.rest, self.phase = None, Phase.IDLE
        if line.capacity.rests_in_slot:
            line.resting -= 1
            limiter.in_use -= 1
        if self.waiter is not None:
            line.queue(self)
        limiter.touch(line)

    def leave(self) -> None:
        """Give the turn up; harmless when it was given up before."""
        if self.left:
            return
        self.left = True
        line, limiter = self.line, self.limiter
        line.turns -= 1
        line.idle_since = limiter.clock.monotonic()
        if self.waiter is not None:
            self.waiter = None
            del limiter.waiters[self]
        if self.phase is Phase.RESTING:
            self._rest(-math.inf)
        elif self.phase in (Phase.FRESH, Phase.DUE):
            line.drop(self)
            limiter.touch(line)
