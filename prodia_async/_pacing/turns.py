"""Turns and permits: a job joins once for a turn, and gets a permit for each attempt.

The limiter, not the retry loop, holds a shed turn until its Retry-After has passed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeAlias

from prodia_async._errors import ClientClosedError
from prodia_async._pacing.capacity import DEFAULT_RETRY_AFTER, Ticket

if TYPE_CHECKING:
    from types import TracebackType

    from prodia_async._pacing.line import Line

LINGER = 1.0
"""Seconds after a reply's headers at which its permit ends, complete or not: a slow reader holds a
connection, not capacity."""

Tell: TypeAlias = Callable[[Ticket, float], None]


class Waiter(Protocol):
    """What a permit is handed to: an `asyncio.Future`, or what a simulation has in its place."""

    def done(self) -> bool:
        """Whether it was handed over, or nobody waits any more."""

    def set_result(self, permit: Permit, /) -> None:
        """Hand the permit over."""


class Permit:
    """The right to send one attempt. It ends exactly once: success, shed, answered or ignore."""

    __slots__ = ("_answered", "_line", "_lingering", "_open", "_ticket", "_turn", "was_sent")

    def __init__(self, turn: Turn, ticket: Ticket) -> None:
        self.was_sent = False
        self._turn = turn
        self._line = turn.line
        self._ticket = ticket
        self._open = True
        self._lingering = False
        self._answered = False

    def begins(self) -> None:
        """Say that the attempt begins now: what was waited for since the permit was given is no latency."""
        self._ticket.sent = self._line.pool.clock.monotonic()

    def body_sent(self) -> None:
        """Say that the last byte of the request was handed to the transport."""
        self.was_sent = True
        line = self._line
        if self._open and line.capacity.body_sent(self._ticket, line.pool.clock.monotonic()):
            line.pool.touch(line)

    def headers(self) -> None:
        """Say that a good reply has begun: `LINGER` seconds later the permit ends by itself.

        It does so while fewer replies than the limit linger, which bounds the connections to twice the limit.
        """
        pool = self._line.pool
        now = pool.clock.monotonic()
        self._answered = True
        self._line.capacity.headers(self._ticket, now)
        pool.end_later(self, now + LINGER)

    def success(self) -> None:
        """End: the service ran the job; an asynchronous one has taken all the time since it was sent."""
        line = self._line
        line.completed += 1
        if self._open and not self._answered:
            line.capacity.headers(self._ticket, line.pool.clock.monotonic())
        self._end(line.capacity.success)

    def answered(self) -> None:
        """End: the service took the request and answered something else than 200 or 429."""
        self._end(self._line.capacity.answered)

    def ignore(self) -> None:
        """End: cancelled, or the connection was lost; it says nothing of the service's capacity."""
        self._end(self._line.capacity.ignore)

    def shed(self, retry_after: float | None) -> None:
        """End: 429. The turn is held for `retry_after` seconds × (1 to 1.1), never less."""
        line, pool = self._line, self._line.pool
        seconds = DEFAULT_RETRY_AFTER if retry_after is None else retry_after
        line.shed += 1
        now = pool.clock.monotonic()
        if not self._turn.left:
            line.hold(self._turn, now + seconds * pool.random.uniform(1.0, 1.1))
        self._end(lambda ticket, now: line.capacity.shed(ticket, seconds, now))

    @property
    def has_ended(self) -> bool:
        """Whether the slot is free again."""
        return not self._open

    def linger(self) -> None:
        """End, though the reply is not complete, if not too many linger already."""
        pool = self._line.pool
        if self._open and pool.lingering < pool.limit:
            pool.lingering += 1
            self._lingering = True
            self._release(self._line.capacity.success)

    def _end(self, tell: Tell) -> None:
        if self._lingering:
            self._lingering = False
            self._line.pool.lingers_no_more()
        else:
            self._release(tell)

    def _release(self, tell: Tell) -> None:
        if not self._open:
            raise AssertionError("a permit ends once")
        self._open = False
        pool = self._line.pool
        pool.in_use -= 1
        tell(self._ticket, pool.clock.monotonic())
        pool.touch(self._line)


class Turn:
    """A job's place in line: `permit()` once an attempt, `leave()` (or the block's end) when it is over."""

    __slots__ = ("first_sent", "held", "left", "line", "order", "priority", "queued", "waiter")

    def __init__(self, line: Line, priority: int, order: int) -> None:
        self.line = line
        self.priority = priority
        self.order = order
        self.first_sent: int | None = None
        self.waiter: Waiter | None = None
        self.queued = self.held = self.left = False

    @property
    def waits(self) -> bool:
        """Whether a permit is waited for, and has not been given."""
        return self.waiter is not None and not self.waiter.done()

    async def permit(self) -> Permit:
        """Wait until this turn may send. Leaving the wait by cancellation gives the place up."""
        future: asyncio.Future[Permit] = asyncio.get_running_loop().create_future()
        self.wait(future)
        try:
            return await future
        except BaseException:
            if future.done() and not future.cancelled() and not future.exception():
                future.result().ignore()
            self.stop_waiting()
            raise

    def wait(self, waiter: Waiter) -> None:
        """Stand in line, or wait for the time to do so; `waiter` gets the permit. Raises on a closed pool."""
        line = self.line
        if line.pool.closed:
            raise closed_error()
        self.waiter = waiter
        line.waiters.add(self)
        if not self.held:
            line.queue(self)
            if not line.settled:
                line.pool.touch(line)

    def stop_waiting(self) -> None:
        """Give the place in line up; harmless after the permit was given."""
        self.waiter = None
        self.line.waiters.discard(self)
        if self.queued:
            self.line.drop(self)
            self.line.pool.touch(self.line)

    def leave(self) -> None:
        """Give the turn up; harmless when it was given up before."""
        if self.left:
            return
        self.left = True
        line = self.line
        line.turns -= 1
        if not line.turns:
            line.idle_since = line.pool.clock.monotonic()
        if self.waiter is not None:
            self.stop_waiting()
        if self.held:
            line.release(self)
            line.pool.touch(line)

    def __enter__(self) -> Turn:  # noqa: PYI034 - typing.Self needs Python 3.11
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()


def closed_error() -> ClientClosedError:
    return ClientClosedError("the client was closed while this job waited: run it with a client that is open")
