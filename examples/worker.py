"""A worker that runs the jobs of a queue for days; several on one machine may share the queue.

    python examples/worker.py add queue.db < jobs.jsonl
    python examples/worker.py run queue.db --out results/ --port 9100
    python examples/worker.py list queue.db

The queue is a SQLite table (worker_queue.py). docs/workers.md tells of signals and of what may be paid twice.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import os
import signal
import sys
import time
from contextlib import AsyncExitStack, closing
from typing import TYPE_CHECKING

import anyio
from worker_metrics import serve
from worker_queue import Queue, Row, add, show

import prodia_async as api

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

PASSING = (api.CapacityError, api.ServerError, api.TransportError, api.ProtocolError, api.ClientClosedError)
"""Not the row's own fault: it goes back, unless it may have been paid for twice by then."""
EVERY_ROWS = (api.AuthenticationError, api.OutputError)
"""The next row would meet these too, and on a full disk be paid for nothing: the worker stops."""


class Worker:
    """Claims rows, runs them, and writes down what came of each."""

    def __init__(self, queue: Queue, prodia: api.Prodia, options: argparse.Namespace) -> None:
        self.queue, self.prodia, self.options = queue, prodia, options
        self.running = self.put_back = 0
        self.renewed = time.monotonic()
        self.trouble = False
        self.stopping, self.news = asyncio.Event(), asyncio.Event()

    async def run(self) -> int:
        """Work until a signal, or until nothing is left, and return the exit code."""
        async with AsyncExitStack() as stack:
            if self.options.port is not None:
                server = serve(self.options.host, self.options.port, self.prodia, self.queue, self.health)
                say(f"metrics at {await stack.enter_async_context(server)}/metrics")
            chores = await stack.enter_async_context(anyio.create_task_group())
            for chore in (self.heed_signals, self.renew, self.report):
                chores.start_soon(chore)
            async with anyio.create_task_group() as rows:
                await self.claim(rows)
                unfinished = await self.prodia.aclose(drain=self.options.drain)
            chores.cancel_scope.cancel()
        paid = sum(outcome.error.may_have_run for outcome in unfinished if outcome.error)
        say(f"stopped: {self.put_back} rows not finished, {paid} of them cut when they may have been billed")
        return 1 if self.trouble else os.EX_TEMPFAIL if self.put_back else 0

    async def claim(self, rows: TaskGroup) -> None:
        """Keep twice as many rows as may be in flight: so the limiter sees a line, and others find rows."""
        most = 2 * self.options.max_concurrency
        while not self.stopping.is_set():
            self.news.clear()
            if self.running <= most * 3 // 4:  # not a transaction for each row
                for row in await self.queue.claim(most - self.running):
                    self.running += 1
                    rows.start_soon(self.work, row)
            if self.options.until_empty and not self.running and not await self.queue.is_open():
                return
            with anyio.move_on_after(1):
                await self.news.wait()

    async def work(self, row: Row) -> None:
        """Run a row and write down what came of it. Nothing that a job raises ends the worker."""
        state, pause, result, error = "done", 0.0, None, None
        try:
            result = await self.result(row)
        except Exception as failure:  # noqa: BLE001 - a row may hold anything, and the others must run
            error = failure
            state, pause = self.judge(row, error)
            say(f"row {row.id} is {state}, and may have run {row.may_have_run} times in vain: {error}")
        if not await self.queue.settle(row, state, result=result, error=error, pause=pause):
            say(f"row {row.id} was another worker's by now: it may have been paid for twice")
        error = None  # its traceback refers to this frame
        self.running -= 1
        self.news.set()

    async def result(self, row: Row) -> api.JobResult:
        """Run its job, or fetch what a submitted job has brought. Raises ProdiaError."""
        job = row.job()
        self.go_on()
        if job.mode == "sync":
            return await self.prodia.run(job, to=api.Folder(self.options.out))
        if row.job_id is not None:
            handle = self.prodia.handle(row.job_id, custom_id=job.custom_id)
        else:
            handle = await self.prodia.submit(job)
            row.job_id = handle.id
            await self.queue.submitted(row)
            self.go_on()
        return await handle.result(to=api.Folder(self.options.out))

    def go_on(self) -> None:
        """Raise ClientClosedError once the worker stops: a client that is used again would open again."""
        if self.stopping.is_set():
            raise api.ClientClosedError("the worker stopped before this row's turn")

    def judge(self, row: Row, error: Exception) -> tuple[str, float]:
        """Return what a row without a result is now, and the seconds until it may be claimed again."""
        again, closed = isinstance(error, PASSING), isinstance(error, api.ClientClosedError)
        in_vain = row.job_id is None and getattr(error, "may_have_run", True)
        if isinstance(error, EVERY_ROWS):
            again = not in_vain
            self.trouble = True
            self.stop()
        if isinstance(error, api.NotFoundError) and row.job_id is not None:  # it has expired
            again, in_vain, row.job_id = True, True, None
        row.may_have_run += in_vain
        self.put_back += closed
        state = "failed" if not again else "unsure" if row.may_have_run > 1 else "ready"
        return state, 0 if closed else self.options.pause

    def stop(self) -> None:
        """Claim no more rows, and let those in flight end."""
        self.stopping.set()
        self.news.set()

    async def heed_signals(self) -> None:
        """Stop at the first signal; at the second, cut what is in flight."""
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async for _ in signals:
                if self.stopping.is_set():
                    await self.prodia.aclose()
                self.stop()

    async def renew(self) -> None:
        """Keep the claimed rows from other workers, which take them when the lease ends."""
        while True:
            await anyio.sleep(self.options.lease / 3)
            await self.queue.renew()
            self.renewed = time.monotonic()

    async def report(self) -> None:
        """Say now and then how things stand."""
        while True:
            await anyio.sleep(self.options.report)
            rows = ", ".join(f"{count} {state}" for state, count in (await self.queue.counts()).items())
            stats = self.prodia.stats()
            say(f"{rows}; {stats.in_flight} in flight, {stats.waiting} waiting, {stats.shed} shed")

    def health(self) -> tuple[bool, dict[str, float]]:
        """Return whether the leases are renewed in time, and how things stand."""
        age = time.monotonic() - self.renewed
        told = {"stopping": self.stopping.is_set(), "running": self.running, "renewed": round(age, 1)}
        return age < self.options.lease, told


