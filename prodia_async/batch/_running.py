"""A batch while it runs: it joins the feed, the client, the journal, money and the pause."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from typing import TYPE_CHECKING, Any

import anyio
from msgspec.structs import replace

from prodia_async._errors import (
    AuthenticationError,
    BudgetExceededError,
    ClientClosedError,
    OutputError,
    PermissionDeniedError,
    ProdiaError,
    TransportError,
)
from prodia_async._many import AsCompleted
from prodia_async.batch._forecast import Forecast
from prodia_async.batch._gate import GaveUpError
from prodia_async.batch._job_run import JobRun
from prodia_async.batch._report import BatchReport, Ending, Progress
from prodia_async.batch._rooms import Rooms, StoppedError
from prodia_async.batch._sampling import Sampler
from prodia_async.batch._telling import say, tell

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from prodia_async._models import Job
    from prodia_async.batch._journal import Sample
    from prodia_async.batch._tally import Tally

_TOLD_AFTER = 60.0
"""Seconds after which it is told that the service accepts nothing: a while of 429s is how it is shared."""

_ENDINGS: tuple[tuple[type[ProdiaError], Ending], ...] = (
    (AuthenticationError, "refused"),
    (PermissionDeniedError, "refused"),
    (TransportError, "refused"),  # where it is final
    (BudgetExceededError, "spent"),
    (ClientClosedError, "stopped"),
)


class Running:
    """One run of a batch: `run`, then `report`.

    `price` and `timeout` are those of each job. After `give_up_after` seconds in which the service was full,
    and accepted nothing, it ends, as it does after a pause that lasts so long.
    """

    def __init__(
        self,
        rooms: Rooms,
        *,
        price: bool | None,
        timeout: float | None,
        give_up_after: float | None,
        on_progress: Callable[[Progress], object] | None,
    ) -> None:
        self.rooms = rooms
        self.price = price
        self.timeout = timeout
        self.tally: Tally = rooms.tally
        self.tally.changed = self.changed
        self._give_up_after = give_up_after
        self._full: str | None = None
        self._on_progress = on_progress
        self._started = time.monotonic()
        self._seconds = 0.0
        self.stopping: bool = False
        """Whether no more is to be sent."""
        self._ending: Ending = "complete"
        self._reason: str | None = None
        self._failure: ProdiaError | None = None
        self._reading = anyio.CancelScope()
        self._forecast = Forecast(rooms.journal.totals)
        history = rooms.engine.limiter.history
        self._last_change = history[-1] if history else None  # of a limit, that the journal need not know

    async def run(self, stop: asyncio.Event | None) -> None:
        """Run what is to be run. Raises InputError for the manifest and OutputError for the folder."""
        rooms = self.rooms
        watchers = [] if stop is None else [asyncio.create_task(self._watch(stop))]
        if self._on_progress is not None:
            watchers.append(asyncio.create_task(self._count()))
        sampler = Sampler(rooms.engine.clock, self._look, self.keep)
        try:
            async with (
                sampler,
                AsCompleted(rooms.feed, self._new_run, rooms.engines, rooms.feed.ahead) as outcomes,
            ):
                with self._reading:
                    self._leave_if_idle()
                    async for _ in outcomes:
                        pass
        finally:
            self._seconds = time.monotonic() - self._started
            for watcher in watchers:
                watcher.cancel()
        if self._failure is not None:
            raise self._failure

    def _new_run(self, job: Job) -> JobRun:
        return JobRun(self, self.rooms.feed.out.pop(job.custom_id or ""))

    def left(self, job: Job) -> None:
        """Take note that a job is not under way any more."""
        self.tally.left(job.custom_id or "")
        self.rooms.feed.left(job.type)
        if self.stopping:
            self._leave_if_idle()

    async def _watch(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._stop("stopped", None)

    async def _count(self) -> None:
        self._forecast.jobs = await self.rooms.feed.count()
        self.changed()

    def write(self, put: Callable[..., Any], *values: Any, **options: Any) -> Any:
        """Tell the journal; where it cannot be written any more, end the batch and raise nothing."""
        try:
            return put(*values, **options)
        except OutputError as error:
            self.ends_with(error)
            return None

    async def submitted(self, custom_id: str, job_id: str, expires_at: float | None) -> None:
        """Have the journal know that the service has a job; where it cannot, end the batch."""
        try:
            await self.rooms.journal.submitted(custom_id, job_id, expires_at)
        except OutputError as error:
            self.ends_with(error)

    def keep(self, sample: Sample) -> None:
        """Keep a sample of the progress, and how the limits have changed since the last one."""
        self.write(self.rooms.journal.sample, sample)
        history, new = self.rooms.engine.limiter.history, []
        for change in reversed(history):
            if change is self._last_change:
                break
            new.append(change)
        for change in reversed(new):
            self.write(self.rooms.journal.limit, change)
            self._last_change = change

    def _look(self) -> Progress:
        """Return this run's own counts, and tell how far the batch is: a pause may change nothing else."""
        self._see_whether_full()
        self.changed()
        return replace(self.progress(), done=self.tally.done, failed=self.tally.failed)

    def _see_whether_full(self) -> None:
        """Tell of a service that accepts nothing for minutes, and end the batch as it was told to."""
        if self.rooms.gate.causes:
            self.tally.pauses()
        seconds = self.tally.full_for()
        before, self._full = self._full, None
        least = min(_TOLD_AFTER, math.inf if self._give_up_after is None else self._give_up_after)
        if seconds >= least:
            self._full = f"nothing accepted for {_duration(seconds)}: the service answers 429 to each request"
            if before is None:
                say(logging.WARNING, "%s", self._full)
            if self._give_up_after is not None and seconds >= self._give_up_after:
                advice = "Run the same batch again when it has room: it goes on where it ended."
                self._stop("gave_up", f"gave up: {self._full}. {advice}")

    def ends_with(self, error: ProdiaError) -> bool:
        """End the batch if it is the batch that has failed, and not a job of it; return whether it is."""
        if self.rooms.gate.gave_up is not None and isinstance(error, GaveUpError | OutputError):
            self._stop("gave_up", self.rooms.gate.gave_up)
            return True
        if isinstance(error, OutputError) and error.errno is not None:
            self._failure, self.stopping = self._failure or error, True
            self.rooms.feed.end()
            self._leave_if_idle()
            return True
        for kind, ending in _ENDINGS:
            if isinstance(error, kind) and getattr(error, "is_final", True):
                self._stop(ending, error.message)
                return True
        return isinstance(error, StoppedError)

    def _stop(self, ending: Ending, reason: str | None) -> None:
        """Begin no more jobs."""
        if self._ending == "complete":
            self._ending, self._reason, self.stopping = ending, reason, True
        self.rooms.feed.end()
        self._leave_if_idle()

    def _leave_if_idle(self) -> None:
        """Wait no longer for outcomes when the batch ends early and no job is in flight: none will come."""
        if self.stopping and not (self.tally.in_flight or self.rooms.outputs.is_busy):
            self._reading.cancel()

    def changed(self) -> None:
        """Tell whoever listens how far the batch is."""
        if self._on_progress is not None:
            tell("on_progress", self._on_progress, self.progress())
        if self.stopping:
            self._leave_if_idle()

    def progress(self) -> Progress:
        """Return the counts as a value."""
        rooms, tally = self.rooms, self.tally
        counts, limiter, forecast = rooms.feed.counts, rooms.engine.limiter, self._forecast
        dollars = rooms.till.dollars
        done, failed, problems = tally.done + counts.done, tally.failed + counts.failed, rooms.problems.count
        return Progress(
            done=done,
            failed=failed,
            skipped=counts.done + counts.failed,
            problems=problems,
            in_flight=tally.in_flight,
            limit=min(limiter.limit, sum(line.capacity.limit for line in limiter.lines.values())),
            requests=tally.requests,
            shed=tally.shed,
            dollars=dollars,
            paused=rooms.gate.paused or self._full,
            total=rooms.feed.of_this_run(forecast.jobs),
            expected=forecast.expected(done=tally.done, ended=done + failed + problems, dollars=dollars),
            dollars_a_minute=forecast.a_minute(requests=tally.requests, dollars=dollars),
        )

    def report(self, out: Path) -> BatchReport:
        """Return what became of the batch."""
        rooms, progress, counts = self.rooms, self.progress(), self.rooms.feed.counts
        return BatchReport(
            ending=self._ending,
            done=progress.done,
            failed=progress.failed,
            skipped=progress.skipped,
            problem_count=progress.problems,
            problems=tuple(rooms.problems.first),
            interrupted=counts.interrupted,
            submitted=counts.submitted,
            missing=counts.missing,
            lost_count=self.tally.lost_count,
            lost=tuple(self.tally.lost),
            requests=progress.requests,
            shed=progress.shed,
            seconds=self._seconds,
            dollars=progress.dollars,
            uncertain=rooms.till.uncertain,
            uncertain_attempts=rooms.till.uncertain_attempts,
            overrun=rooms.till.overrun,
            reason=self._reason,
            out=out,
            results=out / "results.jsonl",
            service=rooms.service,
            jobs=self._forecast.jobs,
            expected=progress.expected,
            dollars_a_minute=progress.dollars_a_minute,
        )


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < _TOLD_AFTER else f"{seconds / 60:.0f} min"
