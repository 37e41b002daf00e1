"""Time as an argument: every wait that is policy goes through a `Clock`, so that tests need not sleep."""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING, Protocol

import anyio

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType


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

    async def sleep(self, seconds: float) -> None:
        """Wait in the running loop."""
        await asyncio.sleep(seconds)

    def call_at(self, when: float, callback: Callable[[], object]) -> asyncio.TimerHandle:
        """Call back in the running loop."""
        loop = asyncio.get_running_loop()
        return loop.call_later(max(0.0, when - time.monotonic()), callback)


class Deadline:
    """Cancels the block that it guards once the clock reaches `when`; `when` may be moved at any time.

    Moving is one assignment: a timer that fires early looks again. `expired` tells afterwards whether the
    deadline, and not somebody else, cancelled the block; the cancellation then ends at the block's end.
    """

    def __init__(self, clock: Clock, when: float = math.inf) -> None:
        self.when = when
        self._clock = clock
        self._scope = anyio.CancelScope()
        self._timer: Timer | None = None
        self._timer_at = math.inf

    @property
    def expired(self) -> bool:
        """Whether the block was cut off by this deadline."""
        return self._scope.cancelled_caught

    def move(self, when: float) -> None:
        """Set the deadline; the timer is only touched when it would fire too late."""
        self.when = when
        if when < self._timer_at:
            self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = self.when
        self._timer = self._clock.call_at(self.when, self._look)

    def _look(self) -> None:
        self._timer = None
        self._timer_at = math.inf
        if self._clock.monotonic() >= self.when:
            self._scope.cancel()
        elif self.when < math.inf:
            self._arm()

    def __enter__(self) -> Deadline:  # noqa: PYI034 - typing.Self needs Python 3.11
        self._scope.__enter__()
        if self.when < math.inf:
            self._arm()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._timer_at = -math.inf
        if kind is GeneratorExit:  # the loop was killed: there is nothing to leave
            return False
        return bool(self._scope.__exit__(kind, error, trace))
