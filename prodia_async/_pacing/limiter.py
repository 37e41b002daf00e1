"""Turns and permits: who may send now. A job joins once for a turn and gets a permit for each attempt.

The limiter, not the retry loop, holds a shed turn until its Retry-After has passed. It serves waiters by
priority; between job types the one with the fewest slots in use, in rotation; within a type in order of
arrival. It knows no HTTP and takes its clock and its random generator as arguments.
"""

from __future__ import annotations

import asyncio
import heapq
from typing import TYPE_CHECKING

from msgspec import Struct

from prodia_async._errors import ProdiaError, QueueFullError
from prodia_async._models import TypeStats
from prodia_async._settings import require

if TYPE_CHECKING:
    import random
    from types import TracebackType

    from prodia_async._pacing.clock import Clock, Timer

DEFAULT_RETRY_AFTER = 1.0
"""Seconds to wait after a 429 whose Retry-After is missing or senseless, as the vendor's client does."""

LINGER = 1.0
"""Seconds after a reply's headers at which its permit ends, complete or not: a slow reader holds a
connection, not capacity."""

FORGET = 60.0
"""Seconds after which the line of a type with nothing waiting or in flight is forgotten."""


class Fixed(Struct, frozen=True):
    """A fixed limit: at most `max_concurrency` jobs at once, at most `max_waiting` more in line.

    A job that was shed keeps its slot until its Retry-After has passed, so a full service is asked again
    by few, not by all.
    """

    max_concurrency: int = 8
    max_waiting: int = 10_000

    def __post_init__(self) -> None:
        require(self.max_concurrency >= 1, "Fixed.max_concurrency", self.max_concurrency)
        require(self.max_waiting >= 0, "Fixed.max_waiting", self.max_waiting)


class Permit:
    """The right to send one attempt. It ends exactly once: success, shed, answered or ignore."""

    def __init__(self, turn: Turn, now: float) -> None:
        self.was_sent = False
        self._turn = turn
        self._line = turn.line
        self._pool = turn.line.pool
        self._granted = now
        self._open = True
        self._lingering = False
        self._timer: Timer | None = None

    def body_sent(self) -> None:
        """Say that the last byte of the request was handed to the transport."""
        self.was_sent = True

    def headers(self) -> None:
        """Say that a good reply has begun: `LINGER` seconds later the permit ends by itself.

        It does so while fewer replies than the limit linger, which bounds the connections to twice the limit.
        """
        self._line.sample(self._pool.clock.monotonic() - self._granted)
        self._timer = self._pool.clock.call_at(self._pool.clock.monotonic() + LINGER, self._linger)

    def success(self) -> None:
        """End: the service ran the job."""
        self._line.completed += 1
        self._end()

    def answered(self) -> None:
        """End: the service took the request and answered something else than 200 or 429."""
        self._end()

    def ignore(self) -> None:
        """End: cancelled, or the connection was lost; it says nothing of the service's capacity."""
        self._end()

    def shed(self, retry_after: float | None) -> None:
        """End: 429. The turn is held for `retry_after` seconds × (1 to 1.1), never less."""
        pause = DEFAULT_RETRY_AFTER if retry_after is None else retry_after
        self._line.shed += 1
        self._turn.hold(pause * self._pool.random.uniform(1.0, 1.1))
        self._end()

    def _linger(self) -> None:
        self._timer = None
        if self._pool.lingering < self._pool.limit:
            self._pool.lingering += 1
            self._lingering = True
            self._release()

    def _end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._lingering:
            self._lingering = False
            self._pool.lingering -= 1
        else:
            self._release()

    def _release(self) -> None:
        if not self._open:
            raise AssertionError("a permit ends once")
        self._open = False
        self._line.in_flight -= 1
        self._pool.grant()


class Turn:
    """A job's place in line: `permit()` once an attempt, `leave()` (or the block's end) when it is over."""

    def __init__(self, line: Line, priority: int, order: int) -> None:
        self.line = line
        self.rank = (priority, order)
        self.future: asyncio.Future[Permit] | None = None
        self._rest: Timer | None = None
        self._left = False

    @property
    def waits(self) -> bool:
        """Whether a permit is waited for, and has not been given."""
        return self.future is not None and not self.future.done()

    async def permit(self) -> Permit:
        """Wait until this turn may send. Leaving the wait by cancellation gives the place up."""
        if self.line.pool.closed:
            raise _closed()
        self.future = asyncio.get_running_loop().create_future()
        self.line.waiters.add(self)
        if self._rest is None:
            self.queue()
            self.line.pool.grant()
        try:
            return await self.future
        except asyncio.CancelledError:
            if self.future.done() and not self.future.cancelled() and not self.future.exception():
                self.future.result().ignore()
            raise
        finally:
            self.future = None
            self.line.waiters.discard(self)
            self.line.drop_gone()

    def queue(self) -> None:
        """Stand in line; a turn whose waiter has gone is skipped when its place comes up."""
        heapq.heappush(self.line.queue, (self.rank, self))

    def hold(self, seconds: float) -> None:
        """Rest: keep a slot, unused, until `seconds` have passed; then stand in line again, by age."""
        clock = self.line.pool.clock
        self.line.resting += 1
        self._rest = clock.call_at(clock.monotonic() + seconds, self._rested)

    def _rested(self) -> None:
        self._rest = None
        self.line.resting -= 1
        if self.future is not None:
            self.queue()
        self.line.pool.grant()

    def leave(self) -> None:
        """Give the place up; harmless when it was given up before."""
        if self._left:
            return
        self._left = True
        self.line.turns -= 1
        self.line.idle_since = self.line.pool.clock.monotonic()
        if self._rest is not None:
            self._rest.cancel()
            self._rested()

    def __enter__(self) -> Turn:  # noqa: PYI034 - typing.Self needs Python 3.11
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()


