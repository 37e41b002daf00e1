"""Many jobs at once: pulled from any iterable as there is room, handed out as they complete."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeAlias

import anyio
from msgspec import Struct

from prodia_async._engine import Outcome
from prodia_async._errors import ClientClosedError, InputError, ProdiaError
from prodia_async._models import Job, JobResult

if TYPE_CHECKING:
    from types import TracebackType

    from anyio.abc import TaskGroup

Jobs: TypeAlias = Iterable[Job] | AsyncIterable[Job]
Run: TypeAlias = Callable[[Job], Awaitable[JobResult]]

_AT_ONCE = 32
"""How many jobs are started before the event loop has a turn."""


class Work(Struct, frozen=True):
    """What jobs are run with; `expect_more` tells the limiter whether more are to come than stand in line."""

    run: Run
    expect_more: Callable[[bool], None]


class AsCompleted:
    """`async with ... as outcomes: async for outcome in outcomes`: outcomes in the order of completion.

    It keeps up to `ahead` jobs of each type started and not yet handed out. Jobs of a type that has that
    many are put aside, at most 4 × `ahead` of them; then the iterable is not read on, nor once the client is
    closed. Leaving the block cancels what is in flight. An error of the iterable itself is raised once all
    started jobs are handed out.
    """

    def __init__(self, jobs: Jobs, begin: Callable[[], Awaitable[Work]], ahead: int) -> None:
        self._jobs = _pull(jobs)
        self._begin = begin
        self._work: Work | None = None
        self._task: asyncio.Task[Any] | None = None
        self._expecting = False
        self._ahead = ahead
        self._started: Counter[str] = Counter()
        self._aside: dict[str, deque[Job]] = {}
        self._aside_count = 0
        self._done: deque[Outcome] = deque()
        self._reading = True
        self._feeding = anyio.CancelScope()
        self._failure: Exception | None = None
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._tasks: TaskGroup | None = None
        self._idle: list[asyncio.Future[Job]] = []
        """Tasks whose job is done: the next ones run in them, since a new task costs much more."""

    async def __aenter__(self) -> AsCompleted:  # noqa: PYI034 - typing.Self needs Python 3.11
        self._work = await self._begin()
        self._task = asyncio.current_task()
        self._tasks = await anyio.create_task_group().__aenter__()
        self._expect_more(yes=True)
        self._tasks.start_soon(self._feed)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._tasks is None or (kind is GeneratorExit and not self._is_in_its_task()):
            return  # the loop was killed, or the generator is closed elsewhere: nothing can be awaited
        self._expect_more(yes=False)
        self._tasks.cancel_scope.cancel()
        # The block's own exception goes its way as it is: given to the group it would come back in a group.
        await self._tasks.__aexit__(None, None, None)

    def _is_in_its_task(self) -> bool:
        """Whether a generator around the block is closed where it ran: then all can be awaited as ever."""
        try:
            return asyncio.current_task() is self._task
        except RuntimeError:  # no running loop
            return False

    def __aiter__(self) -> AsCompleted:
        return self

    async def __anext__(self) -> Outcome:
        """Return the next outcome. Raises what the iterable raised, after the last outcome."""
        while not self._done:
            if not self._reading and not self._started.total():
                if self._failure is not None:
                    failure, self._failure = self._failure, None
                    raise failure
                raise StopAsyncIteration
            if self._news.is_set():  # several readers share one event
                self._news = asyncio.Event()
            await self._news.wait()
        outcome = self._done.popleft()
        self._leave(outcome.job.type)
        return outcome

    def _expect_more(self, *, yes: bool) -> None:
        if self._work is not None and self._expecting is not yes:
            self._expecting = yes
            self._work.expect_more(yes)

    async def _feed(self) -> None:
        try:
            with self._feeding:
                await self._read()
        except Exception as failure:  # noqa: BLE001 - whatever the iterable raises is handed to the reader
            self._failure = failure
        finally:
            self._reading = False
            if not self._aside_count:
                self._expect_more(yes=False)
            self._news.set()

    async def _read(self) -> None:
        began = 0
        async for job in self._jobs:
            _check(job)
            self._enter(job)
            began += 1
            if began % _AT_ONCE == 0:  # a plain iterable never waits: others may run meanwhile
                await asyncio.sleep(0)
            while self._aside_count >= 4 * self._ahead:
                self._room = asyncio.Event()
                await self._room.wait()

    def _enter(self, job: Job) -> None:
        if self._started[job.type] < self._ahead:
            self._start(job)
        else:
            self._aside.setdefault(job.type, deque()).append(job)
            self._aside_count += 1

    def _start(self, job: Job) -> None:
        if self._tasks is None or self._work is None:
            raise AssertionError("jobs start inside the block")
        self._started[job.type] += 1
        while self._idle:
            task = self._idle.pop()
            if not task.done():  # a task that is cancelled with the block takes no more jobs
                task.set_result(job)
                return
        self._tasks.start_soon(self._run_jobs, self._work.run, job)

    def _leave(self, kind: str) -> None:
        """Let the next job of a type start in the place of one that was handed out."""
        self._started[kind] -= 1
        waiting = self._aside.get(kind)
        if waiting:
            self._aside_count -= 1
            self._start(waiting.popleft())
            if not self._reading and not self._aside_count:
                self._expect_more(yes=False)
        elif not self._started[kind]:
            del self._started[kind]
            self._aside.pop(kind, None)
        self._room.set()

    async def _run_jobs(self, run: Run, job: Job) -> None:
        """Run a job, then wait for another, until the block's end cancels this task."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                self._hand_out(Outcome(job, result=await run(job)))
            except ProdiaError as error:
                if isinstance(error, ClientClosedError):
                    self._feeding.cancel()  # no job is taken from the iterable that could not be run
                self._hand_out(Outcome(job, error=error))
            except Exception as error:  # noqa: BLE001 - one job's failure never sinks the rest
                unexpected = ProdiaError(f"{job.type}: {type(error).__name__}: {error}")
                unexpected.__cause__ = error
                self._hand_out(Outcome(job, error=unexpected))
                del unexpected
            following: asyncio.Future[Job] = loop.create_future()
            self._idle.append(following)
            job = await following

    def _hand_out(self, outcome: Outcome) -> None:
        self._done.append(outcome)
        self._news.set()


def _check(job: object) -> None:
    if not isinstance(job, Job):
        raise InputError(f"as_completed takes Job values, not {type(job).__name__}")


async def _each(jobs: Iterable[Job]) -> AsyncIterator[Job]:
    for job in jobs:
        yield job


def _pull(jobs: Jobs) -> AsyncIterator[Job]:
    if isinstance(jobs, AsyncIterable):
        return aiter(jobs)
    if isinstance(jobs, Iterable):
        return _each(jobs)
    raise InputError(f"jobs must be an iterable or async iterable of Job, not {type(jobs).__name__}")
