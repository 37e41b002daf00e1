"""One job, from the call to its stored outputs: the one place that joins the rooms."""

from __future__ import annotations

import asyncio
import math
from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from prodia_async._collecting import Collector, UnansweredError
from prodia_async._engine import Engine, Engines, UnderWay
from prodia_async._errors import ClientClosedError, InputError, ProdiaError, error_for, quoted
from prodia_async._files.inputs import examined
from prodia_async._files.outputs import NotKeptError, Outputs
from prodia_async._http.bearer import UNAUTHORIZED, Bearer
from prodia_async._http.exchange import Exchange
from prodia_async._http.transport import Body, Request
from prodia_async._http.watch import Watch
from prodia_async._loops import OnExit, shielded
from prodia_async._models import JobResult, Verdict
from prodia_async._pacing.retry import Retries
from prodia_async._pacing.turn import Turn
from prodia_async._record import Record
from prodia_async._wire.job import Plan, accept_header, plan

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence

    from prodia_async._door import BeforeSend, Call
    from prodia_async._files.outputs import Target
    from prodia_async._files.readers import Source
    from prodia_async._http.transport import Reply
    from prodia_async._settings import Token

_ENDS: dict[str, Callable[[Turn], None]] = {
    **dict.fromkeys(("done", "failed", "not_kept"), Turn.success),
    **dict.fromkeys(("server_error", "refused"), Turn.end),
}
"""What the limiter hears of an attempt's end. It ignores any other verdict."""


