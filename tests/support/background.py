"""An emulator in a thread of its own, for tests whose client runs in another process or loop."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from typing import Any

from prodia_async.emulator import Emulator


@contextlib.contextmanager
def background_emulator(**options: Any) -> Iterator[Emulator]:
    ready = threading.Event()
    running: list[tuple[Emulator, asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def serve() -> None:
        async with Emulator(**options) as emulator:
            stop = asyncio.Event()
            running.append((emulator, asyncio.get_running_loop(), stop))
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    assert ready.wait(10), "the emulator did not start"
    emulator, loop, stop = running[0]
    try:
        yield emulator
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        assert not thread.is_alive()
