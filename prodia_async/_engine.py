"""What a client has in one event loop: connections, the limiter, and the jobs under way there."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from typing import TYPE_CHECKING, Any

import anyio
from msgspec import Struct

from prodia_async._collecting import Places
from prodia_async._errors import ClientClosedError, JobFailedError, ProdiaError, ProdiaTimeoutError
from prodia_async._files.outputs import Targets
from prodia_async._loops import PerLoop
from prodia_async._models import Job, JobResult
from prodia_async._pacing.clock import Deadline, Deadlines
from prodia_async._plain import Plain, plain
from prodia_async._stats import Stats

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from prodia_async._files.sinks import Budget
    from prodia_async._http.bearer import Bearer
    from prodia_async._http.transport import Transport
    from prodia_async._pacing.clock import Clock
    from prodia_async._pacing.limiter import Limiter
    from prodia_async._pacing.turn import Turn
    from prodia_async._stats import EventKind

_CUT_TIME = 5.0
"""Seconds that jobs which are cut may take to clean up, before their connections are closed under them."""


class Outcome(Struct, Plain, frozen=True):
    """What became of one job: exactly one of `result` and `error` is set."""

    job: Job
    result: JobResult | None = None
    error: ProdiaError | None = None

    def unwrap(self) -> JobResult:
        """Return the result, or raise the error."""
        if self.result is None:
            raise self.error or AssertionError("an outcome has a result or an error")
        return self.result

    def to_dict(self, *, data: bool = False) -> dict[str, Any]:
        """Return it as JSON has it, with the keys of a line of `results.jsonl`: see `JobResult.to_dict`."""
        said = (self.result or self.error or self.job).to_dict(data=data)
        said["job"] = said.get("job") or {"type": self.job.type, "config": plain(self.job.config)}
        return {"custom_id": self.job.custom_id, **said, "type": self.job.type}


class UnderWay:
    """Something under way for a job in one task, from `Engine.enter` to `Engine.leave`.

    `in_flight`: whether the service may have the job.
    """

    __slots__ = ("_is_cut", "cancelled_before", "in_flight", "job", "task", "was_cut")

    def __init__(self, job: Job) -> None:
        self.job: Job = job
        self.in_flight: bool = False
        self.task: asyncio.Task[Any] | None = None
        self.cancelled_before: int = 0
        self.was_cut: bool = False
        self._is_cut: bool | None = None

    def cut(self) -> None:
        """Cancel its task; the run turns that into ClientClosedError."""
        if self.task is not None and not self.was_cut:
            self.was_cut = True
            self.task.cancel()

    def is_cut(self) -> bool:
        """Tell whether a cancellation came from `cut` and nobody else; it uncancels the task then."""
        if not self.was_cut or self.task is None:
            return False
        if self._is_cut is None:
            self._is_cut = self.task.uncancel() <= self.cancelled_before
        return self._is_cut


class Submission:
    """What a handle has of its job. Once the job is over, it is counted no more, and its slot is free.

    The slot ends with the handle, too, and after `seconds`, the job's own time, when nobody waits for it.
    `number`: of the job's run, for its events. Whoever waits for it does so in `with submission:`.
    """

    def __init__(
        self, number: int, tally: Counter[str], turn: Turn, clock: Clock, tell_dropped: Callable[[], object]
    ) -> None:
        self.number = number
        self.tally = tally
        self.is_over: bool = False
        self._waiting = 0
        self._turn: Turn | None = turn
        self._clock = clock
        self._began = clock.monotonic()
        self._loop = asyncio.get_running_loop()
        self._tell_dropped = tell_dropped

    def __enter__(self) -> None:
        self._waiting += 1

    def __exit__(self, *_: object) -> None:
        self._waiting -= 1

    @property
    def age(self) -> float:
        """Seconds since it was submitted."""
        return self._clock.monotonic() - self._began

    def expire_after(self, seconds: float) -> None:
        """Let the slot end then, if nobody waits by that time."""

        def expire() -> None:
            if self._waiting:
                self.expire_after(seconds)
            else:
                self._free(ran=False)

        self._timer = self._clock.call_at(self._clock.monotonic() + seconds, expire)

    def ends(self, kind: EventKind, error: ProdiaError | None) -> bool:
        """Tell whether it is over now: a job that we merely stopped to wait for is not."""
        if self.is_over or kind == "cancelled" or isinstance(error, ProdiaTimeoutError | ClientClosedError):
            return False
        self.is_over = True
        ran = kind == "completed" or isinstance(error, JobFailedError)
        if asyncio.get_running_loop() is self._loop:
            self._free(ran=ran)
        else:
            self.soon(lambda: self._free(ran=ran))
        return True

    def drop(self) -> None:
        """End with a handle that nobody has any more."""
        if not self.is_over:
            self.is_over = True
            self.tally["cancelled"] += 1
            self._tell_dropped()
        self._free(ran=False)

    def soon(self, callback: Callable[[], None]) -> None:
        """Call back in its loop, from whatever thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed, and the slot with it
            self._loop.call_soon_threadsafe(callback)

    def _free(self, *, ran: bool) -> None:
        turn, self._turn = self._turn, None
        if turn is not None:
            self._timer.cancel()
            end = turn.success if ran else turn.ignore
            end()


