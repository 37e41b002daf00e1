"""One job, from the call to its stored outputs: the one place that joins the rooms."""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from prodia_async._errors import ProdiaError, ProdiaTimeoutError, error_for
from prodia_async._files import sources as files
from prodia_async._files.targets import Folders, Target
from prodia_async._http.exchange import Exchange
from prodia_async._http.payload import JsonBody, MultipartBody
from prodia_async._http.received import NotKeptError, Received
from prodia_async._http.transport import Body, Request, Transport
from prodia_async._loops import OnExit
from prodia_async._models import Attempt, Event, EventKind, Job, JobResult, Stats, Verdict
from prodia_async._pacing.attempts import Attempts, BeforeSend, Notify
from prodia_async._pacing.clock import Clock, Deadline
from prodia_async._settings import Limits, Retry, Timeouts, require
from prodia_async._wire import encode
from prodia_async._wire.accept import accept_header

if TYPE_CHECKING:
    from random import Random

    from prodia_async._files.sinks import Budget
    from prodia_async._models import Output
    from prodia_async._pacing.limiter import Pool
    from prodia_async._pacing.turns import Permit

log = logging.getLogger("prodia_async")


class Tally:
    """A client's counts in one loop."""

    def __init__(self) -> None:
        self.jobs = self.completed = self.failed = self.requests = self.shed = self.stale = 0


class Engine:
    """What a client has in one event loop: connections, the limiter, the collect budget and its counts."""

    def __init__(self, transport: Transport, pool: Pool, budget: Budget, chance: Random) -> None:
        self.transport = transport
        self.pool = pool
        self.budget = budget
        self.random = chance
        self.folders = Folders()
        self.tally = Tally()

    def stats(self) -> Stats:
        """Return the counts as a value."""
        return Stats(
            **vars(self.tally),
            in_flight=self.pool.in_flight,
            waiting=self.pool.waiting,
            by_type=self.pool.stats(),
        )

    async def aclose(self) -> None:
        """Send waiting jobs away and close the connections."""
        self.pool.close()
        await self.transport.aclose()

    def close_dead(self) -> None:
        """Release the descriptors of a loop that is gone, and keep what was learned in it."""
        self.pool.remember()
        self.transport.close_dead()

    def abandon(self) -> None:
        """Let go of the parent's descriptors in a forked child."""
        self.transport.abandon()


class Options(Struct, frozen=True, kw_only=True):
    """What may differ between copies of a client that share an engine."""

    url: str
    headers: Mapping[str, str]
    redact: Callable[[str], str]
    clock: Clock
    retry: Retry
    timeouts: Timeouts
    limits: Limits
    price: bool
    on_event: Callable[[Event], object] | None


class Call(Struct, frozen=True, kw_only=True):
    """One job and how it is to be run; `timeout` in seconds bounds all of it, waiting included.

    With `patient` that time begins when the first attempt is sent, and waiting in line before it costs none.
    `before_send` is awaited before the first byte of each attempt; `notify` hears of the job's events before
    the client's own hook does, and must not raise.
    """

    job: Job
    target: Target
    timeout: float | None = None
    price: bool | None = None
    spool: bool = False
    bounded: bool = True
    patient: bool = False
    before_send: BeforeSend | None = None
    notify: Notify | None = None


def run(engine: Engine, options: Options, call: Call) -> Coroutine[Any, Any, JobResult]:
    """Await it: run the job and return its result with its outputs stored. Raises ProdiaError."""
    require(call.timeout is None or call.timeout > 0, "timeout", call.timeout)
    return _Run(engine, options, call).result()


def _subject(job: Job) -> str:
    return job.type if job.custom_id is None else f"{job.type} (custom_id {job.custom_id!r})"


