"""An emulator in a thread of its own: for tests, and for programs whose event loop should stay theirs."""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from prodia_async.emulator.server import Emulator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_PATIENCE = 10.0
"""Seconds that the thread may take to start and to stop."""


@contextlib.contextmanager
def background_emulator(**options: Any) -> Iterator[Emulator]:
    """Run `Emulator(**options)` in a thread while the block lasts. Raises what starting it raises.

    Its `base_url`, `token` and `stats()` may be used from any thread.
    """
    started: Future[tuple[Emulator, Callable[[], object]]] = Future()

    async def serve() -> None:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        async with Emulator(**options) as emulator:
            started.set_result((emulator, lambda: loop.call_soon_threadsafe(stop.set)))
            await stop.wait()

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:
            if started.done():
                raise
            started.set_exception(error)

    with ThreadPoolExecutor(1, thread_name_prefix="emulator") as thread:
        ended = thread.submit(run)
        emulator, stop = started.result(_PATIENCE)
        try:
            yield emulator
        finally:
            stop()
            ended.result(_PATIENCE)
