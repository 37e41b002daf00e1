"""The token that requests carry: a text, or what a function of the user's gives, and gives anew on a 401."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any

from prodia_async._errors import AuthenticationError, InputError, reason_of
from prodia_async._files.threads import hop
from prodia_async._settings import Token, token_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from prodia_async._models import Verdict
    from prodia_async._settings import TokenFunction

UNAUTHORIZED = 401

_MOST_TIME = 60.0
"""Seconds that the function may take."""


class Hidden(dict[str, str]):
    """Headers that show themselves to nobody but the connection."""

    def __repr__(self) -> str:
        return "{***}"


class Bearer:
    """The token of one event loop's requests: `headers` has it. `hide` hears of each, before it is used.

    A function is asked before the first request. Whoever needs a token meanwhile waits for the same answer:
    many jobs that meet a 401 at once ask once. A job that leaves takes the answer from nobody.
    """

    def __init__(self, given: Token | TokenFunction | None, hide: Callable[[Token], None]) -> None:
        self.headers: Hidden = Hidden()
        self.token: Token | None = None
        # isinstance() would ask a function of the user's own.
        self._function: Any = None if type(given) is Token else given
        self._hide = hide
        self._question: asyncio.Task[Exception | None] | None = None
        if type(given) is Token:
            self._use(given)

    def _use(self, token: Token) -> None:
        self._hide(token)
        self.token = token
        self.headers["Authorization"] = token.header

    async def ask(self) -> Token | None:
        """Return a token that the function gives now. Raises AuthenticationError where it gives none."""
        if self._function is None:
            return self.token
        if self._question is None or self._question.done():
            self._question = asyncio.create_task(self._ask(self._function), name="prodia-async token")
        question = self._question
        await asyncio.wait([question])
        error = asyncio.CancelledError() if question.cancelled() else question.result()
        if error is not None:
            said = reason_of(error) if isinstance(error, Exception) else "it was cancelled"
            raise AuthenticationError(f"the function token= gave no token: {said}") from error
        return self.token

    async def _ask(self, function: TokenFunction) -> Exception | None:
        """Ask, in a thread: a plain function may wait for a file or a network. Return what goes wrong."""
        try:
            async with asyncio.timeout(_MOST_TIME):
                given = await hop(function, abandon=True)
                token = token_of(await given if inspect.isawaitable(given) else given)
                del given
        except TimeoutError as error:
            return error if str(error) else TimeoutError(f"nothing within {_MOST_TIME:g} s")
        except Exception as error:  # noqa: BLE001 - it is the user's own
            return error
        if isinstance(token, InputError):
            return token
        self._use(token)
        return None

    async def renewed(self, verdict: Verdict, used: Token | None) -> bool:
        """Tell whether there is another token than the one that was `used`; after a 401 it is asked for."""
        if verdict.status != UNAUTHORIZED or self._function is None or used is None:
            return False
        now = await self.ask() if self.token is used else self.token
        return now is not None and now.header != used.header

    def close(self) -> None:
        """Ask no more."""
        if self._question is not None:
            self._question.cancel()
