"""The process's worker threads, and the bells by which they wake event loops."""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
from collections import deque
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeAlias
from weakref import ref

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

Work: TypeAlias = "tuple[Callable[..., object], tuple[Any, ...]]"

_THREADS = 4


class Pool:
    """A few threads for short work. Its functions must not raise: there is nobody to be told.

    An executor of the standard library does more for each piece of work, and costs three times as much.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Start again without threads: those of a forked child's parent do not exist in the child."""
        self._lock = threading.Lock()
        self._queue: SimpleQueue[Work | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []

    def start(self, function: Callable[..., object], *args: Any) -> None:
        """Have the function run as soon as a thread is free."""
        self._queue.put((function, args))
        if len(self._threads) < _THREADS:
            self._add_thread()

    def _add_thread(self) -> None:
        with self._lock:
            number = len(self._threads)
            if number < _THREADS:
                name = f"prodia-async_{number}"
                # A daemon, so that the exit comes to `close`, which waits for what is under way.
                thread = threading.Thread(target=_work, args=(self._queue,), name=name, daemon=True)
                self._threads.append(thread)
                thread.start()

    def close(self) -> None:
        """Finish what was started, and end the threads."""
        queue, threads = self._queue, self._threads
        self.forget()
        for _ in threads:
            queue.put(None)
        for thread in threads:
            thread.join()


def _work(queue: SimpleQueue[Work | None]) -> None:
    while (work := queue.get()) is not None:
        function, args = work
        function(*args)
        del work, function, args  # while it waits for more, a thread keeps nothing of this


class Bell:
    """Wakes one event loop: once for all waiters that were released since it was awake."""

    def __init__(self) -> None:
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._rung = False

    def release(self, waiter: asyncio.Future[None]) -> None:
        """Let the waiter's loop go on with it, from any thread; says nothing if that loop is closed."""
        self._waiters.append(waiter)
        if not self._rung:
            self._rung = True
            with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits any more
                waiter.get_loop().call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        self._rung = False  # first: who comes after this line rings again
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)


_bells: dict[int, tuple[ref[asyncio.AbstractEventLoop], Bell]] = {}


def bell_of(loop: asyncio.AbstractEventLoop) -> Bell:
    """Return the loop's bell."""
    of, bell = _bells.get(id(loop), (None, None))
    if bell is not None and of is not None and of() is loop:
        return bell
    for key, (other, _) in list(_bells.items()):
        if other() is None:
            _bells.pop(key, None)
    bell = Bell()
    _bells[id(loop)] = ref(loop), bell
    return bell


pool = Pool()
atexit.register(pool.close)


def _forget() -> None:
    pool.forget()
    _bells.clear()


if hasattr(os, "register_at_fork"):  # pragma: no branch - absent on Windows, which has no fork
    os.register_at_fork(after_in_child=_forget)
