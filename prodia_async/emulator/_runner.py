"""Running a job: what it asks for, whether it may, what comes of it, and what its result tells."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Mapping
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from msgspec import UNSET

from prodia_async.emulator import _answer as answers
from prodia_async.emulator import _schemas as schemas
from prodia_async.emulator._account import Counts
from prodia_async.emulator._answer import RefusedError, error_answer, failed_answer, refused_result
from prodia_async.emulator._faults.table import FAULTS, Dice, Fault
from prodia_async.emulator._jobs import plan
from prodia_async.emulator._orders import Orders, read_orders
from prodia_async.emulator._record import Replay
from prodia_async.emulator._request import Accept, BadRequestError, JobError, ReceivedJob
from prodia_async.emulator._tasks import Finished, Task, described

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from prodia_async.emulator._account import EmulatorStats
    from prodia_async.emulator._options import Options
    from prodia_async.emulator._plans import Plan


class Runner:
    """Understands jobs, runs them, and enters them in the account."""

    def __init__(self, options: Options, account: EmulatorStats, executor: Executor) -> None:
        self.dice: Dice = Dice(options.faults or {}, options.seed)
        self.orders: Orders = Orders(retry_after=options.retry_after, fault_time=options.fault_time)
        self._options = options
        self._replay = None if options.replay is None else Replay(Path(options.replay))
        self._account = account
        self._executor = executor
        self._chance = random.Random(options.seed)  # noqa: S311 - repeatable latencies and seeds, no secret
        self._attempts, self._completions, self._uploads = Counts(), Counts(), Counts()

    def upload_fault(self, received: ReceivedJob) -> tuple[Fault, Orders] | None:
        """Return the fault that a job orders for its own upload; `received` may lack its inputs."""
        try:
            orders = read_orders(received, self.orders)
        except JobError:
            return None
        fault = _fault(orders, 0, None)
        if fault is None or fault.stage != "upload" or self._uploads.count(received.key) > orders.times:
            return None
        return fault, orders

    def understand(
        self, received: ReceivedJob, accept: Accept, *, priced: bool, met: Fault | None = None
    ) -> Task:
        """Turn a received job into a task; it meets the fault `met` by chance. Raises RefusedError."""
        if "forbidden" in received.type:
            raise RefusedError(error_answer(403, "the token may not run this job type"))
        attempt = self._attempts.count(received.key)
        try:
            orders = read_orders(received, self.orders)
            if attempt <= orders.shed:
                raise RefusedError(answers.refusal(429, "no idle capacity", orders.retry_after))
            if orders.status is not None and attempt <= orders.times:
                raise RefusedError(answers.refusal(orders.status, "ordered by the job", orders.retry_after))
            fault = met if orders.fault is None else _fault(orders, attempt, met)
            if fault is not None and fault.stage == "refusal":
                self._account.faulted(fault.name)
                raise RefusedError(fault.act(orders.retry_after))
            if self._options.strict:
                schemas.check(received.type, received.config)
            seed = self._chance.getrandbits(32)
            replay = self._replay
            planned = plan(received, seed, orders.moderation) if replay is None else replay.plan(received)
        except BadRequestError as error:
            raise RefusedError(error_answer(400, str(error))) from None
        except JobError as error:
            job = received.job | {"emulator": described(received, attempt)}
            raise RefusedError(failed_answer(refused_result(job, str(error)), accept)) from None
        dollars = self._dollars(received.type, planned) if orders.price is UNSET else orders.price
        return Task(received, orders, planned, accept, attempt, priced, dollars, fault)

    async def run(self, task: Task) -> Finished:
        """Spend the job's latency, in which its outputs are made by a worker thread; bill it at its end."""
        started, planned = monotonic(), task.plan
        loop = asyncio.get_running_loop()
        made = None if planned.make is None else loop.run_in_executor(self._executor, _make, task)
        seconds = self._latency(planned) if task.orders.latency is None else task.orders.latency
        if seconds:
            await asyncio.sleep(seconds)
        finished = Finished(planned.ready)
        if made is not None:
            waits = monotonic()
            finished = await made
            self._account.drawing_seconds += monotonic() - waits
        if planned.recorded is not None and planned.recorded.result.get("error"):
            finished = Finished(error=str(planned.recorded.result["error"]), status=400)
        if task.orders.fail is not None and task.within_times:
            finished = Finished(error=task.orders.fail, status=400)
        if finished.error is not None:
            self._account.failed += 1
            return finished
        self._account.ran(task.dollars, self._completions.count(task.received.key))
        elapsed = monotonic() - started
        if planned.recorded is not None:
            finished.metrics = planned.recorded.result.get("metrics", {})
            return finished
        finished.metrics = {"elapsed": elapsed}
        if "steps" in planned.config and elapsed > 0:
            finished.metrics["ips"] = planned.config["steps"] / elapsed
        return finished

    def _latency(self, planned: Plan) -> float:
        """Return the seconds that one job takes: lognormal around the mean `latency`, or as recorded."""
        if planned.recorded is not None:
            return 0 if self._options.at_once else planned.recorded.seconds
        mean, sigma = self._options.latency, self._options.latency_sigma
        if not mean or not sigma:
            return mean
        return self._chance.lognormvariate(math.log(mean) - sigma**2 / 2, sigma)

    def _dollars(self, job_type: str, planned: Plan) -> float | None:
        price = self._options.price
        if planned.recorded is not None and planned.recorded.dollars is not None:
            return planned.recorded.dollars
        if not planned.billed and not isinstance(price, Mapping | str):
            return price
        costs = [
            price.get(name) if isinstance(price, Mapping) else schemas.dollars(name, config, price)
            for name, config in planned.billed or ((job_type, planned.config),)
        ]
        known = [cost for cost in costs if cost is not None]
        return sum(known) if known else None


def _fault(orders: Orders, attempt: int, met: Fault | None) -> Fault | None:
    """Return the fault that a request to run a job meets: the one that is ordered, or by chance."""
    if orders.fault is None or orders.fault_at != "submission" or attempt > orders.times:
        return met
    return FAULTS[orders.fault]


def _make(task: Task) -> Finished:
    """Make the outputs, in a worker thread; whatever goes wrong is told by its error."""
    try:
        return Finished(tuple(task.plan.make(task.media_type)) if task.plan.make is not None else ())
    except JobError as error:
        return Finished(error=str(error), status=400)
    except Exception as error:  # noqa: BLE001 - no request without an account, whatever a picture does
        return Finished(error=f"internal error: {type(error).__name__}", status=500)
