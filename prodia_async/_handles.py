"""The asynchronous API: a job is submitted and asked for; whoever has its id fetches its outputs."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, TypeVar

from msgspec.structs import replace

from prodia_async import _door
from prodia_async._arguments import checked
from prodia_async._collecting import Collector
from prodia_async._engine import Engines, Submission
from prodia_async._files.outputs import Outputs, To
from prodia_async._models import Job, JobResult, Output, Verdict
from prodia_async._run import Run
from prodia_async._settings import Options

T = TypeVar("T")

DEFAULT_TIMEOUT = 900.0
"""Seconds for which a result is waited for, unless told otherwise."""

_ASKING = 60.0
"""Seconds for which one question is asked again while the service is busy or fails."""


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
        engines: Engines,
        options: Options,
        job_id: str,
        *,
        wanted: Job,
        job: JobResult | None = None,
        submission: Submission | None = None,
    ) -> None:
        self.id = job_id
        self.job = job
        self._engines = engines
        self._options = options
        self._wanted = wanted
        self._known = job or JobResult(wanted.type, wanted.config, job_id)
        self._submission = submission
        if submission is not None:
            weakref.finalize(self, submission.soon, submission.drop).atexit = False

    @property
    def expires_at(self) -> datetime | None:
        """When the service may forget the job, as it said when the job was submitted."""
        return None if self.job is None else self.job.expires_at

    async def state(self, *, timeout: float | None = _ASKING) -> str:
        """Ask for the job's state: "processing", "processed", "failed", or another word of the service's."""
        return await self._ask(Collector.state, timeout)

    async def wait(self, *, timeout: float | None = DEFAULT_TIMEOUT) -> str:
        """Return the job's state once it has ended: "processed" or "failed"."""
        return await self._ask(Collector.finished, timeout)

    async def outputs(self, *, timeout: float | None = _ASKING) -> tuple[str, ...]:
        """Return the names of its outputs; there are none before it has ended."""
        return await self._ask(Collector.names, timeout)

    async def result(
        self,
        to: To = None,
        *,
        price: bool | None = None,
        timeout: float | None = DEFAULT_TIMEOUT,
        on_state: Callable[[str], object] | None = None,
    ) -> JobResult:
        """Wait for the job, store its outputs as `to` says (see `Prodia.run`), and return its result.

        `on_state` is called with each state that a question finds, such as "processing" and "processed", when
        it is another than the one before; in the event loop, which it must not hold up. What it raises is
        logged. Raises JobFailedError for a job that failed, and what `Prodia.run` raises beside.
        """
        given = {"to": to, "price": price, "timeout": timeout, "on_state": on_state}
        return await self._run(**checked(given))

    async def download(self, name: str, to: To = None, *, timeout: float | None = DEFAULT_TIMEOUT) -> Output:
        """Fetch one output, by a name that `outputs` gave, and store it as `to` says (see `Prodia.run`)."""
        given = checked({"name": name, "to": to, "timeout": timeout}, needed=("name",))
        names = (given.pop("name"),)

        async def ask(collector: Collector, receive: Callable[[], Outputs]) -> tuple[Verdict, Outputs]:
            outputs = await collector.fetch(names, receive)
            return Verdict("done", True, result=self._known), outputs

        return (await self._run(ask=ask, **given)).outputs[0]

    async def _ask(self, question: Callable[[Collector], Awaitable[T]], timeout: float | None) -> T:
        answers: list[T] = []

        async def ask(collector: Collector, _: object) -> tuple[Verdict, None]:
            answers.append(await question(collector))
            return Verdict("submitted", True, result=self._known), None

        await self._run(ask=ask, **checked({"timeout": timeout}))
        return answers[0]

    async def _run(self, timeout: float | None, price: bool | None = None, **given: Any) -> JobResult:
        price = self._options.price if price is None else price
        call = _door.Call(
            job=self._wanted,
            options=replace(self._options, price=price, timeout=timeout),
            attempts=self._known.attempts,
            job_id=self.id,
            submission=self._submission,
            make_handle=lambda _: self,
            **given,
        )
        with self._submission or contextlib.nullcontext():
            return await Run(self._engines, call).result()

    def __repr__(self) -> str:
        kind = f", type={self._wanted.type!r}" if self._wanted.type else ""
        expires = f", expires_at={self.expires_at.isoformat()}" if self.expires_at else ""
        return f"Handle({self.id!r}{kind}{expires})"


async def submit(engines: Engines, call: _door.Call) -> Handle:
    """Submit a job, and return its handle. Raises ProdiaError."""
    run = Run(engines, replace(call, is_detached=True))
    job = await run.result()
    engine, record, turn = engines.peek(), run.record, run.turn
    if engine is None or turn is None or record.job_id is None:
        raise AssertionError("a job that was submitted has an id, and its slot is open")
    clock = engine.clock
    submission = Submission(record.number, engine.tally, turn, clock, lambda: record.tell("cancelled"))
    expires = DEFAULT_TIMEOUT
    if job.expires_at is not None:
        expires = max(_ASKING, job.expires_at.timestamp() - clock.wall())
    submission.expire_after(expires)
    return Handle(engines, call.options, record.job_id, wanted=call.job, job=job, submission=submission)
