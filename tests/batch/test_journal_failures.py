"""Disks that are full, files that vanish."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import shutil
import sqlite3
import subprocess

import pytest
from batch.journals import a_record, an_entry, open_journal, query, run_job
from support.expect import until
from support.leaks import Census

from prodia_async import InputError, OutputError
from prodia_async.batch._journal import Journal
from prodia_async.batch._opening import open_database
from prodia_async.batch._results import read_results


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 512 KiB; skips where it cannot be mounted."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    command = [str(mount), "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(place)]
    if mount is None or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("a small disk cannot be mounted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def fill(place):
    with contextlib.suppress(OSError), (place / "filler").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


async def test_a_full_disk_holds_everything_until_there_is_room(small_disk):
    heard: list[str | None] = []
    async with open_journal(small_disk, on_full=heard.append, retry_every=0.01) as journal:
        await run_job(journal, "before")
        await journal.flush()
        fill(small_disk)
        jobs = [asyncio.create_task(run_job(journal, f"job-{number}")) for number in range(300)]
        await until(lambda: heard)
        await asyncio.sleep(0.05)
        assert not all(job.done() for job in jobs)
        assert (await journal.find(["before"]))["before"].state == "done"
        journal.waiting("before", uncertain=0.5)
        (small_disk / "filler").unlink()
        await asyncio.gather(*jobs)
        await journal.flush()
        reason, over = heard
        assert reason == f"the disk is full: {small_disk / 'journal.sqlite'} waits for room"
        assert over is None
    assert query(small_disk, "select state, count(*) from jobs group by 1 order by 1") == [
        ("done", 300),
        ("waiting", 1),
    ]
    assert query(small_disk, "pragma integrity_check") == [("ok",)]


async def test_closing_on_a_disk_that_stays_full_says_what_is_lost(small_disk):
    census = Census(small_disk)
    journal = await Journal.open(small_disk, wall=lambda: 0.0, retry_every=0.01)
    await journal.sent(an_entry("a"), 0)
    fill(small_disk)
    for _ in range(20):
        journal.done("a", a_record("a", note="x" * 50_000), [], None)
    with pytest.raises(OutputError, match="the disk stayed full") as caught:
        await journal.aclose()
    assert caught.value.errno == errno.ENOSPC
    await journal.aclose()
    (small_disk / "filler").unlink()
    async with open_journal(small_disk) as journal:
        assert (await journal.find(["a"]))["a"].state == "sent"
    await census.assert_nothing_left()


async def test_a_disk_that_is_full_from_the_start(small_disk):
    fill(small_disk)
    with pytest.raises(InputError, match="No space left"):
        await Journal.open(small_disk / "out", wall=lambda: 0.0)
    (small_disk / "filler").unlink()
    (small_disk / "journal.lock").write_text("room for a note")
    fill(small_disk)
    with pytest.raises(InputError, match=r"the disk is full\. Make room"):
        await Journal.open(small_disk, wall=lambda: 0.0)


async def test_an_io_error_is_a_full_disk_only_if_nothing_can_be_written(small_disk):
    database, _ = await asyncio.to_thread(open_database, small_disk / "journal.sqlite")
    error = sqlite3.OperationalError("disk I/O error")
    assert not await asyncio.to_thread(database.is_full, error)
    assert not database.is_full(sqlite3.OperationalError("database is locked"))
    fill(small_disk)
    assert await asyncio.to_thread(database.is_full, error)
    database.close()


@pytest.mark.parametrize("how", ["removed", "replaced", "folder"])
async def test_a_journal_that_vanishes_ends_it(tmp_path, how, caplog):
    out = tmp_path / "out"
    journal = await Journal.open(out, wall=lambda: 0.0)
    await run_job(journal, "a")
    await journal.flush()
    if how == "folder":
        shutil.rmtree(out)
    else:
        (out / "journal.sqlite").rename(tmp_path / "elsewhere")
    if how == "replaced":
        shutil.copy(tmp_path / "elsewhere", out / "journal.sqlite")
    sends = await asyncio.gather(
        *(journal.sent(an_entry(str(number)), 0) for number in range(3)), return_exceptions=True
    )
    for error in sends:
        assert type(error) is OutputError
        assert "was removed or replaced while a batch wrote to it" in str(error)
        assert "run the command again" in str(error)
        assert error.errno == errno.ENOENT
    assert len({id(error) for error in sends}) == 3
    with pytest.raises(OutputError, match="removed or replaced"):
        journal.done("a", b"", [], None)
    with pytest.raises(OutputError, match="removed or replaced"):
        await journal.flush()
    with pytest.raises(OutputError, match="removed or replaced"):
        await journal.find(["a"])
    await journal.aclose()
    assert caplog.text.count("removed or replaced") == 1


async def test_who_was_told_nothing_is_told_when_it_closes(tmp_path):
    journal = await Journal.open(tmp_path, wall=lambda: 0.0)
    await journal.sent(an_entry("a"), 0)
    (tmp_path / "journal.sqlite").unlink()
    journal.done("a", a_record("a"), [], None)
    with pytest.raises(OutputError, match="removed or replaced"):
        await journal.aclose()
    await journal.aclose()


async def test_a_job_that_was_never_sent_cannot_end(tmp_path):
    async with open_journal(tmp_path) as journal:
        journal.done("unknown", a_record("unknown"), [], None)
        with pytest.raises(OutputError, match="no row for custom_id 'unknown'") as caught:
            await journal.flush()
        assert caught.value.errno == errno.EIO


async def test_a_journal_that_is_damaged_while_it_is_used(tmp_path):
    async with open_journal(tmp_path) as journal:
        await asyncio.gather(*(run_job(journal, f"job-{number:03}") for number in range(400)))
    path = tmp_path / "journal.sqlite"
    async with open_journal(tmp_path) as journal:
        size = path.stat().st_size
        with path.open("r+b") as file:
            file.seek(4096)
            file.write(b"\xff" * (size - 4096))
        with pytest.raises(
            OutputError, match="could not be read: database disk image is malformed"
        ) as caught:
            await journal.find(["job-300"])
        assert caught.value.errno == errno.EIO
        with pytest.raises(OutputError, match="malformed"):
            await journal.sent(an_entry("new"), 0)


def test_results_on_a_disk_that_cannot_be_written(small_disk):
    async def run():
        async with open_journal(small_disk) as journal:
            await run_job(journal, "a")

    asyncio.run(run())
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert [record["custom_id"] for record in read_results([small_disk])] == ["a"]