class Run(UnderWay):
    """One run of a job: `result()`, once. No reference cycles: it is freed without the garbage collector.

    Thousands may wait in line: what only an attempt needs is made with the attempt.
    """

    __slots__ = ("_call", "_engines", "_outputs", "_target", "record", "turn", "watch")

    def __init__(self, engines: Engines, call: Call) -> None:
        super().__init__(call.job)
        self._engines = engines
        self._call = call
        self._outputs: Outputs | None = None
        self.watch: Watch | None = None
        self.record = Record(call)
        self.turn: Turn | None = None
        """The turn of a job that was only submitted: its slot is still open."""

    async def result(self) -> JobResult:
        """Return the result with its outputs stored. Raises ProdiaError."""
        record, error = self.record, None
        engine = self._engines.peek()
        if engine is None or self._engines.stopped:
            engine = await self._reopened()
        try:
            record.begin(engine.tally, engine.clock)
            engine.enter(self)
            if self._call.error is not None:
                raise self._call.error
            try:
                verdict: Verdict | None = None
                to, targets = self._call.to, engine.targets
                self._target: Target = targets.known(to, self._call.options.limits) or await targets.get(to)
                with self._watched(engine) as watch:
                    verdict = await self._way(engine, watch)
                if verdict is None:
                    raise record.late()
                if verdict.kind == "done":
                    return await self._commit(verdict)
                if verdict.kind == "submitted" and verdict.result is not None:
                    return replace(verdict.result, attempts=tuple(record.attempts))
                raise error_for(verdict, str(record), record.attempts)
            except BaseException as failure:
                if not await self._let_go(failure):
                    raise
            raise ClientClosedError("the client was closed before this job was done")
        except ProdiaError as failure:
            error = failure
            record.place(error)
            record.end("failed", error)
            raise
        except Exception:  # a transport or clock of the user's own may raise anything
            record.end("failed")
            raise
        finally:
            engine.leave(self, error)
            error = None  # its traceback refers to this frame

    def failure(self, error: BaseException) -> ProdiaError:
        """Return what an error of a user's own transport or sink means for the job."""
        said = f"{type(error).__name__}: {self._call.options.redact(quoted(error, str))}"
        found = ProdiaError(said.removesuffix(": "), attempts=self.record.attempts)
        self.record.place(found)
        return found

    async def _reopened(self) -> Engine:
        try:
            return await self._engines.get()
        except ProdiaError as error:
            self.record.place(error)
            raise

    def _watched(self, engine: Engine) -> Watch:
        timeout, limit = self._call.options.timeout, math.inf
        if timeout is not None and (self.record.job_id is not None or not self._call.patient):
            limit = engine.clock.monotonic() + timeout
        self.watch = Watch(engine.deadlines, self._call.options.timeouts, limit)
        return self.watch

    def _way(self, engine: Engine, watch: Watch) -> Awaitable[Verdict]:
        """Choose what is to be done: a job that the service has is only collected."""
        if self.record.job_id is not None:
            return self._collect(engine, watch, self.record.job_id)
        if self._call.inputs:
            return self._with_inputs(engine, watch)
        json = self._call.json
        return self._attempts(engine, watch, Body(Plan("application/json", (), json, len(json))))

    async def _with_inputs(self, engine: Engine, watch: Watch) -> Verdict:
        call = self._call
        sources = await examined(call.inputs, spool=call.spool)
        async with OnExit(lambda: _close_all(sources)):
            boundary = engine.random.randbytes(30).hex()  # long enough never to occur in any content
            return await self._attempts(engine, watch, Body(plan(call.json, sources, boundary), sources))

    async def _attempts(self, engine: Engine, watch: Watch, body: Body) -> Verdict:
        """Send until a verdict is final; docs/errors.md tells what follows each."""
        call, record, pool, bearer = self._call, self.record, engine.limiter, engine.bearer
        retries: Retries | None = None  # most jobs never need them
        turn = Turn(limiter=pool, line=pool.join(call.line, bounded=call.bounded), priority=self.job.priority)
        record.waits_since = engine.clock.monotonic()
        try:
            while True:
                token = bearer.token or await bearer.ask()
                if not turn.take():
                    await turn.wait()
                if call.before_send is not None:
                    await _cleared(len(record.attempts) + 1, turn, call.before_send)
                self._outputs = _new_outputs(call, self._target, turn)
                try:
                    record.sends()
                    verdict = await self._conversation(engine, watch, turn, body)
                    if verdict.kind == "submitted":
                        verdict = await self._submitted(engine, watch, turn, verdict)
                except BaseException as error:
                    self._end_attempt(turn, _broken_off(error, record, watch, self._call.options.redact))
                    raise
                watch.when = watch.limit
                self._end_attempt(turn, verdict)
                if verdict.kind in ("done", "submitted"):
                    return verdict
                await self._discard()
                retries = retries or Retries(self._call.options.retry, engine.random)
                pause = await _pause_after(verdict, retries, record, bearer, token)
                if pause is None or (call.has_begun is not None and call.has_begun()):
                    return verdict
                if verdict.kind == "shed":
                    continue  # the limiter holds the turn
                record.tell("retried")
                if engine.is_closing:
                    self.cut()  # it would only wait to be refused
                await engine.clock.sleep(pause)
        finally:
            turn.leave()

    def _conversation(
        self, engine: Engine, watch: Watch, turn: Turn, body: Body
    ) -> Coroutine[Any, Any, Verdict]:
        """Return what sends an attempt's request and reads the reply to it."""
        call, options = self._call, self._call.options
        exchange = Exchange(engine.transport, engine.clock, options, engine.bearer)
        query, url = "?price=true" if options.price else "", options.url
        read: Callable[[Reply], Awaitable[Verdict]]
        if self._outputs is not None:
            read = partial(exchange.read_outputs, self.job, self._outputs, watch)
        else:
            url += "/async"
            self.record.job_id = None  # that of an attempt before is lost
            read = partial(exchange.read_submission, self.job, watch)
        accept = accept_header(self.job.accept or self._target.accept)
        ask = call.expect_continue
        expects = _expects(body, ask) if call.inputs or ask is not None else False
        request = Request(url + query, {**options.headers, "Accept": accept}, body, expects)
        self.in_flight = True
        if call.patient and options.timeout is not None and watch.limit == math.inf:
            watch.limit = exchange.clock.monotonic() + options.timeout
        watch.post(turn, options.timeout or 0.0, expects=expects)
        send = exchange.asking if expects else exchange.transport.send
        return exchange.converse(send(request, watch), watch, read)

    def _end_attempt(self, turn: Turn, verdict: Verdict) -> None:
        """End an attempt as the limiter must hear it: only a 429 is a shed, only a job that ran a success.

        One that was submitted keeps its slot: whoever has the job's handle frees it.
        """
        if verdict.kind == "shed":
            turn.shed(verdict.retry_after)
        elif verdict.kind != "submitted":
            _ENDS.get(verdict.kind, Turn.ignore)(turn)
        self.in_flight = verdict.kind == "done"
        self.record.add(verdict)

    async def _let_go(self, error: BaseException) -> bool:
        """Release the slot and the outputs of a run that failed. True if closing the client cut it."""
        is_cut = isinstance(error, asyncio.CancelledError) and self.is_cut()
        if isinstance(error, asyncio.CancelledError) and not is_cut:
            self.record.end("cancelled")
        if self.turn is not None:
            self.turn.ignore()
            self.turn = None
        await self._discard(error)
        return is_cut

    async def _discard(self, error: BaseException | None = None) -> None:
        """Drop what an attempt has brought; in a loop that was killed nothing can be awaited any more."""
        if self._outputs is not None and not isinstance(error, GeneratorExit):
            await shielded(self._outputs.discard())
        self._outputs = None

    # The asynchronous API

    async def _submitted(self, engine: Engine, watch: Watch, turn: Turn, verdict: Verdict) -> Verdict:
        """Wait for a job that the service has taken, and fetch its outputs, unless that is all."""
        call, result = self._call, verdict.result
        if result is None or result.id is None:
            raise AssertionError("a job that was submitted has an id")
        self.record.job_id = result.id
        if call.submitted is not None:
            await call.submitted(result)
        if call.is_detached:
            self.turn = turn
            return verdict
        return await self._collect(engine, watch, result.id)

    async def _collect(self, engine: Engine, watch: Watch, job_id: str) -> Verdict:
        self.in_flight = True
        call, options, submission = self._call, self._call.options, self._call.submission
        is_new = call.job_id is None or (submission is not None and submission.age < options.polling.interval)
        exchange = Exchange(engine.transport, engine.clock, options, engine.bearer)
        places, chance, ask = engine.places, engine.random, call.ask or Collector.collect
        collector = Collector(
            exchange, watch, places, chance, job_id, self.job, options.price, is_new, call.on_state
        )
        try:
            verdict, self._outputs = await ask(
                collector, lambda: Outputs(self._target.sink(self.job), options.limits)
            )
        except UnansweredError as error:
            return error.verdict
        return verdict

    async def _commit(self, verdict: Verdict) -> JobResult:
        """Store the outputs under their names: the point of no return, after which the job is done."""
        outputs = self._outputs
        if outputs is None or verdict.result is None:
            raise AssertionError("a job that is done has brought a result")
        result = replace(verdict.result, attempts=tuple(self.record.attempts))
        try:
            await outputs.commit(result)
        except NotKeptError as error:
            await self._discard()
            kept = replace(
                verdict, kind="not_kept", cause=error.cause, reason=str(error), written=outputs.written()
            )
            raise error_for(kept, str(self.record), self.record.attempts) from error.cause
        except asyncio.CancelledError:
            # A client that is closed cuts no job whose outputs stand by then.
            if not (outputs.is_kept and self.is_cut()):
                raise
        stored = outputs.outputs()
        asked = self.job.accept or self._target.accept
        warnings = result.warnings
        if asked is not None and stored and stored[0].content_type != asked:
            warnings = (*warnings, f"{asked} was asked for, and {stored[0].content_type} came")
        result = replace(result, outputs=stored, warnings=warnings)
        self._outputs = None
        self.record.end("completed", result=result)
        return result


