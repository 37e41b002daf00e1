"""Programs that the tests run in a process of their own: `python scenarios_journal.py NAME FOLDER`."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import time
from pathlib import Path

from batch.journals import KIND, a_record, an_entry, run_job

from prodia_async import InputError, OutputError
from prodia_async.batch._journal import Journal


async def opened(folder: Path) -> Journal:
    return await Journal.open(folder, wall=time.time, retry_every=0.01)


async def write_until_killed(folder: Path) -> None:
    """Acknowledge on standard output what is committed: `s <id>` and, once it is flushed, `d <id>`."""
    journal = await opened(folder)

    async def jobs(worker: int) -> None:
        for number in range(1_000_000):
            custom_id = f"{worker}-{number}"
            await journal.sent(an_entry(custom_id), 0.5)
            os.write(1, f"s {custom_id}\n".encode())
            journal.done(custom_id, a_record(custom_id, note="x" * 500), [], 0.01)
            if number % 8 == 0:
                await journal.flush()
                os.write(1, f"d {custom_id}\n".encode())

    await asyncio.gather(*(jobs(worker) for worker in range(16)))


def hold(folder: Path) -> None:
    """Open the journal, say so, and wait to be killed."""

    async def run() -> None:
        _journal = await opened(folder)  # one that is dropped would let go of the folder
        os.write(1, b"held\n")
        await asyncio.sleep(60)

    asyncio.run(run())


def killed_loop(folder: Path) -> None:
    """A loop that is closed without a word: the folder can be used again, nothing said is lost."""
    loop = asyncio.new_event_loop()
    journal = loop.run_until_complete(opened(folder))
    loop.run_until_complete(run_job(journal, "a"))
    loop.close()
    del journal, loop
    gc.collect()

    async def again() -> None:
        for _ in range(500):
            try:
                journal = await opened(folder)
            except InputError:
                await asyncio.sleep(0.01)
            else:
                assert journal.totals.done == 1
                await journal.aclose()
                return
        raise AssertionError("the folder is still in use")

    asyncio.run(again())


def left_open(folder: Path) -> None:
    """The interpreter exits while a journal is open: what was said is written, and the exit does not hang."""
    loop = asyncio.new_event_loop()
    globals()["kept"] = journal = loop.run_until_complete(opened(folder))
    loop.run_until_complete(journal.sent(an_entry("a"), 0.5))
    for _ in range(1000):
        journal.waiting("a", uncertain=None)
    journal.done("a", a_record("a"), [], None)
    loop.close()


def forked(folder: Path) -> None:
    """A forked child lives on: it keeps no lock, does not disturb its parent's journal and cannot use it."""

    async def parent() -> None:
        journal = await opened(folder)
        await run_job(journal, "before")
        ready, go = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(go)
            try:
                journal.waiting("before", uncertain=None)
            except OutputError:
                os.read(ready, 1)  # returns when the parent has closed its journal
                # Not sys.exit: coverage saves with SQLite, whose lock the writer may have held at the fork.
                os._exit(0)
            os._exit(1)
        os.close(ready)
        await run_job(journal, "after")
        await journal.aclose()
        journal = await opened(folder)
        assert journal.totals.done == 2, KIND
        await journal.aclose()
        os.close(go)
        assert os.waitpid(child, 0)[1] == 0

    asyncio.run(parent())


if __name__ == "__main__":
    scenario, folder = globals()[sys.argv[1]], Path(sys.argv[2])
    if asyncio.iscoroutinefunction(scenario):
        asyncio.run(scenario(folder))
    else:
        scenario(folder)
