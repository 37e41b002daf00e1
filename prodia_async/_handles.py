"""The asynchronous API: a job is submitted and asked for; whoever has its id fetches its outputs."""

from __future__ import annotations

import asyncio
import contextlib
import math
import weakref
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from msgspec.structs import replace

from prodia_async._call import Asynchronous, Call, Standing, subject
from prodia_async._collect import UnansweredError
from prodia_async._errors import ClientClosedError, JobFailedError, OutputError, ProdiaTimeoutError, error_for
from prodia_async._http.received import NotKeptError, Received
from prodia_async._live import Live
from prodia_async._loops import OnExit
from prodia_async._models import Job, JobResult, Output
from prodia_async._pacing.clock import Deadline
from prodia_async._run import Run, run
from prodia_async._settings import require

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from datetime import datetime

    from prodia_async._collect import Collector
    from prodia_async._engine import Connect, Engine, Options
    from prodia_async._files.targets import To
    from prodia_async._models import Attempt, Verdict
    from prodia_async._pacing.clock import Timer
    from prodia_async._pacing.turns import Permit

T = TypeVar("T")

DEFAULT_TIMEOUT = 900.0
"""Seconds for which a result is waited for, unless told otherwise."""

_ASKING = 60.0
"""Seconds for which one question is asked again while the service is busy or fails."""


