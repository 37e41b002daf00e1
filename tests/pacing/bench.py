"""A pool on a clock that stands still, and jobs in it that a test moves by hand."""

from __future__ import annotations

import asyncio
import itertools
import random

from support.fake_clock import FakeClock

from prodia_async._pacing.limiter import Learned, Pool
from prodia_async._pacing.turns import Permit, Turn
from prodia_async._settings import Adaptive, Fixed


async def settle() -> None:
    """Let every task that can run, run."""
    for _ in range(6):
        await asyncio.sleep(0)


class Waiter:
    """A turn whose permit is waited for in a task of its own."""

    def __init__(self, bench: Bench, turn: Turn, name: str) -> None:
        self.turn = turn
        self._bench = bench
        self._name = name
        self.number = -1
        self.task = asyncio.ensure_future(self._wait())

    async def _wait(self) -> Permit:
        permit = await self.turn.permit()
        self._bench.served.append(self._name)
        self.number = next(self._bench.numbers)  # the order in which permits were got
        return permit

    @property
    def got_permit(self) -> bool:
        return self.task.done() and not self.task.cancelled()

    @property
    def permit(self) -> Permit:
        """The permit that was got; an error where the turn still waits."""
        return self.task.result()

    def again(self) -> None:
        """Ask for the next attempt's permit."""
        self.task = asyncio.ensure_future(self._wait())

    async def cancel(self) -> None:
        """Give up while waiting, as a job that is cancelled does."""
        self.task.cancel()
        await asyncio.wait([self.task])
        self.turn.leave()


class Bench:
    """The pool, and in `served` the names of its waiters in the order in which they got their permits."""

    def __init__(
        self,
        limit: int = 1,
        max_waiting: int = 10_000,
        seed: int = 1,
        *,
        settings: Adaptive | Fixed | None = None,
        learned: Learned | None = None,
    ) -> None:
        self.clock = FakeClock()
        self.pool = Pool(
            settings or Fixed(limit, max_waiting), self.clock, random.Random(seed), learned=learned
        )
        self.served: list[str] = []
        self.numbers = itertools.count()

    def wait(self, name: str, key: str = "a", priority: int = 0) -> Waiter:
        return Waiter(self, self.pool.join(key, priority), name)

    async def hold(self, key: str = "a", priority: int = 0) -> Waiter:
        """Return a waiter that has its permit."""
        waiter = self.wait("held", key, priority)
        await settle()
        self.served.remove("held")
        assert waiter.permit.was_sent is False
        return waiter

    async def serve_all(self, waiters: list[Waiter]) -> list[str]:
        """End permits one at a time, in the order in which they were given, until all were served."""
        left = set(waiters)
        while left:
            await settle()
            open_now = [each for each in left if each.task.done()]
            assert open_now, "somebody waits for ever"
            first = min(open_now, key=lambda each: each.number)
            left.remove(first)
            first.permit.success()
            first.turn.leave()
        return self.served

    def queued(self, key: str) -> int:
        """Return how many turns the queues of a type hold, those that have gone among them."""
        line = self.pool.lines[key]
        return len(line._due) + sum(len(turns) for turns in line._fresh.values())

    @property
    def counts(self) -> tuple[int, int, int, int]:
        """Permits that are out, turns that rest, turns that wait, replies that linger."""
        resting = self.pool.in_use - self.pool.in_flight
        return self.pool.in_flight, resting, self.pool.waiting, self.pool.lingering