async def _cleared(number: int, turn: Turn, before_send: BeforeSend) -> None:
    """Wait for what the caller waits for before attempt `number`; it costs the limiter's measures nothing."""
    try:
        await before_send(number)
        turn.begins()
    except BaseException:
        turn.ignore()
        raise


def _new_outputs(call: Call, target: Target, turn: Turn) -> Outputs | None:
    """Make what takes an attempt's outputs; None for a job that is only submitted. Raises InputError."""
    if call.job.mode == "async":
        return None
    try:
        return Outputs(target.sink(call.job), call.options.limits)
    except BaseException as error:
        turn.ignore()
        if not isinstance(error, Exception):
            raise
        said = f"its sink could not be made: {quoted(error, str).rstrip('.')}"
        raise InputError(f"{said}. Correct the input and run the job again.") from error


async def _pause_after(
    verdict: Verdict, retries: Retries, record: Record, bearer: Bearer, token: Token | None
) -> float | None:
    """Return how many seconds to wait before the next attempt, or None: the verdict is final.

    The first 401 of several in a row is not, where there is another token than the one that it refused.
    """
    pause = retries.wait_after(verdict, record.waits_since)
    refused = [attempt.status == UNAUTHORIZED for attempt in record.attempts[-2:]]
    return 0.0 if sum(refused) == 1 and await bearer.renewed(verdict, token) else pause


def _expects(body: Body, wanted: bool | int | None) -> bool:
    """Tell whether the server is asked before the body is sent: see `expect_continue` of `Prodia.run`."""
    if wanted is None:
        return not body.replayable
    if isinstance(wanted, bool):
        return wanted and bool(body.sources)
    return not body.replayable or body.plan.size is None or body.plan.size >= wanted


def _broken_off(error: BaseException, record: Record, watch: Watch, redact: Callable[[str], str]) -> Verdict:
    """Return what an attempt came to that raised: it was cancelled, or a user's own transport failed."""
    if not isinstance(error, Exception) or record.job_id is not None:
        return Verdict("cancelled", watch.was_sent, "cancelled")
    return Verdict("unknown" if watch.was_sent else "not_sent", watch.was_sent, redact(quoted(error)))


async def _close_all(sources: Sequence[Source]) -> None:
    for source in sources:
        await source.aclose()
