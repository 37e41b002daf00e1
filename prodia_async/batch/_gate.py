"""The gate before each attempt of a batch: shut while the service fails, or while a disk is full.

A pause lets one job at a time try, so that an outage costs few attempts, and no job its last one.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import math
from typing import TYPE_CHECKING, Literal, TypeAlias

from prodia_async._errors import ProdiaError
from prodia_async.batch._health import AGAINST, RAN, Health, Pause
from prodia_async.batch._telling import say

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from prodia_async._models import Attempt
    from prodia_async._pacing.clock import Clock, Timer

_Cause: TypeAlias = Literal["journal", "disk", "service"]

_ADVICE: dict[_Cause, str] = {
    "journal": "Make room on the disk of the batch's folder",
    "disk": "Make room on the disk of the batch's folder",
    "service": "Check the network and the base URL, or wait until the service is back",
}


class GaveUpError(ProdiaError):
    """A pause has lasted longer than `give_up_after`."""


_ALONE = 7.5
"""A job that fails alone has so much less patience than several."""


class Gate:
    """Lets attempts by, holds them while the batch is paused, and decides on second chances; for one loop.

    Where fewer than 20 jobs are left, it may be their own fault that they fail: after `patience` seconds of a
    pause in which nothing succeeded all go at once, and who fails then has failed. `give_up_after`: seconds
    of one pause after which all who wait get GaveUpError; None: never. `pauses`
    counts the pauses so far, of all causes; `gave_up` is the message of GaveUpError once there was one.
    """

    def __init__(
        self, clock: Clock, chance: Random, *, give_up_after: float | None, patience: float = 600.0
    ) -> None:
        self.pauses: int = 0
        self.gave_up: str | None = None
        self._clock = clock
        self._chance = chance
        self._give_up_after = give_up_after
        self._patience = patience
        self._health = Health()
        self.causes: dict[_Cause, Pause] = {}
        """Of the pause that there is now."""
        self._probe: str | None = None
        self._line: dict[asyncio.Future[None], str] = {}
        self._writes: set[asyncio.Future[None]] = set()
        self._suspended: dict[asyncio.Future[None], str] = {}
        self._timer: Timer | None = None

    @property
    def paused(self) -> str | None:
        """Why nothing but trials is sent now; None while the batch runs."""
        return next((self._why(cause) for cause in _ADVICE if cause in self.causes), None)

    def begin(self, custom_id: str) -> None:
        """Take note of a job that is to be run. `leave` must follow."""
        self._health.begin(custom_id)

    async def enter(self, custom_id: str) -> None:
        """Wait until an attempt of this job may be sent. During a pause one job at a time passes, in order.

        Raises GaveUpError.
        """
        self._health.set_out(custom_id, out=True)
        if not self.causes:
            return
        self._free(custom_id)  # it may come again without having tried
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line[waiter] = custom_id
        self._look()
        try:
            await _heard(waiter)
        except asyncio.CancelledError:
            self._line.pop(waiter, None)
            self._free(custom_id)
            self._look()
            raise

    def attempt_ended(self, custom_id: str, attempt: Attempt) -> None:
        """Take note of an attempt that has ended, of any job; of one that passed as a trial above all."""
        begins = self._health.note(custom_id, attempt)
        if begins:
            self._pause_service(None)
        if attempt.verdict in RAN and self._suspended:
            self._resolve(marked=True)
        if custom_id != self._probe:
            return
        service = self.causes.get("service")
        if attempt.verdict in RAN:
            self._end("service")
        elif service is not None and service.failed is not None and attempt.verdict in AGAINST:
            service.failed.add(custom_id)
        for pause in self.causes.values():
            pause.postpone(self._clock.monotonic(), grows=attempt.verdict in AGAINST)
        self._free(custom_id)

    def leave(self, custom_id: str) -> None:
        """Take note that a job is over, or was cancelled; if it was on trial, the next may try."""
        self._health.leave(custom_id)
        if custom_id == self._probe:
            self._free(custom_id)
        if self._suspended:
            self._look_for_company()

    def unanswered(self, custom_id: str, reason: str) -> None:
        """Take note that the service does not even answer a question: it certainly is not there."""
        self._health.reason = reason
        if not self._health.paused:
            self._health.pause()
            self._pause_service(None)
        self.causes["service"].failed = None
        if custom_id == self._probe:
            self.causes["service"].postpone(self._clock.monotonic(), grows=True)
            self._free(custom_id)

    async def second_chance(self, custom_id: str, attempts: Sequence[Attempt]) -> bool:
        """Tell whether a job that has run out of attempts failed for a cause not its own: run it again then.

        Waits where the jobs under way will tell. It is its own failure when another job has succeeded since,
        or when it fails again after a pause in which nothing succeeded. Where all have failed that are under
        way, a pause begins.
        """
        answer = self._health.second_chance(custom_id, attempts)
        if answer is None:
            await self._company(custom_id)
        return answer is not False

    async def wait_for_room(self, error: OSError) -> None:
        """Pause the batch for a full disk, and return when the write is to be tried again.

        Raises GaveUpError.
        """
        pause = self.causes.get("disk")
        if pause is None:
            place = f": {error.filename}" if error.filename else ""
            what = "the disk quota is used up" if error.errno == errno.EDQUOT else "the disk is full"
            self._begin("disk", what + place)
        elif pause.tried:
            pause.postpone(self._clock.monotonic(), grows=False)
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._writes.add(waiter)
        self._look()
        try:
            await _heard(waiter)
        finally:
            self._writes.discard(waiter)
            self._look()

    def give_up(self, message: str) -> None:
        """End the batch for a cause that the gate does not know: all who wait get GaveUpError."""
        self.gave_up = self.gave_up or message
        self._look()

    def stored(self) -> None:
        """Take note that outputs were written: a pause for a full disk ends."""
        self._end("disk")

    def disk_full(self, reason: str | None) -> None:
        """Pause the batch for `reason` without any trial, until it is None. Call it in the gate's loop."""
        if reason is None:
            self._end("journal")
        elif "journal" not in self.causes:
            self._begin("journal", reason)

    def _pause_service(self, failed: set[str] | None) -> None:
        self._begin("service", "the service fails or cannot be reached", failed)
        self._resolve(marked=False)
        self._look()

    def _begin(self, cause: _Cause, reason: str, failed: set[str] | None = None) -> None:
        self.pauses += 1
        self.causes[cause] = Pause(reason, self._clock.monotonic(), self._chance, failed)
        say(logging.WARNING, "the batch is paused: %s", self._why(cause))

    def _end(self, cause: _Cause) -> None:
        if self.gave_up is not None or (pause := self.causes.pop(cause, None)) is None:
            return
        if cause == "service":
            self._health.resume(self._clock.wall())
        seconds = self._clock.monotonic() - pause.since
        say(logging.INFO, "the batch goes on after %.0f s of pause", seconds)
        self._look()

    def _why(self, cause: _Cause) -> str:
        reason = self.causes[cause].reason
        return f"{reason}: {self._health.reason}" if cause == "service" else reason

    def _free(self, custom_id: str) -> None:
        """Free the place of the trial, if this job had it."""
        if custom_id == self._probe:
            self._probe = None
            self._look()

    def _look(self) -> None:
        """Let by whoever may pass now, and set the timer for the others."""
        now = self._clock.monotonic()
        self._give_up(now)
        if now >= self._last_chance_at():
            del self.causes["service"]
            self._health.last_chance()
            say(logging.INFO, "nothing has succeeded: each job has a last chance")
        if self.gave_up is not None:
            self._fail(self.gave_up)
        if not self.causes:
            self._probe = None
            for waiter in self._line:
                _hand(waiter)
            self._line.clear()
        self._try_writes(now)
        self._try_one(now)
        self._set_timer(now)

    def _give_up(self, now: float) -> None:
        if self._give_up_after is None or self.gave_up is not None:
            return
        for cause, pause in self.causes.items():
            if now >= pause.since + self._give_up_after:
                self.gave_up = (
                    f"gave up after {now - pause.since:.0f} s of pause: {self._why(cause)}. "
                    f"{_ADVICE[cause]}, and run the same batch again: it goes on where it ended."
                )

    def _last_chance_at(self) -> float:
        """Return when the jobs that wait have failed for so long that it may be their own fault."""
        pause = self.causes.get("service")
        if pause is None or pause.failed is None or not self._health.few_left:
            return math.inf
        return pause.since + (self._patience if len(pause.failed) > 1 else self._patience / _ALONE)

    def _fail(self, message: str) -> None:
        for waiter in [*self._line, *self._writes]:
            if not waiter.done():
                waiter.set_exception(GaveUpError(message))
        self._line.clear()
        self._writes.clear()
        self._resolve(marked=False)

    def _try_writes(self, now: float) -> None:
        pause = self.causes.get("disk")
        if pause is None or now >= pause.next_trial:
            tries = [_hand(waiter) for waiter in self._writes]
            if pause is not None and any(tries):
                pause.postpone(self._clock.monotonic(), grows=True)
                pause.tried = True

    def _try_one(self, now: float) -> None:
        """Let the first in line pass as a trial, unless one is out, or a write that waits is the trial."""
        if self._probe is not None or "journal" in self.causes:
            return
        is_early = any(now < pause.next_trial for pause in self.causes.values())
        if is_early or ("disk" in self.causes and self._writes):
            return
        while self._line and self._probe is None:
            waiter = next(iter(self._line))
            custom_id = self._line.pop(waiter)
            if _hand(waiter):
                self._probe = custom_id

    def _set_timer(self, now: float) -> None:
        """Call back when the next trial is due, or when it is time to give up; only while somebody waits.

        `now` is when it was looked at: a trial that has become due since then was not let by.
        """
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not (self._line or self._writes) or not self.causes:
            return
        times = [pause.next_trial for pause in self.causes.values() if pause.next_trial > now]
        if self._give_up_after is not None:
            times += [pause.since + self._give_up_after for pause in self.causes.values()]
        times.append(self._last_chance_at())
        if min(times) < math.inf:
            self._timer = self._clock.call_at(min(times), self._look)

    async def _company(self, custom_id: str) -> None:
        """Wait until the jobs under way tell whether this one failed alone."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._suspended[waiter] = custom_id
        self._health.set_out(custom_id, out=False)
        self._look_for_company()
        try:
            await waiter
        finally:
            self._suspended.pop(waiter, None)

    def _look_for_company(self) -> None:
        """Pause when nothing is under way that could tell more of the jobs that have failed."""
        if self._health.idle and self.gave_up is None:
            self._health.pause()
            self._pause_service(set(self._suspended.values()))

    def _resolve(self, *, marked: bool) -> None:
        """Let all suspended jobs run again; `marked` counts it as their one second chance."""
        for waiter, custom_id in self._suspended.items():
            if _hand(waiter):
                self._health.set_out(custom_id, out=True)
                if marked:
                    self._health.grant(custom_id)
        self._suspended.clear()


async def _heard(waiter: asyncio.Future[None]) -> None:
    """Await; an error that came in the same moment as a cancellation is not reported as never retrieved."""
    try:
        await waiter
    finally:
        if waiter.done() and not waiter.cancelled():
            waiter.exception()


def _hand(waiter: asyncio.Future[None]) -> bool:
    """Let one who waits go on; False if it was cancelled."""
    if waiter.done():
        return False
    waiter.set_result(None)
    return True
