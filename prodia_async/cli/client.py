"""The client of a command, and the emulator that it may bring along."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

import prodia_async

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from prodia_async import Prodia
    from prodia_async.emulator import Emulator


@contextlib.asynccontextmanager
async def connected(emulator: Emulator | None, **options: Any) -> AsyncIterator[Prodia]:
    """Yield a client of the emulator, which is started, or of the service that the environment names."""
    async with contextlib.AsyncExitStack() as stack:
        if emulator is not None:
            await stack.enter_async_context(emulator)
            options |= {"base_url": emulator.base_url, "token": emulator.token}
        elif not os.environ.get("PRODIA_TOKEN", "").strip():
            raise prodia_async.InputError(
                "no token: set PRODIA_TOKEN (`run` and `batch` do without one with --emulator)"
            )
        yield await stack.enter_async_context(prodia_async.Prodia(**options))
