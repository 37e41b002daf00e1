"""One job, from the call to its stored outputs: the one place that joins the rooms."""

from __future__ import annotations

import asyncio
import math
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Literal

from msgspec.structs import replace

from prodia_async._call import Call, subject
from prodia_async._errors import ClientClosedError, ProdiaError, ProdiaTimeoutError, error_for
from prodia_async._events import log_event
from prodia_async._files import sources as files
from prodia_async._http.exchange import Exchange
from prodia_async._http.payload import JsonBody, MultipartBody
from prodia_async._http.received import NotKeptError, Received
from prodia_async._http.transport import Body, Request
from prodia_async._live import Live, closed_while_under_way
from prodia_async._loops import OnExit, shielded
from prodia_async._models import Event, EventKind, JobResult, Verdict
from prodia_async._pacing.attempts import Attempts
from prodia_async._pacing.clock import Deadline
from prodia_async._settings import require
from prodia_async._wire.job import PartHead, accept_header, job_json, new_boundary, plan

if TYPE_CHECKING:
    from collections.abc import Awaitable, Coroutine

    from prodia_async._engine import Engine, Options
    from prodia_async._models import Attempt, Output
    from prodia_async._pacing.turns import Permit


def run(engine: Engine, options: Options, call: Call) -> Coroutine[Any, Any, JobResult]:
    """Await it: run the job and return its result with its outputs stored. Raises ProdiaError."""
    return Run(engine, options, call).result()


