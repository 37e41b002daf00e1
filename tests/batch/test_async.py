"""Batches through the asynchronous API: what the service has is collected by its id, and not paid twice."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from batch.helpers import echo, read_results

from prodia_async import Polling, Prodia
from prodia_async.batch import run_batch
from prodia_async.emulator import Emulator, background_emulator

QUICK = Polling(interval=0.05, max_interval=0.1)


def states(out: Path) -> dict[str, int]:
    """How many jobs the journal has in each state; none while it is being made."""
    if not (out / "journal.sqlite").exists():
        return {}
    with contextlib.closing(sqlite3.connect(out / "journal.sqlite")) as journal:
        try:
            return dict(journal.execute("select state, count(*) from jobs group by state").fetchall())
        except sqlite3.OperationalError:
            return {}


async def run_until(is_time, manifest, out, **options) -> None:
    """Run a batch and cancel it as soon as `is_time()`."""
    run = asyncio.create_task(run_batch(manifest, out, **options))
    while not is_time():
        assert not run.done()
        await asyncio.sleep(0.01)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run


def connected(emulator: Emulator, **options) -> Prodia:
    return Prodia(base_url=emulator.base_url, token=emulator.token, polling=QUICK, **options)


async def test_each_line_chooses_its_api(write_manifest, tmp_path):
    lines = [echo("a", latency=0.01), {**echo("b", latency=0.01), "mode": "async"}]
    lines += [{**echo("c", latency=0.01), "mode": "sync"}]
    async with Emulator() as emulator, connected(emulator) as prodia:
        report = await run_batch(write_manifest(*lines), tmp_path / "out", prodia=prodia)
        assert (report.done, emulator.stats().requests, emulator.stats().submitted) == (3, 3, 1)
        lines[1]["custom_id"] = "d"
        report = await run_batch(write_manifest(*lines), tmp_path / "two", prodia=prodia, mode="async")
        assert (report.done, emulator.stats().submitted) == (3, 3)
    assert sorted(read_results(tmp_path / "two")) == ["a", "c", "d"]


async def test_csv_has_a_column_for_it(tmp_path):
    manifest = tmp_path / "jobs.csv"
    manifest.write_text("custom_id,type,mode\na,emulator.bytes.v1,async\nb,emulator.bytes.v1,\nc,x,later\n")
    problems = []
    async with Emulator(latency=0.01) as emulator, connected(emulator) as prodia:
        report = await run_batch(manifest, tmp_path / "out", prodia=prodia, on_problem=problems.append)
        assert (report.done, emulator.stats().submitted) == (2, 1)
    assert [problem.reason for problem in problems] == ["`mode` is 'later', not sync or async"]


async def test_what_was_submitted_is_collected_by_the_next_run(write_manifest, tmp_path):
    manifest = write_manifest(*(echo(str(number), latency=1.0, price=0.01) for number in range(12)))
    options = {"mode": "async", "max_spend": 1.0, "prices": {"emulator.bytes.v1": 0.01}}
    async with Emulator(capacity=12) as emulator:
        out = tmp_path / "out"
        async with connected(emulator) as prodia:
            await run_until(
                lambda: states(out) == {"submitted": 12},
                manifest,
                out,
                prodia=prodia,
                **options,
            )
        async with connected(emulator) as prodia:
            report = await run_batch(manifest, out, prodia=prodia, **options)
            assert prodia.stats().requests == 0
        assert emulator.stats().submitted == 12
    assert (report.done, report.submitted, report.interrupted, report.lost) == (12, 12, 0, ())
    assert report.dollars == pytest.approx(12 * 0.01)
    assert (report.uncertain, report.uncertain_attempts) == (0, 0)
    assert states(out) == {"done": 12}


async def test_what_has_expired_is_named_and_sent_again(write_manifest, tmp_path):
    manifest = write_manifest(*(echo(f"job-{number}", latency=0.2, price=0.01) for number in range(4)))
    options = {"mode": "async", "max_spend": 1.0, "prices": {"emulator.bytes.v1": 0.01}, "resend_unknown": 0}
    out = tmp_path / "out"
    async with Emulator(capacity=8, async_lifetime=0.5) as emulator:
        async with Prodia(base_url=emulator.base_url, token=emulator.token) as prodia:  # polls after a second
            await run_until(
                lambda: states(out) == {"submitted": 4},
                manifest,
                out,
                prodia=prodia,
                **options,
            )
        while emulator.stats().expired < 4:
            await asyncio.sleep(0.02)
        async with connected(emulator) as prodia:
            report = await run_batch(manifest, out, prodia=prodia, **options)
        account = emulator.stats()
    assert (report.done, report.submitted, report.lost_count) == (4, 4, 4)
    assert sorted(report.lost) == [f"job-{number}" for number in range(4)]
    assert account.completed == 8
    assert report.dollars == pytest.approx(0.04)
    assert (report.uncertain, report.uncertain_attempts) == (pytest.approx(4 * 0.015), 4)


async def test_a_job_that_expires_under_way_is_sent_again_as_often_as_allowed(write_manifest, tmp_path):
    lines = [echo("gone", latency=0.01, lifetime=0.01), echo("fine", latency=0.01)]
    polling = Polling(interval=0.3, max_interval=0.3)
    async with Emulator() as emulator:
        async with Prodia(base_url=emulator.base_url, token=emulator.token, polling=polling) as prodia:
            report = await run_batch(write_manifest(*lines), tmp_path / "out", prodia=prodia, mode="async")
        account = emulator.stats()
    assert (report.done, report.failed, report.lost_count, report.lost) == (1, 1, 1, ("gone",))
    assert account.submitted == 3
    failed = read_results(tmp_path / "out")["gone"]
    assert failed["error"]["may_have_run"] is True
    assert "expired or unknown" in failed["error"]["message"]
    assert [attempt["verdict"] for attempt in failed["attempts"]] == ["lost", "lost"]


async def test_jobs_that_fail_and_types_without_the_api_say_so(write_manifest, tmp_path):
    lines = [echo("bad", fail="out of paint", price=0.01), {"custom_id": "no", "type": "x.sync-only.ping.v1"}]
    async with Emulator(latency=0.01) as emulator, connected(emulator) as prodia:
        report = await run_batch(
            write_manifest(*lines), tmp_path / "out", prodia=prodia, mode="async", max_spend=1.0
        )
    assert (report.done, report.failed, report.uncertain_attempts) == (0, 2, 0)
    found = read_results(tmp_path / "out")
    assert "out of paint" in found["bad"]["error"]["message"]
    assert "asynchronous" in found["no"]["error"]["message"]


async def test_a_failed_job_of_an_earlier_run_is_collected_as_failed(write_manifest, tmp_path):
    manifest = write_manifest(echo("bad", latency=0.3, fail="out of paint", price=0.01))
    out, options = tmp_path / "out", {"mode": "async", "max_spend": 1.0}
    async with Emulator() as emulator, connected(emulator) as prodia:
        await run_until(
            lambda: states(out) == {"submitted": 1},
            manifest,
            out,
            prodia=prodia,
            **options,
        )
        report = await run_batch(manifest, out, prodia=prodia, **options)
        assert emulator.stats().submitted == 1
    assert (report.failed, report.submitted, report.uncertain_attempts) == (1, 1, 0)
    assert "out of paint" in read_results(out)["bad"]["error"]["message"]


@pytest.mark.newest
def test_500_jobs_and_a_kill(tmp_path: Path) -> None:
    jobs, manifest, out = 500, tmp_path / "jobs.jsonl", tmp_path / "out"
    lines = [echo(f"n-{number}", latency=0.3, key=number) | {"mode": "async"} for number in range(jobs)]
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with background_emulator(capacity=100) as emulator:
        environment = {
            **os.environ,
            "PRODIA_BASE_URL": emulator.base_url,
            "PRODIA_TOKEN": emulator.token,
            "COVERAGE_PROCESS_START": "",  # a killed process leaves no coverage
        }
        command = [sys.executable, "-m", "prodia_async", "batch", str(manifest), "--out", str(out)]
        process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while emulator.stats().submitted < jobs // 4:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        process.kill()
        process.wait(30)
        before = states(out)
        ended = subprocess.run(
            [*command, "--json"], env=environment, capture_output=True, timeout=300, check=True
        )
        account = emulator.stats()
    summary = json.loads(ended.stdout)
    assert before["submitted"] > 0
    assert (summary["done"], summary["failed"], summary["lost_count"]) == (jobs, 0, 0)
    assert (summary["submitted"], summary["interrupted"]) == (before["submitted"], before.get("sent", 0))
    assert account.repeated <= before.get("sent", 0)
    assert account.submitted == jobs + account.repeated
    assert states(out) == {"done": jobs}
    assert len(list((out / "outputs").rglob("*.txt"))) == jobs
    assert list(out.rglob(".prodia-*")) == []


async def test_a_job_given_up_for_its_time_is_collected_when_failed_jobs_are_retried(
    write_manifest, tmp_path
):
    manifest = write_manifest(
        *(echo(str(number), latency=1.0, key=number, price=0.01) for number in range(3))
    )
    out, options = (
        tmp_path / "out",
        {"mode": "async", "max_spend": 1.0, "prices": {"emulator.bytes.v1": 0.01}},
    )
    async with Emulator() as emulator, connected(emulator) as prodia:
        report = await run_batch(manifest, out, prodia=prodia, timeout=0.3, **options)
        assert (report.done, report.failed, emulator.stats().submitted) == (0, 3, 3)
        report = await run_batch(manifest, out, prodia=prodia, retry_failed=True, **options)
        assert (report.done, report.failed, emulator.stats().submitted) == (3, 0, 3)
    assert report.dollars == pytest.approx(0.03)


async def test_a_client_that_is_closed_ends_the_batch_and_fails_nothing(write_manifest, tmp_path):
    manifest = write_manifest(*(echo(str(number), latency=0.1, key=number) for number in range(100)))
    async with Emulator(capacity=4) as emulator:
        async with connected(emulator, max_concurrency=4) as prodia:
            run = asyncio.create_task(run_batch(manifest, tmp_path / "out", prodia=prodia))
            while emulator.stats().completed < 8:
                await asyncio.sleep(0.01)
            await prodia.aclose(drain=5)
            report = await run
        assert (report.ending, report.failed) == ("stopped", 0)
        assert 8 <= report.done < 100
        async with connected(emulator) as prodia:
            report = await run_batch(manifest, tmp_path / "out", prodia=prodia)
        assert (report.ending, report.done, report.failed) == ("complete", 100, 0)
        assert emulator.stats().repeated == 0
