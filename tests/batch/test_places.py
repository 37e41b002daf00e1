"""Folders that fill up, vanish, are in use or hold what is no journal."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import anyio
import pytest
from batch.helpers import echo, read_results

from prodia_async import InputError, OutputError
from prodia_async.batch import Progress, run_batch

pytestmark = pytest.mark.newest


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A RAM disk of 2 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this user may not mount a RAM disk")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def later(function: Callable[..., object], *args: object, **options: object) -> None:
    """Do something to the disk, in a thread."""
    asyncio.get_running_loop().run_in_executor(None, partial(function, *args, **options))


def sized(custom_id: str, size: int) -> dict:
    line = echo(custom_id)
    return line | {"config": line["config"] | {"size": size}}


async def test_a_full_disk_pauses_and_nothing_that_was_paid_for_is_lost(
    prodia, emulator, write_manifest, small_disk
):
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(1_000_000))
    manifest = write_manifest(*[sized(str(number), 100_000) for number in range(12)])
    pauses: list[str] = []

    def follow(progress: Progress) -> None:
        if progress.paused and not pauses:
            pauses.append(progress.paused)
            later(ballast.unlink)

    with anyio.fail_after(60):
        report = await run_batch(manifest, small_disk / "out", prodia=prodia, on_progress=follow)
    assert (report.ending, report.done, report.failed) == ("complete", 12, 0)
    assert "full" in pauses[0]
    assert emulator.stats().completed == 12  # none ran twice: what had come waited for room
    records = read_results(small_disk / "out")
    sizes = [(small_disk / "out" / r["outputs"][0]["path"]).stat().st_size for r in records.values()]
    assert sizes == [100_000] * 12
    assert list(small_disk.rglob(".prodia-*")) == []


async def test_a_disk_that_stays_full_ends_the_batch_when_told_to(prodia, write_manifest, small_disk):
    (small_disk / "ballast").write_bytes(bytes(1_400_000))
    manifest = write_manifest(*[sized(str(number), 200_000) for number in range(20)])
    with anyio.fail_after(60), contextlib.suppress(OutputError):
        report = await run_batch(manifest, small_disk / "out", prodia=prodia, give_up_after=1.5)
        assert report.ending == "gave_up"
    (small_disk / "ballast").unlink()
    await asyncio.to_thread(_grow, small_disk)
    report = await run_batch(manifest, small_disk / "out", prodia=prodia)
    assert (report.ending, report.done, report.failed) == ("complete", 20, 0)


def _grow(place: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=16m", str(place)], check=True)


async def test_outputs_that_vanish_in_the_middle_are_made_again_by_the_next_run(
    prodia, write_manifest, tmp_path
):
    manifest = write_manifest(*[echo(str(number)) for number in range(30)])
    gone = False

    def follow(progress: Progress) -> None:
        nonlocal gone
        if progress.done == 10 and not gone:
            gone = True
            later(shutil.rmtree, tmp_path / "out" / "outputs")

    report = await run_batch(manifest, tmp_path / "out", prodia=prodia, on_progress=follow)
    assert (report.ending, report.done) == ("complete", 30)
    report = await run_batch(manifest, tmp_path / "out", prodia=prodia)
    assert (report.done, report.failed) == (30, 0)
    assert 5 <= report.missing <= 20
    for record in read_results(tmp_path / "out").values():
        assert (tmp_path / "out" / record["outputs"][0]["path"]).is_file()


async def test_a_journal_that_vanishes_ends_the_batch(prodia, emulator, write_manifest, tmp_path):
    manifest = write_manifest(*[echo(str(number)) for number in range(200)])

    def follow(progress: Progress) -> None:
        if progress.done == 10:
            later((tmp_path / "out" / "journal.sqlite").unlink, missing_ok=True)

    with pytest.raises(OutputError, match=r"journal\.sqlite"), anyio.fail_after(30):
        await run_batch(manifest, tmp_path / "out", prodia=prodia, on_progress=follow)
    assert emulator.stats().requests < 60


async def test_a_folder_in_use_is_refused(prodia, emulator, write_manifest, tmp_path):
    out = tmp_path / "out"
    manifest = write_manifest(echo("one"))
    await run_batch(manifest, out, prodia=prodia)
    with (out / "journal.lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.seek(0)
        before = lock.read()
        with pytest.raises(InputError, match="another batch"):
            await run_batch(manifest, out, prodia=prodia)
        lock.seek(0)
        assert lock.read() == before
    assert emulator.stats().requests == 1


async def test_a_second_batch_is_told_who_is_at_work(prodia, emulator, write_manifest, tmp_path):
    manifest = write_manifest(echo("slow", latency=30))
    first = asyncio.create_task(run_batch(manifest, tmp_path / "out", prodia=prodia))
    while not emulator.stats().busy:
        await asyncio.sleep(0.005)
    with pytest.raises(InputError, match=str(os.getpid())):
        await run_batch(manifest, tmp_path / "out", prodia=prodia)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first


@pytest.mark.parametrize("damage", ["truncated", "foreign", "empty table"])
async def test_a_journal_that_is_none_is_refused(prodia, emulator, write_manifest, tmp_path, damage):
    out = tmp_path / "out"
    manifest = write_manifest(*[echo(str(number)) for number in range(50)])
    await run_batch(manifest, out, prodia=prodia)
    requests = emulator.stats().requests
    journal = out / "journal.sqlite"
    if damage == "truncated":
        os.truncate(journal, journal.stat().st_size // 2)
    elif damage == "foreign":
        journal.write_bytes(b"not a database at all" * 100)
    else:
        with contextlib.closing(sqlite3.connect(journal)) as database:
            database.execute("drop table jobs")
            database.commit()
    with pytest.raises((InputError, OutputError), match=r"journal\.sqlite"):
        await run_batch(manifest, out, prodia=prodia)
    assert emulator.stats().requests == requests


@pytest.mark.parametrize("name", ["results.jsonl", "report.html"])
async def test_results_and_a_page_of_no_journal_are_not_replaced(name, prodia, write_manifest, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text("mine\n")
    with pytest.raises(InputError, match=rf"holds a {name}, but .* move that file away"):
        await run_batch(write_manifest(echo("one")), tmp_path / "out", prodia=prodia)
    assert [path.name for path in (tmp_path / "out").iterdir()] == [name]
    assert (tmp_path / "out" / name).read_text() == "mine\n"
