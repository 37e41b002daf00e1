"""The asynchronous jobs that are kept until they expire, and what is told of them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from prodia_async.emulator._answer import Answer, RefusedError, error_answer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from aiohttp import web

    from prodia_async.emulator._faults.table import Fault
    from prodia_async.emulator._orders import Orders
    from prodia_async.emulator._plans import OutputFile
    from prodia_async.emulator._tasks import Task


class StoredJob:
    """An asynchronous job as it is now; what it was asked for, without its inputs, which are not kept.

    `requests` about it and `downloads` of its outputs are counted, and those requests, `faulted`, for which
    a fault is ordered.
    """

    def __init__(self, task: Task, result: dict[str, Any]) -> None:
        self.id: str = task.id
        self.orders: Orders = task.orders
        self.fault: Fault | None = task.fault
        self.sized: bool = task.plan.sized
        self.result = result
        self.outputs: Mapping[str, OutputFile] = {}
        self.requests = self.downloads = self.faulted = 0
        self._price = task.price
        self._priced = task.priced

    @property
    def state(self) -> str:
        """`processing`, `processed` or `failed`."""
        return str(self.result["state"]["current"])

    def told(self, *, priced: bool) -> dict[str, Any]:
        """Return the job result, with the price of a processed job where it is asked for."""
        shown = self.state == "processed" and (priced or self._priced)
        return self.result | self._price if shown else self.result


class Store:
    """Keeps jobs. One that has ended expires; until then it stays, however long it runs."""

    def __init__(self) -> None:
        self._jobs: dict[str, StoredJob] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self.expired: int = 0

    def __len__(self) -> int:
        return len(self._jobs)

    def add(self, job: StoredJob) -> None:
        """Keep a job."""
        self._jobs[job.id] = job

    def find(self, job_id: str) -> StoredJob | None:
        """Return the job of this id; None where it is unknown or has expired."""
        return self._jobs.get(job_id)

    def expire_in(self, job_id: str, seconds: float) -> None:
        """Remove a job that has ended after so many seconds."""
        loop = asyncio.get_running_loop()
        self._timers[job_id] = loop.call_later(seconds, self._expire, job_id)

    def clear(self) -> None:
        """Remove all jobs."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._jobs.clear()

    def _expire(self, job_id: str) -> None:
        del self._timers[job_id], self._jobs[job_id]
        self.expired += 1


def by_name(outputs: Iterable[OutputFile]) -> dict[str, OutputFile]:
    """Return outputs by the names under which they can be asked for.

    Where a name is missing, or was given before, a UUID stands for it: each output can be reached.
    """
    named: dict[str, OutputFile] = {}
    for output in outputs:
        # As it is written in JSON, which cannot carry half of a surrogate pair.
        name = (output.filename or "").encode("utf-8", "replace").decode()
        named[name if name and name not in named else str(uuid4())] = output
    return named


def is_priced(request: web.Request) -> bool:
    """Whether a request asks for the price."""
    return request.query.get("price") == "true"


def result_of(job: StoredJob, request: web.Request) -> dict[str, Any]:
    """Return the job result as it is told now, with the price where that is asked for."""
    return job.told(priced=is_priced(request))


def state_of(job: StoredJob, _request: web.Request) -> Answer:
    """Return the state as plain text."""
    state = job.state
    if job.orders.state is not None and state == "processing":
        state = job.orders.state
    return Answer(200, "text/plain; charset=utf-8", (state.encode("utf-8", "replace"),))


def output_of(job: StoredJob, request: web.Request) -> Answer:
    """Return the bytes of an output. Raises RefusedError where there is none of that name."""
    output = job.outputs.get(request.match_info["filename"])
    if output is None:
        raise RefusedError(error_answer(404, "the job has no such output"))
    return Answer(200, output.content_type, (output,), sized=job.sized)
