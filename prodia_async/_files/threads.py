"""Trips to worker threads: files are opened, read and written there, never in the event loop.

The threads are our own: a trip costs half of anyio's under load, and anyio's are shared with web frameworks.
A cancelled task does not stop a thread, so every trip says what becomes of a result that nobody awaits.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

import anyio
from msgspec import Struct

from prodia_async._errors import TransportError
from prodia_async._loops import forget_in_child

T = TypeVar("T")

_THREADS = 4


class Workers:
    """A few threads for short work, shared by all loops of the process.

    An executor of the standard library does more for each piece of work, and costs three times as much.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Start again without threads: those of a forked child's parent do not exist in the child."""
        self.lock = threading.Lock()
        self.queue: SimpleQueue[Trip[Any] | None] = SimpleQueue()
        self.threads: list[threading.Thread] = []
        self.ended: dict[asyncio.AbstractEventLoop, list[Trip[Any]]] = {}

    def add_thread(self) -> None:
        """Begin one more, unless there are enough. Raises RuntimeError if there is none, and can be none."""
        with self.lock:
            if len(self.threads) == _THREADS:
                return
            name = f"prodia-async_{len(self.threads)}"
            # A daemon, so that the exit comes to `close`, which waits for what is under way.
            thread = threading.Thread(target=_work, args=(self.queue,), name=name, daemon=True)
            try:
                thread.start()
                self.threads.append(thread)
            except RuntimeError:  # the process may have no more: those that run do the work
                if not self.threads:
                    raise

    def close(self) -> None:
        """Finish what was started, and end the threads."""
        queue, threads = self.queue, self.threads
        self.forget()
        for _ in threads:
            queue.put(None)
        for thread in threads:
            thread.join()


def _work(queue: SimpleQueue[Trip[Any] | None]) -> None:
    while (trip := queue.get()) is not None:
        trip.run()
        del trip  # while it waits for more, a thread keeps nothing of this


def _wake(loop: asyncio.AbstractEventLoop) -> None:
    """Tell whoever awaits what has ended since the loop was rung for, in the loop."""
    with workers.lock:
        ended = workers.ended.pop(loop, [])
        for other in [other for other in workers.ended if other.is_closed()]:
            del workers.ended[other]
    for trip in ended:
        trip.deliver()


class Trip(Struct, Generic[T], eq=False):
    """One function under way in a worker thread. It is awaited in the loop that started it, if at all."""

    work: list[tuple[Callable[..., T], tuple[Any, ...]]]
    """The function and its arguments: whoever takes them out decides whether it begins."""
    future: asyncio.Future[T]
    value: Any = None
    error: BaseException | None = None
    is_over: bool = False

    def run(self) -> None:
        """Run the function in this thread, unless it was cancelled."""
        try:
            function, args = self.work.pop()
        except IndexError:
            return
        try:
            self.value = function(*args)
        except StopIteration as error:  # no future takes it
            self.error = RuntimeError(f"a function raised {error!r}")
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is awaited
            self.error = error
        self.is_over = True
        loop = self.future.get_loop()
        with workers.lock:
            ended = workers.ended.setdefault(loop, [])
            ended.append(self)
            is_first = len(ended) == 1  # since the loop was awake: one ring does for all that end meanwhile
        if is_first:
            try:
                loop.call_soon_threadsafe(_wake, loop)
            except RuntimeError:  # the loop was closed: nobody waits any more
                workers.ended.pop(loop, None)
        # The error's traceback refers to this frame: nothing here may refer to the error or to the work.
        del self, ended, function, args

    def cancel(self) -> bool:
        """Keep it from beginning; False if it has begun."""
        try:
            self.work.pop()
        except IndexError:
            return False
        self.is_over = True
        self.deliver()
        return True

    def deliver(self) -> None:
        """Tell whoever awaits the result, in its loop."""
        future = self.future
        if future.done():
            return
        if self.error is None:
            future.set_result(self.value)
        else:
            future.set_exception(self.error)
            future.exception()  # it is well if nobody asks

    def result(self) -> asyncio.Future[T]:
        """Return what is awaited for its result. A cancellation ends the waiting and not the thread.

        After one the result may be asked for again; see `settled`, too.
        """
        if self.future.cancelled():
            self.future = self.future.get_loop().create_future()
            if self.is_over:
                self.deliver()
        return self.future

    async def settled(self) -> None:
        """Wait until it is over. A cancellation meanwhile is raised afterwards, its errors never."""
        if self.is_over:
            return
        try:
            await asyncio.wait([self.result()])
        except asyncio.CancelledError:
            with anyio.CancelScope(shield=True):  # a cancelled scope would cancel again at each turn
                while not self.is_over:
                    with contextlib.suppress(asyncio.CancelledError):  # one more of them changes nothing
                        await asyncio.wait([self.result()])
            raise


def start(function: Callable[..., T], *args: Any, apart: bool = False) -> Trip[T]:
    """Begin `function(*args)` in a worker thread; `apart` gives it a thread of its own.

    What may block for ever goes apart: it would take a thread from the others, and hold up the exit.
    Where no thread can be started the trip ends with TransportError, and its function never runs.
    """
    trip = Trip([(function, args)], asyncio.get_running_loop().create_future())
    try:
        if apart:
            threading.Thread(target=trip.run, name="prodia-async-apart", daemon=True).start()
        else:
            if len(workers.threads) < _THREADS:
                workers.add_thread()
            workers.queue.put(trip)
    except RuntimeError as error:
        trip.error = TransportError(
            f"no thread could be started to read and write files ({error}): raise the limit of threads "
            "of this process (`ulimit -u`, or the pids limit of its container)"
        )
        trip.cancel()
    return trip


async def hop(
    function: Callable[..., T],
    *args: Any,
    undo: Callable[[T], object] | None = None,
    abandon: bool = False,
) -> T:
    """Run `function(*args)` in a worker thread and return its result.

    When the task is cancelled, a function that has not begun never runs; otherwise the thread is
    waited for (by one block of work, so keep functions short) and `undo` is called, in a thread, with
    a result that nobody will see. With `abandon`, for reads that may block for ever, nobody waits:
    `undo` runs once the thread has ended.
    """
    trip = start(function, *args, apart=abandon)
    try:
        return await trip.result()
    except asyncio.CancelledError:

        def leave(_: object = None) -> Trip[Any]:
            return trip if undo is None or trip.error is not None else start(undo, trip.value)

        if trip.cancel():
            pass
        elif abandon:
            trip.result().add_done_callback(leave)
        else:
            with contextlib.suppress(asyncio.CancelledError):  # one more of them changes nothing
                await trip.settled()
            with contextlib.suppress(asyncio.CancelledError):
                await leave().settled()
        raise


workers = Workers()
atexit.register(workers.close)
forget_in_child(workers)
