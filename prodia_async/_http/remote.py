"""The GET requests of the asynchronous API: each is asked once, and gives a value or a verdict.

`GET .../:id/job.state.current`, `.../job.json`, `.../output` and `.../output/:filename`. The service has the
job, and may have run and billed it, whatever comes of them.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from prodia_async._errors import InputError
from prodia_async._http.answers import error_body, request_id_of, what_it_says
from prodia_async._http.inflated import plain
from prodia_async._http.received import NotKeptError, Received
from prodia_async._http.transport import Fault, Reply, Transport
from prodia_async._loops import OnExit
from prodia_async._models import Verdict
from prodia_async._pacing.clock import Clock, Deadline
from prodia_async._settings import Limits, Timeouts
from prodia_async._wire import media
from prodia_async._wire.decoder import MalformedReplyError, OutputEnd, OutputStart, clean
from prodia_async._wire.headers import kind_of, retry_after
from prodia_async._wire.result import job_result, one_line, shown

if TYPE_CHECKING:
    from prodia_async._models import Job, JobResult, VerdictKind

T = TypeVar("T")

SUCCEEDED = ("processed", "completed")
"""The states of a job that has its outputs: the asynchronous API's word, and the synchronous one's."""

_OK = 200
_NOT_FOUND = 404

_FIRST_BYTE = 60.0
"""Seconds that an answer may take at most: unlike a job's own, it needs no work of the service's."""

_ID = "job's id"
_NAME = "output's name"

_MAX_STATE = 1024
"""Bytes of a state, which is one word."""

_MAX_REASON = 500
"""Characters of what is said of a malformed reply; cut after the token was taken out, not before."""


class UnansweredError(Exception):
    """A question brought no answer; `verdict` says what came. `begun`: a part of an output was stored."""

    def __init__(self, verdict: Verdict, *, begun: bool = False) -> None:
        super().__init__(verdict.reason)
        self.verdict = verdict
        self.begun = begun


class Answer:
    """One GET under way, and by when the server must have done the next thing; our own time costs none."""

    def __init__(self, clock: Clock, timeouts: Timeouts) -> None:
        seconds = timeouts.connect + min(timeouts.first_byte, _FIRST_BYTE)
        self.deadline = Deadline(clock, clock.monotonic() + seconds)
        self.late = f"no answer within {seconds:g} s"
        self.begun = False
        self.reply: Reply | None = None
        self.body: Reply | None = None
        self._clock = clock
        self._idle = timeouts.idle

    @property
    def content_type(self) -> str | None:
        """The header as it came."""
        return None if self.reply is None else self.reply.headers.get("Content-Type")

    def came(self, reply: Reply) -> None:
        """Take note of the headers."""
        self.reply = reply
        self.late = f"nothing came of the reply for Timeouts.idle={self._idle:g} s"
        self.deadline.move(math.inf)

    async def piece(self) -> bytes:
        """Return the next piece of the body, b"" at its end. Raises Fault."""
        if self.body is None:
            raise AssertionError("a reply is read once its headers have come")
        self.deadline.move(self._clock.monotonic() + self._idle)
        piece = await self.body.read()
        self.deadline.move(math.inf)
        return piece

    async def whole(self, limit: int) -> bytes:
        """Return the body. Raises Fault, and MalformedReplyError for one above `limit` bytes."""
        body = bytearray()
        while piece := await self.piece():
            body += piece
            if len(body) > limit:
                raise MalformedReplyError(f"it exceeds {limit} bytes")
        return bytes(body)


class Remote(Struct, frozen=True, kw_only=True):
    """Asks the service at `url`, the asynchronous API's; every method raises UnansweredError.

    `redact` takes the token out of what the service says. An id or name that cannot stand in a path is an
    InputError.
    """

    transport: Transport
    url: str
    headers: Mapping[str, str]
    redact: Callable[[str], str]
    clock: Clock
    timeouts: Timeouts
    limits: Limits

    async def state(self, job_id: str) -> str:
        """Return the job's state: one word in lower case, without white space and quotes around it."""

        async def read(answer: Answer) -> str:
            text = (await answer.whole(_MAX_STATE)).decode("utf-8", "replace").strip().strip("\"'").strip()
            if _is_page(answer.content_type) or not text.isprintable():
                raise MalformedReplyError("it is no state")
            return str(shown(text, self.redact)).lower()

        return await self._ask(f"{_segment(job_id, _ID)}/job.state.current", read)

    async def names(self, job_id: str) -> tuple[str, ...]:
        """Return the names of the job's outputs, in order."""

        async def read(answer: Answer) -> tuple[str, ...]:
            return _names(await answer.whole(self.limits.max_job_part), self.limits.max_parts)

        return await self._ask(f"{_segment(job_id, _ID)}/output", read)

    async def job(self, job_id: str, job: Job, *, priced: bool) -> Verdict:
        """Return the result of a job that is over: "done" or "failed". `job` gives what it leaves out."""

        async def read(answer: Answer) -> Verdict:
            body = await answer.whole(self.limits.max_job_part)
            request_id = self._request_id(answer.reply)
            result = _over(job_result(body, job, request_id=request_id, redact=self.redact), job_id)
            if _state_of(result) != "failed":
                return Verdict("done", True, status=_OK, request_id=request_id, result=result)
            said = self.redact(f": {result.error}" if result.error else "")
            reason = one_line(f"the job failed{said}")
            return Verdict("failed", True, reason, status=_OK, request_id=request_id, result=result)

        query = "?price=true" if priced else ""
        return await self._ask(f"{_segment(job_id, _ID)}/job.json{query}", read)

    async def output(self, job_id: str, name: str, received: Received) -> None:
        """Store one output: each piece before the next is asked for."""

        async def read(answer: Answer) -> None:
            kind = _content_type(answer.content_type)
            # Before the sink hears of it: what breaks until here can be repeated.
            piece = await answer.piece()
            answer.begun = True
            await received.take([OutputStart(name, kind)])
            while piece:
                await received.take([piece])
                piece = await answer.piece()
            await received.take([OutputEnd()])

        await self._ask(f"{_segment(job_id, _ID)}/output/{_segment(name, _NAME)}", read)

    async def _ask(self, path: str, read: Callable[[Answer], Awaitable[T]]) -> T:
        answer = Answer(self.clock, self.timeouts)
        with answer.deadline:
            return await self._converse(f"{self.url}/{path}", read, answer)
        raise self._unanswered("unknown", answer.late, answer)

    async def _converse(self, url: str, read: Callable[[Answer], Awaitable[T]], answer: Answer) -> T:
        try:
            reply = await self.transport.get(url, self.headers)
            async with OnExit(reply.aclose):
                answer.came(reply)
                if reply.status != _OK:
                    raise UnansweredError(await self._refusal(reply))
                answer.body = plain(reply, self.limits)
                return await read(answer)
        except Fault as fault:
            kind: VerdictKind = "malformed" if fault.kind == "protocol" else "unknown"
            what = f"{fault}" if answer.reply is None else f"the reply was cut off: {fault}"
            raise self._unanswered(kind, what, answer) from None
        except MalformedReplyError as error:
            what = self.redact(f"the reply is malformed: {error}")[:_MAX_REASON]
            raise self._unanswered("malformed", what, answer) from None
        except NotKeptError as error:
            raise self._unanswered("not_kept", str(error), answer, error.cause) from None

    def _unanswered(
        self, kind: VerdictKind, reason: str, answer: Answer, cause: Exception | None = None
    ) -> UnansweredError:
        verdict = Verdict(
            kind,
            may_have_run=True,
            reason=self.redact(reason),
            status=None if answer.reply is None else answer.reply.status,
            request_id=self._request_id(answer.reply),
            cause=cause,
        )
        return UnansweredError(verdict, begun=answer.begun)

    async def _refusal(self, reply: Reply) -> Verdict:
        """Read an answer that is no 200."""
        wait = retry_after(reply.headers.get("Retry-After"), self.clock.wall())
        content_type = reply.headers.get("Content-Type")
        body = await error_body(reply, self.clock, self.limits)
        said = what_it_says(reply, content_type, body, self.redact)
        lost = reply.status == _NOT_FOUND
        return Verdict(
            "lost" if lost else kind_of(reply.status),
            may_have_run=True,
            reason=f"the job is expired or unknown: {said}" if lost else said,
            status=reply.status,
            request_id=self._request_id(reply),
            retry_after=wait,
        )

    def _request_id(self, reply: Reply | None) -> str | None:
        return None if reply is None else request_id_of(reply, self.redact)


