"""A batch whose outputs go into a bucket: `run_batch(..., to=)` and `batch --to`."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import random
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest
from obstore.store import MemoryStore
from stores.proxies import Faulty, Slow
from support.processes import all_that_ran

from prodia_async import InputError, Prodia
from prodia_async.batch import read_results, run_batch, write_report
from prodia_async.batch._csv_results import write_csv
from prodia_async.emulator import Emulator, background_emulator
from prodia_async.stores import Store

MiB = 1024 * 1024


@pytest.fixture
async def service():
    async with Emulator(capacity=16, latency=0.001, retry_after=0.01) as emulator:
        yield emulator


@pytest.fixture
async def prodia(service):
    async with Prodia(base_url=service.base_url, token=service.token) as client:
        yield client


@pytest.fixture
def opened(bucket, monkeypatch):
    for name, value in bucket.environment.items():
        monkeypatch.setenv(name, value)
    return bucket


@pytest.fixture
def manifest(tmp_path):
    path = tmp_path / "jobs.jsonl"

    def write(number=20, **config):
        config = {"size": 10, "content_type": "image/png"} | config
        lines = [
            {
                "custom_id": f"job-{n}",
                "type": "emulator.bytes.v1",
                "config": config | {"emulator": {"key": str(n)}},
            }
            for n in range(number)
        ]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return path

    return write


def records(out):
    return [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]


def urls(out):
    return sorted(output["url"] for record in records(out) for output in record["outputs"])


def parts(out):
    return [path for path in (out / "outputs").rglob("*") if path.is_file()]


async def test_a_batch_owns_the_keys_of_its_jobs(prodia, service, opened, manifest, tmp_path):
    opened.put("pictures/job-0.png", b"of before")
    out, to = tmp_path / "out", f"{opened.url}/pictures/"
    report = await run_batch(manifest(), out, prodia=prodia, to=to)
    assert (report.ending, report.done, report.failed) == ("complete", 20, 0)
    assert opened.names() == sorted(f"pictures/job-{n}.png" for n in range(20))
    assert urls(out) == [f"{opened.url}/{name}" for name in opened.names()]
    assert len(opened.content("pictures/job-0.png")) == 10
    assert {opened.kind(name) for name in opened.names()} == {"image/png"}
    assert (parts(out), opened.uploads()) == ([], [])
    again = await run_batch(manifest(), out, prodia=prodia, to=to)
    assert (again.done, again.skipped, again.requests) == (20, 20, 0)
    assert service.stats().completed == 20
    assert len(opened.names()) == 20


async def test_results_csv_and_page_tell_the_url(prodia, opened, manifest, tmp_path):
    out = tmp_path / "out"
    await run_batch(manifest(1), out, prodia=prodia, to=f"{opened.url}/x")
    [record] = records(out)
    url = f"{opened.url}/x/job-0.png"
    assert record["outputs"] == [{"path": None, "url": url, "content_type": "image/png", "bytes": 10}]
    stream = io.StringIO()
    write_csv([record], stream)
    assert f",{url},image/png,10," in stream.getvalue()
    page = await write_report(out)
    assert url in page.read_text()


async def test_the_keys_of_several_outputs(prodia, opened, manifest, tmp_path):
    """No job's key is another's, whatever their custom_ids."""
    path = manifest(1, outputs=3)
    line = {"custom_id": "job-0-2", "type": "emulator.bytes.v1", "config": {"content_type": "image/png"}}
    path.write_text(path.read_text() + json.dumps(line) + "\n")
    await run_batch(path, tmp_path / "out", prodia=prodia, to=f"{opened.url}/")
    assert opened.names() == ["job-0-2.png", "job-0.png", "job-0/2.png", "job-0/3.png"]
    assert urls(tmp_path / "out") == [f"{opened.url}/{name}" for name in opened.names()]


async def test_a_large_output(prodia, opened, manifest, tmp_path):
    await run_batch(manifest(2, size=20 * MiB), tmp_path / "out", prodia=prodia, to=f"{opened.url}/")
    assert [len(opened.content(name)) for name in opened.names()] == [20 * MiB] * 2
    assert (parts(tmp_path / "out"), opened.uploads()) == ([], [])


def rows(out):
    with closing(sqlite3.connect(out / "journal.sqlite")) as journal:
        return dict(journal.execute("select custom_id, outputs from jobs where state = 'done'"))


async def test_a_row_stands_before_its_object(prodia, manifest, tmp_path):
    out, store, early = tmp_path / "out", MemoryStore(), []

    class Watched:
        def __getattr__(self, name):
            return getattr(store, name)

        async def put_async(self, path, *args, **options):
            if not path.startswith(".prodia-"):
                told = await asyncio.to_thread(rows, out)
                early.extend([path] if f'"s3://b/{path}"' not in told.get(path.partition(".")[0], "") else [])
            return await store.put_async(path, *args, **options)

    await run_batch(manifest(), out, prodia=prodia, to=Store(Watched(), url="s3://b"))
    assert early == []
    assert len(urls(out)) == 20


class Down:
    """A store that takes nothing while `is_down`, once it was looked at."""

    def __init__(self, store):
        self.store, self.is_down, self.failed = store, False, 0

    def __getattr__(self, name):
        return getattr(self.store, name)

    async def put_async(self, path, *args, **options):
        if self.is_down and not path.startswith(".prodia-"):
            self.failed += 1
            raise ConnectionError("no route")
        return await self.store.put_async(path, *args, **options)


async def test_a_store_that_is_gone_for_a_while_costs_nothing(prodia, service, manifest, tmp_path, caplog):
    down = Down(MemoryStore())
    down.is_down = True
    with caplog.at_level(logging.INFO, "prodia_async"):
        running = asyncio.ensure_future(
            run_batch(manifest(), tmp_path / "out", prodia=prodia, to=Store(down, url="s3://b"))
        )
        while not down.failed:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        down.is_down = False
        report = await running
    assert (report.done, report.failed, service.stats().completed) == (20, 0, 20)
    assert len(names(down.store)) == 20
    told = [record.getMessage() for record in caplog.records if "tried again" in record.getMessage()]
    assert len(told) == 1
    assert "Store('s3://b/job-" in told[0]


def names(store):
    return sorted(meta["path"] for block in store.list() for meta in block)


async def test_a_store_that_stays_gone(prodia, service, manifest, tmp_path):
    """What has come waits, and the next run uploads it without asking for it again."""
    down, out = Down(MemoryStore()), tmp_path / "out"
    down.is_down = True
    to = Store(down, url="s3://b")
    report = await run_batch(manifest(), out, prodia=prodia, to=to, give_up_after=0.1)
    assert report.ending == "gave_up"
    assert "did not take the output: no route. What has come waits in the batch's folder" in report.reason
    assert len(parts(out)) == service.stats().completed > 0
    before = len(parts(out))
    for other in (None, Store(down, url="s3://c")):
        with pytest.raises(InputError, match="pass to= as that run had it"):
            await run_batch(manifest(), out, prodia=prodia, to=other)
    with pytest.raises(InputError, match="waits to be uploaded from 'outputs/"):
        await run_batch(manifest(), out, prodia=prodia, to=to)
    assert len(parts(out)) == before
    down.is_down = False
    report = await run_batch(manifest(), out, prodia=prodia, to=to)
    assert (report.ending, report.done, report.interrupted, report.missing) == ("complete", 20, 0, 0)
    assert names(down.store) == sorted(f"job-{n}.png" for n in range(20))
    assert (service.stats().completed, service.stats().repeated, parts(out)) == (20, 0, [])


@pytest.mark.parametrize("ending", ["stopped", "spent"])
async def test_a_batch_that_ends_early_uploads_what_is_done(prodia, service, manifest, tmp_path, ending):
    store, out, stop = MemoryStore(), tmp_path / "out", asyncio.Event()

    def stops(progress):
        if progress.done and ending == "stopped":
            stop.set()

    report = await run_batch(
        manifest(4),
        out,
        prodia=prodia,
        to=Store(Slow(store, 0.2), url="s3://b"),
        max_spend=0.006 if ending == "spent" else None,
        stop=stop,
        on_progress=stops,
    )
    assert report.ending == ending
    assert report.done == service.stats().completed > 0
    assert [f"s3://b/{name}" for name in names(store)] == urls(out)
    assert parts(out) == []


async def test_a_client_that_is_closed_during_uploads_ends_the_batch(prodia, service, manifest, tmp_path):
    store, out = MemoryStore(), tmp_path / "out"

    def closes(progress):
        if progress.done == 4:
            closing.append(asyncio.ensure_future(prodia.aclose()))

    closing: list[asyncio.Future[None]] = []
    to = Store(Slow(store, 0.5), url="s3://b")
    report = await run_batch(manifest(4), out, prodia=prodia, to=to, on_progress=closes)
    assert (report.ending, report.done) == ("stopped", 4)
    await asyncio.wait(closing)
    async with Prodia(base_url=service.base_url, token=service.token) as client:
        report = await run_batch(manifest(4), out, prodia=client, to=to)
    assert (report.ending, report.done, service.stats().completed) == ("complete", 4, 4)
    assert [f"s3://b/{name}" for name in names(store)] == urls(out)


async def test_a_store_that_is_gone_does_not_hold_up_a_stop(prodia, service, manifest, tmp_path):
    down, out, stop = Down(MemoryStore()), tmp_path / "out", asyncio.Event()
    down.is_down = True
    to = Store(down, url="s3://b")
    running = asyncio.ensure_future(run_batch(manifest(2), out, prodia=prodia, to=to, stop=stop))
    while not down.failed:
        await asyncio.sleep(0.01)
    stop.set()
    report = await asyncio.wait_for(running, 10)
    assert report.ending == "stopped"
    assert len(parts(out)) == report.done == service.stats().completed
    down.is_down = False
    report = await run_batch(manifest(2), out, prodia=prodia, to=to)
    assert (report.done, service.stats().completed, parts(out)) == (2, 2, [])


async def test_what_a_crash_of_the_machine_took(prodia, service, manifest, tmp_path):
    """Rows that have neither a file nor an object run again; those whose object stands do not."""
    down, out = Down(MemoryStore()), tmp_path / "out"
    down.is_down = True
    to = Store(down, url="s3://b")
    await run_batch(manifest(2, outputs=2), out, prodia=prodia, to=to, give_up_after=0.1)
    down.is_down = False
    [lost, *stand] = sorted(rows(out))
    for path in parts(out):
        path.unlink()
    for name in stand:
        for url, size in json.loads(rows(out)[name]):
            await down.store.put_async(url.removeprefix("s3://b/"), bytes(size))
    report = await run_batch(manifest(2, outputs=2), out, prodia=prodia, to=to)
    assert (report.done, report.missing) == (2, 1)
    assert service.stats().repeated == 1
    assert lost == "job-0"
    assert [f"s3://b/{name}" for name in names(down.store)] == urls(out)
    again = await run_batch(manifest(2, outputs=2), out, prodia=prodia, to=to)
    assert (again.skipped, again.missing) == (2, 0)


async def test_cancelled_at_any_time(prodia, service, manifest, tmp_path):
    """Whenever it is cancelled: no object without a row, and nothing is lost."""
    store, chance = MemoryStore(), random.Random(7)
    to, out = Store(Slow(store, 0.001), url="s3://b"), tmp_path / "out"
    path = manifest(60)
    cuts = 0
    while True:
        running = asyncio.ensure_future(run_batch(path, out, prodia=prodia, to=to))
        done, _ = await asyncio.wait([running], timeout=chance.uniform(0.05, 0.3))
        if done:
            break
        running.cancel()
        await asyncio.wait([running])
        cuts += 1
        told = "".join(rows(out).values()) if (out / "journal.sqlite").exists() else ""
        assert [name for name in names(store) if f'"s3://b/{name}"' not in told] == []
        assert cuts < 100
    assert cuts > 0
    assert running.result().done == 60
    assert [f"s3://b/{name}" for name in names(store)] == urls(out)
    assert parts(out) == []


@pytest.mark.parametrize("fails_at", range(2, 9))
async def test_each_call_of_a_store_may_fail(prodia, bucket, manifest, tmp_path, fails_at):
    faulty = Faulty(bucket.store, fails_at, after_blocks=fails_at % 2)
    path = manifest(2, size=9 * MiB if fails_at % 2 else 10)
    report = await run_batch(path, tmp_path / "out", prodia=prodia, to=Store(faulty, url=bucket.url))
    assert (report.done, report.requests - report.shed) == (2, 2)
    assert (bucket.names(), bucket.uploads()) == (["job-0.png", "job-1.png"], [])
    assert parts(tmp_path / "out") == []


@pytest.mark.parametrize("to", ["out/", "memory:///x.png", "ftp://x/", 7, lambda job: None])
async def test_what_a_batch_does_not_take(prodia, service, manifest, tmp_path, to):
    with pytest.raises(InputError, match="to="):
        await run_batch(manifest(), tmp_path / "out", prodia=prodia, to=to)
    assert not (tmp_path / "out").exists()


async def test_a_bucket_that_is_not_there(prodia, service, opened, manifest, tmp_path):
    with pytest.raises(InputError, match="NoSuchBucket"):
        await run_batch(manifest(), tmp_path / "out", prodia=prodia, to="s3://nobodys-bucket/")
    assert service.stats().requests == 0


def command(emulator, bucket, path, out, *words):
    token = {"PRODIA_TOKEN": emulator.token, "PRODIA_BASE_URL": emulator.base_url}
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "prodia_async", "batch", str(path), "--out", str(out)),
            *("--to", f"{bucket.url}/out/", "--no-report", *words),
        ],
        env={**os.environ, **bucket.environment, **token},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_kills(opened, manifest, tmp_path):
    """A kill repeats only what was in flight, and leaves no object that no row names."""
    path, out, wasted = manifest(200), tmp_path / "out", 0
    with background_emulator(capacity=8, latency=0.05, retry_after=0.05) as emulator:
        for stop_at in (20, 70, 120):
            with command(emulator, opened, path, out) as program:
                while len(opened.names()) < stop_at:
                    assert program.poll() is None, program.communicate()
                program.send_signal(signal.SIGSTOP)
                told = rows(out)
                wasted = all_that_ran(emulator) - len(told)
                program.send_signal(signal.SIGKILL)
            told = "".join(told.values())
            assert [name for name in opened.names() if f'"{opened.url}/{name}"' not in told] == []
        with command(emulator, opened, path, out) as program:
            printed, said = program.communicate(timeout=60)
            assert program.returncode == 0, said
            assert f"outputs: {opened.url}/out/" in printed
        assert emulator.stats().repeated <= wasted
    assert [f"{opened.url}/{name}" for name in opened.names()] == urls(out)
    assert len(opened.names()) == 200


def test_ten_machines_one_manifest_one_bucket(opened, manifest, tmp_path):
    path, outs = manifest(100), [tmp_path / f"out-{n}" for n in range(1, 11)]
    with background_emulator(capacity=8, latency=0.01, retry_after=0.05) as emulator:
        for again in (False, True):
            programs = [
                command(emulator, opened, path, out, "--shard", f"{n}/10") for n, out in enumerate(outs, 1)
            ]
            for program in programs:
                with program:
                    assert program.communicate(timeout=120)[1] is not None
                    assert program.returncode == 0
            assert emulator.stats().completed == 100, again
        assert emulator.stats().repeated == 0
    merged = list(read_results(outs))
    assert sorted(record["custom_id"] for record in merged) == sorted(f"job-{n}" for n in range(100))
    assert [f"{opened.url}/{name}" for name in opened.names()] == sorted(
        output["url"] for record in merged for output in record["outputs"]
    )
