"""A service that is full for ever, for all jobs or for those of one type."""

from __future__ import annotations

import asyncio
import io
import json
import logging

import pytest
from batch.helpers import echo, read_results
from batch.journals import query
from support.fake_clock import FakeClock

from prodia_async import Prodia
from prodia_async.batch import Progress, run_batch
from prodia_async.emulator import Emulator

pytestmark = pytest.mark.newest

ALWAYS = 1_000_000


def full(custom_id: str) -> dict:
    """A job of a type of its own, which is always shed."""
    return echo(custom_id, shed=ALWAYS, retry_after=0.5) | {"type": "emulator.bytes.full.v1"}


class Watch:
    """Follows a batch, and has time jump while nothing is in flight."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.paused: list[str] = []
        self.progress = Progress()

    def follow(self, progress: Progress) -> None:
        self.progress = progress
        if progress.paused is not None and progress.paused not in self.paused:
            self.paused.append(progress.paused)

    def client(self, emulator: Emulator) -> Prodia:
        return Prodia(base_url=emulator.base_url, token=emulator.token, clock=self.clock, max_concurrency=8)

    def jumping(self):
        return self.clock.jumping(lambda: not self.progress.in_flight)


async def test_endless_429_is_told_and_ends_the_batch_that_was_told_to(
    emulator, write_manifest, tmp_path, caplog
):
    caplog.set_level(logging.WARNING, "prodia_async")
    watch, out = Watch(), tmp_path / "out"
    manifest = write_manifest(*[full(str(number)) for number in range(20)])
    async with watch.client(emulator) as prodia, watch.jumping():
        report = await asyncio.wait_for(
            run_batch(manifest, out, prodia=prodia, give_up_after=600, on_progress=watch.follow), 60
        )
    assert (report.ending, report.done, report.failed) == ("gave_up", 0, 0)
    assert report.requests == report.shed > 10
    assert 600 <= watch.clock.monotonic() < 620
    assert "nothing accepted for 5 min: the service answers 429 to each request" in watch.paused
    assert report.reason.startswith("gave up: nothing accepted for 10 min")
    told = [record.getMessage() for record in caplog.records]
    assert told == ["nothing accepted for 1 min: the service answers 429 to each request"]
    assert query(out, "select distinct state, reserved from jobs") == [("waiting", None)]
    assert read_results(out) == {}


async def test_seconds_are_enough_to_give_up(emulator, prodia, write_manifest, tmp_path):
    manifest = write_manifest(full("a"), echo("b"))
    report = await asyncio.wait_for(
        run_batch(manifest, tmp_path / "out", prodia=prodia, give_up_after=1.5), 20
    )
    assert (report.ending, report.done, report.failed) == ("gave_up", 1, 0)
    again = await asyncio.wait_for(
        run_batch(manifest, tmp_path / "out", prodia=prodia, give_up_after=1.5), 20
    )
    assert (again.ending, again.skipped, again.interrupted) == ("gave_up", 1, 0)


async def test_a_service_that_is_full_of_long_jobs_has_accepted_them(write_manifest, tmp_path):
    """Two jobs of a minute (of the clock), and capacity for one: the other is shed all the while."""
    watch = Watch()
    lines = [echo("long", latency=3), echo("next", latency=3)]
    async with Emulator(capacity=1, retry_after=0.2) as emulator, watch.client(emulator) as prodia:

        async def pass_by() -> None:
            while True:  # twenty times as fast
                await asyncio.sleep(0.01)
                watch.clock.advance(0.2)

        passing = asyncio.create_task(pass_by())
        report = await asyncio.wait_for(
            run_batch(
                write_manifest(*lines),
                tmp_path / "out",
                prodia=prodia,
                give_up_after=30,
                on_progress=watch.follow,
            ),
            60,
        )
        passing.cancel()
    assert (report.ending, report.done) == ("complete", 2)
    assert report.shed > 5
    assert watch.paused == []


@pytest.mark.parametrize("lines", [40, 200, 6000])
async def test_a_type_that_is_always_shed_does_not_keep_others_from_running(
    emulator, write_manifest, tmp_path, lines
):
    """However many of its lines come first, and in between."""
    first, between = [full(f"full-{n}") for n in range(lines)], [full(f"between-{n}") for n in range(300)]
    manifest = write_manifest(*first, echo("a"), *between, *[echo(str(n)) for n in range(20)], echo("z"))
    stop = asyncio.Event()

    def follow(progress: Progress) -> None:
        if progress.done == 22:
            stop.set()

    async with Prodia(base_url=emulator.base_url, token=emulator.token, max_concurrency=4) as prodia:
        report = await asyncio.wait_for(
            run_batch(manifest, tmp_path / "out", prodia=prodia, stop=stop, on_progress=follow), 60
        )
    assert (report.ending, report.done, report.failed) == ("stopped", 22, 0)
    assert set(read_results(tmp_path / "out")) == {"a", "z", *map(str, range(20))}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *("journal.lock", "journal.sqlite", "outputs", "results.jsonl")
    }


async def test_what_waited_on_disk_comes_back_in_order(write_manifest, tmp_path):
    """Jobs of one type are shed for seconds: those of another pass, and then all have their turns."""
    first = [
        echo(f"first-{n:04}", **({"shed": 20, "retry_after": 0.5} if n < 24 else {})) for n in range(1500)
    ]
    for line in first:
        line["type"] = "emulator.bytes.first.v1"
    manifest, out = write_manifest(*first, *[echo(f"other-{n}") for n in range(50)]), tmp_path / "out"
    async with (
        Emulator(capacity=64, latency=0.001) as emulator,
        Prodia(base_url=emulator.base_url, token=emulator.token, max_concurrency=6) as prodia,
    ):
        report = await asyncio.wait_for(run_batch(manifest, out, prodia=prodia), 100)
        assert emulator.stats().completed == 1550
    assert (report.ending, report.done, report.failed) == ("complete", 1550, 0)
    began = {name: record["attempts"][-1]["started_at"] for name, record in read_results(out).items()}
    order = sorted(began, key=began.get)
    assert max(order.index(f"other-{n}") for n in range(50)) < 300
    ranks = [order.index(line["custom_id"]) for line in first]
    assert all(abs(rank - place) < 150 for place, rank in enumerate(ranks))


class Source(io.BytesIO):
    """A manifest that tells how far it was read."""

    def read1(self, size: int = -1) -> bytes:
        self.reached = self.tell() + size
        return super().read1(size)


async def test_what_is_slow_and_not_shed_is_read_no_faster_than_it_runs(tmp_path):
    """A source without an end fills no disk."""
    lines = b"".join(json.dumps(echo(str(n), latency=4)).encode() + b"\n" for n in range(40_000))
    source, stop = Source(lines), asyncio.Event()
    async with (
        Emulator(capacity=4) as emulator,
        Prodia(base_url=emulator.base_url, token=emulator.token, max_concurrency=4) as prodia,
    ):
        asyncio.get_running_loop().call_later(6, stop.set)
        report = await asyncio.wait_for(
            run_batch(source, tmp_path / "out", prodia=prodia, type="emulator.bytes.v1", stop=stop), 60
        )
    assert report.ending == "stopped"
    assert 4 <= report.done <= 8
    assert source.reached < 4 * 65_536 < len(lines) / 10
