"""What money, time limits, stops and repeats must not do to a batch."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sqlite3
import sys
from datetime import UTC, datetime

import pytest
from batch.helpers import echo, read_results
from support.fake_clock import FakeClock

from prodia_async import Prodia, Retry
from prodia_async._models import Attempt
from prodia_async.batch import _job_run, run_batch
from prodia_async.batch._budget import Till
from prodia_async.batch._gate import Gate
from prodia_async.batch._journal import Totals

pytestmark = pytest.mark.newest

TYPE = "emulator.bytes.v1"


@pytest.fixture
async def hasty(emulator):
    """A client that gives a job up at its first failure."""
    retry = Retry(max_errors=0, backoff=0.01)
    async with Prodia(
        base_url=emulator.base_url, token=emulator.token, max_concurrency=4, retry=retry
    ) as client:
        yield client


def states(out) -> dict[str, str]:
    with contextlib.closing(sqlite3.connect(out / "journal.sqlite")) as journal:
        return dict(journal.execute("select custom_id, state from jobs"))


@pytest.mark.parametrize("prices", [None, {TYPE: 1.0}])
async def test_jobs_that_fail_together_hold_no_money_that_others_wait_for(
    hasty, write_manifest, tmp_path, prices
):
    manifest = write_manifest(*[echo(str(n), status=500) for n in range(3)])
    running = run_batch(manifest, tmp_path / "out", prodia=hasty, max_spend=2.0, prices=prices)
    report = await asyncio.wait_for(running, 20)
    assert (report.ending, report.done, report.failed) == ("complete", 0, 3)
    assert report.uncertain_attempts == 0


async def test_an_attempt_that_was_answered_is_not_in_flight_when_the_batch_is_cut(
    hasty, emulator, write_manifest, tmp_path
):
    manifest = write_manifest(echo("bad", status=500), echo("slow", latency=30))
    running = asyncio.create_task(run_batch(manifest, tmp_path / "out", prodia=hasty))
    while emulator.stats().failed < 1:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.3)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert states(tmp_path / "out") == {"bad": "waiting", "slow": "sent"}


async def test_a_job_in_line_for_its_turn_has_not_begun_its_time(emulator, write_manifest, tmp_path):
    async with Prodia(base_url=emulator.base_url, token=emulator.token, max_concurrency=1) as prodia:
        manifest = write_manifest(*[echo(str(n), latency=0.4) for n in range(5)])
        report = await run_batch(manifest, tmp_path / "out", prodia=prodia, timeout=1.0)
    assert (report.done, report.failed) == (5, 0)


async def test_only_failed_goes_on_where_it_was_cut(prodia, write_manifest, tmp_path):
    lines = [echo(str(n), status=400, times=1, key=str(n), latency=0.3) for n in range(6)]
    manifest, out = write_manifest(*lines), tmp_path / "out"
    assert (await run_batch(manifest, out, prodia=prodia)).failed == 6
    running = asyncio.create_task(run_batch(manifest, out, prodia=prodia, only_failed=True))
    while "sent" not in states(out).values():
        await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await run_batch(manifest, out, prodia=prodia, only_failed=True)
    assert set(states(out).values()) == {"done"}


async def test_one_stop_lets_what_is_sent_finish(prodia, write_manifest, tmp_path):
    """A stop the moment that a row is committed: its request is not begun, or it ends."""
    manifest = write_manifest(echo("job", latency=0.1))

    async def stop_at_commit(out, stop: asyncio.Event) -> None:
        while not (out / "journal.sqlite").exists():
            await asyncio.sleep(0)
        with contextlib.closing(sqlite3.connect(out / "journal.sqlite", timeout=0)) as journal:
            row = None
            while row is None:
                with contextlib.suppress(sqlite3.OperationalError):  # its tables are not there yet
                    row = journal.execute("select 1 from jobs where state = 'sent'").fetchone()
                await asyncio.sleep(0)
        stop.set()

    cut = []
    for run in range(20):
        stop, out = asyncio.Event(), tmp_path / str(run)
        stopping = asyncio.create_task(stop_at_commit(out, stop))
        await asyncio.wait_for(run_batch(manifest, out, prodia=prodia, stop=stop), 20)
        stopping.cancel()
        cut += [run for state in states(out).values() if state == "sent"]
    assert cut == []


async def test_what_is_reckoned_for_jobs_without_a_price_is_not_forgotten(prodia, write_manifest, tmp_path):
    lines = [echo("priced", price=0.5), *[echo(str(n), price=None) for n in range(6)]]
    manifest = write_manifest(*lines)
    first = await run_batch(manifest, tmp_path / "out", prodia=prodia, max_spend=2.0)
    assert first.uncertain > 0
    stop = asyncio.Event()
    stop.set()
    second = await run_batch(manifest, tmp_path / "out", prodia=prodia, max_spend=2.0, stop=stop)
    assert second.requests == 0
    assert second.uncertain == pytest.approx(first.uncertain)
    assert second.uncertain_attempts == first.uncertain_attempts


async def test_a_trial_that_comes_back_without_having_tried_does_not_block_the_gate():
    clock = FakeClock()
    gate = Gate(clock, random.Random(1), give_up_after=None)

    def refused() -> Attempt:
        begun = datetime.fromtimestamp(clock.wall(), UTC)
        return Attempt(1, begun, 0.0, 0.1, "not_sent", may_have_run=False, reason="refused")

    for number in range(20):
        gate.begin(str(number))
        await gate.enter(str(number))
        gate.attempt_ended(str(number), refused())
    assert gate.paused is not None
    gate.begin("trial")
    gate.begin("other")
    trial = asyncio.create_task(gate.enter("trial"))
    other = asyncio.create_task(gate.enter("other"))
    await asyncio.sleep(0)
    clock.advance(2)
    await trial
    again = asyncio.create_task(gate.enter("trial"))  # its time ran out while it waited for the journal
    await asyncio.sleep(0)
    clock.advance(300)
    await asyncio.sleep(0)
    assert other.done() or again.done()
    for task in (other, again):
        task.cancel()


def test_a_price_beyond_all_reason_is_counted_or_refused_but_no_accident():
    ledger = Till(None, {}, Totals())
    ledger.settle(TYPE, 0.0, 1e300)


async def test_what_may_have_run_is_not_sent_again_where_that_is_forbidden(
    emulator, write_manifest, tmp_path
):
    manifest = write_manifest(*[echo(str(n), drop="before", key=str(n)) for n in range(3)])
    async with Prodia(base_url=emulator.base_url, token=emulator.token, max_concurrency=4) as prodia:
        report = await run_batch(manifest, tmp_path / "out", prodia=prodia, resend_unknown=0)
    assert (report.done, report.failed, report.requests) == (0, 3, 3)
    assert emulator.stats().billed == 3


@pytest.mark.parametrize("kind", [RuntimeError, asyncio.CancelledError])
@pytest.mark.parametrize("max_spend", [None, 5.0])
async def test_what_breaks_a_job_fails_that_job_alone(emulator, write_manifest, tmp_path, max_spend, kind):
    """Whatever is raised inside a job's run becomes its own record."""

    class Broken:
        async def send(self, request, progress):
            raise kind(f"a transport of the user's own, {emulator.token}")

        async def aclose(self):
            pass

        def close_dead(self):
            pass

        def abandon(self):
            pass

    async with Prodia(base_url=emulator.base_url, token=emulator.token, transport=Broken) as prodia:
        manifest, out = write_manifest(echo("a"), echo("b")), tmp_path / "out"
        report = await asyncio.wait_for(run_batch(manifest, out, prodia=prodia, max_spend=max_spend), 20)
    assert (report.ending, report.done, report.failed) == ("complete", 0, 2)
    assert emulator.token not in (out / "results.jsonl").read_text()
    assert set(states(tmp_path / "out").values()) == {"failed"}


