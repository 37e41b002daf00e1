"""The same client for code without an event loop: scripts, Celery tasks, Django views.

    from prodia_async.blocking import Prodia

    with Prodia() as prodia:
        prodia.run("inference.flux-fast.schnell.txt2img.v2", {"prompt": "a cat"}, to="cat.jpg")

Every call waits in its own thread, while one event loop in a thread of its own, the same for all clients of
the process, does the work: so many threads may share a client. The thread starts with the first call, ends
with the interpreter, and a forked child starts another. Ctrl-C in a call cancels its job. What a sink, a
source or a factory of your own does, happens in that loop: it must not call a client of this module.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import threading
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterable, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any, Concatenate, Final, ParamSpec, Self, TypeVar, cast

import anyio
import anyio.to_thread
from anyio.from_thread import BlockingPortal

from prodia_async import _client, _engine, _handles, _stream
from prodia_async._errors import ClientClosedError, InputError, ProdiaError
from prodia_async._loops import forget_in_child
from prodia_async._models import Job, JobResult
from prodia_async._stats import LimitChange, Stats

__all__ = ["AsCompleted", "Handle", "Prodia", "Stream", "StreamedOutput"]

P = ParamSpec("P")
T = TypeVar("T")

_CLEAN_UP = 5.0
"""Seconds that a call which is interrupted waits for its job to clean up."""


class _LoopThread:
    """The event loop of the process's blocking clients."""

    def __init__(self) -> None:
        self.forget()
        forget_in_child(self)
        atexit.register(self.close)

    def forget(self) -> None:
        """Start again without a thread: a forked child has none of its parent's."""
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._portal: BlockingPortal | None = None
        self.unread: weakref.WeakSet[AsCompleted] = weakref.WeakSet()
        """Those that may have jobs in flight."""

    def portal(self) -> BlockingPortal:
        """Return the way into the loop, which runs from now on.

        Raises InputError within that loop, which would wait for itself, and ClientClosedError at the exit.
        """
        if threading.current_thread() is self._thread:
            raise InputError("a blocking call in its own event loop would wait for itself: use a thread")
        with self._lock:
            if self._portal is None:
                began: Future[BlockingPortal] = Future()
                # A daemon, so that the exit comes to `close`.
                self._thread = threading.Thread(
                    target=_run_loop, args=(began,), name="prodia-async-blocking", daemon=True
                )
                try:
                    self._thread.start()
                    self._portal = began.result()
                except (OSError, RuntimeError) as error:
                    raise ClientClosedError(f"no event loop could be started: {error}") from error
            return self._portal

    def close(self) -> None:
        """Cancel what runs, close all connections, and end the thread."""
        for outcomes in list(self.unread):
            with contextlib.suppress(ValueError):  # it is read in another thread, which is told of the end
                outcomes.close()
        portal, thread = self._portal, self._thread
        self.forget()
        if portal is not None and thread is not None:
            portal.start_task_soon(portal.stop, True)
            thread.join(2 * _CLEAN_UP)

    def wait(self, function: Callable[..., Awaitable[T]], *args: Any) -> T:
        """Run `await function(*args)` in the loop, and return its result; an exception here cancels it."""
        ended = threading.Event()

        async def run() -> T:
            try:
                return await function(*args)
            finally:
                ended.set()

        future = self.portal().start_task_soon(run)
        try:
            return future.result()
        except CancelledError:
            raise ClientClosedError("the interpreter is exiting: this job was cancelled") from None
        except BaseException as error:
            if not future.done():  # Ctrl-C, or another exception that was raised in this thread alone
                future.cancel()
                ended.wait(_CLEAN_UP)
            if isinstance(error, ProdiaError):
                _give_handle(error)
            raise
        finally:
            del future  # its error's traceback refers to this frame


def _run_loop(began: Future[BlockingPortal]) -> None:
    try:
        anyio.run(_serve, began)
    except BaseException as error:
        if began.done():
            raise
        began.set_exception(error)  # there is no loop: out of descriptors, above all


