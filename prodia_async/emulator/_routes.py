"""Every route of both APIs: who asks, what for, is there room, and what is answered."""

from __future__ import annotations

import asyncio
import functools
import hmac
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

from prodia_async.emulator._account import Slots
from prodia_async.emulator._answer import (
    Answer,
    RefusedError,
    error_answer,
    failed_answer,
    json_answer,
    refusal,
    refused_result,
)
from prodia_async.emulator._faults.table import FAULTS
from prodia_async.emulator._faults.wire import Line
from prodia_async.emulator._forward import Forwarder
from prodia_async.emulator._record import Recorder
from prodia_async.emulator._request import BadRequestError, JobError, read_accept, read_job
from prodia_async.emulator._runner import Runner
from prodia_async.emulator._sending import drop, send, transport_of
from prodia_async.emulator._store import Store, StoredJob, by_name, is_priced, output_of, result_of, state_of
from prodia_async.emulator._tasks import acceptable, answer_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from concurrent.futures import Executor

    from prodia_async.emulator._account import EmulatorStats
    from prodia_async.emulator._faults.table import Fault
    from prodia_async.emulator._options import Options
    from prodia_async.emulator._orders import Orders
    from prodia_async.emulator._request import ReceivedJob
    from prodia_async.emulator._tasks import Task

    Serve = Callable[[web.Request, Task], Awaitable[web.StreamResponse]]
    Tell = Callable[[StoredJob, web.Request], Answer]

EARLY = 1024 * 1024
"""Bytes: a larger upload is shed at its headers where there is no room; a smaller one is read first."""


class InterruptedUploadError(Exception):
    """A fault has closed the connection while the request was read: nothing runs, nothing is answered."""


