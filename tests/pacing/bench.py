"""A limiter on a clock that stands still, and jobs in it that a test moves by hand."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import sys
from collections.abc import Iterator
from types import FrameType

from support.fake_clock import FakeClock

from prodia_async._pacing.limiter import Learned, Limiter
from prodia_async._pacing.line import Phase
from prodia_async._pacing.turn import Turn
from prodia_async._settings import Adaptive, Fixed


async def settle() -> None:
    """Let every task that can run, run."""
    for _ in range(6):
        await asyncio.sleep(0)


@contextlib.contextmanager
def own_frames() -> Iterator[list[str]]:
    """Note each Python function of the package that is called in the block."""
    frames: list[str] = []

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and "/prodia_async/" in frame.f_code.co_filename:
            frames.append(frame.f_code.co_qualname)

    sys.setprofile(note)
    try:
        yield frames
    finally:
        sys.setprofile(None)


def join(limiter: Limiter, key: str, priority: int = 0, *, bounded: bool = True) -> Turn:
    return Turn(limiter=limiter, line=limiter.join(key, bounded=bounded), priority=priority)


class Waiter:
    """A turn whose slot is waited for in a task of its own."""

    def __init__(self, bench: Bench, turn: Turn, name: str) -> None:
        self.turn = turn
        self._bench = bench
        self._name = name
        self.number = -1
        self.task = asyncio.ensure_future(self._wait())

    async def _wait(self) -> None:
        if not self.turn.take():
            await self.turn.wait()
        self._bench.served.append(self._name)
        self.number = next(self._bench.numbers)  # the order in which slots were got

    @property
    def got_slot(self) -> bool:
        return self.task.done() and not self.task.cancelled()

    @property
    def slot(self) -> Turn:
        """The turn, which has its slot; an error where it still waits."""
        self.task.result()
        return self.turn

    @property
    def is_open(self) -> bool:
        return self.got_slot and self.turn.phase is Phase.SENDING

    def again(self) -> None:
        """Ask for the next attempt's slot."""
        self.task = asyncio.ensure_future(self._wait())

    async def cancel(self) -> None:
        """Give up while waiting, as a job that is cancelled does."""
        self.task.cancel()
        await asyncio.wait([self.task])
        self.turn.leave()


class Bench:
    """The limiter, and in `served` the names of its waiters in the order in which they got their slots."""

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
        self.limiter = Limiter(
            settings or Fixed(limit, max_waiting), self.clock, random.Random(seed), learned=learned
        )
        self.served: list[str] = []
        self.numbers = itertools.count()

    def join(self, key: str, priority: int = 0, *, bounded: bool = True) -> Turn:
        return join(self.limiter, key, priority, bounded=bounded)

    def wait(self, name: str, key: str = "a", priority: int = 0) -> Waiter:
        return Waiter(self, self.join(key, priority), name)

    async def hold(self, key: str = "a", priority: int = 0) -> Waiter:
        """Return a waiter that has its slot."""
        waiter = self.wait("held", key, priority)
        await settle()
        self.served.remove("held")
        assert waiter.slot.body_sent_at is None
        return waiter

    async def serve_all(self, waiters: list[Waiter]) -> list[str]:
        """End attempts one at a time, in the order in which they were given, until all were served."""
        left = set(waiters)
        while left:
            await settle()
            open_now = [each for each in left if each.task.done()]
            assert open_now, "somebody waits for ever"
            first = min(open_now, key=lambda each: each.number)
            left.remove(first)
            first.slot.success()
            first.turn.leave()
        return self.served

    def queued(self, key: str) -> int:
        """Return how many turns the queues of a type hold, those that have gone among them."""
        line = self.limiter.lines[key]
        return len(line._due) + sum(map(len, line._fresh.values()))

    @property
    def counts(self) -> tuple[int, int, int, int]:
        """Slots that are out, turns that rest, turns that wait, replies that linger."""
        resting = self.limiter.in_use - self.in_flight
        return self.in_flight, resting, len(self.limiter.waiters), self.limiter.lingering

    @property
    def in_flight(self) -> int:
        """Requests that are out."""
        return sum(line.capacity.in_flight for line in self.limiter.lines.values())
