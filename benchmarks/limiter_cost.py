"""What the limiter costs: bytes for each turn that waits, and CPU from `join` to the end of the permit.

    python benchmarks/limiter_cost.py [--jobs 20000] [--rounds 3]

Goals, at any length of the line: at most 1,024 bytes for each turn that waits, its future included; less than
20 µs from `join` to the permit's end. "pool" drives the pool by hand and has no event loop; "asyncio" is what
a program pays: `await turn.permit()` in a task for each job, less what the same task costs without a limiter.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import random
import time
import tracemalloc
from collections import deque
from typing import TYPE_CHECKING

from prodia_async._pacing.clock import SystemClock
from prodia_async._pacing.limiter import Pool
from prodia_async._settings import Adaptive, Fixed

if TYPE_CHECKING:
    from prodia_async._pacing.turns import Permit, Turn

WAITING = (100, 10_000, 100_000)
SETTINGS = {"Adaptive": Adaptive(), "Fixed": Fixed()}
BYTES_GOAL, CPU_GOAL = 1024, 20.0


class StillClock:
    """A clock that stands still and forgets its timers: what they cost is the event loop's."""

    def monotonic(self) -> float:
        return 0.0

    def wall(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        raise NotImplementedError

    def call_at(self, *_: object) -> StillClock:
        return self

    def cancel(self) -> None:
        pass


class Line:
    """Jobs that wait in a pool without an event loop."""

    def __init__(self, settings: Adaptive | Fixed) -> None:
        self.pool = Pool(settings, StillClock(), random.Random(1))
        self.running: deque[tuple[Turn, Permit]] = deque()

    def add(self) -> None:
        Job(self, self.pool.join("a", bounded=False))

    def end_one(self) -> None:
        turn, permit = self.running.popleft()
        permit.body_sent()
        permit.headers()
        permit.success()
        turn.leave()


class Job:
    """What takes the permit in place of a future."""

    __slots__ = ("got", "line", "turn")

    def __init__(self, line: Line, turn: Turn) -> None:
        self.line, self.turn, self.got = line, turn, False
        turn.wait(self)

    def done(self) -> bool:
        return self.got

    def set_result(self, permit: Permit) -> None:
        self.got = True
        self.line.running.append((self.turn, permit))


def cpu_of_pool(settings: Adaptive | Fixed, waiting: int, jobs: int) -> float:
    """Return µs a job while `waiting` others wait."""
    line = Line(settings)
    for _ in range(waiting):
        line.add()
    gc.collect()
    began = time.process_time()
    for _ in range(jobs):
        line.add()
        line.end_one()
    return (time.process_time() - began) / jobs * 1e6


async def bare() -> None:
    await asyncio.sleep(0)


async def limited(pool: Pool) -> None:
    with pool.join("a", bounded=False) as turn:
        permit = await turn.permit()
        permit.body_sent()
        permit.headers()
        permit.success()


async def cpu_of_tasks(pool: Pool | None, waiting: int) -> float:
    """Return µs a job for `waiting` jobs that are started at once."""
    gc.collect()
    began = time.process_time()
    tasks = [asyncio.ensure_future(bare() if pool is None else limited(pool)) for _ in range(waiting)]
    await asyncio.gather(*tasks)
    return (time.process_time() - began) / waiting * 1e6


def cpu_of_asyncio(settings: Adaptive | Fixed, waiting: int, jobs: int) -> float:
    """Return µs a job, over as many batches of `waiting` jobs as make up `jobs`."""

    async def measure() -> float:
        total = 0.0
        batches = max(1, jobs // waiting)
        for _ in range(batches):
            pool = Pool(settings, SystemClock(), random.Random(1))
            total += await cpu_of_tasks(pool, waiting) - await cpu_of_tasks(None, waiting)
        return total / batches

    return asyncio.run(measure())


def bytes_of(settings: Adaptive | Fixed, waiting: int) -> float:
    """Return the bytes of each turn that waits, its future included."""

    async def measure() -> float:
        loop = asyncio.get_running_loop()
        pool = Pool(settings, StillClock(), random.Random(1))
        turns: list[Turn | None] = [None] * waiting
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        for index in range(waiting):
            turn = turns[index] = pool.join("a", bounded=False)
            turn.wait(loop.create_future())
        used = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        return used / waiting

    return asyncio.run(measure())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--jobs", type=int, default=20_000, help="jobs in each measurement of CPU")
    parser.add_argument("--rounds", type=int, default=3, help="measurements, of which the least counts")
    options = parser.parse_args()
    print(f"{'':10}{'waiting':>10}{'bytes each':>12}{'pool µs':>10}{'asyncio µs':>12}")
    met = True
    for name, settings in SETTINGS.items():
        for waiting in WAITING:
            size = bytes_of(settings, waiting)
            pool, tasks = (
                min(cpu(settings, waiting, options.jobs) for _ in range(options.rounds))
                for cpu in (cpu_of_pool, cpu_of_asyncio)
            )
            met = met and size <= BYTES_GOAL and max(pool, tasks) < CPU_GOAL
            print(f"{name:10}{waiting:10,}{size:12.0f}{pool:10.1f}{tasks:12.1f}")
    print(f"goals: {BYTES_GOAL:,} bytes, {CPU_GOAL:.0f} µs: {'met' if met else 'MISSED'}")


if __name__ == "__main__":
    main()
