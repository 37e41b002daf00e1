"""The workers of the clients that run on asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

import measure

Run = Callable[[measure.Task], Awaitable[object]]
Connect = Callable[[measure.Options], AbstractAsyncContextManager[Run]]

LONGEST = 300.0  # seconds for all jobs
TICK = 0.001


def main(connect: Connect) -> None:
    given = measure.options()
    if given.uvloop:
        import uvloop  # noqa: PLC0415 - only where it is asked for

        figures = uvloop.run(_measured(connect, given))
    else:
        figures = asyncio.run(_measured(connect, given))
    print(json.dumps(figures))


async def _measured(connect: Connect, given: measure.Options) -> dict:
    window = measure.Window(given)
    closed = asyncio.Event()
    async with connect(given) as run:

        async def work() -> None:
            while window.figures is None:
                await run(window.take())
                window.ended()
            closed.set()

        stall = Stall(window)
        watching = [stall.watch()] if given.stall else []
        running = asyncio.gather(*(work() for _ in range(given.at_once)), *watching)
        waiting = asyncio.ensure_future(closed.wait())
        await asyncio.wait([running, waiting], timeout=LONGEST, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
    if window.figures is None:
        raise SystemExit(f"not all jobs were done within {LONGEST:.0f} s")
    return window.figures | ({"stall": stall.longest} if given.stall else {})


class Stall:
    """The longest that the loop kept a 1 ms timer waiting while the window was open, in seconds."""

    def __init__(self, window: measure.Window) -> None:
        self._window = window
        self.longest = 0.0

    async def watch(self) -> None:
        while self._window.figures is None:
            before = time.perf_counter()
            was_open = self._window.is_open
            await asyncio.sleep(TICK)
            if was_open:
                self.longest = max(self.longest, time.perf_counter() - before - TICK)
