from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sqlite3
from datetime import UTC, datetime

import msgspec
import pytest
from batch.journals import KIND, a_record, an_entry, open_journal, query, run_job

from prodia_async import Attempt, InputError, Job, JobResult, Output, OutputError, ServerError, TransportError
from prodia_async._files.threads import hop
from prodia_async.batch._journal import Journal, Sample
from prodia_async.batch._records import done_record, failed_record
from prodia_async.batch._results import about, read_results, samples, write_results

ATTEMPT = Attempt(
    number=1,
    started_at=datetime(2026, 1, 2, tzinfo=UTC),
    waited=0.5,
    elapsed=1.0,
    verdict="server_error",
    may_have_run=True,
    status=500,
)
ATTEMPT_AS_JSON = {
    "number": 1,
    "started_at": "2026-01-02T00:00:00Z",
    "waited": 0.5,
    "elapsed": 1.0,
    "verdict": "server_error",
    "may_have_run": True,
    "status": 500,
    "request_id": None,
    "retry_after": None,
    "reason": "",
}


def test_a_record_of_a_job_that_is_done(tmp_path):
    outputs = (
        Output("x", "image/png", 3),
        Output("y", "text/plain", 4, data=b"text"),
    )
    result = JobResult("t", {}, outputs=outputs, attempts=(ATTEMPT,), raw={"type": "t", "new": [1]})
    assert json.loads(done_record(an_entry("x"), result, ["outputs/aa/x.png", None], tmp_path)) == {
        "custom_id": "x",
        "status": "done",
        "job": {"type": "t", "new": [1]},
        "outputs": [
            {"path": "outputs/aa/x.png", "content_type": "image/png", "bytes": 3},
            {"path": None, "content_type": "text/plain", "bytes": 4},
        ],
        "error": None,
        "attempts": [ATTEMPT_AS_JSON],
    }


def test_a_result_without_a_job_part_has_the_job_as_it_was_asked_for(tmp_path):
    record = json.loads(done_record(an_entry("x"), JobResult("t", {}), [], tmp_path))
    assert record["job"] == {"type": KIND, "config": {"prompt": "a cat"}}


def test_a_record_tells_what_running_the_job_again_needs(tmp_path):
    out, inputs = tmp_path / "out", (tmp_path / "photos" / "ä b.png", b"bytes", "s3://bucket/x.png")
    extra = {"jobs": [{"type": "t"}]}
    job = Job(KIND, inputs=inputs, accept="image/png", mode="async", extra=extra, custom_id="x")
    entry = msgspec.structs.replace(an_entry("x"), job=job)
    request = {"accept": "image/png", "mode": "async", "extra": extra}
    request |= {"inputs": ["../photos/ä b.png", None, None]}
    done = json.loads(done_record(entry, JobResult("t", {}), [], out))
    failed = json.loads(failed_record(entry, TransportError("no"), out))
    assert (done["request"], failed["request"]) == (request, request)


def test_a_record_of_a_job_that_failed(tmp_path):
    error = ServerError("broken", status=500, request_id="r", attempts=(ATTEMPT,))
    line = failed_record(an_entry("x"), error, tmp_path)
    assert json.loads(line) == {
        "custom_id": "x",
        "status": "failed",
        "job": {"type": KIND, "config": {"prompt": "a cat"}},
        "outputs": [],
        "error": {
            "type": "ServerError",
            "message": "broken",
            "status": 500,
            "request_id": "r",
            "may_have_run": True,
        },
        "attempts": [ATTEMPT_AS_JSON],
    }
    assert b"\n" not in line
    assert json.loads(failed_record(an_entry("x"), TransportError("no"), tmp_path))["error"]["status"] is None


def test_outputs_that_were_kept_of_a_failed_job_are_named(tmp_path):
    error = OutputError("disk full", may_have_run=True)
    error.result = JobResult("t", {}, raw={"id": "1"})
    error.written = (tmp_path / "outputs" / "a.png",)
    record = json.loads(failed_record(an_entry("x"), error, tmp_path))
    assert record["job"] == {"id": "1"}
    assert record["outputs"] == [{"path": "outputs/a.png", "content_type": None, "bytes": None}]


