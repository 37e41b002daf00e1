"""The same world through the public `Prodia.as_completed`: a transport that models the service.

The event loop's own clock jumps to the next timer whenever nothing is ready to run, so that everything the
client does, from its tasks to its deadlines, happens in simulated time.
"""

from __future__ import annotations

import asyncio
import json
import random
import selectors
from typing import TYPE_CHECKING, Any

from clients import EARLY, MISSING_RETRY_AFTER
from trial import almost_last, goodput, ideal
from world import Capacity, Server, constant, step

from prodia_async import Adaptive, Job, Prodia

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from trial import Measures

TYPE = "inference.simulated.txt2img.v1"


class JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop whose time passes only while it waits. It is also the package's `Clock`."""

    def __init__(self) -> None:
        self.now = 0.0
        super().__init__(JumpingSelector(self))

    def time(self) -> float:
        return self.now

    monotonic = wall = time

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class JumpingSelector(selectors.DefaultSelector):
    """Asks for what is ready, and lets the loop's time jump where another would wait."""

    def __init__(self, loop: JumpingLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if timeout is None and not ready:
            raise RuntimeError("the client stands still: nothing is scheduled")
        if timeout and not ready:
            self._loop.now += timeout
        return ready


class Wire:
    """One request's answer, as the modelled service gives it."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[tuple[int, dict[str, str]]] = asyncio.get_running_loop().create_future()
        self.told = 0.0

    def shed(self, retry_after: float | None) -> None:
        self.told = MISSING_RETRY_AFTER if retry_after is None else retry_after
        self._set(429, {} if retry_after is None else {"Retry-After": f"{retry_after:g}"})

    def headers(self) -> None:
        self._set(200, {"Content-Type": "image/png"})

    def ended(self) -> None:
        """The body comes with the headers."""

    def _set(self, status: int, headers: dict[str, str]) -> None:
        if not self.answer.done():
            self.answer.set_result((status, headers))


class Reply:
    """An answer whose body is one piece."""

    def __init__(self, status: int, headers: Mapping[str, str]) -> None:
        self.status, self.headers = status, headers
        self._pieces = [b"\x89PNG"] if status == 200 else []

    async def read(self) -> bytes:
        return self._pieces.pop() if self._pieces else b""

    async def aclose(self) -> None:
        """Nothing is open."""


class ModelTransport:
    """The package's `Transport`, with the modelled service behind it."""

    def __init__(self, loop: JumpingLoop, server: Server) -> None:
        self._loop, self._server = loop, server
        self._not_before: dict[int, float] = {}
        self.early = 0

    async def send(self, request: Any, progress: Any) -> Reply:
        progress.connected()
        body = bytearray()

        async def emit(block: bytes) -> None:
            body.extend(block)

        await request.body.write(emit)
        number = json.loads(body)["config"]["number"]
        self.early += self._loop.now < self._not_before.get(number, 0.0) - EARLY
        progress.body_sent()
        wire = Wire()
        self._loop.call_later(self._server.way(), self._server.arrive, wire)
        status, headers = await wire.answer
        if status == 429:
            self._not_before[number] = self._loop.now + wire.told
        return Reply(status, headers)

    async def aclose(self) -> None:
        """Nothing is open."""

    def close_dead(self) -> None:
        """Nothing is open."""

    abandon = close_dead


def play(make: Callable[[], Capacity], jobs: int) -> Callable[[int], Measures]:
    def measure(seed: int) -> Measures:
        loop = JumpingLoop()
        server = Server(loop, random.Random(seed), make())
        try:
            return loop.run_until_complete(_measure(loop, server, jobs))
        finally:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

    return measure


async def _measure(loop: JumpingLoop, server: Server, jobs: int) -> Measures:
    transport = ModelTransport(loop, server)
    ends, sheds = [], []
    prodia = Prodia(
        token="simulated",
        base_url="http://127.0.0.1:1",
        limiter=Adaptive(),
        transport=lambda: transport,
        clock=loop,
    )
    async with prodia:
        line = (Job(TYPE, {"number": number}) for number in range(jobs))
        async with prodia.as_completed(line) as outcomes:
            async for outcome in outcomes:
                if outcome.result is not None:
                    ends.append(loop.now)
                    sheds.append(len(outcome.result.attempts) - 1)
        in_flight = prodia.stats().in_flight
    work = sum(end - begin for begin, end in server.runs)
    return {
        "span": ends[-1] / ideal([server.capacity], float("inf"), work),
        "goodput": goodput([server], float("inf"), 0.0, almost_last(ends)),
        "sheds": sum(sheds) / jobs,
        "most": max(sheds),
        "jain": 1.0,
        "early": transport.early,
        "leaked": in_flight,
        "lost": jobs - len(ends),
    }


PUBLIC = {
    "as_completed: const K32 n1": play(lambda: constant(32), 3200),
    "as_completed: down 32>8 n1": play(lambda: step(32, 8), 1600),
}