class Routes:
    """Answers what both APIs can be asked; the asynchronous jobs run in tasks of their own."""

    def __init__(self, options: Options, account: EmulatorStats, executor: Executor) -> None:
        self.slots: Slots = Slots()
        self.store: Store = Store()
        self.counted: set[int] = set()
        """The ids of those requests under way of which the account has the outcome."""
        self.recorder: Recorder | None = None if options.record is None else Recorder(Path(options.record))
        self._forwarder = None if options.upstream is None else Forwarder(options.upstream)
        self._options = options
        self._account = account
        self._runner = Runner(options, account, executor)
        self._running: set[asyncio.Task[None]] = set()

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Register all routes, or one that hands all on."""
        if self._forwarder is not None:
            router.add_route("*", "/v2/{path:(?s:.*)}", self._hand_on)
            return
        for path, serve in (("/v2/job", self._run), ("/v2/job/async", self._submit)):
            router.add_post(path, self._posts(serve), expect_handler=self._expect)
        for path, place, tell in (
            ("job.state.current", "state", state_of),
            ("job.json", "result", lambda job, request: json_answer(200, result_of(job, request))),
            ("output", "names", lambda job, _: json_answer(200, list(job.outputs))),
            ("output/{filename:(?s:.+)}", "output", output_of),
        ):
            handler = functools.partial(self._tell, place=place, tell=tell)
            router.add_get(f"/v2/job/async/{{id}}/{path}", handler, allow_head=False)

    async def aclose(self) -> None:
        """Cancel the asynchronous jobs that run, and forget all."""
        for running in self._running:
            running.cancel()
        if self._running:
            await asyncio.wait(self._running)
        self.store.clear()
        if self._forwarder is not None:
            await self._forwarder.aclose()

    def _check_token(self, request: web.Request) -> None:
        """Check the token (API reference, Authentication). Raises RefusedError."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        given = token.strip().encode("utf-8", "replace")
        if scheme.lower() != "bearer":
            raise RefusedError(error_answer(401, "a bearer token is needed"))
        for bad in self._options.forbidden:
            if hmac.compare_digest(given, bad.encode()):
                raise RefusedError(error_answer(403, "the token may not run jobs"))
        if not hmac.compare_digest(given, self._options.token.encode()):
            raise RefusedError(error_answer(401, "the token is not known"))

    def _require_room(self, request: web.Request, orders: Orders) -> None:
        """Refuse a job for which there is no room now. Raises RefusedError."""
        if request.path.endswith("/async") and len(self.store) >= self._options.async_limit:
            raise RefusedError(refusal(429, "too many asynchronous jobs", orders.retry_after))
        if self.slots.busy >= self._options.capacity:
            raise RefusedError(refusal(429, "no idle capacity", orders.retry_after))

    async def _expect(self, request: web.Request) -> web.StreamResponse | None:
        """Answer `Expect: 100-continue`: a client that cannot be served keeps its body."""
        try:
            self._check_token(request)
            self._require_room(request, self._runner.orders)
        except RefusedError as refused:
            self._account.requests += 1
            return await self._refuse(request, refused.answer)
        if request.version >= (1, 1):
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return None

    def _posts(self, serve: Serve) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """Return what answers a request to run a job, which `serve` then does."""

        async def post(request: web.Request) -> web.StreamResponse:
            self._account.requests += 1
            try:
                self._check_token(request)
                met = self._runner.dice.throw() if self._options.faults else None
                if met is not None and met.stage == "upload":
                    await self._interrupt(request, met, self._runner.orders)
                if request.content_length is None or request.content_length > EARLY:
                    self._require_room(request, self._runner.orders)
                return await serve(request, await self._read(request, met))
            except RefusedError as refused:
                return await self._refuse(request, refused.answer)
            except InterruptedUploadError:
                return web.StreamResponse()  # for nobody: the connection is closed

        return post

    async def _interrupt(self, request: web.Request, fault: Fault, orders: Orders) -> None:
        """Let a fault of the upload act. Raises RefusedError and InterruptedUploadError."""
        line = Line(request, self._account, orders)
        self._account.faulted(fault.name)
        self.counted.add(id(request))
        answer = await fault.act(line)
        if answer is None:
            raise InterruptedUploadError
        raise RefusedError(answer)

    async def _read(self, request: web.Request, met: Fault | None) -> Task:
        async def on_job(received: ReceivedJob) -> None:
            ordered = self._runner.upload_fault(received) if received.may_order else None
            if ordered is not None:
                await self._interrupt(request, *ordered)

        accept = read_accept(request.headers.get("Accept", ""))
        try:
            received = await read_job(request.headers.get("Content-Type", ""), self._chunks(request), on_job)
        except BadRequestError as error:
            raise RefusedError(error_answer(400, str(error))) from None
        except JobError as error:
            raise RefusedError(failed_answer(refused_result(error.job, str(error)), accept)) from None
        priced = bool(request.query_string) and is_priced(request)
        return self._runner.understand(received, accept, priced=priced, met=met)

    async def _chunks(self, request: web.Request) -> AsyncIterator[bytes]:
        async for chunk in request.content.iter_any():
            self._account.bytes_in += len(chunk)
            if self.recorder is not None:
                self.recorder.sent(request, chunk)
            yield chunk

    def _noted(self, request: web.Request, answer: Answer) -> Answer:
        """Return the answer, which is recorded where that is wished."""
        return answer if self.recorder is None else self.recorder.answered(request, answer)

    async def _send(self, request: web.Request, answer: Answer) -> web.StreamResponse:
        return await send(request, self._noted(request, answer), self._account)

    async def _hand_on(self, request: web.Request) -> web.StreamResponse:
        """Ask the service that stands behind us, and count what it answers."""
        is_job = request.method == "POST"
        self._account.requests += is_job
        try:
            answer = await self._forwarder.ask(request, self._chunks(request))  # type: ignore[union-attr]
        except RefusedError as refused:
            answer = refused.answer
        if is_job and answer.status == 200:  # noqa: PLR2004 - the status codes are plainest as numbers
            self._account.ran(None, 1)
        elif is_job and answer.status == 201:  # noqa: PLR2004 - as above
            self._account.submitted += 1
        elif is_job:
            self._account.answered(answer.status)
        self.counted.add(id(request))
        return await self._send(request, answer)

    async def _refuse(self, request: web.Request, answer: Answer) -> web.StreamResponse:
        self._account.answered(answer.status)
        self.counted.add(id(request))
        return await self._send(request, answer)

    async def _deliver(
        self,
        request: web.Request,
        answer: Answer,
        fault: Fault | None,
        orders: Orders,
        *,
        on_headers: Callable[[], None] | None = None,
        on_end: Callable[[], None] | None = None,
    ) -> web.StreamResponse:
        """Send an answer as `send` does, or as a fault of whole answers or of the wire has it.

        `on_headers` is called in any case, `on_end` only for an answer whose last byte leaves.
        """
        if fault is not None and fault.stage in ("refusal", "answer", "wire"):
            transport_of(request)
            self._account.faulted(fault.name)
            if fault.stage == "wire":
                line = Line(request, self._account, orders)
                if on_headers is not None:
                    on_headers()
                await fault.act(line, self._noted(request, answer))
                if on_end is not None and line.whole:
                    on_end()
                return web.StreamResponse()  # for nobody: the connection is closed
            answer = fault.act(orders.retry_after if fault.stage == "refusal" else answer)
        answer = self._noted(request, answer)
        return await send(request, answer, self._account, on_headers=on_headers, on_end=on_end)

    async def _run(self, request: web.Request, task: Task) -> web.StreamResponse:
        """Run a job while its client waits: the answer is its result and its outputs."""
        if not acceptable(task):
            raise RefusedError(
                error_answer(406, f"the outputs of {task.received.type} cannot be sent like this")
            )
        self._require_room(request, task.orders)
        slot = self.slots.take()
        try:
            finished = await self._runner.run(task)
            self.counted.add(id(request))
            fault = task.fault
            if fault is not None and fault.stage in ("form", "outputs", "result"):
                self._account.faulted(fault.name)
            answer = answer_of(task, finished)
            if task.orders.drop is not None and task.within_times:
                return await drop(
                    request, self._noted(request, answer), self._account, halfway=task.orders.drop == "during"
                )
            frees = {"on_headers" if self._options.free_at == "headers" else "on_end": slot.release}
            return await self._deliver(request, answer, fault, task.orders, **frees)
        finally:
            slot.release()

    async def _submit(self, request: web.Request, task: Task) -> web.StreamResponse:
        """Take a job, which then runs by itself; its slot is idle when it has ended, however it ends."""
        job_type, choices, wished = task.received.type, task.plan.choices, task.accept.media_type
        if "sync-only" in job_type or not task.orders.asynchronous:
            raise RefusedError(error_answer(400, f"{job_type} cannot be run asynchronously"))
        if wished is not None and choices and wished not in choices:
            raise RefusedError(error_answer(406, f"the outputs of {job_type} cannot be made like this"))
        self._require_room(request, task.orders)
        slot = self.slots.take()
        seconds = self._options.async_lifetime if task.orders.lifetime is None else task.orders.lifetime
        job = StoredJob(task, task.result("processing", lifetime=timedelta(seconds=seconds)))
        self.store.add(job)
        self._account.submitted += 1
        self.counted.add(id(request))
        running = asyncio.create_task(self._run_by_itself(task, job, seconds))
        self._running.add(running)
        running.add_done_callback(self._running.discard)
        running.add_done_callback(lambda _: slot.release())
        answer = json_answer(201, job.result)
        if task.orders.drop == "before" and task.within_times:
            return await drop(request, self._noted(request, answer), self._account, halfway=False)
        return await self._deliver(request, answer, task.fault, task.orders)

    async def _run_by_itself(self, task: Task, job: StoredJob, seconds: float) -> None:
        finished = await self._runner.run(task)
        outputs = finished.outputs
        if task.fault is not None and task.fault.stage == "outputs":
            self._account.faulted(task.fault.name)
            outputs = task.fault.act(outputs)
        job.outputs = by_name(outputs)
        state = "processed" if finished.error is None else "failed"
        job.result = task.result(state, finished, timedelta(seconds=seconds))
        self.store.expire_in(job.id, seconds)

    async def _tell(self, request: web.Request, place: str, tell: Tell) -> web.StreamResponse:
        """Answer what is asked about an asynchronous job."""
        self._account.polls += place == "state"
        try:
            job = self._find(request)
            answer = tell(job, request)
        except RefusedError as refused:
            return await self._send(request, refused.answer)
        on_end = None
        if place == "output":
            job.downloads += 1
            if job.orders.drop == "during" and job.downloads <= job.orders.times:
                return await drop(request, self._noted(request, answer), self._account, halfway=True)
            on_end = self._count_download
        fault = self._met(job, place)
        if fault is not None and fault.stage == "result" and place == "result":
            self._account.faulted(fault.name)
            answer = Answer(200, answer.content_type, (fault.act(result_of(job, request)),))
        if fault is not None and (fault.stage == "refusal" or not fault.keeps):
            on_end = None
        return await self._deliver(request, answer, fault, job.orders, on_end=on_end)

    def _count_download(self) -> None:
        self._account.downloads += 1

    def _met(self, job: StoredJob, place: str) -> Fault | None:
        """Return the fault that a request about a job meets: the one that is ordered, or by chance."""
        if job.orders.fault is not None and job.orders.fault_at == place:
            job.faulted += 1
            if job.faulted <= job.orders.times:
                return FAULTS[job.orders.fault]
        if place == "result" and job.fault is not None and job.fault.stage == "result":
            return job.fault
        return self._runner.dice.throw()

    def _find(self, request: web.Request) -> StoredJob:
        """Return the job that a request is about, or refuse it, as the job may have ordered."""
        self._check_token(request)
        job = self.store.find(request.match_info["id"])
        if job is None:
            raise RefusedError(error_answer(404, "no such job, or it has expired"))
        job.requests += 1
        status = job.orders.poll_status
        if status is not None and job.requests <= job.orders.poll_times:
            raise RefusedError(refusal(status, "ordered by the job", job.orders.retry_after))
        return job
