"""The way of a request to `POST /v2/job`: who asks, what for, is a slot idle, run, answer."""

from __future__ import annotations

import asyncio
import hmac
import random
from dataclasses import dataclass
from datetime import datetime, timezone
from time import monotonic
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from aiohttp import ClientPayloadError, web
from aiohttp.http_exceptions import HttpProcessingError

from prodia_async.emulator.account import Account, Counts, EmulatorStats
from prodia_async.emulator.answer import Answer, error_answer, job_times, json_answer, multipart_answer
from prodia_async.emulator.jobs import OutputFile, Plan, Workshop
from prodia_async.emulator.media import Accept, read_accept
from prodia_async.emulator.orders import Orders, read_orders
from prodia_async.emulator.pictures import FORMATS
from prodia_async.emulator.request import BadRequestError, JobError, ReceivedJob, read_job

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from concurrent.futures import Executor

    from prodia_async.emulator.capacity import Slot, Slots
    from prodia_async.emulator.orders import RetryAfter
    from prodia_async.emulator.settings import Settings

# A larger upload is shed at its headers where no slot is idle; a smaller one is read first.
EARLY = 1024 * 1024


class RefusedError(Exception):
    """The request is answered with an error, and nothing runs."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


@dataclass(frozen=True)
class Task:
    """A request that was understood: its job, what to do with it, and what its answer is made of."""

    received: ReceivedJob
    orders: Orders
    plan: Plan
    accept: Accept
    attempt: int
    priced: bool

    @property
    def media_type(self) -> str:
        """The type of the first output: the one asked for where it can be made, else its own."""
        own = self.plan.media_types[0] if self.plan.media_types else ""
        if self.plan.is_picture and self.accept.media_type is not None:
            return self.accept.media_type
        return own


class Service:
    """Answers requests for jobs, and keeps the account."""

    def __init__(self, settings: Settings, slots: Slots, executor: Executor, seed: int) -> None:
        self.account = Account()
        self._settings = settings
        self._slots = slots
        self._executor = executor
        self._chance = random.Random(seed)  # noqa: S311 - repeatable latencies and seeds, no secret
        self._workshop = Workshop()
        self._attempts, self._completions = Counts(), Counts()

    def stats(self) -> EmulatorStats:
        """Return a snapshot of the account."""
        return EmulatorStats(
            **vars(self.account),
            busy=self._slots.busy,
            capacity=self._slots.capacity,
            peak_busy=self._slots.peak,
            busy_seconds=self._slots.busy_seconds,
        )

    async def expect(self, request: web.Request) -> web.StreamResponse | None:
        """Answer `Expect: 100-continue`: a client that cannot be served keeps its body."""
        try:
            self._admit(request)
            self._require_idle(self._settings.retry_after)
        except RefusedError as refused:
            self.account.requests += 1
            return await self._send(request, refused.answer)
        if request.version >= (1, 1):
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return None

    async def post_job(self, request: web.Request) -> web.StreamResponse:
        """Answer `POST /v2/job`."""
        self.account.requests += 1
        try:
            self._admit(request)
            if request.content_length is None or request.content_length > EARLY:
                self._require_idle(self._settings.retry_after)
            return await self._serve(request)
        except RefusedError as refused:
            return await self._send(request, refused.answer)
        except (ConnectionError, ClientPayloadError, HttpProcessingError):
            self.account.disconnected += 1
            return web.Response(status=499)  # for nobody: the client left

    def _admit(self, request: web.Request) -> None:
        """Check the token (API reference, Authentication)."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        given = token.strip().encode("utf-8", "replace")
        if scheme.lower() != "bearer":
            raise RefusedError(error_answer(401, "a bearer token is needed"))
        if any(hmac.compare_digest(given, bad.encode()) for bad in self._settings.forbidden):
            raise RefusedError(error_answer(403, "the token may not run jobs"))
        if not hmac.compare_digest(given, self._settings.token.encode()):
            raise RefusedError(error_answer(401, "the token is not known"))

    def _require_idle(self, retry_after: RetryAfter) -> None:
        if not self._slots.idle:
            raise RefusedError(_shed(retry_after))

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        accept = read_accept(request.headers.get("Accept", ""))
        try:
            received = await read_job(request.headers.get("Content-Type", ""), self._chunks(request))
        except BadRequestError as error:
            raise RefusedError(error_answer(400, str(error))) from None
        except JobError as error:
            raise RefusedError(_failed(error.job, str(error), accept)) from None
        task = self._understand(received, accept, priced=request.query.get("price") == "true")
        slot = self._slots.take()
        if slot is None:
            raise RefusedError(_shed(task.orders.retry_after))
        try:
            answer = await self._run(task)
            transport = request.transport
            if transport is None:
                raise ConnectionResetError
            if task.orders.drop is not None and task.attempt <= task.orders.times:
                response = await self._part(request, answer, task.orders.drop)
                transport.close()
                return response
            return await self._send(request, answer, slot)
        finally:
            slot.release()

    async def _chunks(self, request: web.Request) -> AsyncIterator[bytes]:
        async for chunk in request.content.iter_any():
            self.account.bytes_in += len(chunk)
            yield chunk

    def _understand(self, received: ReceivedJob, accept: Accept, *, priced: bool) -> Task:
        """Turn a received job into a task, or refuse it."""
        if "forbidden" in received.type:
            raise RefusedError(error_answer(403, "the token may not run this job type"))
        attempt = self._attempts.count(received.key)
        try:
            orders = read_orders(
                received.config, self._settings.retry_after, self._settings.dollars(received.type)
            )
            if attempt <= orders.shed:
                raise RefusedError(_shed(orders.retry_after))
            if orders.status is not None and attempt <= orders.times:
                raise RefusedError(_ordered(orders.status, orders.retry_after))
            plan = self._workshop.plan(received, self._chance.getrandbits(32))
        except BadRequestError as error:
            raise RefusedError(error_answer(400, str(error))) from None
        except JobError as error:
            job = received.job | _emulator_part(received, attempt)
            raise RefusedError(_failed(job, str(error), accept)) from None
        task = Task(received, orders, plan, accept, attempt, priced)
        if not _acceptable(task):
            raise RefusedError(error_answer(406, f"the outputs of {received.type} cannot be sent like this"))
        return task

    async def _run(self, task: Task) -> Answer:
        """Hold the slot for the job's latency, in which its outputs are made by a worker thread."""
        created, started = datetime.now(timezone.utc), monotonic()
        seconds = task.orders.latency
        if seconds is None:
            seconds = self._settings.draw_latency(self._chance)
        loop = asyncio.get_running_loop()
        outputs, _ = await asyncio.gather(
            loop.run_in_executor(self._executor, _make, task), asyncio.sleep(seconds)
        )
        if isinstance(outputs, JobError):
            return self._failed_task(task, created, str(outputs))
        if task.orders.fail is not None and task.attempt <= task.orders.times:
            return self._failed_task(task, created, task.orders.fail)
        self.account.ran(task.orders.price, self._completions.count(task.received.key))
        result = self._result(task, created, monotonic() - started)
        return _answer(task, result, outputs)

    def _failed_task(self, task: Task, created: datetime, reason: str) -> Answer:
        self.account.failed += 1
        job = task.received.job | {"config": task.plan.config}
        job |= _emulator_part(task.received, task.attempt)
        status = 200 if task.orders.fail_200 else 400
        return _failed(job, reason, task.accept, created=created, status=status)

    def _result(self, task: Task, created: datetime, elapsed: float) -> dict[str, Any]:
        """Return the result of a completed job (API reference, Job Result)."""
        job_type, config = task.received.type, task.plan.config
        metrics = {"elapsed": elapsed}
        if "steps" in config and elapsed > 0:
            metrics["ips"] = config["steps"] / elapsed
        result = task.received.job | job_times(created)
        result |= {"id": str(uuid4()), "state": {"current": "completed", "history": None}}
        result |= {"config": config, "metrics": metrics}
        result |= _emulator_part(task.received, task.attempt)
        if task.priced:
            product = job_type.rpartition(".")[0].replace(".", "-")
            dollars = task.orders.price
            result["price"] = None if dollars is None else {"product": product, "dollars": dollars}
        return result

    async def _send(
        self, request: web.Request, answer: Answer, slot: Slot | None = None
    ) -> web.StreamResponse:
        """Send an answer; the slot is idle again from its headers or its last byte on (`free_at`)."""
        if slot is None:
            self.account.answered(answer.status)
        response = _response(answer)
        # Released just before the bytes leave, so that a client that reacts to them finds the slot idle.
        if slot is not None and self._settings.free_at == "headers":
            slot.release()
        await response.prepare(request)
        last = b""
        for block in answer.blocks():
            if last:
                await response.write(last)
            self.account.bytes_out += len(block)
            last = block
        if slot is not None:
            slot.release()
        await response.write_eof(last)
        return response

    async def _part(self, request: web.Request, answer: Answer, drop: str) -> web.StreamResponse:
        """Send what comes before the connection is dropped: nothing, or half of the answer."""
        response = _response(answer)
        if drop == "during":
            await response.prepare(request)
            for block in answer.first_half():
                self.account.bytes_out += len(block)
                await response.write(block)
        return response


