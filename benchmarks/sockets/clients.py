"""What is compared: prodia-async with nothing configured, and other clients' ways with a 429.

The peers are plain aiohttp loops of our own, written after what is known of those clients. Each coroutine
runs `count` jobs that are all there at once, and returns when each of them is done or lost.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import aiohttp

from prodia_async import Job, Prodia

if TYPE_CHECKING:
    from service import Service

TYPE = "emulator.bytes.v1"


@dataclass
class Run:
    """One run of many jobs; times are the machine's monotonic ones."""

    began: float = field(default_factory=time.monotonic)
    done: list[float] = field(default_factory=list)
    lost: int = 0

    def count(self, done: bool) -> None:
        if done:
            self.done.append(time.monotonic())
        else:
            self.lost += 1

    @property
    def makespan(self) -> float:
        return max(self.done, default=self.began) - self.began


Client = Callable[["Service", int, int], Awaitable[Run]]


async def as_completed(service: Service, count: int, size: int) -> Run:
    async with Prodia(base_url=service.base_url, token=service.token) as prodia:
        return await consume(prodia, count, size)


async def consume(prodia: Prodia, count: int, size: int) -> Run:
    run = Run()
    jobs = (Job(TYPE, {"size": size}) for _ in range(count))
    async with prodia.as_completed(jobs) as outcomes:
        async for outcome in outcomes:
            run.count(outcome.result is not None)
    return run


async def gather(service: Service, count: int, size: int) -> Run:
    async with Prodia(base_url=service.base_url, token=service.token) as prodia:
        run = Run()

        async def one() -> None:
            await prodia.run(TYPE, {"size": size})
            run.count(done=True)

        ended = await asyncio.gather(*(one() for _ in range(count)), return_exceptions=True)
        run.lost = sum(isinstance(end, BaseException) for end in ended)
        return run


async def javascript(service: Service, count: int, size: int) -> Run:
    """The official JavaScript client: ten retries of a 429, each after Retry-After; then the job is lost."""

    async def one(post: Post) -> bool:
        for _ in range(11):
            status, retry_after = await post()
            if status != 429:
                return status == 200
            await asyncio.sleep(retry_after or 1.0)
        return False

    return await _all_at_once(service, count, size, one)


async def openai_style(service: Service, count: int, size: int) -> Run:
    """Two retries, after Retry-After where it is at most a minute, else after 0.5 to 8 s with jitter."""

    async def one(post: Post) -> bool:
        for attempt in range(3):
            status, retry_after = await post()
            if status != 429:
                return status == 200
            if attempt == 2:
                break
            backoff = min(8.0, 0.5 * 2**attempt) * random.uniform(0.75, 1.0)
            await asyncio.sleep(retry_after if retry_after is not None and 0 < retry_after <= 60 else backoff)
        return False

    return await _all_at_once(service, count, size, one)


async def semaphore(service: Service, count: int, size: int) -> Run:
    """A hundred at once, each sent again after Retry-After without end."""
    slots = asyncio.Semaphore(100)

    async def one(post: Post) -> bool:
        async with slots:
            while True:
                status, retry_after = await post()
                if status != 429:
                    return status == 200
                await asyncio.sleep(retry_after or 1.0)

    return await _all_at_once(service, count, size, one)


Post = Callable[[], Awaitable[tuple[int, "float | None"]]]


async def _all_at_once(
    service: Service, count: int, size: int, one: Callable[[Post], Awaitable[bool]]
) -> Run:
    headers = {"Authorization": f"Bearer {service.token}", "Accept": "multipart/form-data"}
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(service.base_url, headers=headers, connector=connector) as session:

        async def post() -> tuple[int, float | None]:
            job = {"type": TYPE, "config": {"size": size}}
            async with session.post("/v2/job", json=job) as reply:
                await reply.read()
                told = reply.headers.get("Retry-After")
                return reply.status, None if told is None else float(told)

        run = Run()

        async def counted() -> None:
            run.count(await one(post))

        await asyncio.gather(*(counted() for _ in range(count)))
        return run