class Line:
    """The turns of one job type, and what was seen of it."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.queue: list[tuple[tuple[int, int], Turn]] = []
        self.waiters: set[Turn] = set()
        self.turns = self.in_flight = self.resting = 0
        self.shed = self.completed = 0
        self.last_grant = 0
        self.latency: float | None = None
        self.idle_since = 0.0

    @property
    def waiting(self) -> int:
        """Turns that wait for a permit, in line or resting after a shed."""
        return len(self.waiters)

    @property
    def in_use(self) -> int:
        """Slots that this type takes up: running, or resting after a shed."""
        return self.in_flight + self.resting

    def best(self) -> Turn | None:
        """Return the turn to serve next, without taking it out of the line."""
        while self.queue and not self.queue[0][1].waits:
            heapq.heappop(self.queue)
        return self.queue[0][1] if self.queue else None

    def drop_gone(self) -> None:
        """Forget the turns whose waiters have gone, once they are more than half of a long queue."""
        if len(self.queue) > 2 * self.waiting + 64:
            self.queue = [(rank, turn) for rank, turn in self.queue if turn.waits]
            heapq.heapify(self.queue)

    def sample(self, seconds: float) -> None:
        """Smooth the latency with one more sample."""
        self.latency = seconds if self.latency is None else self.latency + 0.1 * (seconds - self.latency)

    def stats(self) -> TypeStats:
        """Return the line's counts."""
        return TypeStats(
            "FIXED", self.pool.limit, self.in_flight, self.waiting, self.shed, self.completed, self.latency
        )


class Pool:
    """The lines of all job types, and the slots that they share."""

    def __init__(self, limit: int, max_waiting: int, clock: Clock, random: random.Random) -> None:
        self.limit = limit
        self.clock = clock
        self.random = random
        self.lingering = 0
        self.lines: dict[str, Line] = {}
        self.closed = False
        self._max_waiting = max_waiting
        self._joined = 0
        self._grants = 0

    def join(self, key: str, priority: int = 0, *, bounded: bool = True) -> Turn:
        """Join the line of `key`.

        Raises QueueFullError when no slot is free and `max_waiting` turns wait in all lines already;
        `bounded=False` is for callers that bound how many they start themselves.
        """
        if bounded and self.waiting >= self._max_waiting and self.in_use >= self.limit:
            raise QueueFullError(
                f"{self.waiting} jobs already wait in the client's line (max_waiting={self._max_waiting}); "
                "nothing was sent. Start fewer jobs at once, or raise max_waiting."
            )
        line = self.lines.get(key) or self._open_line(key)
        line.turns += 1
        self._joined += 1
        return Turn(line, priority, self._joined)

    @property
    def waiting(self) -> int:
        """Turns that wait for a permit."""
        return sum(line.waiting for line in self.lines.values())

    @property
    def in_flight(self) -> int:
        """Permits that are out."""
        return sum(line.in_flight for line in self.lines.values())

    @property
    def in_use(self) -> int:
        """Slots that are running or resting."""
        return sum(line.in_use for line in self.lines.values())

    def grant(self) -> None:
        """Give free slots to the turns that are next; called after every event."""
        while self.in_use < self.limit:
            ready = [(line, turn) for line in self.lines.values() if (turn := line.best()) is not None]
            if not ready:
                return
            line, turn = min(ready, key=lambda pair: _order(*pair))
            heapq.heappop(line.queue)
            self._grants += 1
            line.last_grant = self._grants
            line.in_flight += 1
            if turn.future is None:
                raise AssertionError("only waiting turns are served")
            turn.future.set_result(Permit(turn, self.clock.monotonic()))

    def stats(self) -> dict[str, TypeStats]:
        """Return the counts of each job type."""
        return {key: line.stats() for key, line in self.lines.items()}

    def close(self) -> None:
        """Send away with an error whoever waits, and whoever still comes."""
        self.closed = True
        for line in self.lines.values():
            for turn in line.waiters:
                if turn.future is not None and not turn.future.done():
                    turn.future.set_exception(_closed())

    def _open_line(self, key: str) -> Line:
        now = self.clock.monotonic()
        for name, line in list(self.lines.items()):
            if not line.turns and not line.in_use and now - line.idle_since >= FORGET:
                del self.lines[name]
        line = self.lines[key] = Line(self)
        return line


def _closed() -> ProdiaError:
    return ProdiaError("the client was closed while this job waited: run it with a client that is open")


def _order(line: Line, turn: Turn) -> tuple[int, int, int]:
    """Smallest priority, then the type with the fewest slots in use, then the one not served for longest."""
    return turn.rank[0], line.in_use, line.last_grant
