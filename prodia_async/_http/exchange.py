"""One conversation with the service: send, watch the time, read, and say what came of it.

Whatever happens is a value in the end, a `Verdict`, and never an exception.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from prodia_async._errors import InputError
from prodia_async._files.outputs import NotKeptError
from prodia_async._http.bearer import Bearer
from prodia_async._http.transport import Fault, Reply, Request, Transport
from prodia_async._http.watch import Phase, Watch
from prodia_async._loops import shielded
from prodia_async._models import Verdict
from prodia_async._pacing.clock import Clock
from prodia_async._plain import ReplyHeaders
from prodia_async._settings import Limits, Options
from prodia_async._wire import media, result
from prodia_async._wire.decoder import Inflater, MalformedReplyError, decoder_for, is_compressed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from prodia_async._files.outputs import Outputs
    from prodia_async._models import Job, VerdictKind

T = TypeVar("T")

OK = 200
_ACCEPTED = (200, 201, 202)
_NOT_FOUND = 404
_EXPECTATION_FAILED = 417

_MAX_REST = 64 * 1024
_ERROR_BODY_TIME = 5.0
_END_TIME = 10.0
"""Limits for bytes that we could do without: the body of an error, of which only a reason is wanted, and what
follows a reply's final boundary. A server that sends or ends neither holds a run for so many seconds."""


