"""Telling of what happens to jobs: the logger `prodia_async`, and `on_event` in a thread of its own.

Whatever a user's function does, no job waits for it.
"""

from __future__ import annotations

import contextvars
import logging
import os
import threading
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from prodia_async._errors import InputError
from prodia_async._loops import forget_in_child

if TYPE_CHECKING:
    from collections.abc import Callable

    from prodia_async._errors import ProdiaError
    from prodia_async._models import Attempt
    from prodia_async._stats import Event, EventKind

log = logging.getLogger("prodia_async")

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING}

_MOST_WAITING = 10_000  # events, for a slow function; what comes above that is dropped, and told of once


def set_up_log() -> None:
    """Do what the environment's PRODIA_LOG says: show the log on stderr from a level on. Raises InputError.

    Where a program has set up logging before, with a handler that hears this logger, only the level is set.
    """
    wanted = os.environ.get("PRODIA_LOG", "").strip().lower()
    if not wanted:
        return
    if wanted not in _LEVELS:
        raise InputError(f"PRODIA_LOG cannot be {wanted!r}: set it to {' or '.join(_LEVELS)}")
    log.setLevel(_LEVELS[wanted])
    if not log.hasHandlers():
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        log.addHandler(handler)


def log_event(
    kind: EventKind, subject: object, attempt: Attempt | None, error: ProdiaError | None = None
) -> None:
    """Log what happened to a job: what ends it, or sends it again, at level info, the rest at debug.

    `subject` is only made text where somebody hears of it.
    """
    level = logging.DEBUG if kind in ("queued", "sent", "shed") else logging.INFO
    if not log.isEnabledFor(level):
        return
    if error is not None or attempt is None:
        log.log(level, "%s: %s", kind, subject if error is None else error)
    else:
        said = f"attempt {attempt.number}, waited {attempt.waited:.3f} s, took {attempt.elapsed:.3f} s"
        said += f", status {attempt.status}" if attempt.status is not None else ""
        said += f", Retry-After {attempt.retry_after:g} s" if attempt.retry_after is not None else ""
        said += f", request id {attempt.request_id}" if attempt.request_id else ""
        said += f": {attempt.reason}" if attempt.reason else ""
        log.log(level, "%s: %s: %s", kind, subject, said)


class Hook:
    """Calls `function` with each event, in order, within the contextvars of the job that it happened to.

    What the function raises is logged. After `idle` seconds without an event the thread ends, and the next
    event starts another.
    """

    def __init__(self, function: Callable[[Event], object], *, idle: float = 1.0) -> None:
        self._function = function
        self._idle = idle
        self._warned = False
        self.forget()
        forget_in_child(self)

    def forget(self) -> None:
        """Start again without a thread: that of a forked child's parent does not exist in the child."""
        self._queue: SimpleQueue[Callable[[], object]] = SimpleQueue()
        self._lock = threading.Lock()
        self._running = False

    def tell(self, event: Event) -> None:
        """Have the function called, within the present contextvars; returns at once."""
        if self._queue.qsize() < _MOST_WAITING:
            self._put(partial(contextvars.copy_context().run, self._function, event))
        elif not self._warned:
            self._warned = True
            log.warning("on_event is too slow: above %d waiting events, some are dropped", _MOST_WAITING)

    def _put(self, call: Callable[[], object]) -> None:
        self._queue.put(call)
        if self._running:
            return
        with self._lock:
            if not self._running:
                self._running = True
                try:
                    threading.Thread(target=self._work, name="prodia-async-events", daemon=True).start()
                except RuntimeError as error:  # no more threads: the next event tries again
                    self._running = False
                    log.warning("on_event waits for a thread: %s", error)

    def _work(self) -> None:
        while True:
            try:
                call = self._queue.get(timeout=self._idle)
            except Empty:
                with self._lock:
                    self._running = False  # first: what is told from now on starts a thread
                    self._running = not self._queue.empty()
                    if not self._running:
                        return
                continue
            try:
                call()
            except BaseException:  # even SystemExit: the thread goes on for the next event
                log.exception("on_event raised")
            del call  # while it waits for more, it keeps nothing of this

    @property
    def is_busy(self) -> bool:
        """Whether the function has not heard of all that was told, perhaps."""
        return self._running or not self._queue.empty()

    def wait(self, seconds: float) -> None:
        """Wait until the function has heard of all that was told so far. Blocks."""
        if self.is_busy:
            heard = threading.Event()
            self._put(heard.set)
            heard.wait(seconds)
