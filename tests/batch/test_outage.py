"""The service goes away in the middle of a batch, for hours: no job fails for that."""

from __future__ import annotations

import asyncio

import anyio
import pytest
from batch.helpers import echo, read_results
from support.fake_clock import FakeClock

from prodia_async import Prodia
from prodia_async.batch import Progress, run_batch
from prodia_async.emulator import Emulator

pytestmark = pytest.mark.newest

HOURS = 3 * 3600.0


class Outage:
    """Takes an emulator away once half of the jobs are done, and brings another there hours later."""

    def __init__(self, clock: FakeClock, emulator: Emulator, half: int) -> None:
        self.clock = clock
        self.emulator = emulator
        self.progress = Progress()
        self.pauses: set[str] = set()
        self._half = half
        self._port = int(emulator.base_url.rpartition(":")[2])

    def follow(self, progress: Progress) -> None:
        self.progress = progress
        if progress.paused:
            self.pauses.add(progress.paused)

    def idle(self) -> bool:
        return self.progress.in_flight == 0

    async def happen(self) -> Emulator:
        while self.progress.done < self._half:
            await asyncio.sleep(0.001)
        await self.emulator.aclose()
        gone = self.clock.monotonic()
        while self.clock.monotonic() < gone + HOURS:
            await asyncio.sleep(0.001)
        back = Emulator(capacity=64, latency=0.001, token=self.emulator.token, port=self._port)
        await back.start()
        return back


@pytest.mark.parametrize("jobs", [300, pytest.param(2000, marks=pytest.mark.nightly)])
async def test_an_outage_of_hours_fails_no_job(write_manifest, tmp_path, jobs):
    manifest = write_manifest(*[echo(f"job-{number}") for number in range(jobs)])
    clock = FakeClock()
    async with Emulator(capacity=64, latency=0.001) as emulator:
        outage = Outage(clock, emulator, jobs // 2)
        async with (
            Prodia(
                base_url=emulator.base_url, token=emulator.token, max_concurrency=64, clock=clock
            ) as prodia,
            clock.jumping(outage.idle),
        ):
            happening = asyncio.create_task(outage.happen())
            with anyio.fail_after(120):
                report = await run_batch(manifest, tmp_path / "out", prodia=prodia, on_progress=outage.follow)
                await (await happening).aclose()
    assert (report.ending, report.done, report.failed) == ("complete", jobs, 0)
    assert clock.monotonic() > HOURS
    assert outage.pauses
    records = read_results(tmp_path / "out")
    assert len(records) == jobs
    assert {record["status"] for record in records.values()} == {"done"}


@pytest.mark.parametrize("left", [1, 2, 7, 19])
async def test_an_outage_of_hours_fails_none_of_the_last_jobs(write_manifest, tmp_path, left):
    """Those that were lost are sent twice at most."""
    count = 40
    lines = [
        echo(f"job-{number}", latency=0.5 if number >= count - left else 0.001) for number in range(count)
    ]
    clock = FakeClock()
    async with Emulator(capacity=64) as emulator:
        outage = Outage(clock, emulator, count - left)
        async with (
            Prodia(
                base_url=emulator.base_url, token=emulator.token, max_concurrency=64, clock=clock
            ) as prodia,
            clock.jumping(outage.idle),
        ):
            happening = asyncio.create_task(outage.happen())
            manifest, out = write_manifest(*lines), tmp_path / "out"
            running = asyncio.create_task(run_batch(manifest, out, prodia=prodia, on_progress=outage.follow))
            with anyio.fail_after(120):
                back = await happening
                report = await running
                await back.aclose()
    assert (report.ending, report.done, report.failed) == ("complete", count, 0)
    assert clock.monotonic() > HOURS
    assert outage.pauses
    records = read_results(out)
    assert all(sum(a["may_have_run"] for a in record["attempts"]) <= 2 for record in records.values())


@pytest.mark.parametrize("jobs", [1, 2, 7, 15])
async def test_a_lost_job_is_sent_twice_at_most_whatever_else_it_meets(
    emulator, write_manifest, tmp_path, jobs
):
    lines = [echo(str(number), drop="before", times=100, key=str(number)) for number in range(jobs)]
    async with Prodia(base_url=emulator.base_url, token=emulator.token, max_concurrency=8) as prodia:
        report = await asyncio.wait_for(
            run_batch(write_manifest(*lines), tmp_path / "out", prodia=prodia), 60
        )
    assert (report.done, report.failed, report.requests - report.shed) == (0, jobs, 2 * jobs)
    assert emulator.stats().billed == 2 * jobs
    records = read_results(tmp_path / "out").values()
    assert all(sum(a["verdict"] == "unknown" for a in record["attempts"]) == 2 for record in records)
    assert all(record["error"]["may_have_run"] for record in records)


async def test_a_batch_gives_up_when_it_was_told_to(write_manifest, tmp_path):
    manifest = write_manifest(*[echo(str(number)) for number in range(50)])
    clock = FakeClock()
    async with Emulator() as emulator:
        base_url = emulator.base_url
    seen = Progress()

    def follow(progress: Progress) -> None:
        nonlocal seen
        seen = progress

    async with (
        Prodia(base_url=base_url, token="t", clock=clock, max_concurrency=8) as prodia,
        clock.jumping(lambda: seen.in_flight == 0),
    ):
        with anyio.fail_after(30):
            report = await run_batch(
                manifest, tmp_path / "out", prodia=prodia, give_up_after=600, on_progress=follow
            )
    assert (report.ending, report.done, report.failed) == ("gave_up", 0, 0)
    assert 600 <= clock.monotonic() < 1200
    assert "600" in (report.reason or "")
    assert read_results(tmp_path / "out") == {}


async def test_the_same_command_goes_on_after_giving_up(emulator, write_manifest, tmp_path):
    manifest = write_manifest(*[echo(str(number)) for number in range(50)])
    async with Emulator() as gone:
        address = gone.base_url
    async with Prodia(base_url=address, token=emulator.token) as prodia:
        report = await run_batch(manifest, tmp_path / "out", prodia=prodia, give_up_after=0.1)
    assert report.ending == "gave_up"
    async with Prodia(base_url=emulator.base_url, token=emulator.token) as prodia:
        report = await run_batch(manifest, tmp_path / "out", prodia=prodia)
    assert (report.ending, report.done, report.interrupted, report.uncertain_attempts) == (
        "complete",
        50,
        0,
        0,
    )
