"""A token that is refused costs one request: until one is known to be good, jobs are sent one at a time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from prodia_async._errors import AuthenticationError, PermissionDeniedError, ServerError, TransportError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from prodia_async._errors import ProdiaError
    from prodia_async._models import Attempt

_REFUSED = (401, 403)


class Scout:
    """Holds all jobs but one until the service is known to take the token; for one event loop.

    A free question tells, and costs a batch one round trip. Where it is refused a job goes alone, for a
    token may be good for jobs and not for questions; unless it is refused, too, the others follow.
    """

    def __init__(self, ask: Callable[[], Awaitable[ProdiaError | None]]) -> None:
        self.is_over: bool = False
        self._ask = ask
        self._alone: str | None = None
        self._turn = asyncio.Lock()

    async def enter(self, custom_id: str) -> None:
        """Wait until this job may be sent; `leave` must follow."""
        if self.is_over:
            return
        await self._turn.acquire()
        try:
            if not self.is_over:
                self.is_over = not isinstance(await self._ask(), AuthenticationError | PermissionDeniedError)
            if not self.is_over:
                self._alone = custom_id
        finally:
            if self._alone is None:
                self._turn.release()

    async def what_is_wrong(self) -> str | None:
        """Ask, and return what the service fails with, if it is out."""
        error = await self._ask()
        if isinstance(error, ServerError) or (isinstance(error, TransportError) and not error.is_final):
            return error.message.partition(". ")[0]
        return None

    def leave(self, custom_id: str, attempt: Attempt | None = None) -> None:
        """Take note of what an attempt of a job has come to, or that there was none."""
        if custom_id == self._alone:
            self._alone = None
            self.is_over = attempt is not None and attempt.status not in _REFUSED
            self._turn.release()
