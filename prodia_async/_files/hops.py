"""Trips to worker threads: files are opened, read and written there, never in the event loop.

The pool is our own: it costs half of anyio's under load, and anyio's is shared with web frameworks.
A cancelled task does not stop a thread, so every trip says what becomes of a result that nobody awaits.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import anyio

from prodia_async._files.threads import bell_of, pool

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Hop(Generic[T]):
    """One function under way in a worker thread."""

    __slots__ = ("_begun", "_error", "_lock", "_over", "_tell", "_value")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._begun = self._over = False
        self._value: Any = None
        self._error: BaseException | None = None
        self._tell: list[Callable[[], object]] = []

    def run(self, function: Callable[..., T], *args: Any) -> None:
        """Run the function in this thread, unless it was cancelled."""
        with self._lock:
            if self._over:
                return
            self._begun = True
        try:
            self._value = function(*args)
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is awaited
            self._error = error
        self._tell_all()
        del self  # the error's traceback refers to this frame: nothing here may refer to the error

    def cancel(self) -> bool:
        """Keep it from beginning; False if it has begun."""
        with self._lock:
            if self._begun:
                return False
            self._over = True
        self._tell_all()
        return True

    def _tell_all(self) -> None:
        with self._lock:
            self._over = True
            tell_all, self._tell = self._tell, []
        for tell in tell_all:
            tell()

    def then(self, undo: Callable[[T], object]) -> None:
        """Call `undo` with its result once there is one: in its thread, or at once if it is done."""
        self._when_over(partial(self._undo, undo))

    def _undo(self, undo: Callable[[T], object]) -> None:
        if self._begun and self._error is None:
            with contextlib.suppress(Exception):  # the task has gone: nobody is left to be told
                undo(self._value)

    def _when_over(self, tell: Callable[[], object]) -> None:
        with self._lock:
            if not self._over:
                self._tell.append(tell)
                return
        tell()

    async def result(self) -> T:
        """Wait for its result. A cancellation ends the waiting and not the thread: see `settled`."""
        await self._wait()
        error = self._error
        if error is None:
            value: T = self._value
            return value
        try:
            raise error
        finally:
            del self, error  # the error's traceback refers to this frame

    async def settled(self) -> None:
        """Wait until it is over. A cancellation meanwhile is raised afterwards, its errors never."""
        interrupted: asyncio.CancelledError | None = None
        with anyio.CancelScope(shield=True):
            while not self._over:
                try:
                    await self._wait()
                except asyncio.CancelledError as cancelled:  # noqa: PERF203 - a native cancel() passes the shield
                    interrupted = cancelled
        if interrupted is not None:
            raise interrupted

    async def _wait(self) -> None:
        """Wait until it is over, for one turn of the running loop at least."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        self._when_over(partial(bell_of(loop).release, waiter))
        await waiter


def start(function: Callable[..., T], *args: Any, apart: bool = False) -> Hop[T]:
    """Begin `function(*args)` in a worker thread; `apart` gives it a thread of its own.

    What may block for ever goes apart: it would take a thread from the pool, and hold up the exit.
    """
    trip: Hop[T] = Hop()
    if apart:
        threading.Thread(
            target=trip.run, args=(function, *args), name="prodia-async-apart", daemon=True
        ).start()
    else:
        pool.start(trip.run, function, *args)
    return trip


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