say = functools.partial(print, file=sys.stderr, flush=True)


async def run(queue: Queue, options: argparse.Namespace) -> int:
    """Run rows until SIGTERM or Ctrl-C, if outputs can be written at all."""
    await anyio.Path(options.out).mkdir(parents=True, exist_ok=True)
    async with anyio.TemporaryFile(dir=options.out):
        pass
    retry = api.Retry(patience=600)  # then another row has the turn
    async with api.Prodia(max_concurrency=options.max_concurrency, retry=retry, price=True) as prodia:
        return await Worker(queue, prodia, options).run()


def main() -> int:
    """Do what the command line says, and return the exit code."""
    parser = argparse.ArgumentParser(description="Run the jobs of a queue.")
    commands = parser.add_subparsers(required=True)
    for name, action in (("add", add), ("list", show), ("run", lambda *given: asyncio.run(run(*given)))):
        command = commands.add_parser(name)
        command.add_argument("queue", help="the SQLite file")
        command.set_defaults(action=action, lease=60.0)
    option = command.add_argument
    option("--out", required=True, help="folder for the outputs")
    option("--max-concurrency", type=int, default=64, help="most jobs in flight (64)")
    option("--drain", type=float, default=25, help="seconds for jobs in flight to end after a signal (25)")
    option("--lease", type=float, default=60, help="seconds until a dead worker's rows come back (60)")
    option("--pause", type=float, default=60, help="seconds until a row is run again (60)")
    option("--report", type=float, default=10, help="seconds between two lines on stderr (10)")
    option("--port", type=int, help="serve /metrics and /healthz there; 0 takes a free port")
    option("--host", default="127.0.0.1", help="to be reached from outside a container: 0.0.0.0")
    option("--until-empty", action="store_true", help="end when no row is ready or claimed")
    options = parser.parse_args()
    with closing(Queue(options.queue, options.lease)) as queue:
        return int(options.action(queue, options))


if __name__ == "__main__":
    sys.exit(main())
