"""A later run: an input's time of change proves nothing, its content does; what is done needs none."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import sqlite3
from pathlib import Path

import pytest

from prodia_async.batch import run_batch


def job(custom_id: str, *names: str, **orders) -> dict:
    config = {"files": [name.rpartition("/")[2] for name in names]} | ({"emulator": orders} if orders else {})
    return {"custom_id": custom_id, "type": "emulator.echo.v1", "config": config, "inputs": list(names)}


@pytest.fixture
async def again(prodia, write_manifest, tmp_path):
    """Run a batch of two jobs with inputs; return what runs it again."""
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text(name)
    manifest = write_manifest(job("one", "a.txt"), job("two", "a.txt", "b.txt"))
    first = await run_batch(manifest, tmp_path / "out", prodia=prodia)
    assert (first.done, first.failed, first.problem_count) == (2, 0, 0)

    async def run(**options):
        return await run_batch(manifest, tmp_path / "out", prodia=prodia, **options)

    return run


def touch(path) -> None:
    os.utime(path)


def touch_to_the_past(path) -> None:
    os.utime(path, (1, 1))


def copy_over(path) -> None:
    shutil.copy(path, other := path.with_suffix(".copy"))
    other.replace(path)


def write_again(path) -> None:
    path.write_text(path.read_text())


def empty_and_write_again(path) -> None:
    text = path.read_text()
    path.write_text("")
    path.write_text(text)


def remove_and_write_again(path) -> None:
    text = path.read_text()
    path.unlink()
    path.write_text(text)


def change_mode(path) -> None:
    path.chmod(0o400)


def link_to_a_copy(path) -> None:
    copy = path.parent / "copies" / path.name
    copy.parent.mkdir()
    copy.write_text(path.read_text())
    path.unlink()
    path.symlink_to(copy)


def hard_link(path) -> None:
    os.link(path, path.with_suffix(".link"))


def append_and_cut(path) -> None:
    size = path.stat().st_size
    with path.open("ab") as file:
        file.write(b"more")
    os.truncate(path, size)


SAME = [
    touch,
    touch_to_the_past,
    copy_over,
    write_again,
    empty_and_write_again,
    remove_and_write_again,
    change_mode,
    link_to_a_copy,
    hard_link,
    append_and_cut,
]


@pytest.mark.parametrize("change", SAME)
async def test_the_same_content_is_no_change(again, emulator, tmp_path, change):
    change(tmp_path / "a.txt")
    report = await again()
    assert (report.done, report.skipped, report.problem_count, report.requests) == (2, 2, 0, 0)
    assert emulator.stats().requests == 2


@pytest.mark.parametrize(
    "text", ["b.txt", "A.txt", "a.txt\n", "", "a", "a.tx", "x" * 100, "a.txT", "\0.txt", "ä"]
)
async def test_another_content_is_one(again, tmp_path, text):
    (tmp_path / "a.txt").write_text(text)
    report = await again()
    assert (report.done, report.problem_count, report.requests) == (0, 2, 0)
    assert all("an input has changed since it was sent" in problem.reason for problem in report.problems)


@pytest.mark.parametrize("gone", [("a.txt",), ("b.txt",), ("a.txt", "b.txt")])
@pytest.mark.parametrize("options", [{}, {"retry_failed": True}, {"only_failed": True}])
async def test_a_job_that_is_done_needs_its_inputs_no_more(again, tmp_path, gone, options):
    for name in gone:
        (tmp_path / name).unlink()
    report = await again(**options)
    assert (report.done, report.skipped, report.problem_count, report.requests) == (2, 2, 0, 0)


async def test_one_whose_output_is_gone_needs_them(again, tmp_path):
    (tmp_path / "a.txt").unlink()
    shutil.rmtree(tmp_path / "out" / "outputs")
    report = await again()
    assert (report.done, report.problem_count, report.requests) == (0, 2, 0)
    assert "input 'a.txt' is missing" in report.problems[0].reason
    (tmp_path / "a.txt").write_text("a.txt")
    report = await again()
    assert (report.done, report.missing, report.problem_count) == (2, 2, 0)


async def test_one_that_failed_needs_them_where_it_is_tried_again(prodia, write_manifest, tmp_path):
    (tmp_path / "a.txt").write_text("a")
    manifest, out = write_manifest(job("bad", "a.txt", status=400, times=1, key="bad")), tmp_path / "out"
    assert (await run_batch(manifest, out, prodia=prodia)).failed == 1
    (tmp_path / "a.txt").unlink()
    report = await run_batch(manifest, out, prodia=prodia)
    assert (report.failed, report.skipped, report.problem_count) == (1, 1, 0)
    report = await run_batch(manifest, out, prodia=prodia, retry_failed=True)
    assert (report.problem_count, report.requests) == (1, 0)
    (tmp_path / "a.txt").write_text("another")
    report = await run_batch(manifest, out, prodia=prodia, retry_failed=True)
    assert (report.done, report.problem_count) == (1, 0)


async def test_a_job_that_was_cut_is_known_by_its_content(prodia, write_manifest, tmp_path):
    (tmp_path / "a.txt").write_text("a")
    manifest, out = write_manifest(job("slow", "a.txt", latency=1)), tmp_path / "out"
    sent = asyncio.Event()
    running = asyncio.create_task(
        run_batch(
            manifest,
            out,
            prodia=prodia,
            on_progress=lambda progress: sent.set() if progress.in_flight else None,
        )
    )
    await asyncio.wait_for(sent.wait(), 20)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    touch(tmp_path / "a.txt")
    report = await asyncio.wait_for(run_batch(manifest, out, prodia=prodia), 30)
    assert (report.done, report.interrupted, report.problem_count) == (1, 1, 0)


async def test_a_journal_without_marks_of_the_content_is_read_as_before(again, tmp_path):
    with contextlib.closing(sqlite3.connect(tmp_path / "out" / "journal.sqlite")) as journal, journal:
        journal.execute("update jobs set inputs_mark = substr(inputs_mark, 1, 8)")
    report = await again()
    assert (report.done, report.problem_count) == (2, 0)
    touch(tmp_path / "a.txt")
    report = await again()
    assert report.problem_count == 2


async def test_a_folder_stays_the_one_that_was_given_when_the_current_one_changes(
    prodia, write_manifest, tmp_path, monkeypatch
):
    (tmp_path / "a.txt").write_text("a")
    manifest = write_manifest(*(job(f"job-{n}", "a.txt") for n in range(20)))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    report = await run_batch(
        manifest.name, "work/../out", prodia=prodia, on_progress=lambda _: os.chdir(tmp_path / "elsewhere")
    )
    assert (report.done, report.out) == (20, Path("work/../out"))
    assert list((tmp_path / "elsewhere").iterdir()) == []
    lines = [json.loads(line) for line in (tmp_path / "out" / "results.jsonl").read_text().splitlines()]
    assert [line["request"] for line in lines] == [{"inputs": ["../a.txt"]}] * 20
    assert all((tmp_path / "out" / output["path"]).is_file() for line in lines for output in line["outputs"])
