"""A job that the service has: how it stands in a client's counts, and the slot that it holds."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from prodia_async._errors import ClientClosedError, JobFailedError, ProdiaError, ProdiaTimeoutError

if TYPE_CHECKING:
    from collections.abc import Callable

    from prodia_async._engine import Tally
    from prodia_async._models import EventKind
    from prodia_async._pacing.clock import Clock
    from prodia_async._pacing.limiter import Turn


class Submission:
    """What a handle has of its job. Once the job is over, it is counted no more, and its slot is free.

    The slot ends with the handle, too, and after `seconds`, the job's own time, when nobody waits for it.
    `number`: of the job's run, for its events. Whoever waits for it does so in `with submission:`.
    """

    def __init__(
        self, number: int, tally: Tally, turn: Turn, clock: Clock, tell_dropped: Callable[[], object]
    ) -> None:
        self.number = number
        self.tally = tally
        self.is_over = False
        self._waiting = 0
        self._turn: Turn | None = turn
        self._clock = clock
        self._began = clock.monotonic()
        self._loop = asyncio.get_running_loop()
        self._tell_dropped = tell_dropped

    def __enter__(self) -> None:
        self._waiting += 1

    def __exit__(self, *_: object) -> None:
        self._waiting -= 1

    @property
    def age(self) -> float:
        """The seconds since it began."""
        return self._clock.monotonic() - self._began

    def expire_after(self, seconds: float) -> None:
        """Let the slot end then, if nobody waits by that time."""

        def expire() -> None:
            if self._waiting:
                self.expire_after(seconds)
            else:
                self._free(ran=False)

        self._timer = self._clock.call_at(self._clock.monotonic() + seconds, expire)

    def ends(self, kind: EventKind, error: ProdiaError | None) -> bool:
        """Tell whether it is over now: a job that we merely stopped to wait for is not."""
        if self.is_over or kind == "cancelled" or isinstance(error, ProdiaTimeoutError | ClientClosedError):
            return False
        self.is_over = True
        ran = kind == "completed" or isinstance(error, JobFailedError)
        if asyncio.get_running_loop() is self._loop:
            self._free(ran=ran)
        else:
            self.soon(lambda: self._free(ran=ran))
        return True

    def drop(self) -> None:
        """End with a handle that nobody has any more."""
        if not self.is_over:
            self.is_over = True
            self.tally.cancelled += 1
            self._tell_dropped()
        self._free(ran=False)

    def soon(self, callback: Callable[[], None]) -> None:
        """Call back in its loop, from whatever thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed, and the slot with it
            self._loop.call_soon_threadsafe(callback)

    def _free(self, *, ran: bool) -> None:
        turn, self._turn = self._turn, None
        if turn is not None:
            self._timer.cancel()
            end = turn.success if ran else turn.ignore
            end()
