"""How the results of asynchronous jobs are waited for and fetched: questions, asked again and again.

`GET .../:id/job.state.current`, `.../job.json`, `.../output` and `.../output/:filename`. The service has the
job, and may have run and billed it, whatever comes of them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, TypeAlias, TypeVar, cast
from urllib.parse import quote

import anyio
import msgspec
from msgspec import Struct
from msgspec.structs import replace

from prodia_async._errors import InputError, quoted
from prodia_async._http.exchange import OK, Exchange, reader_of
from prodia_async._http.transport import Request
from prodia_async._http.watch import Watch
from prodia_async._loops import shielded
from prodia_async._models import Job, Verdict
from prodia_async._pacing.retry import Waits
from prodia_async._wire import media, result
from prodia_async._wire.decoder import Event, MalformedReplyError
from prodia_async._wire.heads import Head

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from prodia_async._files.outputs import Outputs
    from prodia_async._http.transport import Reply

    Receive: TypeAlias = Callable[[], Outputs]

T = TypeVar("T")

log = logging.getLogger("prodia_async")

_SUCCEEDED = ("processed", "completed")
"""The states of a job that has its outputs: the asynchronous API's word, and the synchronous one's."""

_FINISHED = (*_SUCCEEDED, "failed")

_MAX_STATE = 1024
"""Bytes of a state, which is one word."""


class UnansweredError(Exception):
    """A question brought no answer; `verdict` says what came. `begun`: a part of an output was stored."""

    def __init__(self, verdict: Verdict, *, begun: bool = False) -> None:
        super().__init__(verdict.reason)
        self.verdict = verdict
        self.begun = begun


class Places:
    """How much is under way at once in one event loop. A job that waits for its next poll holds no place."""

    def __init__(self) -> None:
        # Questions take milliseconds, so that these few do for thousands of jobs; and a service that has
        # become slow is not met by a connection for each job.
        self.polls: anyio.Semaphore = anyio.Semaphore(32)
        # Each holds a connection, and a block of memory or two, as long as it takes.
        self.downloads: anyio.Semaphore = anyio.Semaphore(32)


class Collector(Struct, frozen=True):
    """Asks for an asynchronous job, and fetches its outputs; `job` gives what its result leaves out.

    A service that is busy (429) or fails (5xx) is asked again, for ever: the limit of `watch` ends it. So it
    is while polling with connections that break. Every other answer that is broken counts, one by one, in
    `Retry.max_errors`. Methods raise UnansweredError with a verdict that is final, "lost" for a job that is
    not known (404), and InputError for an id or name that cannot stand in a path.
    """

    exchange: Exchange
    watch: Watch
    places: Places
    chance: Random
    job_id: str
    job: Job
    priced: bool = False
    is_new: bool = True
    """Whether it was submitted just now: it cannot be over before `Polling.interval`."""
    on_state: Callable[[str], object] | None = None
    """Hears of each state that is another than the one before, while the job is waited for."""

    async def state(self, waits: Waits | None = None) -> str:
        """Return the job's state now: one word in lower case, without white space and quotes around it."""

        async def read(reply: Reply) -> str:
            text = (await self.exchange.body(reply, self.watch, _MAX_STATE)).decode("utf-8", "replace")
            text = text.strip().strip("\"'").strip()
            if _is_page(reply) or not text.isprintable():
                raise MalformedReplyError("it is no state")
            return str(result.shown(text, self.exchange.options.redact)).lower()

        return await self._ask("job.state.current", read, waits or self._waits(is_poll=True))

    async def finished(self) -> str:
        """Wait until the job is over, and return its state then; an unknown state is not the end."""
        waits, told = self._waits(is_poll=True), ""
        if self.is_new:
            await self.exchange.clock.sleep(waits.after_answer())
        while (state := await self.state(waits)) not in _FINISHED:
            self._tell(state, told)
            told = state
            await self.exchange.clock.sleep(waits.after_answer())
        self._tell(state, told)
        return state

    def _tell(self, state: str, told: str) -> None:
        if self.on_state is not None and state != told:
            try:
                self.on_state(state)
            except Exception:  # whatever it does, the job goes on
                log.exception("on_state raised")

    async def verdict(self) -> Verdict:
        """Return the result of a job that is over: "done" or "failed"."""

        async def read(reply: Reply) -> Verdict:
            redact, request_id = self.exchange.options.redact, self.exchange.request_id(reply)
            body = await self.exchange.body(reply, self.watch)
            found = result.job_result(body, self.job, request_id=request_id, redact=redact)
            found = found if found.id else replace(found, id=self.job_id)
            state = None if found.state is None else found.state.current.lower()
            if state in _SUCCEEDED:
                return Verdict("done", True, status=OK, request_id=request_id, result=found)
            if state != "failed":
                over = f"the job is over, and its state is {state!r}"
                raise MalformedReplyError("it is no job result" if state is None else over)
            reason = result.one_line("the job failed" + (f": {found.error}" if found.error else ""))
            return Verdict("failed", True, reason, status=OK, request_id=request_id, result=found)

        return await self._ask("job.json?price=true" if self.priced else "job.json", read)

    async def names(self) -> tuple[str, ...]:
        """Return the names of the outputs of a job that is over, in order."""

        async def read(reply: Reply) -> tuple[str, ...]:
            body, most = await self.exchange.body(reply, self.watch), self.exchange.options.limits.max_parts
            try:  # Go writes an empty list as null
                names = msgspec.json.decode(body, type=list[str] | None) or []
                if len(names) > most:
                    raise MalformedReplyError(f"it names more than Limits.max_parts={most} outputs")
                for name in names:
                    _segment(name)
            except (msgspec.MsgspecError, UnicodeDecodeError, InputError):
                raise MalformedReplyError("it is no list of output names") from None
            return tuple(names)

        return await self._ask("output", read)

    async def output(self, name: str, outputs: Outputs, waits: Waits | None = None) -> None:
        """Store one output: each piece before the next is asked for. Nothing is repeated that has begun."""
        begun = False

        async def read(reply: Reply) -> None:
            nonlocal begun
            if _is_page(reply):
                raise MalformedReplyError(
                    "the answer is an HTML page instead of an output: a proxy in between?"
                )
            take = reader_of(reply, self.exchange.options.limits)
            kind = media.clean(reply.headers.get("Content-Type") or "")
            events: list[Event] = [Head("output", name, kind)]
            piece = b"-"
            while piece:
                self.watch.reading()
                piece = await take()
                begun = True  # what breaks before the sink hears of it can be repeated
                self.watch.own_time()
                await outputs.take([*events, piece])
                events.clear()

        path = f"output/{_segment(name)}"
        await self._ask(path, read, waits, places=self.places.downloads, has_begun=lambda: begun)

    async def fetch(self, names: tuple[str, ...], receive: Receive) -> Outputs:
        """Store outputs, in order, in one `Outputs` that `receive` makes, and return it to be committed.

        Where an output breaks off, what came is discarded, and all are fetched anew into another.
        """
        waits = self._waits()
        while True:
            try:
                outputs = receive()
            except Exception as error:
                reason = f"its sink could not be made: {quoted(error, str)}"
                raise UnansweredError(Verdict("not_kept", True, reason, cause=error)) from error
            try:
                for name in names:
                    await self.output(name, outputs, waits)
            except GeneratorExit:  # the loop was killed: nothing can be awaited
                raise
            except BaseException as error:
                await shielded(outputs.discard())
                wait = None
                if isinstance(error, UnansweredError) and error.begun:
                    wait = waits.after_failure(error.verdict)
                if wait is None:
                    raise
            else:
                return outputs
            await self.exchange.clock.sleep(wait)

    async def collect(self, receive: Receive) -> tuple[Verdict, Outputs | None]:
        """Wait for the job, and fetch its result and its outputs.

        The `Outputs`, to be committed, come with the verdict "done" alone; otherwise they were discarded.
        Raises InputError, and nothing else.
        """
        verdict = None
        self.watch.own_time()
        try:
            await self.finished()
            verdict = await self.verdict()
            if verdict.kind != "done":
                return verdict, None
            outputs = await self.fetch(await self.names(), receive)
        except UnansweredError as error:
            return replace(error.verdict, result=None if verdict is None else verdict.result), None
        return verdict, outputs

    async def _ask(
        self,
        path: str,
        read: Callable[[Reply], Awaitable[T]],
        waits: Waits | None = None,
        *,
        places: anyio.Semaphore | None = None,
        has_begun: Callable[[], bool] = lambda: False,
    ) -> T:
        """Ask until there is an answer, a verdict that is final, or a failure of what has begun."""
        exchange, watch, waits = self.exchange, self.watch, waits or self._waits()

        def answer(reply: Reply) -> Awaitable[T | Verdict]:
            return read(reply) if reply.status == OK else exchange.refusal(None, watch, reply)

        url = exchange.options.url + "/async/" + _segment(self.job_id, "job's id") + "/" + path
        renews = True
        while True:
            token = exchange.bearer.token or await exchange.bearer.ask()
            async with places or self.places.polls:
                watch.ask()
                asking = exchange.transport.send(Request(url, exchange.options.headers), watch)
                found = await exchange.converse(asking, watch, answer)
            watch.own_time()  # nothing is asked of the server meanwhile
            if not isinstance(found, Verdict) or found.kind in ("done", "failed"):
                return cast("T", found)
            wait = None if has_begun() else waits.after_failure(found)
            if renews and await exchange.bearer.renewed(found, token):
                renews, wait = False, 0.0
            if wait is None:
                raise UnansweredError(found, begun=has_begun())
            await exchange.clock.sleep(wait)

    def _waits(self, *, is_poll: bool = False) -> Waits:
        options = self.exchange.options
        return Waits(options.polling, options.retry, self.chance, is_poll=is_poll)


def _segment(text: object, what: str = "output's name") -> str:
    """Return `text` as one segment of a path, also where it looks like several, or none (RFC 3986, 3.3)."""
    try:
        encoded = quote(text, safe="") if isinstance(text, str) else ""
    except UnicodeEncodeError:  # half of a surrogate pair
        encoded = ""
    if not encoded:
        raise InputError(f"the {what} cannot be {quoted(text)}")
    return encoded.replace(".", "%2E") if encoded in (".", "..") else encoded


def _is_page(reply: Reply) -> bool:
    return media.split(reply.headers.get("Content-Type") or "")[0] in media.PAGES
