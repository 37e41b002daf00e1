"""Cancelling an action at each step that it takes, and looking for anything that is left behind.

A step is one turn of the task: the coroutine is driven by a wrapper that counts each value it yields to the
loop, so the cancellation lands on each await in turn, wherever it is, until a run needs no more steps.
"""

from __future__ import annotations

import asyncio
import gc
import os
import pathlib
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any

import anyio
import pytest

import prodia_async
from prodia_async import Adaptive, Fixed, Polling, Prodia
from prodia_async.emulator import Emulator

Action = Callable[[Prodia, pathlib.Path], Awaitable[Any]]

QUICK = Polling(interval=0.001, max_interval=0.005)
PARALLEL = 4
"""Connections that an action may have at once."""

STEPS = [*range(1, 100), *(int(100 * 1.05**n) for n in range(120))]
FDS = pathlib.Path("/proc/self/fd")
OURS = tuple(str(pathlib.Path(package.__file__).parent) for package in (prodia_async, anyio))


class Trap:
    """Counts the suspensions of everything that it wraps, and cancels at the `at`-th."""

    def __init__(self, at: int) -> None:
        self.at, self.suspended = at, 0
        self.cancel: Callable[[], object] = lambda: None

    async def wrap(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return await Stepped(coroutine, self)

    def task(self, loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        """Make a task whose suspensions count too: those of `as_completed` are stepped with their owner."""
        code = getattr(coroutine, "cr_code", None)
        if code is None or not code.co_filename.startswith(OURS):
            return asyncio.Task(coroutine, loop=loop, **options)
        task = asyncio.Task(self.wrap(coroutine), loop=loop, **options)
        task.add_done_callback(lambda _: coroutine.close())  # one that is cancelled first never begins
        return task

    def step(self) -> None:
        self.suspended += 1
        if self.suspended == self.at:
            asyncio.get_running_loop().call_soon(self.cancel)


class Stepped:
    """Awaits a coroutine as it is, and tells the trap of each value that it yields to the loop."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], trap: Trap) -> None:
        self.coroutine, self.trap = coroutine, trap

    def __await__(self) -> Generator[Any, Any, Any]:
        value, error = None, None
        while True:
            try:
                awaited = self.coroutine.send(value) if error is None else self.coroutine.throw(error)
            except StopIteration as done:
                return done.value
            self.trap.step()
            value, error = None, None
            try:
                value = yield awaited
            except BaseException as thrown:  # noqa: BLE001 - it is thrown on into the coroutine
                error = thrown


async def native(action: Callable[[], Coroutine[Any, Any, Any]], trap: Trap) -> None:
    """Run the action in a task that the trap cancels; a cancellation that it took must come out again."""
    task = asyncio.ensure_future(trap.wrap(action()))
    taken: list[bool] = []
    trap.cancel = lambda: taken.append(task.cancel())
    await asyncio.wait([task])
    trap.cancel = lambda: None  # the task keeps its exception, and that what its frames held
    if any(taken):
        assert task.cancelled()
    else:
        task.result()


async def by_scope(action: Callable[[], Coroutine[Any, Any, Any]], trap: Trap) -> None:
    """The same through an anyio scope, whose cancellation comes again at each await."""
    with anyio.CancelScope() as scope:
        trap.cancel = scope.cancel
        await trap.wrap(action())


async def by_turn(action: Callable[[], Coroutine[Any, Any, Any]], trap: Trap) -> None:
    """Cancel after so many turns of the loop: it also lands on the steps of the task that writes a body."""
    task = asyncio.ensure_future(action())
    while not task.done() and trap.suspended < trap.at:
        await asyncio.sleep(0)
        trap.suspended += 1
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()


def descriptors() -> tuple[int, set[str]]:
    """Return how many sockets are open, and which files."""
    sockets, files = 0, set()
    for name in os.listdir(FDS):
        try:
            target = os.readlink(FDS / name)
        except OSError:
            continue
        sockets += target.startswith("socket:")
        files |= {target} if target.startswith("/") else set()
    return sockets, files


def our_tasks() -> list[asyncio.Task[Any]]:
    """The tasks that are neither the test's nor the emulator's."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    return [task for task in tasks if not any(name in repr(task) for name in ("emulator", "web_protocol"))]


async def nothing_left(prodia: Prodia, folder: pathlib.Path, files: set[str], connections: int) -> None:
    await asyncio.sleep(0)  # a handle that was dropped gives its slot back in the loop's next turn
    if prodia.stats().in_flight:
        gc.collect()  # the wrappers above keep the exception, and the exception the handle
        await asyncio.sleep(0)
    stats = prodia.stats()
    assert (stats.in_flight, stats.waiting) == (0, 0)
    assert not list(folder.rglob("*.part"))
    for _ in range(200):  # the connection of a cancelled job closes in the loop's next turns
        sockets, opened = descriptors()
        if not our_tasks() and not opened - files and sockets <= connections:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"left: {our_tasks()}, {opened - files}, {sockets} sockets")


WAYS = [native, by_scope, pytest.param(by_turn, marks=pytest.mark.newest)]
needs_descriptors = pytest.mark.skipif(
    not FDS.is_dir(), reason="this system does not list a process's descriptors"
)


async def cancel_at_every_await(
    action: Action, way: Any, folder: pathlib.Path, limiter: Adaptive | Fixed | None = None
) -> None:
    """Run the action against the emulator, cancelled once at each of its steps; then let it run to its end.

    `folder` holds `input.bin` for its inputs and `out` for its outputs.
    """
    (folder / "input.bin").write_bytes(bytes(range(256)) * 800)
    (out := folder / "out").mkdir()
    loop = asyncio.get_running_loop()
    async with Emulator(capacity=64, latency=0.002) as emulator:
        async with Prodia(
            base_url=emulator.base_url, token=emulator.token, limiter=limiter, polling=QUICK
        ) as prodia:
            await prodia.run("inference.ping.v1")
            sockets, files = descriptors()

            async def once() -> None:
                await action(prodia, out)

            for at in STEPS:
                trap = Trap(at)
                loop.set_task_factory(trap.task)
                await way(once, trap)
                loop.set_task_factory(None)
                await nothing_left(prodia, out, files, sockets + 2 * PARALLEL)
                if trap.suspended < at:
                    break
            assert 2 < at < STEPS[-1], "the action was never cancelled, or never ran to its end"
            await once()
        await nothing_left(prodia, out, files, sockets - 2)
