"""Running a job: what it asks for, whether it may, and what comes of it."""

from __future__ import annotations

import asyncio
import random
from time import monotonic
from typing import TYPE_CHECKING

from prodia_async.emulator.account import Counts
from prodia_async.emulator.answer import Answer, error_answer
from prodia_async.emulator.faults.kinds import Refusal, Upload
from prodia_async.emulator.faults.table import FAULTS, Dice
from prodia_async.emulator.jobs import OutputFile, Workshop
from prodia_async.emulator.orders import Orders, read_orders
from prodia_async.emulator.request import BadRequestError, JobError, ReceivedJob
from prodia_async.emulator.results import failed_answer, refused_result
from prodia_async.emulator.tasks import Finished, Task

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from prodia_async.emulator.account import Account
    from prodia_async.emulator.answer import RetryAfter
    from prodia_async.emulator.capacity import Slots
    from prodia_async.emulator.faults.kinds import Fault
    from prodia_async.emulator.faults.line import Terms
    from prodia_async.emulator.media import Accept
    from prodia_async.emulator.settings import Settings


class RefusedError(Exception):
    """The request is answered with an error, and nothing runs."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


class Runner:
    """Understands jobs, runs them, and enters them in the account."""

    def __init__(
        self, settings: Settings, slots: Slots, account: Account, executor: Executor, seed: int
    ) -> None:
        self.settings = settings
        self.slots = slots
        self.account = account
        self._executor = executor
        self._chance = random.Random(seed)  # noqa: S311 - repeatable latencies and seeds, no secret
        self._workshop = Workshop()
        self._attempts, self._completions, self._uploads = Counts(), Counts(), Counts()
        self.dice = Dice(settings.faults, seed)

    def upload_fault(self, received: ReceivedJob) -> tuple[Upload, Terms] | None:
        """Return the fault that a job orders for its own upload; `received` may lack its inputs."""
        try:
            orders = self._orders(received)
        except JobError:
            return None
        fault = _fault(orders, 0, None)
        if not isinstance(fault, Upload) or self._uploads.count(received.key) > orders.times:
            return None
        return fault, orders.terms

    def understand(
        self, received: ReceivedJob, accept: Accept, *, priced: bool, met: Fault | None = None
    ) -> Task:
        """Turn a received job into a task; it meets the fault `met` by chance. Raises RefusedError."""
        if "forbidden" in received.type:
            raise RefusedError(error_answer(403, "the token may not run this job type"))
        attempt = self._attempts.count(received.key)
        try:
            orders = self._orders(received)
            if attempt <= orders.shed:
                raise RefusedError(shed_answer(orders.retry_after))
            if orders.status is not None and attempt <= orders.times:
                raise RefusedError(ordered_answer(orders.status, orders.retry_after))
            fault = _fault(orders, attempt, met)
            if isinstance(fault, Refusal):
                self.account.faulted(fault.name)
                raise RefusedError(fault.answer(orders.retry_after))
            plan = self._workshop.plan(received, self._chance.getrandbits(32))
        except BadRequestError as error:
            raise RefusedError(error_answer(400, str(error))) from None
        except JobError as error:
            job = received.job | {"emulator": received.described(attempt)}
            raise RefusedError(failed_answer(refused_result(job, str(error)), accept)) from None
        return Task(received, orders, plan, accept, attempt, priced, fault)

    def _orders(self, received: ReceivedJob) -> Orders:
        return read_orders(received, self.settings.terms, self.settings.dollars(received.type))

    async def run(self, task: Task) -> Finished:
        """Spend the job's latency, in which its outputs are made by a worker thread; bill it at its end."""
        started, seconds = monotonic(), task.orders.latency
        if seconds is None:
            seconds = self.settings.draw_latency(self._chance)
        loop = asyncio.get_running_loop()
        outputs, _ = await asyncio.gather(
            loop.run_in_executor(self._executor, _make, task), asyncio.sleep(seconds)
        )
        if task.orders.fail is not None and task.within_times:
            outputs = JobError(task.orders.fail)
        if isinstance(outputs, JobError):
            self.account.failed += 1
            return Finished(error=str(outputs))
        self.account.ran(task.orders.price, self._completions.count(task.received.key))
        elapsed = monotonic() - started
        metrics = {"elapsed": elapsed}
        if "steps" in task.plan.config and elapsed > 0:
            metrics["ips"] = task.plan.config["steps"] / elapsed
        return Finished(tuple(outputs), metrics)


def _fault(orders: Orders, attempt: int, met: Fault | None) -> Fault | None:
    """Return the fault that a request to run a job meets: the one that is ordered, or by chance."""
    if orders.fault is None or orders.fault_at != "submission" or attempt > orders.times:
        return met
    return FAULTS[orders.fault]


def shed_answer(retry_after: RetryAfter, reason: str = "no idle capacity") -> Answer:
    """Return a 429."""
    return error_answer(429, reason, retry_after)


def ordered_answer(status: int, retry_after: RetryAfter) -> Answer:
    """Return an answer that a test ordered: 429 and 503 tell when to come again."""
    return error_answer(status, "ordered by the job", retry_after if status in (429, 503) else None)


def _make(task: Task) -> list[OutputFile] | JobError:
    """Make the outputs, in a worker thread; a job that cannot be done is told by its error."""
    try:
        return task.plan.make(task.media_type)
    except JobError as error:
        return error
