"""The record of a run: its number, its attempts, and what is told of them to whoever listens."""

from __future__ import annotations

import itertools
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from prodia_async._door import subject
from prodia_async._errors import ClientClosedError, ProdiaTimeoutError, quoted
from prodia_async._events import log, log_event
from prodia_async._models import Attempt
from prodia_async._stats import Event

if TYPE_CHECKING:
    from collections import Counter

    from prodia_async._door import Call
    from prodia_async._errors import ProdiaError
    from prodia_async._models import JobResult, Verdict
    from prodia_async._pacing.clock import Clock
    from prodia_async._stats import EventKind

_numbers = itertools.count(1)

_OVER = frozenset({"completed", "failed", "cancelled"})


class Record:
    """What a run has come to so far; `waits_since`: when its wait for the next attempt began.

    `job_id` is what the service calls an asynchronous job, once it has it. `number` is that of no other run
    of this process, but for those that collect a job that was submitted.
    """

    __slots__ = (
        *("_call", "_clock", "_listens", "_started", "_started_at", "_tally", "_tell"),
        *("attempts", "job_id", "number", "waits_since"),
    )

    def __init__(self, call: Call) -> None:
        self._call = call
        self._tell = call.options.tell
        self._listens = call.ask is None and (
            self._tell is not None or call.notify is not None or log.isEnabledFor(logging.INFO)
        )
        self.attempts: list[Attempt] = list(call.attempts)
        self.job_id = call.job_id
        self.number = 0
        self.waits_since = 0.0

    def __str__(self) -> str:
        return subject(self._call.job) + (f" (job {quoted(self.job_id, str)})" if self.job_id else "")

    def begin(self, tally: Counter[str], clock: Clock) -> None:
        """Count the run, unless it only goes on with a job that was counted."""
        self._tally, self._clock = tally, clock
        if self._call.ask is not None:
            return
        submission = self._call.submission
        if submission is None or submission.tally is not tally:
            tally["jobs"] += 1
        if submission is None:
            self.number = next(_numbers)
            if self._listens:
                self.tell("queued")
        else:
            self.number, submission.tally = submission.number, tally

    def sends(self) -> None:
        """Take note that an attempt begins, and tell."""
        self._started, self._started_at = self._clock.monotonic(), self._clock.wall()
        self._tally["requests"] += 1
        if self._listens:
            self.tell("sent")

    def add(self, verdict: Verdict) -> None:
        """Write down what the attempt has come to, and tell of one that was shed."""
        now = self._clock.monotonic()
        self.attempts.append(
            Attempt(
                number=len(self.attempts) + 1,
                started_at=datetime.fromtimestamp(self._started_at, UTC),
                waited=self._started - self.waits_since,
                elapsed=now - self._started,
                verdict=verdict.kind,
                may_have_run=verdict.may_have_run,
                status=verdict.status,
                request_id=verdict.request_id,
                retry_after=verdict.retry_after,
                reason=verdict.reason,
            )
        )
        self.waits_since = now
        self._tally["stale"] += verdict.stale
        if verdict.kind == "shed":
            self._tally["shed"] += 1
            self.tell("shed")

    def place(self, error: ProdiaError) -> None:
        """Let an error name the job and what was tried before it, and nothing that is not ours.

        Of a job that the service has, and that we stopped to wait for, it has the handle.
        """
        if not error.attempts and self.attempts:
            error.attempts = tuple(self.attempts)
            error.may_have_run |= any(attempt.may_have_run for attempt in error.attempts)
        if not error.message.startswith(subject(self._call.job)):
            error.message = f"{self}: {error.message}"
            error.args = (error.message,)
        handle, job_id = self._call.make_handle, self.job_id
        if isinstance(error, ClientClosedError | ProdiaTimeoutError) and handle and job_id is not None:
            error.may_have_run, error.handle = True, handle(job_id)
        # Whoever runs us may be handling an error of aiohttp, as asyncio's task does: it may show the token.
        error.__context__ = None

    def late(self) -> ProdiaTimeoutError:
        """Return the error of a run whose `timeout` has passed."""
        where = "was under way" if self.attempts else "had not been sent"
        advice = "Allow more time, or start fewer jobs at once."
        if self.job_id is not None:
            where = "is still at the service"
            advice = "Wait on with error.handle.result(), or collect it later by its id."
        heard = [attempt.reason for attempt in self.attempts if attempt.verdict != "cancelled"]
        last = f"What was heard last: {heard[-1].rstrip('.')}. " if heard and heard[-1] else ""
        return ProdiaTimeoutError(
            f"{self}: not done within timeout={self._call.options.timeout:g} s; it {where}. {last}{advice}",
            attempts=self.attempts,
        )

    def end(self, kind: EventKind, error: ProdiaError | None = None, result: JobResult | None = None) -> None:
        """Count the run as over, and tell; a job that we merely stopped to wait for is not over."""
        submission = self._call.submission
        if self._call.ask is not None or (submission is not None and not submission.ends(kind, error)):
            return
        self._tally[kind] += 1
        if self._listens:
            self.tell(kind, error, result)

    def tell(
        self, kind: EventKind, error: ProdiaError | None = None, result: JobResult | None = None
    ) -> None:
        """Tell of an event: the log, whoever follows the call, and the client's hook."""
        if not self._listens:
            return
        attempt = self.attempts[-1] if self.attempts and kind not in ("queued", "sent") else None
        try:  # noqa: SIM105 - `suppress` costs a job nine frames
            log_event(kind, self, attempt, error)
        except Exception:  # noqa: BLE001, S110 - a user's handler may raise: what is said undoes nothing
            pass
        if self._call.notify is not None:
            self._call.notify(kind, attempt)
        if self._tell is not None:
            now = datetime.fromtimestamp(self._clock.wall(), UTC)
            job_id, dollars = self.job_id if kind in _OVER else None, None
            if result is not None:
                job_id, dollars = result.id, None if result.price is None else result.price.dollars
            self._tell(Event(kind, self._call.job, now, attempt, self.number, error, job_id, dollars))
