"""`/v2/job/async`: a job is taken, runs by itself, and is asked for by its id."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

from prodia_async.emulator.answer import Answer, error_answer, json_answer
from prodia_async.emulator.faults.delivery import deliver
from prodia_async.emulator.faults.kinds import Lost, Outputs, Refusal, Result
from prodia_async.emulator.faults.table import FAULTS
from prodia_async.emulator.results import job_result, price_part
from prodia_async.emulator.runner import RefusedError, ordered_answer
from prodia_async.emulator.sending import drop, send
from prodia_async.emulator.service import JobRoute, check_token
from prodia_async.emulator.store import Store, StoredJob, by_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import web

    from prodia_async.emulator.capacity import Slot
    from prodia_async.emulator.faults.kinds import Fault
    from prodia_async.emulator.runner import Runner
    from prodia_async.emulator.tasks import Task

_SYNC_ONLY = "sync-only"


class AsynchronousRoute(JobRoute):
    """Takes jobs, runs each in a task of its own, and keeps its outputs until it expires."""

    def __init__(self, runner: Runner) -> None:
        super().__init__(runner)
        self.store = Store(self._settings.async_limit)
        self._running: set[asyncio.Task[None]] = set()

    async def aclose(self) -> None:
        """Cancel the jobs that run, and forget all."""
        for running in self._running:
            running.cancel()
        if self._running:
            await asyncio.wait(self._running)
        self.store.clear()

    async def get_state(self, request: web.Request) -> web.StreamResponse:
        """Answer `GET .../job.state.current`: the state as plain text."""
        self._account.polls += 1
        return await self._tell(request, "state", _state_answer)

    async def get_result(self, request: web.Request) -> web.StreamResponse:
        """Answer `GET .../job.json`: the job result."""
        priced = request.query.get("price") == "true"
        return await self._tell(request, "result", lambda job: json_answer(200, job.told(priced=priced)))

    async def get_names(self, request: web.Request) -> web.StreamResponse:
        """Answer `GET .../output`: the names of the outputs."""
        return await self._tell(request, "names", lambda job: json_answer(200, list(job.outputs)))

    async def get_output(self, request: web.Request) -> web.StreamResponse:
        """Answer `GET .../output/{filename}`: the bytes of an output."""
        try:
            job = self._find(request)
            answer = _output_answer(job, request.match_info["filename"])
        except RefusedError as refused:
            return await send(request, refused.answer, self._account)
        job.downloads += 1
        if job.orders.drop == "during" and job.downloads <= job.orders.times:
            return await drop(request, answer, self._account, halfway=True)
        fault, terms = self._met(job, "output"), job.orders.terms
        on_end = None if isinstance(fault, Lost | Refusal) else self._account.downloaded
        return await deliver(request, answer, fault, terms, self._account, on_end=on_end)

    def _crowded(self) -> str | None:
        return "too many asynchronous jobs" if self.store.full else super()._crowded()

    async def _serve(self, request: web.Request, task: Task) -> web.StreamResponse:
        _check(task)
        job = self._start(task, self._take_slot(task))
        answer = json_answer(201, job.result)
        if task.orders.drop == "before" and task.within_times:
            return await drop(request, answer, self._account, halfway=False)
        return await deliver(request, answer, task.fault, task.orders.terms, self._account)

    def _start(self, task: Task, slot: Slot) -> StoredJob:
        """Let the job run by itself, and its slot be idle when it has ended, however it ends."""
        result = job_result(task, "processing", lifetime=self._lifetime(task))
        job = StoredJob(result, task.orders, price_part(task), task.priced, task.plan.sized, fault=task.fault)
        self.store.add(job)
        self._account.submitted += 1
        running = asyncio.create_task(self._run(task, job))
        self._running.add(running)
        running.add_done_callback(self._running.discard)
        running.add_done_callback(lambda _: slot.release())
        return job

    async def _run(self, task: Task, job: StoredJob) -> None:
        finished = await self._runner.run(task)
        state = "processed" if finished.error is None else "failed"
        lifetime = self._lifetime(task)
        outputs = finished.outputs
        if isinstance(task.fault, Outputs):
            self._account.faulted(task.fault.name)
            outputs = task.fault.change(outputs)
        job.outputs = by_name(outputs)
        job.result = job_result(task, state, finished, lifetime=lifetime)
        self.store.expire_in(job.id, lifetime.total_seconds())

    def _lifetime(self, task: Task) -> timedelta:
        ordered = task.orders.lifetime
        return timedelta(seconds=self._settings.async_lifetime if ordered is None else ordered)

    async def _tell(
        self, request: web.Request, place: str, tell: Callable[[StoredJob], Answer]
    ) -> web.StreamResponse:
        try:
            job = self._find(request)
        except RefusedError as refused:
            return await send(request, refused.answer, self._account)
        answer, fault = tell(job), self._met(job, place)
        if isinstance(fault, Result) and place == "result":
            self._account.faulted(fault.name)
            answer = fault.alone(answer)
        return await deliver(request, answer, fault, job.orders.terms, self._account)

    def _met(self, job: StoredJob, place: str) -> Fault | None:
        """Return the fault that a request about a job meets: the one that is ordered, or by chance."""
        if job.orders.fault is not None and job.orders.fault_at == place:
            job.faulted += 1
            if job.faulted <= job.orders.times:
                return FAULTS[job.orders.fault]
        if place == "result" and isinstance(job.fault, Result):
            return job.fault
        return self._runner.dice.throw()

    def _find(self, request: web.Request) -> StoredJob:
        """Return the job that a request is about, or refuse it, as the job may have ordered."""
        check_token(request, self._settings)
        job = self.store.find(request.match_info["id"])
        if job is None:
            raise RefusedError(error_answer(404, "no such job, or it has expired"))
        job.requests += 1
        status = job.orders.poll_status
        if status is not None and job.requests <= job.orders.poll_times:
            raise RefusedError(ordered_answer(status, job.orders.retry_after))
        return job


def _check(task: Task) -> None:
    """Refuse what cannot be run asynchronously, or not with the asked type of output."""
    job_type, choices = task.received.type, task.plan.choices
    if _SYNC_ONLY in job_type or not task.orders.asynchronous:
        raise RefusedError(error_answer(400, f"{job_type} cannot be run asynchronously"))
    if task.accept.media_type is not None and choices and task.accept.media_type not in choices:
        raise RefusedError(error_answer(406, f"the outputs of {job_type} cannot be made like this"))


def _state_answer(job: StoredJob) -> Answer:
    state = job.state
    if job.orders.state is not None and state == "processing":
        state = job.orders.state
    return Answer(200, "text/plain; charset=utf-8", (state.encode("utf-8", "replace"),))


def _output_answer(job: StoredJob, name: str) -> Answer:
    output = job.outputs.get(name)
    if output is None:
        raise RefusedError(error_answer(404, "the job has no such output"))
    return Answer(200, output.content_type, (output,), sized=job.sized)
