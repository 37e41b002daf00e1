"""The one retry loop: it waits for a permit, sends, and lets the verdict decide what follows.

It knows no HTTP: `send` is any coroutine that turns a permit into a `Verdict`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, TypeAlias

from prodia_async._models import Attempt, Verdict
from prodia_async._pacing.retry import Course

if TYPE_CHECKING:
    from random import Random

    from prodia_async._models import EventKind
    from prodia_async._pacing.clock import Clock
    from prodia_async._pacing.turns import Permit, Turn
    from prodia_async._settings import Retry

Send: TypeAlias = "Callable[[Permit], Awaitable[Verdict]]"
BeforeSend: TypeAlias = Callable[[int], Awaitable[None]]
Notify: TypeAlias = "Callable[[EventKind, Attempt | None], None]"


class Attempts:
    """One job's attempts: runs them until a verdict is final and keeps the record of each in `log`."""

    __slots__ = ("_chance", "_clock", "_course", "_retry", "log")

    def __init__(self, retry: Retry, chance: Random, clock: Clock, earlier: Sequence[Attempt] = ()) -> None:
        self.log: list[Attempt] = list(earlier)
        self._retry = retry
        self._chance = chance
        self._clock = clock
        self._course: Course | None = None

    async def run(
        self, turn: Turn, send: Send, notify: Notify, before_send: BeforeSend | None = None
    ) -> Verdict:
        """Return the final verdict, and give the turn up; "submitted" is final, and leaves the permit open.

        `before_send` is awaited after each permit, before its first byte; `notify` must not raise.
        """
        waiting_since = self._clock.monotonic()
        with turn:
            while True:
                permit = await turn.permit()
                await self._announce(permit, notify, before_send)
                verdict = await self._attempt(permit, send, waiting_since)
                waiting_since = self._clock.monotonic()
                if verdict.kind in ("done", "submitted"):
                    return verdict
                pause = self._wait_after(verdict, waiting_since)
                if verdict.kind == "shed":
                    notify("shed", self.log[-1])
                if pause is None:
                    return verdict
                if verdict.kind != "shed":
                    notify("retried", self.log[-1])
                    await self._clock.sleep(pause)

    def _wait_after(self, verdict: Verdict, now: float) -> float | None:
        if self._course is None:  # most jobs never need one
            self._course = Course(self._retry, self._chance)
        return self._course.wait_after(verdict, now)

    async def _announce(self, permit: Permit, notify: Notify, before_send: BeforeSend | None) -> None:
        try:
            if before_send is not None:
                await before_send(len(self.log) + 1)
                permit.begins()
            notify("sent", None)
        except BaseException:
            permit.ignore()
            raise

    async def _attempt(self, permit: Permit, send: Send, waiting_since: float) -> Verdict:
        started, started_at = self._clock.monotonic(), self._clock.wall()
        verdict = None
        try:
            verdict = await send(permit)
        finally:
            outcome = verdict
            if outcome is None:
                outcome = Verdict("cancelled", may_have_run=permit.was_sent, reason="cancelled")
            _end(permit, outcome)
            self.log.append(
                Attempt(
                    number=len(self.log) + 1,
                    started_at=datetime.fromtimestamp(started_at, timezone.utc),
                    waited=started - waiting_since,
                    elapsed=self._clock.monotonic() - started,
                    verdict=outcome.kind,
                    may_have_run=outcome.may_have_run,
                    status=outcome.status,
                    request_id=outcome.request_id,
                    retry_after=outcome.retry_after,
                    reason=outcome.reason,
                )
            )
        return verdict


def _end(permit: Permit, verdict: Verdict) -> None:
    """End the permit as the limiter must hear it: only a 429 is a shed, only a finished job a success.

    A job that was submitted keeps its permit: whoever has the job's handle ends it.
    """
    if verdict.kind == "submitted":
        return
    if verdict.kind == "shed":
        permit.shed(verdict.retry_after)
    elif verdict.kind in ("done", "failed", "not_kept"):
        permit.success()
    elif verdict.kind in ("server_error", "refused"):
        permit.answered()
    else:
        permit.ignore()