class Exchange(Struct, frozen=True):
    """What all conversations of a client have in common."""

    transport: Transport
    clock: Clock
    options: Options
    bearer: Bearer

    async def converse(
        self, sending: Awaitable[Reply], watch: Watch, read: Callable[[Reply], Awaitable[T]]
    ) -> T | Verdict:
        """Await `sending`, have `read` deal with the answer, and return what it gives, or what went wrong."""
        reply: Reply | None = None
        try:
            reply = await sending
            found = await read(reply)
            if isinstance(found, Verdict):
                headers = ReplyHeaders(reply.headers, self.options.redact)
                known = None if found.result is None else replace(found.result, headers=headers)
                found = replace(found, headers=headers, result=known)
            await reply.aclose()
            reply = None
        except GeneratorExit:  # the loop was killed: nothing can be awaited any more
            reply = None
            raise
        except Fault as fault:
            return self._broken(fault, reply, watch)
        except MalformedReplyError as error:
            reason = result.one_line(self.options.redact(f"the reply is malformed: {error}"))
            return self._verdict("malformed", reason, reply, watch)
        except NotKeptError as error:
            return self._verdict("not_kept", str(error), reply, watch, cause=error.cause)
        except InputError as error:
            return Verdict("bad_input", may_have_run=False, reason=str(error), cause=error)
        except asyncio.CancelledError:
            if not watch.was_late():
                raise
            return self._verdict(*watch.lateness(), None if watch.turn is not None else reply, watch)
        finally:
            if reply is not None:
                await shielded(reply.aclose())
        return found

    def _broken(self, fault: Fault, reply: Reply | None, watch: Watch) -> Verdict:
        """Say what a connection that broke means."""
        reason = str(fault)
        kind: VerdictKind = "malformed" if fault.kind == "protocol" else "unknown"
        if reply is not None:
            return self._verdict(kind, f"the reply was cut off: {reason}", reply, watch)
        if watch.turn is not None and (fault.kind == "connect" or not watch.was_sent):
            kind = "not_sent"
        stale = fault.stale and kind != "not_sent"
        return self._verdict(kind, reason, None, watch, stale=stale, final=fault.final)

    def _verdict(
        self, kind: VerdictKind, reason: str, reply: Reply | None, watch: Watch, **more: Any
    ) -> Verdict:
        may_have_run = kind != "not_sent" and watch.was_sent
        if reply is not None:
            more["headers"] = ReplyHeaders(reply.headers, self.options.redact)
            more |= {"status": reply.status, "request_id": self.request_id(reply)}
        return Verdict(kind, may_have_run, self.options.redact(reason), **more)

    def request_id(self, reply: Reply) -> str | None:
        """Return the answer's `x-request-id`, in one line: any byte may stand in a header."""
        said = reply.headers.get("x-request-id")
        return None if said is None else result.one_line(self.options.redact(said))

    async def asking(self, request: Request, watch: Watch) -> Reply:
        """Send; a server that cannot say whether it wants the body is sent it without asking."""
        reply = await self.transport.send(request, watch)
        if reply.status != _EXPECTATION_FAILED or watch.was_sent:
            return reply
        await shielded(reply.aclose())  # `converse` has not seen this reply
        watch.phase = Phase.CONNECT
        watch.allow(self.options.timeouts.connect)
        return await self.transport.send(replace(request, expects=False), watch)

    async def read_outputs(self, job: Job, outputs: Outputs, watch: Watch, reply: Reply) -> Verdict:
        """Decode a job's reply; each piece is written before the next one is read."""
        if reply.status != OK or watch.turn is None:
            return await self.refusal(job, watch, reply)
        watch.turn.headers()
        read = reader_of(reply, self.options.limits)
        decoder = decoder_for(reply.headers.get("Content-Type"), self.options.limits)
        piece = b"-"
        while piece:
            watch.reading()
            piece = await read()
            events = decoder.feed(piece) if piece else decoder.close()
            watch.own_time()
            await outputs.take(events)
            if decoder.is_complete:
                if not getattr(reply, "at_end", False):
                    watch.reading(
                        min(_END_TIME, watch.left / 2)
                    )  # a whole reply is never lost to the run's limit
                    await _rest(reply, watch)
                break
        request_id, redact = self.request_id(reply), self.options.redact
        found = result.job_result(outputs.job_part or b"", job, request_id=request_id, redact=redact)
        kind, reason = result.kind_of_result(found), ""
        if kind != "done":
            state = found.state.current if found.state else None
            ended = "the job failed" if state == "failed" else f"the job ended in the unknown state {state!r}"
            reason = result.one_line(ended + (f": {found.error}" if found.error else ""))
        return Verdict(kind, True, reason, status=OK, request_id=request_id, result=found)

    async def body(self, reply: Reply, watch: Watch, limit: int | None = None) -> bytes:
        """Return the body. Raises MalformedReplyError above `limit` bytes, or else `Limits.max_job_part`."""
        read, body = reader_of(reply, self.options.limits), bytearray()
        limit = limit or self.options.limits.max_job_part
        watch.reading()
        while piece := await read():
            body += piece
            if len(body) > limit:
                raise MalformedReplyError(f"it exceeds {limit} bytes")
            watch.reading()
        return bytes(body)

    async def read_submission(self, job: Job, watch: Watch, reply: Reply) -> Verdict:
        """Read what the service says of a job that it has taken; without an id it cannot be asked for."""
        if reply.status not in _ACCEPTED:
            return await self.refusal(job, watch, reply)
        body, redact = await self.body(reply, watch), self.options.redact
        kind, request_id = reply.headers.get("Content-Type"), self.request_id(reply)
        found = result.failed_result(kind, body, job, request_id=request_id, redact=redact)
        if found is None or found.id is None or found.id != result.one_line(found.id):
            words = result.reason(kind, body, redact)
            reason = "the service took the job, and did not say its id" + (f": {words}" if words else "")
            return Verdict("malformed", True, reason, status=reply.status, request_id=request_id)
        return Verdict("submitted", True, status=reply.status, request_id=request_id, result=found)

    async def refusal(self, job: Job | None, watch: Watch, reply: Reply) -> Verdict:
        """Read an answer that is no result; a 429 that came during the upload ends the upload, unread."""
        redact, status, heard = self.options.redact, reply.status, reply.headers
        wait = result.retry_after(heard.get("Retry-After"), self.clock.wall(), heard.get("Date"))
        kind, may_have_run = result.meaning(status)
        body = b""
        if kind != "shed" or watch.was_sent:
            watch.reading(_ERROR_BODY_TIME)
            body = await _rest(reply, watch, self.options.limits)
            watch.own_time()
        content_type, request_id = heard.get("Content-Type"), self.request_id(reply)
        if 300 <= status < 400:  # noqa: PLR2004 - the class of redirects
            place = redact(heard.get("Location", ""))[:200]
            reason = f"the server answered with a redirect to {place!r}, which is not followed"
        elif not (reason := result.reason(content_type, body, redact)):
            said = media.split(content_type or "")[0]
            what = f" with {said}" if body and media.is_type(said) else ""
            reason = redact(f"the server answered {status}{what}")
        found = None
        if job is not None:
            found = result.failed_result(content_type, body, job, request_id=request_id, redact=redact)
        elif status == _NOT_FOUND:
            kind, reason = "lost", f"the job is expired or unknown: {reason}"
        return Verdict(kind, job is None or may_have_run, reason, status, request_id, wait, result=found)


async def _rest(reply: Reply, watch: Watch, limits: Limits | None = None) -> bytes:
    """Read what comes in the time that is allowed, inflated if `limits` are given; any end is well."""
    body = b""
    try:
        read = reply.read if limits is None else reader_of(reply, limits)
        while len(body) < _MAX_REST and (piece := await read()):
            body += piece
    except (Fault, MalformedReplyError):
        pass  # what was read so far has to do
    except asyncio.CancelledError:
        if not watch.was_late():
            raise
    return body[:_MAX_REST]


def reader_of(reply: Reply, limits: Limits) -> Callable[[], Awaitable[bytes]]:
    """Return what reads the next piece of the body, inflated where it is compressed, and b"" at its end.

    Raises MalformedReplyError for an encoding that is not known; so may reading.
    """
    encoding = reply.headers.get("Content-Encoding")
    if encoding is None or not is_compressed(encoding):
        return reply.read
    inflater = Inflater(limits.max_expansion)
    pieces: Iterator[bytes] = iter(())

    async def read() -> bytes:
        nonlocal pieces
        while not (piece := next(pieces, b"")):
            data = await reply.read()
            if not data:
                inflater.close()
                return b""
            pieces = inflater.feed(data)
        return piece

    return read