async def _serve(began: Future[BlockingPortal]) -> None:
    async with BlockingPortal() as portal:
        began.set_result(portal)
        await portal.sleep_until_stopped()


_loop = _LoopThread()


def _give_handle(error: ProdiaError) -> None:
    """Have a timeout's error carry a handle whose methods block, too."""
    handle = getattr(error, "handle", None)
    if isinstance(handle, _handles.Handle):
        error.handle = Handle(handle)  # type: ignore[attr-defined]


def _blocking(method: Callable[Concatenate[Any, P], Awaitable[T]]) -> Callable[Concatenate[Any, P], T]:
    """Return the blocking form of a coroutine method, with its arguments."""

    @functools.wraps(method)
    def call(self: Any, /, *args: P.args, **given: P.kwargs) -> T:
        return _loop.wait(functools.partial(method, self._of, *args, **given))

    call.__doc__ = (method.__doc__ or "").removeprefix("Await it: ")
    return call


def _same_arguments(
    _: Callable[Concatenate[Any, P], object],
) -> Callable[[Callable[..., T]], Callable[Concatenate[Any, P], T]]:
    """Have an editor complete the arguments of another function."""

    def same(function: Callable[..., T]) -> Callable[Concatenate[Any, P], T]:
        return function

    return same


class Handle:
    """A job of the asynchronous API: `prodia_async.Handle` with methods that block."""

    def __init__(self, handle: _handles.Handle) -> None:
        self._of = handle
        self.id: str = handle.id
        self.job: JobResult | None = handle.job

    @property
    def expires_at(self) -> datetime | None:
        """When the service may forget the job, as it said when the job was submitted."""
        return self._of.expires_at

    state: Final = _blocking(_handles.Handle.state)
    wait: Final = _blocking(_handles.Handle.wait)
    outputs: Final = _blocking(_handles.Handle.outputs)
    result: Final = _blocking(_handles.Handle.result)
    download: Final = _blocking(_handles.Handle.download)

    def __repr__(self) -> str:
        return f"blocking.{self._of!r}"


class StreamedOutput:
    """One output of a streamed job: `for chunk in output` gives its bytes as they arrive, once."""

    def __init__(self, output: _stream.StreamedOutput) -> None:
        self._of = output
        self.index: int = output.index
        self.filename: str | None = output.filename
        self.content_type: str = output.content_type

    def __iter__(self) -> Iterator[bytes]:
        while piece := _loop.wait(anext, self._of, b""):
            yield piece

    def __repr__(self) -> str:
        return f"blocking.{self._of!r}"


class Stream:
    """A job's outputs while they arrive, from `Prodia.stream`.

    with prodia.stream("inference....", {...}) as reply:
        for output in reply:
            for chunk in output:
                ...

    `open()` and `close()` will do instead of `with`. See `prodia_async.Stream`.
    """

    def __init__(self, stream: _stream.Stream) -> None:
        self._of = stream

    @property
    def output(self) -> StreamedOutput | None:
        """The output that is being read; before the first one is, that one. None where there are none."""
        return None if self._of.output is None else StreamedOutput(self._of.output)

    @property
    def result(self) -> JobResult | None:
        """The job result, once its part has come; its `outputs` are known once all was received."""
        return self._of.result

    def open(self) -> Self:
        """Send the job, and return once the first bytes of an output are there, or the whole reply."""
        _loop.wait(self._of.open)
        return self

    def close(self) -> None:
        """Free the connection and the place in line. Twice is well."""
        _loop.wait(self._of.aclose)

    def __iter__(self) -> Iterator[StreamedOutput]:
        while (output := _loop.wait(anext, self._of, None)) is not None:
            yield StreamedOutput(output)

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"blocking.{self._of!r}"


