"""Jobs that a program hands over: an iterable, or an async one, in place of a manifest."""

from __future__ import annotations

import asyncio
import io
import uuid
from pathlib import Path

import pytest
from batch.helpers import echo, read_results
from support.manifests import read_manifest

from prodia_async import InputError, Job
from prodia_async.batch import check_manifest, run_batch
from prodia_async.batch._entries import Defaults
from prodia_async.batch._manifest import Manifest

BYTES = "emulator.bytes.v1"


async def test_jobs_and_dicts_become_entries_with_the_defaults(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.png").write_bytes(b"x")
    row, row_of_dict = uuid.UUID(int=1), uuid.UUID(int=2)
    given = [
        Job("t", {"n": 1}, ["a.png", b"abc", ("b.png", b"x")], custom_id=row, priority=2, accept="image/png"),
        {"config": {"m": 2}, "inputs": [Path("a.png")], "custom_id": 7},
        Job("u", mode="async", extra={"jobs": []}),
        {"custom_id": row_of_dict},
    ]
    entries, problems = await read_manifest(given, defaults=Defaults("t", {"n": 0, "k": 1}, "image/webp"))
    assert problems == []
    assert [entry.line for entry in entries] == [1, 2, 3, 4]
    assert entries[0].job == Job(
        "t",
        {"n": 1, "k": 1},
        (tmp_path / "a.png", b"abc", ("b.png", b"x")),
        custom_id=str(row),
        priority=2,
        accept="image/png",
    )
    assert entries[1].job == Job(
        "t", {"n": 0, "k": 1, "m": 2}, (tmp_path / "a.png",), custom_id="7", accept="image/webp"
    )
    assert (entries[2].job.mode, entries[2].job.extra, len(entries[2].job.custom_id)) == (
        "async",
        {"jobs": []},
        16,
    )
    assert entries[3].job.custom_id == str(row_of_dict)


async def test_a_job_is_what_it_was_when_it_was_taken():
    config = {"list": []}

    def jobs():
        for number in range(5):
            config["list"].append(number)
            yield Job("t", config) if number % 2 else {"type": "t", "config": config}

    entries, _ = await read_manifest(jobs())
    assert [len(entry.job.config["list"]) for entry in entries] == [1, 2, 3, 4, 5]


BAD = {
    "expected a Job or a dict, not int": 5,
    "expected a Job or a dict, not str": "a cat",
    "Object contains unknown field `prompt`": {"type": "t", "prompt": "a cat"},
    "`type` is missing": {},
    "config.a is of type set, which JSON cannot say": {"type": "t", "config": {"a": {1}}},
    "config.b is of type set, which JSON cannot say": Job("t", {"b": {1}}),
    "config.c is nan, which JSON cannot say": {"type": "t", "config": {"c": float("nan")}},
    "custom_id is nan: leave it out": {"type": "t", "custom_id": float("nan")},
    "priority cannot be 'high'": Job("t", priority="high"),
    "input '/etc/passwd' lies outside": {"type": "t", "inputs": ["/etc/passwd"]},
    "input 1 is int: pass a path": Job("t", inputs=[5]),
    "input '/none/a.png' is missing": Job("t", inputs=[Path("/none/a.png")]),
    "Expected `str`, got `bytes` - at `$.inputs[0]`": {"type": "t", "inputs": [b"x"]},
    "custom_id 'good' was used before": Job("t", custom_id="good"),
}


@pytest.mark.parametrize(("reason", "job"), BAD.items(), ids=list(BAD))
async def test_what_is_no_job_is_told_and_the_others_run(reason, job):
    entries, [problem] = await read_manifest([Job("t", custom_id="good"), job, {"type": "u"}])
    assert [entry.job.type for entry in entries] == ["t", "u"]
    assert problem.line == 2
    assert problem.reason.startswith(reason)


@pytest.mark.parametrize("source", [5, b"{}", {"type": "t"}, None])
async def test_what_is_no_source_is_an_input_error(source):
    with pytest.raises(InputError, match="a path, an open binary file, or an iterable of Job or dict"):
        await check_manifest(source)


async def test_a_batch_of_an_async_iterable_runs_and_goes_on(tmp_path, prodia, emulator):
    async def jobs(count: int):
        for number in range(count):
            await asyncio.sleep(0)
            content = f"content {number}".encode()
            yield Job(BYTES, {"size": 3}, [("in.txt", content)]) if number % 2 else echo(f"job {number}")

    out = tmp_path / "out"
    report = await run_batch(jobs(10), out, prodia=prodia)
    assert (report.done, report.failed, report.problem_count) == (10, 0, 0)
    report = await run_batch(jobs(13), out, prodia=prodia)
    assert (report.done, report.skipped, emulator.stats().completed) == (13, 10, 13)
    assert len(read_results(out)) == 13


async def test_a_job_that_has_changed_under_its_name_is_told(tmp_path, prodia):
    file = tmp_path / "in.txt"
    file.write_text("one")

    def jobs(size: int, content: bytes):
        yield Job(BYTES, {"size": size}, custom_id="config")
        yield Job(BYTES, {"size": 3}, [("x.txt", content)], custom_id="bytes")
        yield Job(BYTES, {"size": 3}, [file], custom_id="file")
        yield Job(BYTES, {"size": 3}, [("y.txt", file)], custom_id="named file")

    out = tmp_path / "out"
    assert (await run_batch(jobs(3, b"one"), out, prodia=prodia)).done == 4
    file.write_text("two")
    report = await run_batch(jobs(4, b"two"), out, prodia=prodia)
    told = {problem.line: problem.reason.partition("'")[2].partition(":")[0] for problem in report.problems}
    assert told == {
        1: "config' was another job when it was sent",
        2: "bytes' was another job when it was sent",
        3: "file'",
        4: "named file'",
    }
    assert "an input has changed" in report.problems[2].reason
    assert all("or choose another --out (out=)" in problem.reason for problem in report.problems)


async def test_an_iterable_is_read_as_there_is_room_and_closed_in_the_end(tmp_path, prodia):
    taken, closed = 0, False

    async def jobs():
        nonlocal taken, closed
        try:
            while True:
                taken += 1
                yield Job(BYTES, {"size": 3, "n": taken})
        finally:
            closed = True

    report = await run_batch(jobs(), tmp_path / "out", prodia=prodia, first=5)
    assert (report.done, closed) == (5, True)
    assert taken < 100
    stop = asyncio.Event()
    taken, closed = 0, False
    report = await run_batch(
        jobs(),
        tmp_path / "more",
        prodia=prodia,
        stop=stop,
        on_progress=lambda now: stop.set() if now.done > 20 else None,
    )
    assert (report.ending, closed) == ("stopped", True)
    assert report.done < taken < report.done + 2000


async def test_jobs_that_come_slowly_are_run_as_they_come(tmp_path, prodia):
    more = asyncio.Event()

    async def jobs():
        yield echo("first")
        await more.wait()
        yield echo("second")

    def see(progress):
        if progress.done == 1:
            more.set()

    async with asyncio.timeout(30):
        report = await run_batch(jobs(), tmp_path / "out", prodia=prodia, on_progress=see)
    assert report.done == 2


async def test_an_iterable_that_meets_a_cancellation_of_something_else_fails(tmp_path, prodia, emulator):
    async def jobs():
        yield echo("a")
        cut = asyncio.ensure_future(asyncio.sleep(60))
        asyncio.get_running_loop().call_soon(cut.cancel)
        await cut

    with pytest.raises(InputError, match=r"the jobs cannot be read on: .* a cancellation of something else"):
        await asyncio.wait_for(run_batch(jobs(), tmp_path / "out", prodia=prodia), 10)
    assert emulator.stats().completed == 1


async def test_an_iterable_that_raises_generator_exit_by_itself_fails(tmp_path, prodia):
    def jobs():
        yield echo("a")
        raise GeneratorExit

    with pytest.raises(InputError, match="the jobs cannot be read on: GeneratorExit"):
        await asyncio.wait_for(run_batch(jobs(), tmp_path / "out", prodia=prodia), 10)


async def test_an_iterable_that_fails_is_told_when_the_others_are_done(tmp_path, prodia):
    def jobs():
        yield echo("a")
        raise LookupError("no such row")

    with pytest.raises(InputError, match="the jobs cannot be read on: no such row") as caught:
        await run_batch(jobs(), tmp_path / "out", prodia=prodia)
    assert isinstance(caught.value.__cause__, LookupError)
    assert (await run_batch([echo("a")], tmp_path / "out", prodia=prodia)).skipped == 1


async def test_a_reading_that_was_cancelled_loses_nothing():
    more = asyncio.Event()

    async def jobs():
        yield {"type": "a"}
        await more.wait()
        yield {"type": "b"}

    manifest = Manifest(jobs())
    await manifest.open()
    found = [entry.job.type for entry in await manifest.read()]
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await manifest.read()
    more.set()
    found += [entry.job.type for entry in await manifest.read()]
    assert found == ["a", "b"]
    assert [await manifest.read(), await manifest.read()] == [None, None]
    await manifest.aclose()


async def test_what_is_no_file_cannot_be_written_into_a_manifest(tmp_path):
    to = tmp_path / "jobs.jsonl"
    with pytest.raises(InputError, match="a manifest can name files alone, and an input is bytes"):
        await check_manifest([Job("t", inputs=[b"x"])], write_to=to)
    with pytest.raises(InputError, match="a manifest can name files alone, and an input is BytesIO"):
        await check_manifest([Job("t", inputs=[io.BytesIO(b"x")])], write_to=to)
    assert list(tmp_path.iterdir()) == []
