"""One job of a batch: its calls of the client until it is done or has failed for a cause of its own."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING

from msgspec.structs import replace

from prodia_async import _door
from prodia_async._errors import (
    JobFailedError,
    NotFoundError,
    ProdiaError,
    ProdiaTimeoutError,
    TransportError,
)
from prodia_async._files.threads import hop
from prodia_async._run import Run
from prodia_async.batch._entries import Submitted
from prodia_async.batch._health import AGAINST
from prodia_async.batch._inputs import content_mark
from prodia_async.batch._records import done_record, failed_record
from prodia_async.batch._rooms import StoppedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence
    from typing import Any

    from prodia_async._models import Attempt, Job, JobResult
    from prodia_async._stats import EventKind
    from prodia_async.batch._manifest import Entry
    from prodia_async.batch._outputs import LandingSink
    from prodia_async.batch._rooms import Batch

_MOST_ATTEMPTS = 100
"""How many attempts of one job are kept in its record: an outage of hours may bring thousands."""

_UNTOLD = frozenset({"unknown", "malformed", "timed_out", "cancelled", "not_kept", "lost"})
"""Verdicts after which nobody knows the price. A job that failed, or was answered 5xx, has none."""

_QUICK_MARK = 8
"""Bytes of an entry's mark that tells of sizes and times alone."""


