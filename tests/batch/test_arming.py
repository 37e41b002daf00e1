"""A job's row is on disk before the job has its turn: no slot of the limiter waits for the disk."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections import Counter

import anyio
import pytest
from batch.helpers import echo, read_results
from batch.journals import query
from support.expect import until

from prodia_async import Job, Prodia
from prodia_async._lifetime import rooms_of
from prodia_async.batch import _runner, run_batch
from prodia_async.batch import _schema as schema
from prodia_async.batch._arming import Arming
from prodia_async.batch._database import Database
from prodia_async.emulator import Emulator


class Disk:
    """Sees what the journal writes, and holds it back while it is told to."""

    def __init__(self, monkeypatch) -> None:
        self.statements: Counter[str] = Counter()
        self.asked = threading.Event()
        self.free = threading.Event()
        self.free.set()
        write = Database.write

        def slow(database, operations):
            operations = list(operations)
            if any(statement is schema.SENT for statement, _ in operations):
                self.asked.set()
                self.free.wait(30)
            self.statements.update(statement for statement, _ in operations)
            write(database, operations)

        monkeypatch.setattr(Database, "write", slow)


@pytest.fixture
def disk(monkeypatch):
    return Disk(monkeypatch)


async def test_a_slow_disk_holds_no_slot(prodia, write_manifest, tmp_path, disk):
    engines, _ = rooms_of(prodia)
    limiter = (await engines.get()).limiter
    disk.free.clear()
    manifest = write_manifest(*[echo(str(number)) for number in range(20)])
    running = asyncio.create_task(run_batch(manifest, tmp_path / "out", prodia=prodia))
    try:
        await until(disk.asked.is_set)
        await asyncio.sleep(0.1)
        assert limiter.in_use == 0
    finally:
        disk.free.set()
    report = await running
    assert (report.done, report.requests) == (20, 20)


@pytest.mark.parametrize("sheds", range(1, 11))
async def test_a_shed_costs_no_row(prodia, write_manifest, tmp_path, disk, sheds):
    report = await run_batch(
        write_manifest(echo("a", shed=sheds, retry_after=0.01)), tmp_path / "out", prodia=prodia
    )
    assert (report.done, report.requests, report.shed) == (1, sheds + 1, sheds)
    assert (disk.statements[schema.SENT], disk.statements[schema.WAITING]) == (1, 0)


@pytest.mark.parametrize("limit", [1, 2, 4, 8])
async def test_a_kill_would_name_about_twice_as_many_as_may_be_in_flight(write_manifest, tmp_path, limit):
    manifest, out, most = write_manifest(*[echo(str(number)) for number in range(120)]), tmp_path / "out", []
    async with (
        Emulator(capacity=1, latency=0.01, retry_after=0.05) as emulator,
        Prodia(base_url=emulator.base_url, token=emulator.token, max_concurrency=limit) as prodia,
    ):
        running = asyncio.create_task(run_batch(manifest, out, prodia=prodia))
        await until((out / "journal.sqlite").exists)
        while not running.done():
            rows = await anyio.to_thread.run_sync(named, out)
            most.append(rows)
            await asyncio.sleep(0.02)
        report = await running
    assert report.done == 120
    assert max(most) <= 5 * limit / 2 + 2  # whose answers are being written down
    assert set(read_results(out)) == {str(number) for number in range(120)}


def named(out) -> int:
    try:
        [(count,)] = query(out, "select count(*) from jobs where state = 'sent'")
    except sqlite3.OperationalError:  # its tables are not there yet
        return 0
    return count


async def test_what_was_not_sent_is_not_named_after_a_stop(write_manifest, tmp_path):
    """Armed, resting after a 429, or in line: none of them has run."""
    lines = [echo(str(number), shed=100, retry_after=100, key=str(number)) for number in range(30)]
    stop = asyncio.Event()
    async with (
        Emulator(capacity=2, latency=0.01) as emulator,
        Prodia(base_url=emulator.base_url, token=emulator.token, max_concurrency=4) as prodia,
    ):
        report = await asyncio.wait_for(
            run_batch(
                write_manifest(*lines),
                tmp_path / "out",
                prodia=prodia,
                stop=stop,
                on_progress=lambda progress: stop.set() if progress.shed else None,
            ),
            30,
        )
    assert (report.ending, report.done, report.uncertain_attempts) == ("stopped", 0, 0)
    assert query(tmp_path / "out", "select distinct state from jobs") == [("waiting",)]


async def test_a_cancelled_batch_names_none_that_was_not_sent(write_manifest, tmp_path, emulator):
    lines = [echo(str(number), shed=100, retry_after=100, key=str(number)) for number in range(30)]
    shed = asyncio.Event()
    async with Prodia(base_url=emulator.base_url, token=emulator.token, max_concurrency=4) as prodia:
        running = asyncio.create_task(
            run_batch(
                write_manifest(*lines),
                tmp_path / "out",
                prodia=prodia,
                on_progress=lambda progress: shed.set() if progress.shed else None,
            )
        )
        await asyncio.wait_for(shed.wait(), 30)
        await asyncio.sleep(0.2)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    assert query(tmp_path / "out", "select distinct state from jobs") == [("waiting",)]


async def test_a_job_that_runs_out_of_time_while_it_rests_rests_no_more(
    prodia, write_manifest, tmp_path, monkeypatch
):
    """It begins anew, for there was a pause meanwhile; its place among those that rest is free again."""
    write, made, failed = Database.write, [], []

    def full_once(database, operations):
        operations = list(operations)
        if not failed and any(statement is schema.ENDED for statement, _ in operations):
            failed.append(True)
            raise sqlite3.OperationalError("database or disk is full")
        write(database, operations)

    monkeypatch.setattr(Database, "write", full_once)
    monkeypatch.setattr(_runner, "Arming", lambda limiter: made.append(Arming(limiter)) or made[0])
    lines = [echo("rests", shed=1, retry_after=4, key="rests"), echo("other", latency=0.2)]
    report = await run_batch(write_manifest(*lines), tmp_path / "out", prodia=prodia, timeout=2)
    assert (report.done, report.shed, failed) == (2, 1, [True])
    assert sum(made[0]._resting.values()) == 0


class Line:
    def __init__(self, limit: int) -> None:
        self.capacity = self
        self.limit = limit


class Limits:
    """As much of a limiter as is asked."""

    def __init__(self, limit: int) -> None:
        self.limit = 100
        self.lines = {"t": Line(limit)}


async def test_as_many_as_may_be_in_flight_are_armed_by_priority():
    arming, order = Arming(Limits(2)), []

    async def arm(priority: int) -> None:
        assert await arming.enter(Job("t", priority=priority))
        order.append(priority)

    tasks = []
    for priority in (5, 4, 3, 1, 2, 1):
        tasks.append(asyncio.create_task(arm(priority)))
        await asyncio.sleep(0)
    assert order == [5, 4]
    tasks[3].cancel()  # in line
    await asyncio.sleep(0)
    arming.leave("t")
    await asyncio.sleep(0)
    assert order == [5, 4, 1]
    arming.leave("t")
    tasks[4].cancel()  # let in that very moment
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert order == [5, 4, 1, 3]


async def test_those_that_rest_take_the_room_of_those_that_are_armed():
    arming = Arming(Limits(4))
    assert [arming.rest("t"), arming.rest("t"), arming.rest("t")] == [True, True, False]
    assert [await arming.enter(Job("t")), await arming.enter(Job("t"))] == [True, True]
    third = asyncio.create_task(arming.enter(Job("t")))
    await asyncio.sleep(0)
    assert not third.done()
    arming.leave("t")
    assert await third
    arming.wake("t")
    assert arming.rest("t")
    one = Arming(Limits(1))
    assert one.rest("t")
    assert not await one.enter(Job("t"))  # it waits for its turn without a row
    assert one.rest("another")
