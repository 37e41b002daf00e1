"""One attempt: a request goes out, the reply goes into the sink, a verdict comes back, never an exception.

The time limits of `Timeouts` are watched here, on the client's clock.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from prodia_async._errors import InputError
from prodia_async._http.answers import error_body, request_id_of, what_it_says
from prodia_async._http.inflated import plain
from prodia_async._http.received import NotKeptError, Received
from prodia_async._http.transport import CONTINUE, Fault, Reply, Request, Transport
from prodia_async._loops import shielded
from prodia_async._models import Verdict
from prodia_async._pacing.clock import Clock, Deadline
from prodia_async._settings import Limits, Timeouts
from prodia_async._wire.decoder import MalformedReplyError, decoder_for
from prodia_async._wire.headers import kind_of, may_have_run, retry_after
from prodia_async._wire.result import failed_result, job_result, kind_of_result, one_line, reason

if TYPE_CHECKING:
    from prodia_async._models import Job, JobResult, VerdictKind
    from prodia_async._pacing.turns import Permit

_OK = 200
_ACCEPTED = (200, 201, 202)
_EXPECTATION_FAILED = 417


_END_TIME = 10.0
_MAX_EPILOGUE = 64 * 1024
"""Seconds and bytes that a reply may go on for after its final boundary: what comes then means nothing."""


class Watch:
    """How far one attempt has come, and by when the server must have done the next thing."""

    def __init__(
        self, clock: Clock, timeouts: Timeouts, permit: Permit, first_byte: float, *, expects: bool = False
    ) -> None:
        connect = timeouts.connect + (CONTINUE if expects else 0.0)
        self.deadline = Deadline(clock, clock.monotonic() + connect)
        self.phase = "connect"
        self.request_id: str | None = None
        self._clock = clock
        self._idle = timeouts.idle
        self._first_byte = max(first_byte, timeouts.first_byte)
        self._permit = permit

    def connected(self) -> None:
        """Wait for the source: the request has its connection."""
        self._enter("send", math.inf)

    def block_ready(self) -> None:
        """Wait for the server to take a block."""
        self._enter("send", self._idle)

    def block_taken(self) -> None:
        """Wait for the source, which may take its time."""
        self._enter("send", math.inf)

    def body_sent(self) -> None:
        """Wait for the server's answer."""
        self._permit.body_sent()
        self._enter("answer", self._first_byte)

    def reading(self) -> None:
        """Wait for the next piece of the reply."""
        self._enter("read", self._idle)

    def storing(self) -> None:
        """Wait for our own sink, which may take its time."""
        self._enter("read", math.inf)

    def ending(self) -> None:
        """Wait for the end of a reply that is whole, so that its connection can be used again."""
        self._enter("end", _END_TIME)

    def _enter(self, phase: str, seconds: float) -> None:
        if self.phase != "read" or phase in ("read", "end"):  # an upload may go on while the reply is read
            self.phase = phase
            if seconds == math.inf:
                self.deadline.when = math.inf  # needs no timer
            else:
                self.deadline.move(self._clock.monotonic() + seconds)