def _response(answer: Answer) -> web.StreamResponse:
    response = web.StreamResponse(status=answer.status, headers=dict(answer.headers))
    response.headers["Content-Type"] = answer.content_type
    if answer.sized:
        response.content_length = answer.size
    return response


def _make(task: Task) -> list[OutputFile] | JobError:
    """Make the outputs, in a worker thread; a job that cannot be done is told by its error."""
    try:
        return task.plan.make(task.media_type)
    except JobError as error:
        return error


def _failed(
    job: dict[str, Any],
    reason: str,
    accept: Accept,
    *,
    created: datetime | None = None,
    status: int = 400,
) -> Answer:
    """Return the result of a job that failed, in a multipart body where the client asked for one."""
    result = job | job_times(created or datetime.now(timezone.utc))
    result |= {"id": str(uuid4()), "state": {"current": "failed", "history": None}, "error": reason}
    if accept.form == "multipart":
        return multipart_answer(status, result)
    return json_answer(status, result)


def _shed(retry_after: RetryAfter) -> Answer:
    return error_answer(429, "no idle capacity", retry_after)


def _ordered(status: int, retry_after: RetryAfter) -> Answer:
    """Return an answer that a test ordered: 429 and 503 tell when to come again."""
    return error_answer(status, "ordered by the job", retry_after if status in (429, 503) else None)


def _acceptable(task: Task) -> bool:
    """Whether the outputs can be sent as the Accept header asks (API reference, Response Body)."""
    wished = task.accept.media_type
    types = task.plan.media_types
    if task.accept.form == "direct" and len(types) != 1:
        return False
    if wished is None or task.accept.form == "json":
        return True
    if task.plan.is_picture:
        return wished in FORMATS
    return task.accept.form == "multipart" or wished == types[0]


def _answer(task: Task, result: dict[str, Any], outputs: list[OutputFile]) -> Answer:
    if task.accept.form == "json":
        return json_answer(200, result)
    if task.accept.form == "direct":
        return Answer(200, outputs[0].content_type, (outputs[0],), sized=task.plan.sized)
    last = task.orders.job_part == "last"
    return multipart_answer(200, result, outputs, job_last=last, sized=task.plan.sized)


def _emulator_part(received: ReceivedJob, attempt: int) -> dict[str, Any]:
    """Return what a job result tells of the request as the emulator read it."""
    inputs = [item.described() for item in received.inputs]
    return {"emulator": {"inputs": inputs, "attempt": attempt}}
