"""A token that is refused costs one request: until one is known to be good, jobs are sent one at a time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from prodia_async._errors import AuthenticationError, PermissionDeniedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from prodia_async._errors import ProdiaError


class Scout:
    """Holds all jobs but one until the service is known to take the token; for one event loop.

    A free question tells, and costs a batch one round trip. Where it is refused a job goes alone, for a
    token may be good for jobs and not for questions; unless it is refused, too, the others follow.
    """

    def __init__(self, ask: Callable[[], Awaitable[ProdiaError | None]]) -> None:
        self.is_over = False
        self._ask = ask
        self._alone: str | None = None
        self._turn = asyncio.Lock()

    async def enter(self, custom_id: str) -> None:
        """Wait until this job may be sent; `leave` must follow."""
        await self._turn.acquire()
        try:
            if not self.is_over:
                self.is_over = not isinstance(await self._ask(), AuthenticationError | PermissionDeniedError)
            if not self.is_over:
                self._alone = custom_id
        finally:
            if self._alone is None:
                self._turn.release()

    def leave(self, custom_id: str, *, sent: bool) -> None:
        """Take note that an attempt of a job has ended, or that it was not `sent`."""
        if custom_id == self._alone:
            self._alone = None
            self.is_over = sent
            self._turn.release()