class Run(Live):
    """One run of a job: `result()`, once. Nothing here refers back to its owner, so that it is freed at once.

    Thousands may wait in line: what only an attempt needs is made with the attempt.
    """

    __slots__ = (
        "_accept",
        "_attempts",
        "_body",
        "_call",
        "_deadline",
        "_engine",
        "_in_flight",
        "_options",
        "_received",
        "job_id",
        "number",
        "permit",
    )

    def __init__(self, engine: Engine, options: Options, call: Call) -> None:
        require(call.timeout is None or call.timeout > 0, "timeout", call.timeout)
        super().__init__(call.job)
        self._engine = engine
        self._options = options
        self._call = call
        self._attempts = Attempts(options.retry, engine.random, options.clock, call.attempts)
        self._received: Received | None = None
        self._deadline: Deadline | None = None
        self._in_flight = False
        self.job_id = call.asynchronous.job_id
        """What the service calls an asynchronous job, once it has it."""
        self.number = 0
        self.permit: Permit | None = None

    async def result(self) -> JobResult:
        """Return the result with its outputs stored. Raises ProdiaError."""
        self.begin()
        error: ProdiaError | None = None
        try:
            self._enter()
            return await self._unless_cut()
        except ProdiaError as failure:
            error = failure
            self._place(error)
            self._ended("failed", error)
            raise
        except Exception:  # a transport or clock of the user's own may raise anything
            self._ended("failed")
            raise
        finally:
            self._engine.left(self, error)
            self.end()
            error = None  # its traceback refers to this frame

    def _enter(self) -> None:
        tally, standing = self._engine.tally, self._call.asynchronous.standing
        if standing is None or standing.tally is not tally:
            tally.jobs += 1
        self.number = standing.number if standing is not None else 0
        if not self.number:
            self.number = self._engine.next_number()
            self._notify("queued")
        if standing is not None:
            standing.number, standing.tally = self.number, tally
        self._engine.enter(self)

    async def _unless_cut(self) -> JobResult:
        try:
            return await self._done()
        except BaseException as error:
            if self.permit is not None:
                self.permit.ignore()
            if not isinstance(error, asyncio.CancelledError):
                raise
            if not self.is_cut():
                self._ended("cancelled")
                raise
        raise self._closed()

    async def _done(self) -> JobResult:
        verdict = await self._verdict()
        if verdict.kind == "submitted" and verdict.result is not None:
            return replace(verdict.result, attempts=tuple(self._attempts.log))
        if verdict.kind != "done":
            raise error_for(verdict, str(self), self._attempts.log)
        result = await self._commit(verdict)
        self._ended("completed", result=result)
        return result

    def tell_dropped(self) -> None:
        """Tell that nobody has the handle of this submitted job any more."""
        self._notify("cancelled", self._attempts.log[-1], job_id=self.job_id)

    @property
    def is_in_flight(self) -> bool:
        """Whether the service may have the job."""
        return self._in_flight

    def lift_timeout(self) -> None:
        """Let the timeout be met: a reader has the first bytes."""
        if self._deadline is not None:
            self._deadline.move(math.inf)

    def __str__(self) -> str:
        return subject(self.job) + (f" (job {self.job_id})" if self.job_id else "")

    def _place(self, error: ProdiaError) -> None:
        """Let every error name the job and what was tried before it, and nothing that is not ours."""
        if not error.attempts and self._attempts.log:
            error.attempts = tuple(self._attempts.log)
            error.may_have_run |= any(attempt.may_have_run for attempt in error.attempts)
        if not error.message.startswith(subject(self.job)):
            error.message = f"{self}: {error.message}"
            error.args = (error.message,)
        # Whoever runs us may be handling an error of aiohttp, as asyncio's task does: it may show the token.
        error.__context__ = None

    def _ended(
        self,
        kind: Literal["completed", "failed", "cancelled"],
        error: ProdiaError | None = None,
        result: JobResult | None = None,
    ) -> None:
        standing = self._call.asynchronous.standing
        if standing is not None and (kind == "cancelled" or not standing.ends_with(error)):
            return
        tally = self._engine.tally
        setattr(tally, kind, getattr(tally, kind) + 1)
        attempt = self._attempts.log[-1] if self._attempts.log else None
        dollars = None if result is None or result.price is None else result.price.dollars
        self._notify(kind, attempt, error, self.job_id if result is None else result.id, dollars)

    def _notify(
        self,
        kind: EventKind,
        attempt: Attempt | None = None,
        error: ProdiaError | None = None,
        job_id: str | None = None,
        dollars: float | None = None,
    ) -> None:
        """Tell of an event: the log, whoever follows the call, and the client's hook."""
        log_event(kind, self, attempt, error)
        if kind == "retried" and self._engine.is_closing:
            self.cut()  # it would only wait to be refused
        if self._call.notify is not None:
            self._call.notify(kind, attempt)
        hook = self._options.hook
        if hook is not None:
            now = datetime.fromtimestamp(self._options.clock.wall(), timezone.utc)
            hook.tell(Event(kind, self.job, now, attempt, self.number, error, job_id, dollars))

    def _verdict(self) -> Awaitable[Verdict]:
        timeout = self._call.timeout
        return self._at_any_time() if timeout is None else self._in_time(timeout)

    async def _in_time(self, timeout: float) -> Verdict:
        clock = self._options.clock
        starts_later = self._call.patient and self.job_id is None
        self._deadline = Deadline(clock, math.inf if starts_later else clock.monotonic() + timeout)
        with self._deadline:
            return await self._at_any_time()
        raise self._late(timeout)

    def _late(self, timeout: float) -> ProdiaTimeoutError:
        """Make the error: a frame that raises it and holds it too would live until the collector looks."""
        where = "was under way" if self._attempts.log else "had not been sent"
        advice = "Allow more time, or start fewer jobs at once."
        if self.job_id is not None:
            where = "is still at the service"
            advice = "Wait on with error.handle.result(), or collect it later by its id."
        error = ProdiaTimeoutError(
            f"{self}: not done within timeout={timeout:g} s; it {where}. {advice}",
            attempts=self._attempts.log,
        )
        self._hand_over(error)
        return error

    def _hand_over(self, error: ProdiaTimeoutError | ClientClosedError) -> None:
        """Let the error of a job that the service has carry its handle."""
        make_handle = self._call.asynchronous.handle
        if self.job_id is not None and make_handle is not None:
            error.may_have_run = True
            error.handle = make_handle(self.job_id)

    def _closed(self) -> ClientClosedError:
        error = closed_while_under_way()
        self._hand_over(error)
        return error

    def _at_any_time(self) -> Awaitable[Verdict]:
        if self.job_id is not None:
            return self._collect(self.job_id)
        body = job_json(self.job)
        self._accept = accept_header(self.job.accept or self._call.target.accept)
        return self._pace(JsonBody(body)) if self.job.inputs == () else self._with_inputs(body)

    async def _with_inputs(self, job: bytes) -> Verdict:
        inputs = await files.prepare(self.job.inputs, spool=self._call.spool)
        async with OnExit(lambda: _close_all(inputs) if inputs else None):
            return await self._pace(self._body_of(job, inputs))

    def _body_of(self, job: bytes, inputs: list[files.Source]) -> Body:
        if not inputs:
            return JsonBody(job)
        heads = [PartHead(source.filename, source.content_type, source.size) for source in inputs]
        return MultipartBody(plan(job, heads, new_boundary(self._engine.random.randbytes)), inputs)

    def _pace(self, body: Body) -> Awaitable[Verdict]:
        """Join the line, and send until a verdict is final."""
        self._body = body
        key = self.job.type if self.job.mode == "sync" else f"{self.job.type} (async)"
        turn = self._engine.pool.join(key, self.job.priority, bounded=self._call.bounded)
        return self._attempts.run(turn, self._send, self._notify, self._call.before_send)

    def _request(self) -> Request:
        url = self._options.url + ("/async" if self.job.mode == "async" else "")
        url += "?price=true" if self._is_priced else ""
        headers = {**self._options.headers, "Accept": self._accept}
        return Request(url, headers, self._body, _expects(self._body, self._call.expect_continue))

    @property
    def _is_priced(self) -> bool:
        return self._options.price if self._call.price is None else self._call.price

    async def _send(self, permit: Permit) -> Verdict:
        options, tally = self._options, self._engine.tally
        if self._deadline is not None and self._deadline.when == math.inf:
            self._deadline.move(options.clock.monotonic() + (self._call.timeout or 0.0))
        exchange = Exchange(
            self._engine.transport, options.clock, options.timeouts, options.limits, options.redact
        )
        tally.requests += 1
        self._in_flight = True
        if self.job.mode == "async":
            verdict = await self._submit(exchange, permit)
        else:
            verdict = await self._exchange(exchange, permit)
        self._in_flight = verdict.kind == "done"
        tally.shed += verdict.kind == "shed"
        tally.stale += verdict.stale
        return verdict

    async def _exchange(self, exchange: Exchange, permit: Permit) -> Verdict:
        try:
            received = self._receive()
        except Exception as error:  # noqa: BLE001 - a sink of the user's may raise anything
            return Verdict("bad_input", False, f"its sink could not be made: {error}", cause=error)
        timeout = self._call.timeout or 0.0
        verdict = await exchange.run(self._request(), self.job, received, permit, timeout)
        self._received = received
        has_begun = self._call.has_begun
        return replace(verdict, is_final=True) if has_begun is not None and has_begun() else verdict

    def _receive(self) -> Received:
        return Received(self._call.target.sink(self.job), self._options.limits, self._call.job_part)

    async def _submit(self, exchange: Exchange, permit: Permit) -> Verdict:
        """Have the service take the job, and unless that is all, wait for it and fetch its outputs."""
        verdict = await exchange.submit(self._request(), self.job, permit, self._call.timeout or 0.0)
        if verdict.kind != "submitted" or verdict.result is None or verdict.result.id is None:
            return verdict
        self.job_id = verdict.result.id
        way = self._call.asynchronous
        if way.submitted is not None:
            await way.submitted(verdict.result)
        if way.detached:
            self.permit = permit
            return verdict
        return await self._collect(self.job_id)

    async def _collect(self, job_id: str) -> Verdict:
        self._in_flight = True
        collector = self._engine.collector(self._options)
        verdict, self._received = await collector.collect(
            job_id,
            self.job,
            self._receive,
            priced=self._is_priced,
            is_new=self._call.asynchronous.is_new,
        )
        return verdict

    async def _commit(self, verdict: Verdict) -> JobResult:
        """Store the outputs under their names: the point of no return, after which the job is done."""
        received = self._received
        if received is None or verdict.result is None:
            raise AssertionError("a job that is done has brought a result")
        result = replace(verdict.result, attempts=tuple(self._attempts.log))
        try:
            await self._store(received, result)
        except GeneratorExit:  # the loop was killed: nothing can be awaited any more
            raise
        except BaseException as error:
            await shielded(received.discard())
            if not isinstance(error, NotKeptError):
                raise
            kept = replace(
                verdict, kind="not_kept", cause=error.cause, reason=str(error), written=received.written()
            )
            raise error_for(kept, str(self), self._attempts.log) from error.cause
        outputs = received.outputs()
        return replace(result, outputs=outputs, warnings=result.warnings + self._surprises(outputs))

    async def _store(self, received: Received, result: JobResult) -> None:
        """Commit; a client that is closed cuts no job whose outputs stand by then."""
        try:
            await received.commit(result)
        except asyncio.CancelledError:
            if not received.is_kept or not self.is_cut():
                raise

    def _surprises(self, outputs: tuple[Output, ...]) -> tuple[str, ...]:
        asked = self.job.accept or self._call.target.accept
        if asked is None or not outputs or outputs[0].content_type == asked:
            return ()
        return (f"{asked} was asked for, and {outputs[0].content_type} came",)


def _expects(body: Body, wanted: bool | int | None) -> bool:
    """Tell whether the server is asked before the body is sent: see `expect_continue` of `Prodia.run`."""
    if wanted is None:
        return not body.replayable
    if isinstance(wanted, bool):
        return wanted and not isinstance(body, JsonBody)
    return not body.replayable or body.size is None or body.size >= wanted


async def _close_all(inputs: list[files.Source]) -> None:
    for source in inputs:
        await source.aclose()
