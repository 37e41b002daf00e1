"""How the results of asynchronous jobs are waited for and fetched (the asynchronous API's GET routes)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from random import Random
from typing import TYPE_CHECKING, TypeVar

import anyio
from msgspec import Struct
from msgspec.structs import replace

from prodia_async._http.remote import SUCCEEDED, Remote, UnansweredError
from prodia_async._http.transport import Transport
from prodia_async._loops import OnExit
from prodia_async._models import Job, Verdict
from prodia_async._pacing.clock import Clock
from prodia_async._pacing.polling import Waits
from prodia_async._settings import Limits, Polling, Retry, Timeouts

if TYPE_CHECKING:
    from prodia_async._http.received import Received

__all__ = ["Bounds", "Collector", "UnansweredError"]

T = TypeVar("T")

_FINISHED = (*SUCCEEDED, "failed")

_POLLS = 32
"""Questions under way at once. Each takes milliseconds, so these few do for thousands of jobs; and a service
that has become slow is not met by a connection for each job."""

_DOWNLOADS = 32
"""Outputs under way at once: each holds a connection, and a block of memory or two, as long as it takes."""


class Bounds:
    """How much is under way at once in one event loop. Who sleeps holds no place."""

    def __init__(self) -> None:
        self.polls = anyio.Semaphore(_POLLS)
        self.downloads = anyio.Semaphore(_DOWNLOADS)


class Collector(Struct, frozen=True, kw_only=True):
    """Asks for asynchronous jobs at `url`, which ends in `/v2/job/async`, and fetches their outputs.

    A service that is busy (429) or fails (5xx) is asked again, for ever: whoever calls sets a `Deadline`. So
    it is while polling with connections that break. Every other answer that is broken counts, one by one, in
    `Retry.max_errors`. Methods raise UnansweredError with a verdict that is final, "lost" for a job that is
    not known (404), and InputError for an id or name that cannot stand in a path.
    """

    transport: Transport
    url: str
    headers: Mapping[str, str]
    redact: Callable[[str], str]
    clock: Clock
    chance: Random
    retry: Retry
    timeouts: Timeouts
    polling: Polling
    limits: Limits
    bounds: Bounds

    async def state(self, job_id: str) -> str:
        """Return the job's state now, in lower case."""
        return await self._state(job_id, self._waits(is_poll=True))

    async def finished(self, job_id: str, *, is_new: bool = True) -> str:
        """Wait until the job is over, and return its state then; an unknown state is not the end.

        One that `is_new` cannot be over at once, and is not asked for before `Polling.interval`.
        """
        waits = self._waits(is_poll=True)
        if is_new:
            await self.clock.sleep(waits.after_answer())
        while (state := await self._state(job_id, waits)) not in _FINISHED:
            await self.clock.sleep(waits.after_answer())
        return state

    async def job(self, job_id: str, job: Job, *, priced: bool) -> Verdict:
        """Return the result of a job that is over: "done" or "failed"."""
        remote, waits = self._remote, self._waits()
        return await self._answered(self.bounds.polls, waits, lambda: remote.job(job_id, job, priced=priced))

    async def names(self, job_id: str) -> tuple[str, ...]:
        """Return the names of the outputs of a job that is over, in order."""
        remote = self._remote
        return await self._answered(self.bounds.polls, self._waits(), lambda: remote.names(job_id))

    async def fetch(self, job_id: str, names: tuple[str, ...], receive: Callable[[], Received]) -> Received:
        """Store outputs, in order, in one `Received` that `receive` makes, and return it to be committed.

        Where an output breaks off, what came is discarded, and all are fetched anew into another.
        """
        waits = self._waits()
        while True:
            try:
                return await self._fetch_once(job_id, names, receive, waits)
            except UnansweredError as error:
                wait = waits.after_failure(error.verdict) if error.begun else None
                if wait is None:
                    raise
            await self.clock.sleep(wait)

    async def collect(
        self,
        job_id: str,
        job: Job,
        receive: Callable[[], Received],
        *,
        priced: bool,
        is_new: bool = True,
    ) -> tuple[Verdict, Received | None]:
        """Wait for the job, and fetch its result and its outputs.

        The `Received`, to be committed, comes with the verdict "done" alone; otherwise it was discarded.
        Raises InputError, and nothing else.
        """
        verdict = None
        try:
            await self.finished(job_id, is_new=is_new)
            verdict = await self.job(job_id, job, priced=priced)
            if verdict.kind != "done" or verdict.result is None:
                return verdict, None
            received = await self.fetch(job_id, await self.names(job_id), receive)
        except UnansweredError as error:
            return replace(error.verdict, result=None if verdict is None else verdict.result), None
        return replace(verdict, result=replace(verdict.result, outputs=received.outputs())), received

    async def _fetch_once(
        self, job_id: str, names: tuple[str, ...], receive: Callable[[], Received], waits: Waits
    ) -> Received:
        received = _made(receive)
        whole = False
        async with OnExit(lambda: None if whole else received.discard()):
            for name in names:
                await self._download(job_id, name, received, waits)
            whole = True
        return received

    async def _download(self, job_id: str, name: str, received: Received, waits: Waits) -> None:
        remote = self._remote
        await self._answered(self.bounds.downloads, waits, lambda: remote.output(job_id, name, received))

    async def _state(self, job_id: str, waits: Waits) -> str:
        remote = self._remote
        return await self._answered(self.bounds.polls, waits, lambda: remote.state(job_id))

    async def _answered(self, places: anyio.Semaphore, waits: Waits, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask until there is an answer, or a verdict that is final; nothing is repeated that has begun."""
        while True:
            try:
                async with places:
                    return await ask()
            except UnansweredError as error:
                wait = None if error.begun else waits.after_failure(error.verdict)
                if wait is None:
                    raise
            await self.clock.sleep(wait)

    def _waits(self, *, is_poll: bool = False) -> Waits:
        return Waits(self.polling, self.retry, self.chance, is_poll=is_poll)

    @property
    def _remote(self) -> Remote:
        return Remote(
            transport=self.transport,
            url=self.url,
            headers=self.headers,
            redact=self.redact,
            clock=self.clock,
            timeouts=self.timeouts,
            limits=self.limits,
        )


def _made(receive: Callable[[], Received]) -> Received:
    try:
        return receive()
    except Exception as error:
        reason = f"its sink could not be made: {error}"
        raise UnansweredError(Verdict("not_kept", True, reason, cause=error)) from error