class AsCompleted(Iterator[_engine.Outcome]):
    """Outcomes of many jobs, each as it completes, from `Prodia.as_completed`.

    Leaving early cancels what is in flight: by `break` where nothing else refers to this, or else by
    `close()`, or the end of a `with` block around it.
    """

    def __init__(self, block: AbstractAsyncContextManager[AsyncIterator[_engine.Outcome]]) -> None:
        self._outcomes = _outcomes_of(block)
        _loop.unread.add(self)

    def __next__(self) -> _engine.Outcome:
        """Return the next outcome. Raises what the iterable raised, after the last outcome."""
        return next(self._outcomes)

    def close(self) -> None:
        """Cancel what is in flight, and wait until it has ended."""
        self._outcomes.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _outcomes_of(
    block: AbstractAsyncContextManager[AsyncIterator[_engine.Outcome]],
) -> Generator[_engine.Outcome]:
    with _loop.portal().wrap_async_context_manager(block) as outcomes:
        while (outcome := _loop.wait(anext, outcomes, None)) is not None:
            if outcome.error is not None:
                _give_handle(outcome.error)
            yield outcome


async def _each(jobs: Iterable[Job]) -> AsyncIterator[Job]:
    """Read an iterable in a thread: it may wait for a database, or for a queue."""
    iterator, end = iter(jobs), object()
    while (job := await anyio.to_thread.run_sync(next, iterator, end, abandon_on_cancel=True)) is not end:
        yield cast("Job", job)


class Prodia:
    """A client of the Prodia Inference API v2 whose calls block; `prodia_async.Prodia` has its arguments.

    Share one between threads; close it with `with` or `close()`. What nobody closes is closed at the exit.
    """

    @_same_arguments(_client.Prodia.__init__)
    def __init__(self, **options: Any) -> None:
        try:
            self._of = _client.Prodia(**options)
        finally:
            options.clear()  # the token: a traceback may show the variables of its frames

    run: Final = _blocking(_client.Prodia.run)
    close: Final = _blocking(_client.Prodia.aclose)

    @_same_arguments(_client.Prodia.submit)
    def submit(self, *args: Any, **given: Any) -> Handle:
        """Have the service take a job, through its asynchronous API, and return its handle."""
        return Handle(_loop.wait(functools.partial(self._of.submit, *args, **given)))

    @_same_arguments(_client.Prodia.stream)
    def stream(self, *args: Any, **given: Any) -> Stream:
        """Run one job and hand its outputs out while they arrive: see `Stream`."""
        return Stream(self._of.stream(*args, **given))

    @_same_arguments(_client.Prodia.handle)
    def handle(self, *args: Any, **given: Any) -> Handle:
        """Return the handle of a job that was submitted before, perhaps by another process."""
        return Handle(self._of.handle(*args, **given))

    @_same_arguments(_client.Prodia.as_completed)
    def as_completed(self, jobs: Any, **given: Any) -> AsCompleted:
        """Run many jobs and hand out each `Outcome` as it completes; one failure never sinks the rest.

            for outcome in prodia.as_completed(jobs, to="out/"):
                ...

        `jobs` is any iterable, read in a thread of its own as there is room, or an async iterable, read in
        the event loop. The arguments are those of `prodia_async.Prodia.as_completed`.
        """
        if isinstance(jobs, Iterable) and not isinstance(jobs, list | tuple):
            jobs = _each(jobs)
        return AsCompleted(self._of.as_completed(jobs, **given))

    @_same_arguments(_client.Prodia.with_options)
    def with_options(self, **given: Any) -> Prodia:
        """Return a copy with other options that shares connections and limiter, and never closes them."""
        copy = object.__new__(type(self))
        copy._of = self._of.with_options(**given)
        return copy

    def stats(self) -> Stats:
        """Return the counts of this client, and of its copies."""
        return _loop.portal().call(self._of.stats)

    def limit_history(self) -> tuple[LimitChange, ...]:
        """Return how the limits have changed: the last 1,000 changes, oldest first."""
        return _loop.portal().call(self._of.limit_history)

    def set_limit(self, limit: int) -> None:
        """Let at most `limit` jobs be in flight from now on: see `prodia_async.Prodia.set_limit`."""
        self._of.set_limit(limit)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ClientClosedError):  # the interpreter is exiting, which closes it
            self.close()

    def __repr__(self) -> str:
        return f"blocking.{getattr(self, '_of', 'Prodia')!r}"