class Engine:
    """What a client has in one event loop: connections, the limiter, its jobs and their counts."""

    def __init__(
        self, transport: Transport, limiter: Limiter, budget: Budget, chance: Random, bearer: Bearer
    ) -> None:
        self.transport = transport
        self.bearer = bearer
        self.limiter = limiter
        self.clock: Clock = limiter.clock
        self.deadlines: Deadlines = Deadlines(self.clock)
        self.random = chance
        self.budget = budget
        self.targets: Targets = Targets(budget)
        self.tally: Counter[str] = Counter[str]()
        """By the names that they have in `Stats`."""
        self.places: Places = Places()
        self.is_closing: bool = False
        """Whether no more jobs begin."""
        self._under_way: dict[UnderWay, None] = {}
        self._unfinished: list[Outcome] = []
        self._left = asyncio.Event()

    def stats(self) -> Stats:
        """Return the counts as a value."""
        by_type = self.limiter.stats()
        return Stats(
            **self.tally,
            in_flight=sum(each.in_flight for each in by_type.values()),
            waiting=sum(each.waiting for each in by_type.values()),
            by_type=by_type,
        )

    def enter(self, one: UnderWay) -> None:
        """Take note of what begins in the running task. Raises ClientClosedError."""
        if self.is_closing:
            raise ClientClosedError("the client is being closed, and takes no more jobs")
        one.task = asyncio.current_task()
        one.cancelled_before = 0 if one.task is None else one.task.cancelling()
        self._under_way[one] = None

    def leave(self, one: UnderWay, error: ProdiaError | None = None) -> None:
        """Take note of what is over; what was refused never began."""
        if one not in self._under_way:
            return
        del self._under_way[one]
        if self.is_closing:
            if isinstance(error, ClientClosedError):
                self._unfinished.append(Outcome(one.job, error=error))
            self._left.set()
        if one.was_cut:
            one.is_cut()  # where the run swallowed our cancellation, the task must not stay cancelled
        one.task = None

    async def drain(self, seconds: float) -> tuple[Outcome, ...]:
        """Begin no more jobs, let those in flight end, cut what is left after `seconds`; return what was cut.

        Jobs that wait are sent away at once: the service has nothing of them.
        """
        self.is_closing = True
        self.limiter.close()
        for one in self._others():
            if not one.in_flight:
                one.cut()
        if seconds > 0:
            with Deadline(self.deadlines, self.clock.monotonic() + seconds):
                await self._emptied()
        await self._cut_all()
        unfinished, self._unfinished = self._unfinished, []
        said = "the client was closed, and this job has not ended even so"  # its sink or source hangs
        hanging = [(one.job, ClientClosedError(said, may_have_run=one.in_flight)) for one in self._others()]
        return (*unfinished, *[Outcome(job, error=error) for job, error in hanging])

    async def _cut_all(self) -> None:
        for one in self._others():
            one.cut()
        with anyio.move_on_after(_CUT_TIME):
            await self._emptied()

    def _others(self) -> list[UnderWay]:
        """Return what is under way, less what closes the client: in its sink, or its source."""
        current = asyncio.current_task()
        return [one for one in self._under_way if one.task is not current]

    async def _emptied(self) -> None:
        while self._others():
            self._left.clear()
            await self._left.wait()

    async def aclose(self) -> None:
        """Cut what is under way and close the connections."""
        self.is_closing = True
        self.limiter.close()
        try:
            await self._cut_all()
        finally:
            self.deadlines.close()
            self.bearer.close()
            await self.transport.aclose()

    def close_dead(self) -> None:
        """Release the descriptors of a loop that is gone, and keep what was learned in it."""
        self.limiter.remember()
        self.transport.close_dead()

    def abandon(self) -> None:
        """Let go of the parent's descriptors in a forked child."""
        self.transport.abandon()


class Engines(PerLoop[Engine]):
    """A client's engines, shared with its copies.

    `stopped`: it takes no more jobs anywhere. `limit`: the most jobs in flight in each loop, once it was set.
    """

    def __init__(self, make: Callable[[], Engine]) -> None:
        super().__init__(make)
        self.stopped = False
        self.limit: int | None = None

    def set_limit(self, limit: int) -> None:
        """Let at most so many jobs be in flight in each loop; from any thread."""
        self.limit, here = limit, None
        with contextlib.suppress(RuntimeError):
            here = self.peek()
        for loop, engine in self.live():
            if engine is here:
                engine.limiter.set_limit(limit)
                continue
            with contextlib.suppress(RuntimeError):  # it was closed just now
                loop.call_soon_threadsafe(engine.limiter.set_limit, limit)

    async def get(self) -> Engine:
        """Return the running loop's engine. Raises ClientClosedError for a client that was stopped."""
        if self.stopped:
            raise ClientClosedError("this client was stopped, and takes no more jobs: make another")
        engine = await super().get()
        if self.limit is not None and self.limit != engine.limiter.limit:  # it was set while this was made
            engine.limiter.set_limit(self.limit)
        return engine