def _segment(text: object, what: str) -> str:
    """Return `text` as one segment of a path, also where it looks like several, or none (RFC 3986, 3.3)."""
    try:
        encoded = quote(text, safe="") if isinstance(text, str) else ""
    except UnicodeEncodeError:  # half of a surrogate pair
        encoded = ""
    if not encoded:
        raise InputError(f"the {what} cannot be {text!r}")
    return encoded.replace(".", "%2E") if encoded in (".", "..") else encoded


def _names(body: bytes, most: int) -> tuple[str, ...]:
    try:
        names = msgspec.json.decode(body, type=list[str] | None) or []  # Go writes an empty list as null
        if len(names) > most:
            raise MalformedReplyError(f"it names more than Limits.max_parts={most} outputs")
        for name in names:
            _segment(name, _NAME)
    except (msgspec.MsgspecError, UnicodeDecodeError, InputError):
        raise MalformedReplyError("it is no list of output names") from None
    return tuple(names)


def _over(result: JobResult, job_id: str) -> JobResult:
    """Return the result of a job that is over, with its id. Raises MalformedReplyError for any other."""
    state = _state_of(result)
    if state != "failed" and state not in SUCCEEDED:
        raise MalformedReplyError(
            "it is no job result" if state is None else f"the job is over, and its state is {state!r}"
        )
    return result if result.id else replace(result, id=job_id)


def _state_of(result: JobResult) -> str | None:
    return result.state.current.lower() if result.state else None


def _is_page(content_type: str | None) -> bool:
    return media.split(content_type or "")[0] in ("text/html", "application/xhtml+xml")


def _content_type(header: str | None) -> str:
    """Return an output's Content-Type as it can be shown and split. Raises MalformedReplyError for a page."""
    if _is_page(header):
        raise MalformedReplyError("the answer is an HTML page instead of an output: a proxy in between?")
    return clean(header or "")
