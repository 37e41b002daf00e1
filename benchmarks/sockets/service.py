"""The emulator in a process of its own, with a schedule for its capacity."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from prodia_async.emulator import Emulator

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

PATIENCE = 20.0  # seconds that a process may take to start, to answer and to stop
SAMPLE_EVERY = 0.02
SPAWN = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class Setting:
    """`sigma`: the spread of latencies. `steps`: the capacity, by seconds since the first request."""

    capacity: int
    latency: float
    sigma: float = 0.0
    retry_after: float = 1.0
    free_at: Literal["headers", "end"] = "headers"
    output_bytes: int = 1024
    steps: tuple[tuple[float, int], ...] = ()


@dataclass(frozen=True)
class Sample:
    """`at` is the machine's monotonic time, the same in all processes."""

    at: float
    capacity: int
    shed: int


@dataclass(frozen=True)
class Account:
    """What the emulator counted; `busy`: slot-seconds in use; `samples` only where it has steps."""

    requests: int
    completed: int
    shed: int
    busy: float
    samples: tuple[Sample, ...]


class Service:
    """The running emulator, as the other processes see it."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self.base_url, self.token = _receive(pipe)

    def account(self) -> Account:
        self._pipe.send("account")
        return _receive(self._pipe)


@contextlib.contextmanager
def running(setting: Setting) -> Iterator[Service]:
    ours, theirs = SPAWN.Pipe()
    process = SPAWN.Process(target=_main, args=(setting, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        yield Service(ours)
    finally:
        ours.close()  # the other end of the pipe takes it as the end
        process.join(PATIENCE)
        if process.is_alive():
            process.kill()
            process.join()


def _receive(pipe: Connection):
    if not pipe.poll(PATIENCE):
        raise SystemExit("the emulator's process does not answer")
    return pipe.recv()


def _main(setting: Setting, pipe: Connection) -> None:
    asyncio.run(_serve(setting, pipe))


async def _serve(setting: Setting, pipe: Connection) -> None:
    samples: list[Sample] = []
    async with Emulator(
        capacity=setting.capacity,
        latency=setting.latency,
        latency_sigma=setting.sigma,
        retry_after=setting.retry_after,
        free_at=setting.free_at,
    ) as emulator:
        schedule = asyncio.create_task(_follow(setting.steps, emulator, samples))
        pipe.send((emulator.base_url, emulator.token))
        with contextlib.suppress(EOFError, ConnectionError):
            while await asyncio.to_thread(pipe.recv):
                stats = emulator.stats()
                counts = stats.requests, stats.completed, stats.shed, stats.busy_seconds
                pipe.send(Account(*counts, tuple(samples)))
        schedule.cancel()
        await asyncio.wait([schedule])


async def _follow(steps: tuple[tuple[float, int], ...], emulator: Emulator, samples: list[Sample]) -> None:
    """Set the capacity when its time has come, and take samples of it."""
    left = list(steps)
    if not left:
        return
    while not emulator.stats().requests:
        await asyncio.sleep(SAMPLE_EVERY / 10)
    began = time.monotonic()
    while True:
        now = time.monotonic()
        while left and now >= began + left[0][0]:
            emulator.capacity = left.pop(0)[1]
        samples.append(Sample(now, emulator.capacity, emulator.stats().shed))
        await asyncio.sleep(SAMPLE_EVERY)
