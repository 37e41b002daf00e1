"""The one thread that writes to the journal."""

from __future__ import annotations

import atexit
import contextlib
import errno
import logging
import os
import queue
import sqlite3
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from prodia_async._errors import OutputError
from prodia_async._loops import make_immortal
from prodia_async.batch._database import ReplacedError
from prodia_async.batch._telling import say

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from prodia_async.batch._database import Database, Values

_MOST_IN_ONE = 500
_LAST_TRIES = 5
"""How often a full disk is tried again once the end was asked for."""

_EXIT_WAIT = 30.0
"""Seconds that the interpreter's exit waits for what is not written yet."""


class Failure(NamedTuple):
    """Why nothing can be written any more, and the system's number for it."""

    reason: str
    number: int

    def error(self) -> OutputError:
        """Return it as an error, a new one for each who is told."""
        error = OutputError(self.reason)
        error.errno = self.number
        return error


Operation: TypeAlias = "tuple[str | None, Values, asyncio.Future[None] | None, Callable[[], object] | None]"
"""A statement (None: nothing to write), its values, who waits for its commit, and what follows it."""


class Writer:
    """Writes operations in order: what has gathered while a commit ran goes into the next one.

    Nothing is delayed by a timer. What follows a commit is done before anybody hears of it. Waiters are told
    in their loop, all those of a commit at once. A full disk holds everything back until there is room. After
    any other failure nothing is written, and every waiter hears of it. In the end the thread closes what it
    was given in `closing`.

    It is a daemon thread which the interpreter's exit waits for, but not for ever: a loop that was killed has
    nobody who would end it.
    """

    def __init__(
        self,
        database: Database,
        loop: asyncio.AbstractEventLoop,
        *,
        on_full: Callable[[str | None], object],
        retry_every: float,
        closing: Sequence[Callable[[], object]],
    ) -> None:
        self.failure: Failure | None = None
        self.unwritten: int = 0  # operations that a failure has dropped
        self._database = database
        self._loop = loop
        self._on_full = on_full
        self._retry_every = retry_every
        self._closing = closing
        self.last: Callable[[], object] | None = None
        """What is done in the end, once all is written and closed but the last thing."""
        self.last_error: Exception | None = None
        self.queue: queue.SimpleQueue[Operation | None] = queue.SimpleQueue()
        """What is to be written soon, in order; None is the end. What follows a commit is called in the
        writer's thread, and what that raises is its waiter's alone."""
        self._ending = False
        self._thread = threading.Thread(target=self._run, name="prodia-async-journal", daemon=True)

    def start(self) -> None:
        """Begin."""
        _running.add(self)
        atexit.register(self._exit)
        self._thread.start()

    def end(self) -> None:
        """Write what was put so far, then close. Returns at once."""
        self._ending = True
        self.queue.put(None)

    def join(self, timeout: float | None = None) -> None:
        """Wait until it has ended."""
        self._thread.join(timeout)

    def _exit(self) -> None:
        self.end()
        self.join(_EXIT_WAIT)

    def _run(self) -> None:
        try:
            ended = False
            while not ended:
                operations, ended = self._gather()
                self._commit(operations)
        finally:
            *closing, last = self._closing
            for close in [*closing, self._do_last, last]:
                with contextlib.suppress(sqlite3.Error, OSError):  # all that can be done was done
                    close()
            atexit.unregister(self._exit)
            _running.discard(self)

    def _do_last(self) -> None:
        if self.last is not None and self.failure is None:
            try:
                self.last()
            except Exception as error:  # noqa: BLE001 - whoever closes the journal hears of it
                self.last_error = error

    def _gather(self) -> tuple[list[Operation], bool]:
        """Return what waits, at least one operation, and whether it is the end."""
        gathered: list[Operation] = []
        while (operation := self.queue.get()) is not None:
            gathered.append(operation)
            if len(gathered) == _MOST_IN_ONE or self.queue.empty():
                return gathered, False
        return gathered, True

    def _commit(self, operations: list[Operation]) -> None:
        writes = [(statement, values) for statement, values, _, _ in operations if statement]
        if writes and self.failure is None:
            try:
                self._write(writes)
            except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must hear of it
                self.failure = self._explain(error)
                say(logging.ERROR, "%s", self.failure.reason)
        if self.failure is not None:
            self.unwritten += len(writes)
        ended = [(waiter, self._follow(then)) for _, _, waiter, then in operations]
        if waiters := [(waiter, error) for waiter, error in ended if waiter is not None]:
            self._call(_release, waiters)

    def _follow(self, then: Callable[[], object] | None) -> Exception | None:
        """Do what follows a commit; return what its waiter hears."""
        if self.failure is not None:
            return self.failure.error()
        try:
            if then is not None:
                then()
        except Exception as error:  # noqa: BLE001 - it is raised where it is awaited
            return error
        return None

    def _write(self, writes: Sequence[tuple[str, Values]]) -> None:
        """Write, and try again while the disk is full."""
        paused, tries = False, 0
        while True:
            try:
                self._database.write(writes)
                break
            except sqlite3.Error as error:
                tries += self._ending
                if tries > _LAST_TRIES or not self._database.is_full(error):
                    raise
                if not paused:
                    paused = True
                    self._call(self._on_full, f"the disk is full: {self._database.name} waits for room")
                time.sleep(self._retry_every)
        if paused:
            self._call(self._on_full, None)

    def _explain(self, error: Exception) -> Failure:
        name = repr(self._database.name)
        again = "What was not written down runs, and is paid, again with the same command."
        if isinstance(error, ReplacedError):
            advice = (
                "Find out what cleans that folder, put the file back if you can, and run the command again."
            )
            return Failure(
                f"{name} was removed or replaced while a batch wrote to it. {advice} {again}", errno.ENOENT
            )
        if isinstance(error, sqlite3.Error) and self._database.is_full(error):
            return Failure(
                f"{name} could not be written: the disk stayed full. Make room. {again}", errno.ENOSPC
            )
        advice = "Check the disk, then run the same command again."
        return Failure(f"{name} could not be written ({error}). {advice} {again}", errno.EIO)

    def _call(self, function: Callable[..., object], *values: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(function, *values)


_running: set[Writer] = set()
"""Those whose thread has not ended."""


def _abandon_in_child() -> None:
    """In a forked child: never use, close or finalise the parent's connections: its WAL might go."""
    for writer in list(_running):
        make_immortal(writer)
        writer.failure = Failure(
            "this journal belongs to the process that opened it: open it again", errno.EIO
        )
    _running.clear()


if hasattr(os, "register_at_fork"):  # pragma: no branch - absent on Windows, which has no fork
    os.register_at_fork(after_in_child=_abandon_in_child)


def _release(waiters: Sequence[tuple[asyncio.Future[None], Exception | None]]) -> None:
    for waiter, error in waiters:
        if waiter.done():
            continue
        if error is None:
            waiter.set_result(None)
        else:
            waiter.set_exception(error)
            waiter.exception()  # it is well if nobody asks
