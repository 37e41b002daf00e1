"""A wrapper of a user's own, typed with what is public. Never run: mypy reads it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from prodia_async import Job, JobResult, Output, Prodia
from prodia_async.types import (
    AsCompleted,
    Clock,
    Content,
    EventKind,
    Fault,
    Input,
    Jobs,
    Mode,
    OutputInfo,
    Reply,
    Request,
    Sink,
    SinkFactory,
    Timer,
    To,
    Transport,
    VerdictKind,
    Writer,
)


async def paint(prodia: Prodia, picture: Input, to: To = None, mode: Mode = "sync") -> Output:
    """Hand on what callers give."""
    result = await prodia.run("t", inputs=[picture], to=to, mode=mode)
    return result.outputs[0]


def all_of(prodia: Prodia, jobs: Jobs, to: To) -> AsCompleted:
    """Hand on many."""
    return prodia.as_completed(jobs, to=to)


def sheds(result: JobResult, wanted: VerdictKind = "shed") -> int:
    """Count attempts."""
    return sum(attempt.verdict == wanted for attempt in result.attempts)


class Counting:
    """A sink that keeps nothing but the size."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.size = 0

    async def open(self, output: OutputInfo) -> Writer:
        """Be the writer, too."""
        return self

    async def write(self, data: bytes) -> None:
        """Count."""
        self.size += len(data)

    async def close(self) -> None:
        """Take note of the end."""

    async def commit(self, result: JobResult) -> None:
        """Take note of the end."""

    async def discard(self) -> None:
        """Begin anew."""
        self.size = 0


class Fast:
    """A clock whose waits take no time."""

    def monotonic(self) -> float:
        """Return seconds."""
        return 0.0

    def wall(self) -> float:
        """Return seconds."""
        return 0.0

    async def sleep(self, seconds: float) -> None:
        """Wait for one turn of the loop."""

    def call_at(self, when: float, callback: Callable[[], object]) -> Timer:
        """Call at once."""
        return asyncio.get_running_loop().call_soon(callback)


class NoNetwork:
    """A transport without a network."""

    async def send(self, request: Request, progress: Any) -> Reply:
        """Break."""
        raise Fault("connect", request.url)

    async def get(self, url: str, headers: Mapping[str, str]) -> Reply:
        """Break."""
        raise Fault("lost", url)

    async def aclose(self) -> None:
        """Do nothing."""

    def close_dead(self) -> None:
        """Do nothing."""

    def abandon(self) -> None:
        """Do nothing."""


factory: SinkFactory = Counting
sink: Sink = Counting(Job("t"))
clock: Clock = Fast()
make_transport: Callable[[], Transport] = NoNetwork
content: Content = open("in.jpg", "rb")  # noqa: SIM115 - never run
kinds: tuple[EventKind, ...] = ("sent", "shed")
client = Prodia(clock=clock, transport=make_transport)