class _Run:
    # Nothing here refers back to its owner: a run that is over is freed at once, and not by the collector.
    # Thousands may wait in line: what only an attempt needs is made with the attempt.

    __slots__ = (
        "_accept",
        "_attempts",
        "_body",
        "_call",
        "_deadline",
        "_engine",
        "_job",
        "_options",
        "_received",
    )

    def __init__(self, engine: Engine, options: Options, call: Call) -> None:
        self._engine = engine
        self._options = options
        self._call = call
        self._job = call.job
        self._received: Received | None = None
        self._deadline: Deadline | None = None
        self._attempts = Attempts(options.retry, engine.random, options.clock)

    async def result(self) -> JobResult:
        self._engine.tally.jobs += 1
        self._notify("queued", None)
        try:
            verdict = await self._verdict()
            if verdict.kind != "done":
                raise error_for(verdict, _subject(self._job), self._attempts.log)
            result = await self._commit(verdict)
        except ProdiaError as error:
            self._place(error)
            self._engine.tally.failed += 1
            self._notify("failed", self._last_attempt)
            raise
        self._engine.tally.completed += 1
        self._notify("completed", self._last_attempt)
        return result

    def _place(self, error: ProdiaError) -> None:
        """Let every error name the job and what was tried before it, and nothing that is not ours."""
        if not error.attempts and self._attempts.log:
            error.attempts = tuple(self._attempts.log)
            error.may_have_run |= any(attempt.may_have_run for attempt in error.attempts)
        if not error.message.startswith(_subject(self._job)):
            error.message = f"{_subject(self._job)}: {error.message}"
            error.args = (error.message,)
        # Whoever runs us may be handling an error of aiohttp, as asyncio's task does: it may show the token.
        error.__context__ = None

    @property
    def _last_attempt(self) -> Attempt | None:
        return self._attempts.log[-1] if self._attempts.log else None

    def _notify(self, kind: EventKind, attempt: Attempt | None) -> None:
        """Tell of an event: the log, whoever follows the call, and the client's hook."""
        if log.isEnabledFor(logging.DEBUG):
            log.debug("%s %s %s", kind, _subject(self._job), attempt or "")
        if self._call.notify is not None:
            self._call.notify(kind, attempt)
        if self._options.on_event is None:
            return
        now = datetime.fromtimestamp(self._options.clock.wall(), timezone.utc)
        try:
            self._options.on_event(Event(kind, self._job, now, attempt))
        except Exception:
            log.exception("on_event raised")

    def _verdict(self) -> Awaitable[Verdict]:
        timeout = self._call.timeout
        return self._at_any_time() if timeout is None else self._in_time(timeout)

    async def _in_time(self, timeout: float) -> Verdict:
        clock = self._options.clock
        self._deadline = Deadline(clock, math.inf if self._call.patient else clock.monotonic() + timeout)
        with self._deadline:
            return await self._at_any_time()
        where = "was under way" if self._attempts.log else "had not been sent"
        raise ProdiaTimeoutError(
            f"{_subject(self._job)}: not done within timeout={timeout:g} s; it {where}. "
            "Allow more time, or start fewer jobs at once.",
            attempts=self._attempts.log,
        )

    def _at_any_time(self) -> Awaitable[Verdict]:
        job_json = encode.job_json(self._job)
        self._accept = accept_header(self._job.accept or self._call.target.accept)
        return self._pace(JsonBody(job_json)) if self._job.inputs == () else self._with_inputs(job_json)

    async def _with_inputs(self, job_json: bytes) -> Verdict:
        inputs = await files.prepare(self._job.inputs, spool=self._call.spool)
        async with OnExit(lambda: _close_all(inputs) if inputs else None):
            return await self._pace(self._body_of(job_json, inputs))

    def _body_of(self, job_json: bytes, inputs: list[files.Source]) -> Body:
        if not inputs:
            return JsonBody(job_json)
        heads = [encode.PartHead(source.filename, source.content_type, source.size) for source in inputs]
        plan = encode.plan(job_json, heads, encode.new_boundary(self._engine.random.randbytes))
        return MultipartBody(plan, inputs)

    def _pace(self, body: Body) -> Awaitable[Verdict]:
        """Join the line, and send until a verdict is final."""
        self._body = body
        turn = self._engine.pool.join(self._job.type, self._job.priority, bounded=self._call.bounded)
        return self._attempts.run(turn, self._send, self._notify, self._call.before_send)

    def _request(self) -> Request:
        price = self._options.price if self._call.price is None else self._call.price
        url = self._options.url + ("?price=true" if price else "")
        return Request(url, {**self._options.headers, "Accept": self._accept}, self._body)

    async def _send(self, permit: Permit) -> Verdict:
        options, tally = self._options, self._engine.tally
        if self._deadline is not None and self._deadline.when == math.inf:
            self._deadline.move(options.clock.monotonic() + (self._call.timeout or 0.0))
        exchange = Exchange(
            self._engine.transport, options.clock, options.timeouts, options.limits, options.redact
        )
        try:
            sink = self._call.target.sink(self._job)
        except Exception as error:  # noqa: BLE001 - a sink of the user's may raise anything
            return Verdict("bad_input", False, f"its sink could not be made: {error}", cause=error)
        received = Received(sink, options.limits)
        tally.requests += 1
        verdict = await exchange.run(self._request(), self._job, received, permit, self._call.timeout or 0.0)
        tally.shed += verdict.kind == "shed"
        tally.stale += verdict.stale
        self._received = received
        return verdict

    async def _commit(self, verdict: Verdict) -> JobResult:
        """Store the outputs under their names: the point of no return, after which the job is done."""
        received = self._received
        if received is None or verdict.result is None:
            raise AssertionError("a job that is done has brought a result")
        result = replace(verdict.result, attempts=tuple(self._attempts.log))
        committed = False
        async with OnExit(lambda: None if committed else received.discard()):
            try:
                await received.commit(result)
                committed = True
            except NotKeptError as error:
                kept = replace(
                    verdict, kind="not_kept", cause=error.cause, reason=str(error), written=received.written()
                )
                raise error_for(kept, _subject(self._job), self._attempts.log) from error.cause
        outputs = received.outputs()
        return replace(result, outputs=outputs, warnings=result.warnings + self._surprises(outputs))

    def _surprises(self, outputs: tuple[Output, ...]) -> tuple[str, ...]:
        asked = self._job.accept or self._call.target.accept
        if asked is None or not outputs or outputs[0].content_type == asked:
            return ()
        return (f"{asked} was asked for, and {outputs[0].content_type} came",)


async def _close_all(inputs: list[files.Source]) -> None:
    for source in inputs:
        await source.aclose()
