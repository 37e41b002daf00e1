"""What the limiter costs: bytes for each turn that waits, and CPU from `join` to the end of the turn.

    python benchmarks/limiter_cost.py [--jobs 20000] [--rounds 3]

Goals, at any length of the line: at most 1,024 bytes for each turn that waits, its future included; less than
20 µs from `join` to the turn's end. "by hand" has no event loop; "asyncio" is what a program pays: `take` or
`await turn.wait()` in a task for each job, less what the same task costs without a limiter.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import random
import time
import tracemalloc
from collections import deque

from prodia_async._pacing.clock import SystemClock
from prodia_async._pacing.limiter import Limiter
from prodia_async._pacing.turn import Turn
from prodia_async._settings import Adaptive, Fixed

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


def join(limiter: Limiter) -> Turn:
    return Turn(limiter=limiter, line=limiter.join("a", bounded=False))


class Line:
    """Jobs that wait in a limiter without an event loop."""

    def __init__(self, settings: Adaptive | Fixed) -> None:
        self.limiter = Limiter(settings, StillClock(), random.Random(1))
        self.running: deque[Turn] = deque()

    def add(self) -> None:
        Job(self, join(self.limiter))

    def end_one(self) -> None:
        turn = self.running.popleft()
        turn.body_sent()
        turn.headers()
        turn.success()
        turn.leave()


class Job:
    """What is told of the slot in place of a future."""

    __slots__ = ("got", "line", "turn")

    def __init__(self, line: Line, turn: Turn) -> None:
        self.line, self.turn, self.got = line, turn, False
        if turn.take():
            self.set_result(None)
        else:
            turn.ask(self)

    def done(self) -> bool:
        return self.got

    def set_result(self, _: None) -> None:
        self.got = True
        self.line.running.append(self.turn)


def cpu_by_hand(settings: Adaptive | Fixed, waiting: int, jobs: int) -> float:
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


async def limited(limiter: Limiter) -> None:
    turn = join(limiter)
    if not turn.take():
        await turn.wait()
    turn.body_sent()
    turn.headers()
    await bare()
    turn.success()
    turn.leave()


async def cpu_of_tasks(limiter: Limiter | None, waiting: int) -> float:
    """Return µs a job for `waiting` jobs that are started at once."""
    gc.collect()
    began = time.process_time()
    tasks = [asyncio.ensure_future(bare() if limiter is None else limited(limiter)) for _ in range(waiting)]
    await asyncio.gather(*tasks)
    return (time.process_time() - began) / waiting * 1e6


def cpu_of_asyncio(settings: Adaptive | Fixed, waiting: int, jobs: int) -> float:
    """Return µs a job, over as many batches of `waiting` jobs as make up `jobs`."""

    async def measure() -> float:
        total = 0.0
        batches = max(1, jobs // waiting)
        for _ in range(batches):
            limiter = Limiter(settings, SystemClock(), random.Random(1))
            total += await cpu_of_tasks(limiter, waiting) - await cpu_of_tasks(None, waiting)
        return total / batches

    return asyncio.run(measure())


def bytes_of(settings: Adaptive | Fixed, waiting: int) -> float:
    """Return the bytes of each turn that waits, its future included."""

    async def measure() -> float:
        loop = asyncio.get_running_loop()
        limiter = Limiter(settings, StillClock(), random.Random(1))
        turns: list[Turn | None] = [None] * waiting
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        for index in range(waiting):
            turn = turns[index] = join(limiter)
            turn.ask(loop.create_future())
        used = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        return used / waiting

    return asyncio.run(measure())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--jobs", type=int, default=20_000, help="jobs in each measurement of CPU")
    parser.add_argument("--rounds", type=int, default=3, help="measurements, of which the least counts")
    options = parser.parse_args()
    print(f"{'':10}{'waiting':>10}{'bytes each':>12}{'by hand µs':>12}{'asyncio µs':>12}")
    met = True
    for name, settings in SETTINGS.items():
        for waiting in WAITING:
            size = bytes_of(settings, waiting)
            by_hand, tasks = (
                min(cpu(settings, waiting, options.jobs) for _ in range(options.rounds))
                for cpu in (cpu_by_hand, cpu_of_asyncio)
            )
            met = met and size <= BYTES_GOAL and max(by_hand, tasks) < CPU_GOAL
            print(f"{name:10}{waiting:10,}{size:12.0f}{by_hand:12.1f}{tasks:12.1f}")
    print(f"goals: {BYTES_GOAL:,} bytes, {CPU_GOAL:.0f} µs: {'met' if met else 'MISSED'}")


if __name__ == "__main__":
    main()
