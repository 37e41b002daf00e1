"""A job's place in line, and the slot of its present attempt."""

from __future__ import annotations

import asyncio
import math
from functools import partial
from typing import TYPE_CHECKING

from prodia_async._errors import ClientClosedError
from prodia_async._pacing.limiter import CLOSED, Limiter
from prodia_async._pacing.line import Line, Phase, Place
from prodia_async._pacing.retry import DEFAULT_RETRY_AFTER

if TYPE_CHECKING:
    from prodia_async._pacing.capacity import Round

LINGER = 1.0  # seconds after a reply's headers at which its slot is free: a slow reader holds no capacity


class Turn(Place, eq=False, kw_only=True):
    """A job's place in line, and the slot of its present attempt: a job joins once.

    Before each attempt `take()`, or else `await wait()`; then `body_sent`, `headers`, and exactly one of
    `success`, `end`, `ignore` and `shed` ends the attempt. `leave()` when all is over; a slot that is
    still open then is ended later, by whoever has the turn.
    """

    limiter: Limiter
    line: Line  # as `limiter.join` has given it

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
            raise ClientClosedError(CLOSED)
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
        self.sent_at: float = self.limiter.clock.monotonic()

    def body_sent(self) -> None:
        """Say that the last byte of the request was handed to the transport."""
        now = self.limiter.clock.monotonic()
        self.body_sent_at: float | None = now
        if self.round is not None:
            self.round.body_sent(now)
            self.round: Round | None = None
            self.limiter.touch(self.line)

    def headers(self) -> None:
        """Say that a good reply has begun: `LINGER` seconds later the slot is free, complete or not.

        So it is while fewer replies than the limit linger, which bounds the connections to twice the limit.
        """
        limiter = self.limiter
        now = limiter.clock.monotonic()
        self.lingers_at: float | None = now + LINGER
        self.line.capacity.answered(now - self.sent_at)
        limiter.replies.append((self.lingers_at, self, self._linger))
        if limiter.replies_alarm.at == math.inf:
            limiter.watch_replies()

    def _linger(self) -> None:
        self.end(completed=True)
        self.limiter.lingering += 1
        self.phase = Phase.LINGERING

    def success(self) -> None:
        """End: the service ran the job; an asynchronous one has taken all the time since it was sent."""
        self.line.completed += 1
        if self.phase is Phase.SENDING and self.lingers_at is None:
            self.line.capacity.answered(self.limiter.clock.monotonic() - self.sent_at)
        self.end(completed=True)

    def ignore(self) -> None:
        """End: cancelled, or the connection was lost; it says nothing of the service's capacity."""
        self.end(admitted=False)

    def shed(self, retry_after: float | None) -> None:
        """End: 429. The turn is held for `retry_after` seconds × (1 to 1.1), never less."""
        line, limiter = self.line, self.limiter
        seconds = DEFAULT_RETRY_AFTER if retry_after is None else retry_after
        line.shed += 1
        self.end(told=seconds)
        if not self.left:
            self.phase = Phase.RESTING
            if line.capacity.fixed:  # it rests in its slot
                line.resting += 1
                limiter.in_use += 1
            until = limiter.clock.monotonic() + seconds * limiter.random.uniform(1.0, 1.1)
            self.rest = limiter.clock.call_at(until, partial(self._rest, until))
        limiter.touch(line)

    def end(self, *, admitted: bool = True, completed: bool = False, told: float | None = None) -> None:
        """End: the service answered, something else than 200 or 429 unless more is said.

        The slot is given back, unless the reply has lingered, whose slot is free.
        """
        line, limiter, room = self.line, self.limiter, self.line.capacity
        if self.phase is Phase.LINGERING:
            self.phase = Phase.IDLE
            limiter.lingering -= 1
            if limiter.replies_alarm.at == math.inf:  # another may linger
                limiter.watch_replies()
            return
        if self.phase is not Phase.SENDING:
            raise AssertionError("an attempt ends once")
        self.phase = Phase.IDLE
        line.idle_since = now = limiter.clock.monotonic()
        limiter.in_use -= 1
        if told is not None:
            room.shed(self.round, None if self.body_sent_at is None else now - self.body_sent_at, told, now)
            return
        is_moot = room.round is None and not limiter.waiters  # nobody gains by it
        room.ended(self.round, now, admitted=admitted, completed=completed)
        if admitted and (room.shares or (limiter.waiters and not line.ready)):
            limiter.hand_over(line)
        if not is_moot:
            limiter.touch(line)

    def _rest(self, until: float) -> None:
        """Be held until then, and go: into line if it waits; a slot that was kept is free again."""
        line, limiter = self.line, self.limiter
        if self.rest is not None:
            self.rest.cancel()
        if limiter.clock.monotonic() < until:
            self.rest = limiter.clock.call_at(until, partial(self._rest, until))
            return
        self.rest = None
        self.phase: Phase = Phase.IDLE
        if line.capacity.fixed:
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
