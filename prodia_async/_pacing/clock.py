"""Time as an argument: every wait that is policy goes through a `Clock`, so that tests need not sleep."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol, Self

from prodia_async._loops import shielded_tasks

_AGAIN = 1.0  # seconds after which a block that was cut, and is still not left, is cancelled again

_TURNS = 2
"""How often the event loop turns before a block that is overdue is cut: once for sockets, once for the task.

After a pause of the whole process (a lid was closed) what came in the meantime is still to be read.
"""

_LATE = 0.5
_GRACE = 3.0
"""Seconds: a look that comes so much too late finds a process, or a loop, that stood still. Whatever it would
cut has that long to take what came: a handshake, many pieces, the end of a job that is polled."""

_SLACK = 64  # how many looks at blocks that were left may be kept, beside one for each that is not


class Timer(Protocol):
    """A callback that is due at some time."""

    def cancel(self) -> None:
        """Forget the callback; harmless once it ran."""


class Clock(Protocol):
    """What tells the time and waits, in seconds. `Prodia(clock=...)` takes one, for tests and simulations."""

    def monotonic(self) -> float:
        """Return seconds that only grow."""

    def wall(self) -> float:
        """Return seconds since the epoch."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""

    def call_at(self, when: float, callback: Callable[[], object]) -> Timer:
        """Call back in the running loop when `monotonic` has reached `when`."""


class SystemClock:
    """The computer's clock and the running loop's timers."""

    monotonic = staticmethod(time.monotonic)
    wall = staticmethod(time.time)

    sleep = staticmethod(asyncio.sleep)

    def call_at(self, when: float, callback: Callable[[], object]) -> asyncio.TimerHandle:
        """Call back in the running loop."""
        return asyncio.get_running_loop().call_later(max(0.0, when - time.monotonic()), callback)


class Alarm:
    """A timer that calls back once, at the earliest of the times that it was set to."""

    def __init__(self, clock: Clock, callback: Callable[[], object]) -> None:
        self.at: float = math.inf
        self.callback = callback
        self._clock = clock
        self._timer: Timer | None = None

    def set(self, when: float) -> None:
        """Call back at `when`; an earlier time stays, and infinity takes it back."""
        if self.at <= when < math.inf:
            return
        if self._timer is not None:
            self._timer.cancel()
        self.at = when
        self._timer = None if when == math.inf else self._clock.call_at(when, self._ring)

    def _ring(self) -> None:
        self._timer = None
        self.at = math.inf
        self.callback()


class Deadlines:
    """The deadlines of one event loop: one timer serves them all.

    It looks when the earliest may be over. Most blocks are left long before, and are only passed over; so the
    timer may outlive the last block by as long as that one was allowed. It keeps nothing of a block alive.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.looks: list[tuple[float, int]] = []  # a heap of times, and which deadline is looked at then
        self.watched: dict[int, Deadline] = {}
        self.numbers: itertools.count[int] = itertools.count(1)
        self.alarm: Alarm = Alarm(clock, self._look)

    def close(self) -> None:
        """Cut nothing any more."""
        self.alarm.set(math.inf)
        self.alarm.at = -math.inf  # no look is early enough to set it again
        self.looks.clear()
        self.watched.clear()

    def _look(self) -> None:
        now = self.clock.monotonic()
        while self.looks and self.looks[0][0] <= now:
            due, number = heapq.heappop(self.looks)
            deadline = self.watched.pop(number, None)
            if deadline is not None:
                deadline.look(now, late=now - due > _LATE)
        self.forget_left()
        if self.looks:
            self.alarm.set(self.looks[0][0])

    def forget_left(self) -> None:
        """Drop the looks at blocks that were left."""
        self.looks = [look for look in self.looks if look[1] in self.watched]
        heapq.heapify(self.looks)


class Deadline:
    """Cancels the block that it guards once the clock reaches `when`.

    `when` can be moved to a later time by assignment, since a timer that fires early looks again, and to any
    time by `move`. `expired` tells afterwards whether the deadline, and nobody else, cancelled the block; the
    cancellation then ends with the block. User code that swallows it is cancelled again every second. A
    cleanup that is `shielded` is waited for.
    """

    __slots__ = (
        *("_before", "_cancels", "_deadlines", "_look_at", "_number", "_task", "_was_late"),
        *("expired", "when"),
    )

    def __init__(self, deadlines: Deadlines, when: float) -> None:
        self.when: float = when
        self.expired: bool = False
        self._deadlines = deadlines
        self._task: asyncio.Task[Any] | None = None
        self._look_at = -math.inf  # when it is looked at next; outside its block never
        self._number = self._before = self._cancels = 0
        self._was_late = False

    def move(self, when: float) -> None:
        """Set the deadline; the timer is only touched when it would fire too late."""
        self.when = when
        if when < self._look_at:
            self._watch(when)

    def _watch(self, when: float) -> None:
        deadlines = self._deadlines
        deadlines.watched.pop(self._number, None)
        self._look_at = when
        number = self._number = next(deadlines.numbers)
        deadlines.watched[number] = self
        heapq.heappush(deadlines.looks, (when, number))
        if when < deadlines.alarm.at:
            deadlines.alarm.set(when)

    def spare(self, until: float) -> None:
        """Let the block go on for a while, though its time is over."""
        self.when = until

    def look(self, now: float, *, late: bool = False) -> None:
        """Cut the block if its time is over, and look again later; a `late` look cuts only after another."""
        is_first, self._was_late = late and not self._was_late, late
        if is_first and self.when <= now and not self._cancels:
            self.spare(now + _GRACE)
        if now < self.when and not self._cancels:
            self._look_at = math.inf
            self.move(self.when)
        elif self._task is not None:
            self._watch(now + _AGAIN)
            self._task.get_loop().call_soon(self._cut, _TURNS)

    def _cut(self, turns: int) -> None:
        task = self._task
        if task is None or task in shielded_tasks:
            return
        if turns:
            task.get_loop().call_soon(self._cut, turns - 1)
        elif self._cancels or self._deadlines.clock.monotonic() >= self.when:
            self._cancels += 1
            task.cancel()

    def __enter__(self) -> Self:
        task = self._task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a deadline guards a block of a task")
        self._before = task.cancelling()
        self._look_at = math.inf
        if self.when < math.inf:
            self._watch(self.when)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        deadlines = self._deadlines
        deadlines.watched.pop(self._number, None)
        if len(deadlines.looks) > 2 * len(deadlines.watched) + _SLACK:
            deadlines.forget_left()
        if self._cancels and kind is not GeneratorExit:  # killed with its loop
            self.expired = self.took() and kind is not None and issubclass(kind, asyncio.CancelledError)
        self._task = None
        self._look_at = -math.inf
        return self.expired

    def took(self) -> bool:
        """Tell whether a cancellation inside the block came from here and nobody else.

        It ends with that, and the block may go on: `when` is to be moved.
        """
        task, left = self._task, self._before
        if task is None or not self._cancels:
            return False
        while self._cancels:
            self._cancels -= 1
            left = task.uncancel()
        return left <= self._before