@pytest.mark.skipif(sys.platform == "win32", reason="there, two slashes are another machine")
@pytest.mark.parametrize("slashes", ["manifest", "out"])
async def test_a_path_with_two_slashes_loses_no_job(prodia, emulator, write_manifest, tmp_path, slashes):
    (tmp_path / "in.txt").write_text("in")
    manifest, out = str(write_manifest(echo("a") | {"inputs": ["in.txt"]})), str(tmp_path / "out")
    manifest, out = (f"/{manifest}", out) if slashes == "manifest" else (manifest, f"/{out}")
    for _ in range(2):
        report = await run_batch(manifest, out, prodia=prodia)
        assert (report.ending, report.done, report.interrupted) == ("complete", 1, 0)
    assert emulator.stats().completed == 1
    [named] = read_results(tmp_path / "out")["a"]["request"]["inputs"]
    assert (tmp_path / "out" / named).samefile(tmp_path / "in.txt")


@pytest.mark.parametrize("max_spend", [None, 1.0])
async def test_a_job_whose_record_cannot_be_made_is_counted(
    prodia, write_manifest, tmp_path, max_spend, monkeypatch
):
    def broken(*_):
        raise KeyError("a mistake of ours")

    monkeypatch.setattr(_job_run, "done_record", broken)
    manifest, out = write_manifest(echo("a"), echo("b")), tmp_path / "out"
    report = await run_batch(manifest, out, prodia=prodia, max_spend=max_spend)
    assert (report.ending, report.done, report.failed, report.uncertain_attempts) == ("complete", 0, 2, 0)
    assert report.dollars == (None if max_spend is None else pytest.approx(0.005))
    assert set(states(out).values()) == {"failed"}
