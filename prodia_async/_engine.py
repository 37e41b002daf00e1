"""What a client has in one event loop, and what its copies may set differently."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, TypeAlias

import anyio
from msgspec import Struct

from prodia_async._collect import Bounds, Collector
from prodia_async._errors import ClientClosedError, ProdiaError
from prodia_async._events import Hook
from prodia_async._files import targets
from prodia_async._models import Job, JobResult, Stats
from prodia_async._pacing.clock import Clock, Deadline
from prodia_async._settings import Limits, Polling, Retry, Timeouts

if TYPE_CHECKING:
    from random import Random

    from prodia_async._files.sinks import Budget
    from prodia_async._files.targets import Target, To
    from prodia_async._http.transport import Transport
    from prodia_async._live import Live
    from prodia_async._pacing.limiter import Pool

_CUT_TIME = 5.0
"""Seconds that jobs which are cut may take to clean up, before their connections are closed under them."""

_numbers = itertools.count(1)


class Outcome(Struct, frozen=True):
    """What became of one job: exactly one of `result` and `error` is set."""

    job: Job
    result: JobResult | None = None
    error: ProdiaError | None = None


class Tally:
    """A client's counts in one loop."""

    def __init__(self) -> None:
        self.jobs = self.completed = self.failed = self.cancelled = 0
        self.requests = self.shed = self.stale = 0


class Engine:
    """What a client has in one event loop: connections, the limiter, its jobs and their counts."""

    def __init__(self, transport: Transport, pool: Pool, budget: Budget, chance: Random) -> None:
        self.transport = transport
        self.pool = pool
        self.budget = budget
        self.random = chance
        self.folders = targets.Folders()
        self.tally = Tally()
        self._live: dict[Live, None] = {}
        self._closing = False
        self._unfinished: list[Outcome] = []
        self._left = asyncio.Event()
        self._bounds = Bounds()

    def collector(self, options: Options) -> Collector:
        """Return what fetches the results of asynchronous jobs."""
        return Collector(
            transport=self.transport,
            url=f"{options.url}/async",
            headers=options.headers,
            redact=options.redact,
            clock=options.clock,
            chance=self.random,
            retry=options.retry,
            timeouts=options.timeouts,
            polling=options.polling,
            limits=options.limits,
            bounds=self._bounds,
        )

    async def target(self, to: To, limits: Limits) -> Target:
        """Return what `to` means, found good: its folder is there. Raises InputError."""
        known = self.folders.target(to)
        if known is not None:
            return known
        target = targets.resolve(to, limits=limits, budget=self.budget)
        target = await targets.prepare_target(target, self.folders)
        self.folders.remember(to, target)
        return target

    def stats(self) -> Stats:
        """Return the counts as a value."""
        return Stats(
            **vars(self.tally),
            in_flight=self.pool.in_flight,
            waiting=self.pool.waiting,
            by_type=self.pool.stats(),
        )

    @property
    def is_closing(self) -> bool:
        """Whether no more jobs begin."""
        return self._closing

    def next_number(self) -> int:
        """Return a number for a run: no other one of this process has it."""
        return next(_numbers)

    def enter(self, live: Live) -> None:
        """Take note of a job that begins. Raises ClientClosedError."""
        if self._closing:
            raise ClientClosedError("the client is being closed, and takes no more jobs")
        self._live[live] = None

    def left(self, live: Live, error: ProdiaError | None = None) -> None:
        """Take note of a job that is over; one that was refused never began."""
        if live not in self._live:
            return
        del self._live[live]
        if self._closing and isinstance(error, ClientClosedError):
            self._unfinished.append(Outcome(live.job, error=error))
        self._left.set()

    async def drain(self, clock: Clock, seconds: float) -> tuple[Outcome, ...]:
        """Begin no more jobs, let those in flight end, cut what is left after `seconds`; return what was cut.

        Jobs that wait are sent away at once: the service has nothing of them.
        """
        self._closing = True
        self.pool.close()
        for live in self._others():
            if not live.is_in_flight:
                live.cut()
        if seconds > 0:
            with Deadline(clock, clock.monotonic() + seconds):
                await self._emptied()
        await self._cut_all()
        unfinished, self._unfinished = self._unfinished, []
        return tuple(unfinished + [_left_behind(live) for live in self._others()])

    async def _cut_all(self) -> None:
        for live in self._others():
            live.cut()
        with anyio.move_on_after(_CUT_TIME):
            await self._emptied()

    def _others(self) -> list[Live]:
        """Return the jobs under way, less the one that closes the client: in its sink, or its source."""
        current = asyncio.current_task()
        return [live for live in self._live if live.task is not current]

    async def _emptied(self) -> None:
        while self._others():
            self._left.clear()
            await self._left.wait()

    async def aclose(self) -> None:
        """Cut what is under way and close the connections."""
        self._closing = True
        self.pool.close()
        await self._cut_all()
        await self.transport.aclose()

    def close_dead(self) -> None:
        """Release the descriptors of a loop that is gone, and keep what was learned in it."""
        self.pool.remember()
        self.transport.close_dead()

    def abandon(self) -> None:
        """Let go of the parent's descriptors in a forked child."""
        self.transport.abandon()


def _left_behind(live: Live) -> Outcome:
    """Return what is told of a job that was cut, and does not end: its sink or source hangs."""
    message = "the client was closed, and this job has not ended even so"
    return Outcome(live.job, error=ClientClosedError(message, may_have_run=live.is_in_flight))


Connect: TypeAlias = "Callable[[], Awaitable[tuple[Engine, Options]]]"
"""Gives what runs a client's calls in the running event loop."""


class Options(Struct, frozen=True, kw_only=True):
    """What may differ between copies of a client that share an engine."""

    url: str
    headers: Mapping[str, str]
    redact: Callable[[str], str]
    clock: Clock
    retry: Retry
    timeouts: Timeouts
    polling: Polling
    limits: Limits
    price: bool
    hook: Hook | None