class Exchange(Struct, frozen=True):
    """What every attempt of a client shares. `redact` takes the token out of what a server says."""

    transport: Transport
    clock: Clock
    timeouts: Timeouts
    limits: Limits
    redact: Callable[[str], str]

    async def run(
        self, request: Request, job: Job, received: Received, permit: Permit, first_byte: float = 0.0
    ) -> Verdict:
        """Send the request once and say what came of it.

        `received` holds the outputs when the verdict is "done", and was discarded otherwise.
        """
        watch = Watch(self.clock, self.timeouts, permit, first_byte, expects=request.expects)
        verdict: Verdict | None = None
        try:
            with watch.deadline:
                verdict = await self._converse(request, job, received, permit, watch)
            if verdict is None and watch.phase == "end":  # whole, but for the end of the connection
                verdict = self._judged(job, received, watch.request_id)
            elif verdict is None:
                verdict = _timed_out(watch, self.timeouts, permit)
        except GeneratorExit:  # the loop was killed: nothing can be awaited any more
            raise
        except BaseException:
            await shielded(received.discard())
            raise
        if verdict.kind != "done":
            await shielded(received.discard())
        return verdict

    async def submit(self, request: Request, job: Job, permit: Permit, first_byte: float = 0.0) -> Verdict:
        """Send an asynchronous job once: "submitted" says that the service has it, under `result.id`."""
        watch = Watch(self.clock, self.timeouts, permit, first_byte, expects=request.expects)
        with watch.deadline:
            return await self._converse(request, job, None, permit, watch)
        return _timed_out(watch, self.timeouts, permit)

    async def _converse(
        self, request: Request, job: Job, received: Received | None, permit: Permit, watch: Watch
    ) -> Verdict:
        """Send and deal with the answer; `received` None is for a job that is only submitted."""
        try:
            reply = await self._answer(request, permit, watch)
            try:
                verdict = await self._of(reply, job, received, permit, watch)
                await reply.aclose()
            except GeneratorExit:  # the loop was killed: nothing can be awaited any more
                raise
            except BaseException:
                await shielded(reply.aclose())
                raise
            else:
                return verdict
        except Fault as fault:
            return self._broken(fault, permit)
        except MalformedReplyError as error:  # what it says of a job that it has taken
            return Verdict("malformed", True, self.redact(f"the reply is malformed: {error}"))
        except InputError as error:
            return Verdict("bad_input", may_have_run=False, reason=str(error), cause=error)

    def _of(
        self, reply: Reply, job: Job, received: Received | None, permit: Permit, watch: Watch
    ) -> Awaitable[Verdict]:
        if received is None and reply.status in _ACCEPTED:
            return self._submitted(reply, job, watch)
        if received is None or reply.status != _OK:
            return self._refusal(reply, job, permit, watch)
        permit.headers()
        return self._receive(reply, job, received, watch)

    async def _answer(self, request: Request, permit: Permit, watch: Watch) -> Reply:
        """Send; a server that cannot say whether it wants the body is sent it without asking."""
        reply = await self.transport.send(request, watch)
        if reply.status != _EXPECTATION_FAILED or not request.expects or permit.was_sent:
            return reply
        await reply.aclose()
        return await self.transport.send(replace(request, expects=False), watch)

    async def _submitted(self, reply: Reply, job: Job, watch: Watch) -> Verdict:
        """Read what the service says of a job that it has taken; without an id it cannot be asked for."""
        body = await self._submission(reply, watch)
        content_type = reply.headers.get("Content-Type")
        request_id = self._request_id(reply)
        result = failed_result(content_type, body, job, request_id=request_id, redact=self.redact)
        if result is None or result.id is None or result.id != one_line(result.id):
            said = reason(content_type, body, self.redact)
            what = "the service took the job, and did not say its id" + (f": {said}" if said else "")
            return Verdict("malformed", True, what, status=reply.status, request_id=request_id)
        return Verdict("submitted", True, status=reply.status, request_id=request_id, result=result)

    async def _submission(self, reply: Reply, watch: Watch) -> bytes:
        said, body = plain(reply, self.limits), b""
        watch.reading()
        while len(body) <= self.limits.max_job_part and (piece := await said.read()):
            body += piece
            watch.reading()
        return body

    async def _receive(self, reply: Reply, job: Job, received: Received, watch: Watch) -> Verdict:
        request_id = watch.request_id = self._request_id(reply)

        def verdict(kind: VerdictKind, reason: str, cause: Exception | None = None) -> Verdict:
            reason = self.redact(reason)
            return Verdict(kind, True, reason, status=200, request_id=request_id, cause=cause)

        try:
            await self._feed(reply, received, watch)
        except MalformedReplyError as error:
            return verdict("malformed", f"the reply is malformed: {error}")
        except NotKeptError as error:
            return verdict("not_kept", str(error), error.cause)
        except Fault as fault:
            return verdict("unknown", f"the reply was cut off: {fault}")
        return self._judged(job, received, request_id)

    def _judged(self, job: Job, received: Received, request_id: str | None) -> Verdict:
        """Say what a reply that is whole has brought."""
        result = job_result(
            received.job_part or b"",
            job,
            outputs=received.outputs(),
            request_id=request_id,
            redact=self.redact,
        )
        kind = kind_of_result(result)
        said = "" if kind == "done" else one_line(self.redact(_failure_of(result)))
        return Verdict(kind, True, said, status=200, request_id=request_id, result=result)

    async def _feed(self, reply: Reply, received: Received, watch: Watch) -> None:
        """Drive the decoder: each piece is stored before the next is asked for."""
        body = plain(reply, self.limits)
        decoder = decoder_for(reply.headers.get("Content-Type"), self.limits)
        while not decoder.is_complete:
            watch.reading()
            piece = await body.read()
            watch.storing()
            if not piece:
                break
            await received.take(decoder.feed(piece))
        await received.take(decoder.close())
        if decoder.is_complete:
            watch.ending()
            await _skip(reply)

    async def _refusal(self, reply: Reply, job: Job, permit: Permit, watch: Watch) -> Verdict:
        """Read an answer that is no result; a 429 that came during the upload ends the upload, unread."""
        wait = retry_after(reply.headers.get("Retry-After"), self.clock.wall())
        watch.storing()
        kind = kind_of(reply.status)
        unread = kind == "shed" and not permit.was_sent
        body = b"" if unread else await error_body(reply, self.clock, self.limits)
        content_type = reply.headers.get("Content-Type")
        request_id = self._request_id(reply)
        return Verdict(
            kind,
            may_have_run=may_have_run(reply.status),
            reason=what_it_says(reply, content_type, body, self.redact),
            status=reply.status,
            request_id=request_id,
            retry_after=wait,
            result=failed_result(content_type, body, job, request_id=request_id, redact=self.redact),
        )

    def _request_id(self, reply: Reply) -> str | None:
        return request_id_of(reply, self.redact)

    def _broken(self, fault: Fault, permit: Permit) -> Verdict:
        reason = self.redact(str(fault))
        if fault.kind == "descriptors":
            reason = "no file descriptor is left for a connection: raise `ulimit -n` or lower max_concurrency"
        if fault.kind in ("connect", "descriptors") or not permit.was_sent:
            return Verdict("not_sent", may_have_run=False, reason=reason)
        kind: VerdictKind = "malformed" if fault.kind == "protocol" else "unknown"
        return Verdict(kind, may_have_run=True, reason=reason, stale=fault.stale)


async def _skip(reply: Reply) -> None:
    """Read the rest of a reply that is whole; it does not matter how that ends."""
    left = _MAX_EPILOGUE
    try:
        while left > 0 and (piece := await reply.read()):
            left -= len(piece)
    except Fault:
        return


def _timed_out(watch: Watch, timeouts: Timeouts, permit: Permit) -> Verdict:
    if watch.phase == "connect":
        return Verdict("not_sent", False, f"no connection within Timeouts.connect={timeouts.connect:g} s")
    what = {
        "send": f"the server took nothing of the request for Timeouts.idle={timeouts.idle:g} s",
        "answer": f"no answer within Timeouts.first_byte={timeouts.first_byte:g} s",
        "read": f"nothing came of the reply for Timeouts.idle={timeouts.idle:g} s",
    }[watch.phase]
    return Verdict("timed_out", permit.was_sent, what)


def _failure_of(result: JobResult) -> str:
    said = f": {result.error}" if result.error else ""
    state = result.state.current if result.state else None
    return (
        f"the job failed{said}"
        if state == "failed"
        else f"the job ended in the unknown state {state!r}{said}"
    )