class JobRun:
    """Runs one entry and writes down what becomes of it, whenever it is cancelled."""

    def __init__(self, batch: Batch, entry: Entry) -> None:
        self._batch = batch
        self._rooms = batch.rooms
        self._entry = entry
        self.job: Job = entry.job
        self._id = entry.job.custom_id or ""
        self._reserved: float | None = None
        self._submitted = entry.submitted
        self._earlier: list[Attempt] = []
        self._heard: Attempt | None = None
        self._was_sent = False
        self._ended = False
        self._was_lost = False
        self._losses = 0  # attempts after which nobody knows whether the job ran
        self._ahead: Callable[[str], None] | None = None  # ends that the row stands, and the job is not sent

    async def result(self) -> JobResult:
        """Return the result once the outputs stand and the journal was told. Raises ProdiaError."""
        gate = self._rooms.gate
        gate.begin(self._id)
        if self._submitted is not None:
            if self._submitted.reserved is not None:
                self._reserved = self._submitted.reserved
                self._rooms.till.adopt(self._reserved)
            self._was_sent = True
            self._batch.tally.collecting(self._id, self.job.type)
        try:
            while True:
                pauses = gate.pauses
                try:
                    if self._submitted is not None:
                        await self._rooms.scout.enter(self._id)
                        self._go_on()
                    elif self.job.inputs and len(self._entry.inputs_mark) <= _QUICK_MARK:
                        await self._mark_inputs()
                    await self._arm()
                    return await self._call()
                except ProdiaError as error:
                    # It may wait for a slot now, which others hold until they may be sent.
                    self._rooms.scout.leave(self._id)
                    if not await self._again(error, pauses):
                        self._give_up(error)
                        raise
                except Exception as error:
                    raise self.failure(error) from error
        finally:
            if self._ahead is not None:
                self._disarm()
            gate.leave(self._id)
            self._rooms.scout.leave(self._id)
            self._batch.left(self.job)

    async def _mark_inputs(self) -> None:
        """Have the row know the inputs' content: a later run tells by it whether they have changed."""
        with contextlib.suppress(OSError):  # the run itself tells of an input that cannot be read
            mark = self._entry.inputs_mark + await hop(content_mark, self.job.inputs)
            self._entry = replace(self._entry, inputs_mark=mark)

    def _call(self) -> Coroutine[Any, Any, JobResult]:
        client = self._rooms.client
        if self._losses:
            left = max(0, client.retry.resend_unknown - self._losses)
            client = replace(client, retry=replace(client.retry, resend_unknown=left))
        call = _door.call(
            client,
            self.job,
            timeout=self._batch.timeout,
            patient=True,
            price=self._batch.price,
            bounded=False,
            before_send=self._before_send,
            notify=self._hear,
            job_id=None if self._submitted is None else self._submitted.job_id,
            submitted=self._is_submitted,
        )
        sink = partial(self._rooms.outputs.sink, own=self._entry.outputs, on_whole=self._whole)
        call = replace(call, to=sink)  # it is ours: the door need not look at it for each job
        return Run(self._rooms.engines, call).result()

    def failure(self, error: BaseException) -> ProdiaError:
        """Write the job down as failed with an error that is none of ours, and return what it means."""
        failure = ProdiaError(f"{type(error).__name__}: {self._rooms.client.redact(str(error))}")
        self._give_up(failure)
        return failure

    async def _is_submitted(self, job: JobResult) -> None:
        """Write down that the service has the job: from now on it can be collected by its id."""
        expires_at = None if job.expires_at is None else job.expires_at.timestamp()
        self._submitted = Submitted(job.id or "", self._reserved or 0.0)
        await self._batch.submitted(self._id, self._submitted.job_id, expires_at)

    async def _arm(self) -> None:
        """Have the row committed before the job has its turn, unless money or a pause decides then."""
        rooms = self._rooms
        if self._submitted is not None or rooms.till.limit is not None or rooms.gate.causes:
            return
        if not await rooms.arming.enter(self.job):
            return
        self._ahead = rooms.arming.leave
        self._go_on()
        await rooms.journal.sent(self._entry, 0.0)
        self._reserved = 0.0

    def _disarm(self) -> None:
        """Take back the row, written ahead, of a job that is not sent."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            ahead(self.job.type)
        if self._reserved is not None:
            self._rooms.till.release(self.job.type, self._take_reserved())
            self._waits(None)

    async def _before_send(self, _: int) -> None:
        """Wait until this attempt may be sent, and has its money and its row in the journal."""
        rooms, kind = self._rooms, self._entry.job.type
        if self._ahead is not None and rooms.gate.causes:
            self._disarm()
        if not rooms.scout.is_over:
            await rooms.scout.enter(self._id)
        await rooms.gate.enter(self._id)
        if self._losses:
            await self._see_that_it_answers()
        self._go_on()
        if self._reserved is None:
            self._reserved = await rooms.till.reserve(kind)
            try:
                self._go_on()
                await rooms.journal.sent(self._entry, self._reserved)
                if self._batch.stopping:
                    self._waits(None)
                self._go_on()
            except BaseException:
                rooms.till.release(kind, self._take_reserved())
                raise
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            ahead(kind)
        self._was_sent = True
        self._batch.tally.sent(self._id, kind)

    async def _see_that_it_answers(self) -> None:
        """Wait until the service answers: what was lost once is not sent into the same outage again."""
        gate = self._rooms.gate
        while (reason := await self._what_is_wrong()) is not None:
            self._go_on()
            gate.unanswered(self._id, reason)
            await gate.enter(self._id)

    async def _what_is_wrong(self) -> str | None:
        self._batch.tally.collecting(self._id, self.job.type)
        try:
            return await self._rooms.scout.what_is_wrong()
        finally:
            self._batch.tally.left(self._id)

    def _go_on(self) -> None:
        """Raise StoppedError once the batch has ended."""
        if self._batch.stopping:
            raise StoppedError

    def _take_reserved(self) -> float:
        reserved, self._reserved = self._reserved or 0.0, None
        return reserved

    def _hear(self, kind: EventKind, attempt: Attempt | None) -> None:
        """Follow the call's events: each attempt is dealt with once, when it has ended."""
        if attempt is None or attempt is self._heard:
            return
        self._heard = attempt
        if attempt.verdict != "cancelled":
            self._submitted = None
        if attempt.verdict == "lost":
            self._tell_lost()
        self._losses += attempt.verdict == "unknown"
        self._rooms.gate.attempt_ended(self._id, attempt)
        if not self._rooms.scout.is_over:
            self._rooms.scout.leave(self._id, attempt)
        self._batch.tally.attempt_ended(self._id, self.job.type, attempt)
        if kind == "shed" and self._rooms.till.limit is None and self._rooms.arming.rest(self.job.type):
            self._ahead = self._rooms.arming.wake
            return
        # The last one of a call, too: nobody knows how long a second chance is waited for.
        if (kind in ("shed", "retried") or attempt.verdict in AGAINST) and self._reserved is not None:
            self._waits(self._lost(attempt))

    def _waits(self, uncertain: float | None) -> None:
        """Write down that the job waits, with what is reckoned for its last attempt."""
        self._batch.write(self._rooms.journal.waiting, self._id, uncertain=uncertain)

    def _lost(self, attempt: Attempt) -> float | None:
        """Settle an attempt without a result; return what is reckoned for it, None if it cost nothing."""
        kind = self._entry.job.type
        if attempt.verdict in _UNTOLD and attempt.may_have_run:
            return self._rooms.till.lose(kind, self._take_reserved())
        self._rooms.till.release(kind, self._take_reserved())
        return None

    async def _again(self, error: ProdiaError, pauses: int) -> bool:
        """Tell whether the job is run again from the start; what was tried so far stays in its record."""
        if self._batch.stopping or self._ended or (isinstance(error, TransportError) and error.is_final):
            return False
        attempts = error.attempts
        if self._submitted is not None:
            return self._is_lost(error)
        if self._losses > self._rooms.client.retry.resend_unknown:
            return False
        if isinstance(error, ProdiaTimeoutError) and not error.may_have_run:
            again = self._rooms.gate.pauses != pauses or self._rooms.gate.paused is not None
        else:
            again = bool(attempts) and await self._rooms.gate.second_chance(self._id, attempts)
        if again:
            if self._ahead is not None:  # it was shed, kept its row, and ran out of time before its turn came
                self._disarm()
            elif self._reserved is not None and attempts:
                self._waits(self._lost(attempts[-1]))
            self._earlier = [*self._earlier, *attempts][-_MOST_ATTEMPTS:]
        return again

    def _is_lost(self, error: ProdiaError) -> bool:
        """Tell whether the service no longer knows the job of an earlier run: then it is sent again."""
        if not isinstance(error, NotFoundError):
            return False
        self._submitted = None
        self._tell_lost()
        self._batch.tally.left(self._id)
        lost = self._reserved is not None
        self._waits(self._rooms.till.lose(self._entry.job.type, self._take_reserved()) if lost else None)
        return True

    def _tell_lost(self) -> None:
        """Count the job as lost, once."""
        if not self._was_lost:
            self._was_lost = True
            self._batch.tally.add_lost(self._id)

    def _whole(self, result: JobResult, sink: LandingSink) -> Awaitable[None]:
        """Write a job down as done, and have its outputs, which are whole, get their names after that."""
        if self._earlier or len(result.attempts) > _MOST_ATTEMPTS:
            result = replace(result, attempts=self._all(result.attempts))
        relative = self._rooms.outputs.relative
        names, parts = [*map(relative, sink.targets)], [*map(relative, sink.parts)]
        outputs = [(name, output.size) for name, output in zip(names, result.outputs, strict=True)]
        record = done_record(self._entry, result, names, self._rooms.folder)
        self._ended = True  # whatever raises before this fails the job, which is counted
        reported = None if result.price is None else result.price.dollars
        reserved, self._reserved = self._reserved or 0.0, None
        dollars = self._rooms.till.settle(self._entry.job.type, reserved, reported)
        uncertain = reserved if dollars is None and self._rooms.till.limit is not None else None
        more = {"uncertain": uncertain, "parts": parts, "then": sink.name_files}
        put = self._rooms.journal.done
        row: Awaitable[None] | None = self._batch.write(put, self._id, record, outputs, dollars, **more)
        if row is None:
            raise StoppedError
        if self._rooms.gate.causes:
            self._rooms.gate.stored()
        # Now: a full disk may hold the row, and must not hold the batch's end.
        self._batch.tally.add_done(self._id)
        return row

    def _give_up(self, error: ProdiaError) -> None:
        """Write a job down as failed, unless it was the batch that ended."""
        error.attempts = self._all(error.attempts)
        error.may_have_run |= any(attempt.may_have_run for attempt in self._earlier)
        if self._ahead is not None:  # it was not sent
            self._disarm()
        if self._ended:  # its row tells that it is done: what it lacks is made again by the next run
            self._batch.ends_with(error)
            return
        last = error.attempts[-1] if error.attempts else None
        dollars, uncertain = self._settle(error, last)
        if self._batch.ends_with(error) or (self._batch.stopping and last and last.verdict in AGAINST):
            if self._was_sent and self._submitted is None:
                self._waits(dollars if uncertain is None else uncertain)
            return
        self._ended = True
        journal, write = self._rooms.journal, self._batch.write
        if not self._was_sent:
            write(journal.unsent, self._entry)
        record = failed_record(self._entry, error, self._rooms.folder)
        job_id = self._submitted.job_id if self._submitted and isinstance(error, ProdiaTimeoutError) else None
        write(journal.failed, self._id, record, dollars, uncertain=uncertain, job_id=job_id)
        self._batch.tally.add_failed()

    def _settle(self, error: ProdiaError, last: Attempt | None) -> tuple[float | None, float | None]:
        """Settle the last attempt's money: what was reported for it, or what is reckoned for it."""
        if self._reserved is None:
            return None, None
        till, kind = self._rooms.till, self._entry.job.type
        result: JobResult | None = getattr(error, "result", None)
        if result is not None and result.price is not None:
            return till.settle(kind, self._take_reserved(), result.price.dollars), None
        if last is not None:
            return None, self._lost(last)
        if isinstance(error, JobFailedError):
            till.release(kind, self._take_reserved())
            return None, None
        # It broke in a way that no attempt tells of, and others wait for its money.
        return None, till.lose(kind, self._take_reserved())

    def _all(self, attempts: Sequence[Attempt]) -> tuple[Attempt, ...]:
        return tuple([*self._earlier, *attempts][-_MOST_ATTEMPTS:])
