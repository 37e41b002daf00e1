"""Many jobs at once: pulled from any iterable as there is room, handed out as they complete."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from types import TracebackType
from typing import Protocol, Self, TypeAlias

from prodia_async._door import subject
from prodia_async._engine import Engines, Outcome
from prodia_async._errors import ClientClosedError, InputError, ProdiaError
from prodia_async._loops import shielded
from prodia_async._models import Job, JobResult

Jobs: TypeAlias = Iterable[Job] | AsyncIterable[Job]

_AT_ONCE = 32
"""How many jobs are started before the event loop has a turn."""


class OneRun(Protocol):
    """A job as it was when it was taken from the iterable, ready to be run once."""

    job: Job

    def result(self) -> Awaitable[JobResult]:
        """Run it."""

    def failure(self, error: BaseException) -> ProdiaError:
        """Return what an error that is none of ours means for the job."""


class AsCompleted:
    """`async with ... as outcomes: async for outcome in outcomes`: outcomes in the order of completion.

    It keeps up to `ahead` jobs of each type started and not yet handed out. Jobs of a type that has that
    many are put aside, at most 4 × `ahead` of them; then the iterable is not read on. Once the client is
    closed it is not read on either, and what was put aside fails with ClientClosedError. Leaving the block
    cancels what is in flight. An error of the iterable itself is raised once all started jobs are handed out.
    """

    def __init__(
        self, jobs: Jobs, new_run: Callable[[Job], OneRun], engines: Engines, ahead: Callable[[], int]
    ) -> None:
        if not isinstance(jobs, Iterable | AsyncIterable):
            raise InputError(f"jobs must be an iterable or async iterable of Job, not {type(jobs).__name__}")
        self._jobs = aiter(jobs) if isinstance(jobs, AsyncIterable) else _each(jobs)
        self._new_run = new_run
        self._engines = engines
        self._tell_limiter: Callable[[bool], None] | None = None
        self._ahead = ahead
        self._started: Counter[str] = Counter()
        self._aside: dict[str, deque[OneRun]] = {}
        self._aside_count = 0
        self._done: deque[Outcome] = deque()
        self._reading = True
        self._failure: Exception | None = None
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._is_open = False
        self._tasks: list[asyncio.Task[None]] = []
        """The first reads the iterable, the others run jobs."""
        self._idle: list[asyncio.Future[OneRun]] = []
        """Tasks whose job is done: the next ones run in them, since a new task costs much more."""

    async def __aenter__(self) -> Self:
        if self._is_open or not self._reading:
            raise InputError("outcomes can be entered once: call as_completed again")
        self._tell_limiter = (await self._engines.get()).limiter.expect_more
        self._tell_limiter(True)
        self._is_open = True
        self._tasks.append(asyncio.get_running_loop().create_task(self._feed()))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Cancel what is in flight, and wait until it has ended, also for a generator that nobody closed."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:  # the loop was killed: nothing can be awaited any more
            return
        self._is_open = False
        self._expect_less()
        for task in self._tasks:
            task.cancel()
        await shielded(self._all_over())
        self._tasks.clear()  # a task that was cancelled refers to this, through its traceback

    async def _all_over(self) -> None:
        """Wait until all tasks have ended. A cancellation meanwhile is raised afterwards."""
        interrupted: asyncio.CancelledError | None = None
        while not all(task.done() for task in self._tasks):
            try:
                await asyncio.wait(self._tasks)
            except asyncio.CancelledError as cancelled:
                interrupted = cancelled
        if interrupted is not None:
            raise interrupted

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Outcome:
        """Return the next outcome. Raises what the iterable raised, after the last outcome."""
        if not self._is_open:
            raise InputError(
                "outcomes are read inside their block: `async with prodia.as_completed(...) as outcomes:`, "
                "then `async for outcome in outcomes:`"
            )
        while not self._done:
            if not self._reading and not self._started.total():
                failure, self._failure = self._failure, None
                raise StopAsyncIteration if failure is None else failure
            self._news.clear()
            await self._news.wait()
        outcome = self._done.popleft()
        self._leave(outcome.job.type)
        return outcome

    def _expect_less(self) -> None:
        """Tell the limiter, once, that no more jobs are to come than stand in line."""
        if self._tell_limiter is not None and not (self._is_open and (self._reading or self._aside_count)):
            self._tell_limiter(False)
            self._tell_limiter = None

    async def _feed(self) -> None:
        began = 0
        try:
            async for job in self._jobs:
                if not isinstance(job, Job):
                    raise InputError(f"as_completed takes Job values, not {type(job).__name__}")  # noqa: TRY301
                run = self._new_run(job)
                if self._started[run.job.type] < self._ahead():
                    self._start(run)
                else:
                    self._aside.setdefault(run.job.type, deque()).append(run)
                    self._aside_count += 1
                began += 1
                if began % _AT_ONCE == 0:  # a plain iterable never waits: others may run meanwhile
                    await asyncio.sleep(0)
                while self._aside_count and self._aside_count >= 4 * self._ahead():
                    self._room.clear()
                    await self._room.wait()
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            self._failure = ProdiaError("the iterable of jobs met a cancellation of something else")
            self._failure.__cause__ = error
        except Exception as failure:  # noqa: BLE001 - whatever the iterable raises is handed to the reader
            self._failure = failure
        finally:
            self._reading = False
            self._expect_less()
            self._news.set()

    def _start(self, run: OneRun) -> None:
        self._started[run.job.type] += 1
        while self._idle:
            task = self._idle.pop()
            if not task.done():  # a task that is cancelled with the block takes no more jobs
                task.set_result(run)
                return
        self._tasks.append(asyncio.get_running_loop().create_task(self._run_jobs(run)))

    def _leave(self, kind: str) -> None:
        """Let the next job of a type start in the place of one that was handed out."""
        self._started[kind] -= 1
        waiting = self._aside.get(kind)
        if waiting:
            self._aside_count -= 1
            self._start(waiting.popleft())
            self._expect_less()
        elif not self._started[kind]:
            del self._started[kind]
            self._aside.pop(kind, None)
        self._room.set()

    def _begin_no_more(self) -> None:
        """Take no job from the iterable that could not be run, and fail those that were put aside."""
        self._tasks[0].cancel()
        for run in [run for waiting in self._aside.values() for run in waiting]:
            self._started[run.job.type] += 1
            error = ClientClosedError(f"{subject(run.job)}: the client was closed before this job was sent")
            self._done.append(Outcome(run.job, error=error))
        self._aside.clear()
        self._aside_count = 0
        self._expect_less()

    async def _run_jobs(self, run: OneRun) -> None:
        """Run a job, then wait for another, until the block's end cancels this task."""
        while True:
            result = failure = None
            try:
                result = await run.result()
            except ProdiaError as error:
                failure = error
                if isinstance(error, ClientClosedError):
                    self._begin_no_more()
            except (Exception, asyncio.CancelledError) as error:  # one job's failure never sinks the rest
                task = asyncio.current_task()
                if isinstance(error, asyncio.CancelledError) and (task is None or task.cancelling()):
                    raise  # else it met what somebody else cancelled
                failure = run.failure(error)
                failure.__cause__ = error
            self._done.append(Outcome(run.job, result, failure))
            del run, result, failure  # while it waits for more, it keeps nothing of this
            self._news.set()
            following: asyncio.Future[OneRun] = asyncio.get_running_loop().create_future()
            self._idle.append(following)
            run = await following


async def _each(jobs: Iterable[Job]) -> AsyncIterator[Job]:
    for job in jobs:
        yield job
