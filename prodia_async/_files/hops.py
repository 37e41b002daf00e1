"""Trips to worker threads: files are opened, read and written there, never in the event loop.

The pool is our own: it costs half of anyio's under load, and anyio's is shared with web frameworks.
A cancelled task does not stop a thread, so every trip says what becomes of a result that nobody awaits.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import anyio

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_THREADS = 4


class _Pool:
    """The process's worker threads, made on first use and made anew in a forked child."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Start again without threads: those of a forked child's parent do not exist in the child."""
        self._lock = threading.Lock()
        self._executor: ThreadPoolExecutor | None = None

    def executor(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._executor is None:
                self._executor = ThreadPoolExecutor(_THREADS, thread_name_prefix="prodia-async")
            return self._executor


_pool = _Pool()
if hasattr(os, "register_at_fork"):  # pragma: no branch - absent on Windows, which has no fork
    os.register_at_fork(after_in_child=_pool.forget)


class Hop(Generic[T]):
    """One function under way in a worker thread."""

    def __init__(self, future: Future[T]) -> None:
        self._future = future

    def cancel(self) -> bool:
        """Keep it from beginning; False if it has begun."""
        return self._future.cancel()

    def then(self, undo: Callable[[T], object]) -> None:
        """Call `undo` with its result once there is one: in its thread, or at once if it is done."""
        self._future.add_done_callback(partial(_undo, undo))

    async def result(self) -> T:
        """Wait for its result. A cancellation ends the waiting and not the thread: see `settled`."""
        await _done(self._future)
        return self._future.result()

    async def settled(self) -> None:
        """Wait until it is over. A cancellation meanwhile is raised afterwards, its errors never."""
        interrupted: asyncio.CancelledError | None = None
        with anyio.CancelScope(shield=True):
            while not self._future.done():
                try:
                    await _done(self._future)
                except asyncio.CancelledError as cancelled:  # noqa: PERF203 - a native cancel() passes the shield
                    interrupted = cancelled
        if interrupted is not None:
            raise interrupted


def start(function: Callable[..., T], *args: Any, apart: bool = False) -> Hop[T]:
    """Begin `function(*args)` in a worker thread; `apart` gives it a thread of its own.

    What may block for ever goes apart: it would take a thread from the pool, and hold up the exit.
    """
    if not apart:
        return Hop(_pool.executor().submit(function, *args))
    future: Future[T] = Future()
    threading.Thread(
        target=_run, args=(future, function, args), name="prodia-async-apart", daemon=True
    ).start()
    return Hop(future)


async def hop(
    function: Callable[..., T],
    *args: Any,
    undo: Callable[[T], object] | None = None,
    abandon: bool = False,
) -> T:
    """Run `function(*args)` in a worker thread and return its result.

    When the task is cancelled, a function that has not begun never runs; otherwise the thread is
    waited for (by one block of work, so keep functions short) and `undo` is called with a result
    that nobody will see. With `abandon`, for reads that may block for ever, nobody waits: `undo`
    runs when the thread ends.
    """
    trip = start(function, *args, apart=abandon)
    try:
        return await trip.result()
    except asyncio.CancelledError:
        if not trip.cancel():
            await _wind_up(trip, undo, abandon=abandon)
        raise


async def _wind_up(trip: Hop[T], undo: Callable[[T], object] | None, *, abandon: bool) -> None:
    if not abandon:
        await _through(trip)
    if undo is None:
        return
    if abandon:
        trip.then(undo)
    else:
        await _through(start(trip.then, undo))


async def _through(trip: Hop[Any]) -> None:
    """Wait for a trip while a cancellation is being handled: one more of them changes nothing."""
    with contextlib.suppress(asyncio.CancelledError):
        await trip.settled()


async def _done(future: Future[Any]) -> None:
    """Wait until `future` is done, in the running loop; says nothing if that loop is closed first.

    `asyncio.wrap_future` would log an error from the thread when it finds the loop closed.
    """
    loop = asyncio.get_running_loop()
    waiter: asyncio.Future[None] = loop.create_future()

    def wake(_: Future[Any]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits any more
            loop.call_soon_threadsafe(_release, waiter)

    future.add_done_callback(wake)
    await waiter


def _release(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def _undo(undo: Callable[[T], object], future: Future[T]) -> None:
    if not future.cancelled() and future.exception() is None:
        with contextlib.suppress(Exception):  # the task has gone: nobody is left to be told
            undo(future.result())


def _run(future: Future[T], function: Callable[..., T], args: tuple[Any, ...]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(function(*args))
    except BaseException as error:  # noqa: BLE001 - it is raised where the result is awaited
        future.set_exception(error)