def test_text_that_is_no_unicode_does_not_cost_the_record(tmp_path):
    error = ServerError("broken \udc80\n\u2028", request_id="r\udcff", attempts=(ATTEMPT,))
    record = json.loads(failed_record(an_entry("x"), error, tmp_path))
    assert record["error"]["request_id"] == "r\\udcff"
    assert record["error"]["message"] == "broken \\udc80\n\u2028"
    assert record["attempts"] == [ATTEMPT_AS_JSON]


def fill(folder, ids, failed=()):
    asyncio.run(fill_it(folder, ids, failed))


async def fill_it(folder, ids, failed):
    async with open_journal(folder) as journal:
        for custom_id in ids:
            await run_job(journal, custom_id)
        for custom_id in failed:
            await journal.sent(an_entry(custom_id), 0)
            journal.failed(custom_id, a_record(custom_id, "failed"), None, uncertain=None)
        await journal.sent(an_entry("still in flight"), 0)


def ids_of(records):
    return [record["custom_id"] for record in records]


def test_results_of_several_folders_in_order(tmp_path):
    ids = [f"job-{number}" for number in range(450)]
    fill(tmp_path / "a", reversed(ids), failed=["bad"])
    fill(tmp_path / "b", ["B", "ä", "a"], failed=["bad"])
    records = list(read_results([tmp_path / "a", tmp_path / "b"]))
    assert ids_of(records) == ["bad", *sorted(ids), "B", "a", "bad", "ä"]
    assert records[0] == json.loads(a_record("bad", "failed"))
    only = read_results([tmp_path / "a", tmp_path / "b"], failed_only=True)
    assert ids_of(only) == ["bad", "bad"]
    assert list(read_results([])) == []


async def test_results_while_a_batch_runs(tmp_path):
    async with open_journal(tmp_path) as journal:
        for ids in (["a"], ["a", "b"]):
            await run_job(journal, ids[-1])
            await journal.flush()
            assert await asyncio.to_thread(lambda: ids_of(read_results([tmp_path]))) == ids


def test_results_after_a_crash_with_a_hot_wal(tmp_path):
    async def run():
        async with open_journal(tmp_path / "ran") as journal:
            await run_job(journal, "a")
            await journal.flush()
            for suffix in ("", "-wal"):  # as a power cut would leave it
                name = f"journal.sqlite{suffix}"
                (tmp_path / "cut" / name).write_bytes((tmp_path / "ran" / name).read_bytes())

    (tmp_path / "cut").mkdir()
    asyncio.run(run())
    assert (tmp_path / "cut" / "journal.sqlite-wal").stat().st_size > 0
    assert ids_of(read_results([tmp_path / "cut"])) == ["a"]


def test_a_folder_without_a_journal_is_named_at_once(tmp_path):
    fill(tmp_path / "a", ["a"])
    (tmp_path / "b").mkdir()
    for folder in ("b", "missing"):
        with pytest.raises(InputError, match=f"{folder}' holds no journal of a batch"):
            read_results([tmp_path / "a", tmp_path / folder])
    with pytest.raises(InputError, match="holds no journal"):
        write_results(tmp_path / "b")
    with pytest.raises(InputError, match="holds no journal"):
        samples(tmp_path / "b")
    assert list((tmp_path / "b").iterdir()) == []


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("pragma application_id = 7", "is no journal of a batch"),
        ("pragma user_version = 99", "written by a newer prodia-async"),
    ],
)
def test_a_journal_of_others_is_refused(tmp_path, statement, says):
    fill(tmp_path, ["a"])
    with contextlib.closing(sqlite3.connect(tmp_path / "journal.sqlite")) as connection:
        connection.execute(statement)
    with pytest.raises(InputError, match=says):
        read_results([tmp_path])


