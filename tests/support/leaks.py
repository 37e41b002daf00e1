"""What a test must not leave behind: descriptors, tasks, connections in use, slots, temporary files."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pathlib
from collections.abc import AsyncIterator
from typing import Any

from prodia_async import Prodia, Retry, Timeouts

TOKEN = "s3cret-t0ken-that-nobody-may-see"
_TURNS = 400
"""How often we look, for 2 seconds: closed transports let go of their descriptors in their own time."""


class Census:
    """What is open now; `leftovers` tells what is open later and was not."""

    def __init__(self, folder: pathlib.Path) -> None:
        self._folder = folder
        self._descriptors = _descriptors()
        self._tasks = asyncio.all_tasks()

    def leftovers(self) -> list[str]:
        tasks = asyncio.all_tasks() - self._tasks - {asyncio.current_task()}
        found = [f"task {task!r}" for task in tasks]
        found += [f"descriptor {key} {what}" for key, what in _descriptors() - self._descriptors]
        found += [f"file {path}" for path in self._folder.rglob("*.part")]
        return found

    async def assert_nothing_left(self) -> None:
        for _ in range(_TURNS):
            if not self.leftovers():
                return
            await asyncio.sleep(0.005)
        assert self.leftovers() == []


def _descriptors() -> set[tuple[str, str]]:
    folder = pathlib.Path("/proc/self/fd")
    found = set()
    for entry in os.scandir(folder) if folder.is_dir() else ():
        with contextlib.suppress(OSError):  # the folder's own descriptor
            found.add((entry.name, str(pathlib.Path(entry.path).readlink())))
    return {(key, what) for key, what in found if not what.startswith("/proc/")}


def assert_idle(prodia: Prodia) -> None:
    """Check that no slot, no place in line, no connection and no collected byte is held."""
    stats = prodia.stats()
    assert (stats.in_flight, stats.waiting) == (0, 0)
    assert stats.jobs >= stats.completed + stats.failed
    engine = prodia._engines.peek()
    if engine is None:
        return
    assert engine.limiter.in_use == 0
    assert engine.limiter.lingering == 0
    assert engine.budget.used == 0
    session: Any = getattr(engine.transport, "_session", None)
    assert session is None or not session.connector._acquired


@contextlib.asynccontextmanager
async def client(base_url: str, **options: Any) -> AsyncIterator[Prodia]:
    """Open a client that backs off for no time at all, and check in the end that it holds nothing."""
    limits = Timeouts(connect=10, first_byte=10, idle=10)
    settings = {"token": TOKEN, "retry": Retry(backoff=0.0), "timeouts": limits} | options
    async with Prodia(base_url=base_url, **settings) as prodia:
        yield prodia
        assert_idle(prodia)
