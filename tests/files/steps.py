"""Cancelling at each step, and counting what is left."""

import asyncio
from pathlib import Path

import anyio


async def cancelled_at(step, action, *, way="native"):
    """Run `action()` and cancel it after `step` turns of the loop; tell whether it ended cancelled."""
    if way == "scope":
        return await _cancelled_by_scope(step, action)
    task = asyncio.ensure_future(action())
    await _turns(step, task)
    task.cancel()
    if way == "twice":
        await asyncio.sleep(0)
        task.cancel()
    await asyncio.wait([task])
    if task.cancelled():
        return True
    task.result()
    return False


async def _turns(step, task):
    for _ in range(step):
        if task.done():
            return
        await asyncio.sleep(0)


async def _cancelled_by_scope(step, action):
    with anyio.CancelScope() as scope:

        async def cancel():
            for _ in range(step):
                await asyncio.sleep(0)
            scope.cancel()

        timer = asyncio.ensure_future(cancel())
        await action()
    timer.cancel()
    await asyncio.wait([timer])
    return scope.cancelled_caught


def descriptors():
    """Return how many file descriptors are open; 0 where the system does not tell."""
    folder = Path("/proc/self/fd")
    return sum(1 for _ in folder.iterdir()) if folder.is_dir() else 0


def names(folder):
    return sorted(path.name for path in folder.iterdir())
