"""What is under way in a client, and can be cut when the client is closed."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any, TypeVar

from prodia_async._errors import ClientClosedError

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from prodia_async._models import Job

T = TypeVar("T")


class Live:
    """Something under way for a job, in one task from `begin` to `end`."""

    __slots__ = ("_is_cut", "_was_cut", "job", "task")

    def __init__(self, job: Job) -> None:
        self.job = job
        self.task: asyncio.Task[Any] | None = None
        self._was_cut = False
        self._is_cut: bool | None = None

    @property
    def is_in_flight(self) -> bool:
        """Whether the service may have the job."""
        return True

    def begin(self) -> None:
        """Take note of the task that it runs in."""
        self.task = asyncio.current_task()

    def end(self) -> None:
        """Take note that it is over; whoever took its cancellation for something else must not pass it on."""
        self.is_cut()
        self.task = None

    def cut(self) -> None:
        """End it now, with ClientClosedError."""
        if self.task is not None and not self._was_cut:
            self._was_cut = True
            self.task.cancel()

    def is_cut(self) -> bool:
        """Tell whether a cancellation came from `cut` and nobody else; with that it is over."""
        if not self._was_cut or self.task is None:
            return False
        if self._is_cut is None:
            self._is_cut = sys.version_info < (3, 11) or self.task.uncancel() == 0
        return self._is_cut

    async def unless_cut(self, work: Awaitable[T]) -> T:
        """Await `work`. Raises ClientClosedError when it is cut."""
        try:
            return await work
        except asyncio.CancelledError:
            if not self.is_cut():
                raise
        raise closed_while_under_way()


def closed_while_under_way() -> ClientClosedError:
    """Return the error of what was cut."""
    return ClientClosedError("the client was closed before this job was done")
