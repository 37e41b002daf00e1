"""The way in to both routes that run jobs: who asks, what for, and is there room."""

from __future__ import annotations

import abc
import hmac
from typing import TYPE_CHECKING

from aiohttp import web

from prodia_async.emulator.answer import error_answer
from prodia_async.emulator.faults.kinds import Upload
from prodia_async.emulator.faults.line import Line
from prodia_async.emulator.media import read_accept
from prodia_async.emulator.request import BadRequestError, JobError, read_job
from prodia_async.emulator.results import failed_answer, refused_result
from prodia_async.emulator.runner import RefusedError, shed_answer
from prodia_async.emulator.sending import send

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from prodia_async.emulator.answer import Answer, RetryAfter
    from prodia_async.emulator.capacity import Slot
    from prodia_async.emulator.faults.kinds import Fault
    from prodia_async.emulator.faults.line import Terms
    from prodia_async.emulator.request import ReceivedJob
    from prodia_async.emulator.runner import Runner
    from prodia_async.emulator.settings import Settings
    from prodia_async.emulator.tasks import Task

# A larger upload is shed at its headers where there is no room; a smaller one is read first.
EARLY = 1024 * 1024


def check_token(request: web.Request, settings: Settings) -> None:
    """Check the token (API reference, Authentication). Raises RefusedError."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    given = token.strip().encode("utf-8", "replace")
    if scheme.lower() != "bearer":
        raise RefusedError(error_answer(401, "a bearer token is needed"))
    if any(hmac.compare_digest(given, bad.encode()) for bad in settings.forbidden):
        raise RefusedError(error_answer(403, "the token may not run jobs"))
    if not hmac.compare_digest(given, settings.token.encode()):
        raise RefusedError(error_answer(401, "the token is not known"))


class InterruptedUploadError(Exception):
    """A fault has closed the connection while the request was read: nothing runs, nothing is answered."""


class JobRoute(abc.ABC):
    """A route that takes jobs: it reads them and refuses some; its subclass serves the others."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._settings = runner.settings
        self._account = runner.account

    @abc.abstractmethod
    async def _serve(self, request: web.Request, task: Task) -> web.StreamResponse:
        """Run the job, or see to it, and answer. Raises RefusedError."""

    def _crowded(self) -> str | None:
        """Return why a job that came now would be shed; None where there is room."""
        return None if self._runner.slots.idle else "no idle capacity"

    async def expect(self, request: web.Request) -> web.StreamResponse | None:
        """Answer `Expect: 100-continue`: a client that cannot be served keeps its body."""
        try:
            check_token(request, self._settings)
            self._require_room(self._settings.retry_after)
        except RefusedError as refused:
            self._account.requests += 1
            return await self._refuse(request, refused.answer)
        if request.version >= (1, 1):
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return None

    async def post(self, request: web.Request) -> web.StreamResponse:
        """Answer a request to run a job."""
        self._account.requests += 1
        try:
            check_token(request, self._settings)
            met = self._runner.dice.throw()
            if isinstance(met, Upload):
                await self._interrupt(request, met, self._settings.terms)
            if request.content_length is None or request.content_length > EARLY:
                self._require_room(self._settings.retry_after)
            return await self._serve(request, await self._read(request, met))
        except RefusedError as refused:
            return await self._refuse(request, refused.answer)
        except InterruptedUploadError:
            return web.StreamResponse()  # for nobody: the connection is closed

    async def _interrupt(self, request: web.Request, fault: Upload, terms: Terms) -> None:
        """Let a fault of the upload act. Raises RefusedError and InterruptedUploadError."""
        line = Line(request, self._account, terms)
        self._account.faulted(fault.name)
        answer = await fault.act(line)
        if answer is None:
            raise InterruptedUploadError
        raise RefusedError(answer)

    def _take_slot(self, task: Task) -> Slot:
        self._require_room(task.orders.retry_after)
        slot = self._runner.slots.take()
        if slot is None:
            raise AssertionError("where there is room, a slot is idle")
        return slot

    def _require_room(self, retry_after: RetryAfter) -> None:
        reason = self._crowded()
        if reason is not None:
            raise RefusedError(shed_answer(retry_after, reason))

    async def _read(self, request: web.Request, met: Fault | None) -> Task:
        async def on_job(received: ReceivedJob) -> None:
            ordered = self._runner.upload_fault(received)
            if ordered is not None:
                await self._interrupt(request, *ordered)

        accept = read_accept(request.headers.get("Accept", ""))
        try:
            received = await read_job(request.headers.get("Content-Type", ""), self._chunks(request), on_job)
        except BadRequestError as error:
            raise RefusedError(error_answer(400, str(error))) from None
        except JobError as error:
            raise RefusedError(failed_answer(refused_result(error.job, str(error)), accept)) from None
        priced = request.query.get("price") == "true"
        return self._runner.understand(received, accept, priced=priced, met=met)

    async def _chunks(self, request: web.Request) -> AsyncIterator[bytes]:
        async for chunk in request.content.iter_any():
            self._account.bytes_in += len(chunk)
            yield chunk

    async def _refuse(self, request: web.Request, answer: Answer) -> web.StreamResponse:
        self._account.answered(answer.status)
        return await send(request, answer, self._account)