def test_a_file_that_is_no_database_or_damaged_is_explained(tmp_path):
    path = tmp_path / "journal.sqlite"
    path.write_text("dear diary, " * 1000)
    with pytest.raises(InputError, match="is no journal of a batch"):
        read_results([tmp_path])
    path.unlink()
    fill(tmp_path, [f"job-{number}" for number in range(300)])
    os.truncate(path, 4096 * 6)
    with pytest.raises(InputError, match="is damaged"):
        list(read_results([tmp_path]))


def test_results_jsonl_is_replaced_whole(tmp_path):
    (tmp_path / "results.jsonl").write_text("old")
    fill(tmp_path, ["b", "a"], failed=["c"])
    assert write_results(tmp_path) == tmp_path / "results.jsonl"
    lines = (tmp_path / "results.jsonl").read_bytes()
    assert lines == b"".join(
        a_record(name, state) + b"\n" for name, state in (("a", "done"), ("b", "done"), ("c", "failed"))
    )
    assert list(tmp_path.glob("*.part")) == []


def test_results_jsonl_that_cannot_be_written_leaves_the_old_one(tmp_path):
    fill(tmp_path, ["a"])
    (tmp_path / "results.jsonl").mkdir()
    with pytest.raises(OutputError, match="could not be written: Is a directory") as caught:
        write_results(tmp_path)
    assert caught.value.errno is not None
    assert list(tmp_path.glob("*.part")) == []


async def test_samples_are_read_in_order(tmp_path):
    first, second = Sample(1.5, 1, 2, 3, 4, 5, 6, None), Sample(2.5, 1, 2, 3, 4, 5, 6, 0.25)
    async with open_journal(tmp_path) as journal:
        journal.sample(first)
        journal.sample(second)
        await journal.flush()
        assert await asyncio.to_thread(samples, tmp_path) == [first, second]


def test_names_load_on_first_use():
    from prodia_async import batch

    assert dir(batch) == sorted(batch.__all__)
    assert [getattr(batch, name).__name__ for name in batch.__all__] == batch.__all__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = batch.nothing


def everything(folder) -> list:
    return list(read_results([folder]))


async def test_results_are_not_written_beside_a_batch_that_will(tmp_path):
    async with open_journal(tmp_path) as journal:
        await run_job(journal, "a")
        (tmp_path / "results.jsonl").write_text("as it was")
        with pytest.raises(InputError, match="another batch is at work"):
            await hop(write_results, tmp_path)
        assert [record["custom_id"] for record in await hop(everything, tmp_path)] == ["a"]
    assert (tmp_path / "results.jsonl").read_text() == "as it was"
    await hop(write_results, tmp_path)
    assert '"a"' in (tmp_path / "results.jsonl").read_text()


async def test_the_last_thing_is_done_while_the_folder_is_the_batchs_alone(tmp_path):
    seen = []

    def last() -> None:
        with pytest.raises(InputError, match="another batch is at work"):
            write_results(tmp_path)
        seen.append(query(tmp_path, "select state from jobs"))
        raise OutputError("no room")

    journal = await Journal.open(tmp_path, wall=lambda: 1e9)
    await run_job(journal, "a")
    with pytest.raises(OutputError, match="no room"):
        await journal.aclose(last)
    assert seen == [[("done",)]]
    async with open_journal(tmp_path):
        pass


async def test_nothing_of_sqlites_own_stays_beside_a_journal_that_is_read(tmp_path):
    async with open_journal(tmp_path) as journal:
        await run_job(journal, "a")
    for _ in range(2):
        assert len(await hop(everything, tmp_path)) == 1
        assert await hop(samples, tmp_path) == []
    await hop(write_results, tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"journal.lock", "journal.sqlite", "results.jsonl"}


def test_a_journal_tells_what_its_jobs_belong_to(tmp_path):
    async def belong():
        async with open_journal(tmp_path / "a", about={"service": "https://x.example", "shard": "shard 1/2"}):
            pass

    asyncio.run(belong())
    assert about(tmp_path / "a") == {"service": "https://x.example", "shard": "shard 1/2"}

    with contextlib.closing(sqlite3.connect(tmp_path / "a" / "journal.sqlite")) as connection:
        connection.execute("drop table about")  # as in a journal of an earlier version
    assert about(tmp_path / "a") == {}
