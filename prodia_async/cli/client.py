"""The client of a command, and the emulator that it may bring along."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import prodia_async

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from prodia_async import Prodia
    from prodia_async.emulator import Emulator


@contextlib.asynccontextmanager
async def connected(
    emulator: Emulator | None, *, max_concurrency: int | None = None
) -> AsyncIterator[Prodia]:
    """Yield a client of the emulator, which is started, or of the service that the environment names."""
    async with contextlib.AsyncExitStack() as stack:
        base_url = token = None
        if emulator is not None:
            await stack.enter_async_context(emulator)
            base_url, token = emulator.base_url, emulator.token
        yield await stack.enter_async_context(
            prodia_async.Prodia(base_url=base_url, token=token, max_concurrency=max_concurrency)
        )