class Lease:
    """The slot that a submitted job holds until its outputs are stored, or nobody will store them.

    It ends with its handle, and when the job's own time is over while nobody waits for it.
    """

    def __init__(
        self, engine: Engine, permit: Permit, standing: Standing, on_drop: Callable[[], object]
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._engine = engine
        self._permit: Permit | None = permit
        self._standing = standing
        self._on_drop = on_drop
        self._timer: Timer | None = None
        self.waiting = 0

    def expire_after(self, seconds: float) -> None:
        """Let it end then."""
        clock = self._engine.pool.clock
        self._timer = clock.call_at(clock.monotonic() + seconds, lambda: self._expire(seconds))

    def _expire(self, seconds: float) -> None:
        if self.waiting:
            self.expire_after(seconds)
        else:
            self._end(ran=False)

    def end(self, *, ran: bool) -> None:
        """Give the slot back, from whatever event loop."""
        if asyncio.get_running_loop() is self._loop:
            self._end(ran=ran)
        else:
            self._soon(partial(self._end, ran=ran))

    def drop(self) -> None:
        """End with a handle that nobody has any more, in whatever thread that is."""
        self._soon(self._dropped)

    def _soon(self, callback: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed, and the slot with it
            self._loop.call_soon_threadsafe(callback)

    def _end(self, *, ran: bool) -> None:
        permit, self._permit = self._permit, None
        if permit is None:
            return
        if self._timer is not None:
            self._timer.cancel()
        if ran:
            permit.success()
        else:
            permit.ignore()

    def _dropped(self) -> None:
        if not self._standing.over:
            self._standing.over = True
            self._engine.tally.cancelled += 1
            self._on_drop()
        self._end(ran=False)


class Handle:
    """A job of the asynchronous API. `id` is all that another process needs: `prodia.handle(id)`.

    `job` is what the service said of it when it was submitted, None for a handle made from an id. A submitted
    job counts against `max_concurrency` until its result is stored, or its handle is dropped.

        handle = await prodia.submit("inference.wan2-2.lightning.txt2vid.v0", {"prompt": "waves"})
        result = await handle.result(to="waves.mp4", timeout=900)

    Every method raises NotFoundError once the service no longer knows the job, and ProdiaTimeoutError, whose
    `handle` is this one, when `timeout` seconds have passed; the handle can be used again then. A service
    that is busy or fails is asked again until then.
    """

    def __init__(
        self,
        connect: Connect,
        job_id: str,
        *,
        wanted: Job,
        job: JobResult | None = None,
        attempts: tuple[Attempt, ...] = (),
        standing: Standing | None = None,
        submitted_at: float = -math.inf,
    ) -> None:
        self.id = job_id
        self.job = job
        self._connect = connect
        self._wanted = wanted
        self._attempts = attempts
        self._standing = standing
        self._submitted_at = submitted_at
        self._lease: Lease | None = None

    @property
    def expires_at(self) -> datetime | None:
        """When the service may forget the job, as it said when the job was submitted."""
        return None if self.job is None else self.job.expires_at

    async def state(self, *, timeout: float | None = _ASKING) -> str:
        """Ask for the job's state: "processing", "processed", "failed", or another word of the service's."""
        return await self._ask(lambda collector: collector.state(self.id), timeout)

    async def wait(self, *, timeout: float | None = DEFAULT_TIMEOUT) -> str:
        """Return the job's state once it has ended: "processed" or "failed"."""
        with self._awaited():
            _, options = await self._connect()
            is_new = self._is_new(options)
            return await self._ask(lambda collector: collector.finished(self.id, is_new=is_new), timeout)

    async def outputs(self, *, timeout: float | None = _ASKING) -> tuple[str, ...]:
        """Return the names of its outputs; there are none before it has ended."""
        return await self._ask(lambda collector: collector.names(self.id), timeout)

    async def result(
        self, to: To = None, *, price: bool | None = None, timeout: float | None = DEFAULT_TIMEOUT
    ) -> JobResult:
        """Wait for the job, store its outputs as `to` says (see `Prodia.run`), and return its result.

        Raises JobFailedError for a job that failed, and what `Prodia.run` raises beside.
        """
        engine, options = await self._connect()
        call = Call(
            job=self._wanted,
            target=await engine.target(to, options.limits),
            timeout=timeout,
            price=price,
            attempts=self._attempts,
            asynchronous=Asynchronous(
                job_id=self.id,
                is_new=self._is_new(options),
                standing=self._standing,
                handle=lambda _: self,
            ),
        )
        ran = False
        try:
            with self._awaited():
                result = await run(engine, options, call)
            ran = True
        except JobFailedError:
            ran = True
            raise
        finally:
            if self._lease is not None and self._standing is not None and self._standing.over:
                self._lease.end(ran=ran)
        return result

    async def download(self, name: str, to: To = None, *, timeout: float | None = DEFAULT_TIMEOUT) -> Output:
        """Fetch one output, by a name that `outputs` gave, and store it as `to` says (see `Prodia.run`)."""
        engine, options = await self._connect()
        target = await engine.target(to, options.limits)

        def receive() -> Received:
            return Received(target.sink(self._wanted), options.limits)

        received = await self._ask(lambda collector: collector.fetch(self.id, (name,), receive), timeout)
        stored = False
        async with OnExit(lambda: None if stored else received.discard()):
            try:
                await received.commit(self.job or JobResult(self._wanted.type, self._wanted.config, self.id))
                stored = True
            except NotKeptError as error:
                kept = OutputError(f"{self._subject}: {error}", may_have_run=True)
                kept.errno = getattr(error.cause, "errno", None)
                raise kept from error.cause
        return received.outputs()[0]

    async def _ask(self, question: Callable[[Collector], Awaitable[T]], timeout: float | None) -> T:
        require(timeout is None or timeout > 0, "timeout", timeout)
        engine, options = await self._connect()
        live, error = Live(self._wanted), None
        engine.enter(live)
        live.begin()
        try:
            return await live.unless_cut(self._answer(question(engine.collector(options)), options, timeout))
        except ClientClosedError as closed:
            error = closed
            error.handle = self
            raise
        finally:
            live.end()
            engine.left(live, error)
            error = None  # its traceback refers to this frame

    async def _answer(self, answer: Awaitable[T], options: Options, timeout: float | None) -> T:
        now = options.clock.monotonic()
        verdict: Verdict | None = None
        with Deadline(options.clock, math.inf if timeout is None else now + timeout):
            try:
                return await answer
            except UnansweredError as error:
                verdict = error.verdict
        if verdict is not None:
            raise error_for(verdict, self._subject, self._attempts)
        raise self._late(timeout)

    def _late(self, timeout: float | None) -> ProdiaTimeoutError:
        error = ProdiaTimeoutError(
            f"{self._subject}: no answer within timeout={timeout:g} s. Ask again, or allow more time.",
            attempts=self._attempts,
            may_have_run=True,
        )
        error.handle = self
        return error

    def _is_new(self, options: Options) -> bool:
        """Tell whether it was submitted just now, and cannot be done yet."""
        return options.clock.monotonic() - self._submitted_at < options.polling.interval

    @contextlib.contextmanager
    def _awaited(self) -> Iterator[None]:
        """Keep the slot while somebody waits."""
        if self._lease is not None:
            self._lease.waiting += 1
        try:
            yield
        finally:
            if self._lease is not None:
                self._lease.waiting -= 1

    @property
    def _subject(self) -> str:
        return f"{subject(self._wanted)} (job {self.id})"

    def hold(self, lease: Lease) -> None:
        """Keep a slot until the result is stored, or the handle is dropped."""
        self._lease = lease
        weakref.finalize(self, lease.drop).atexit = False

    def __repr__(self) -> str:
        kind = f", type={self._wanted.type!r}" if self._wanted.type else ""
        expires = f", expires_at={self.expires_at.isoformat()}" if self.expires_at else ""
        return f"Handle({self.id!r}{kind}{expires})"


async def submit(connect: Connect, call: Call) -> Handle:
    """Submit a job, and return its handle. Raises ProdiaError."""
    engine, options = await connect()
    submission = Run(engine, options, replace(call, asynchronous=Asynchronous(detached=True)))
    submitted = await submission.result()
    if submission.permit is None or submission.job_id is None:
        raise AssertionError("a job that was submitted has an id, and holds its permit")
    standing = Standing(submission.number, engine.tally)
    lease = Lease(engine, submission.permit, standing, submission.tell_dropped)
    expires = DEFAULT_TIMEOUT
    if submitted.expires_at is not None:
        expires = max(_ASKING, submitted.expires_at.timestamp() - options.clock.wall())
    lease.expire_after(expires)
    handle = Handle(
        connect,
        submission.job_id,
        wanted=call.job,
        job=submitted,
        attempts=submitted.attempts,
        standing=standing,
        submitted_at=options.clock.monotonic(),
    )
    handle.hold(lease)
    return handle
