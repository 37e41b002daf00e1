"""A wrong token costs one request; and what a run finds of one that was cut is told when it begins."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from datetime import UTC, datetime

import pytest
from batch.helpers import echo, read_results
from batch.journals import an_entry, open_journal

from prodia_async import Attempt, AuthenticationError, NotFoundError, Prodia, ServerError, TransportError
from prodia_async.batch import _runner, run_batch
from prodia_async.batch._manifest import Manifest
from prodia_async.batch._scout import Scout
from prodia_async.emulator import Emulator

pytestmark = pytest.mark.newest


def of_six_types(count: int, **more) -> list[dict]:
    return [echo(str(n)) | {"type": f"emulator.bytes.t{n % 6}.v1"} | more for n in range(count)]


@pytest.mark.parametrize("mode", ["sync", "async"])
async def test_a_wrong_token_costs_one_request(emulator, write_manifest, tmp_path, mode):
    manifest, out = write_manifest(*of_six_types(60)), tmp_path / "out"
    async with Prodia(base_url=emulator.base_url, token="wrong") as prodia:
        report = await asyncio.wait_for(run_batch(manifest, out, prodia=prodia, mode=mode), 20)
    assert (report.ending, report.done, report.failed, report.requests) == ("refused", 0, 0, 1)
    assert (emulator.stats().requests, emulator.stats().refused) == (1, 1)
    async with Prodia(base_url=emulator.base_url, token=emulator.token) as prodia:
        report = await run_batch(manifest, out, prodia=prodia, mode=mode)
    assert (report.ending, report.done, report.interrupted) == ("complete", 60, 0)


async def test_a_good_token_costs_none(emulator, prodia, write_manifest, tmp_path):
    report = await run_batch(write_manifest(*of_six_types(60)), tmp_path / "out", prodia=prodia)
    assert (report.done, report.requests - report.shed) == (60, 60)
    assert emulator.stats().requests == report.requests
    assert emulator.stats().polls == 0


async def test_where_nothing_is_left_nothing_is_asked(prodia, write_manifest, tmp_path):
    manifest = write_manifest(echo("a"))
    async with Emulator() as emulator:
        async with Prodia(base_url=emulator.base_url, token=emulator.token) as client:
            await run_batch(manifest, tmp_path / "out", prodia=client)
        base_url = emulator.base_url
    async with Prodia(base_url=base_url, token="t") as client:  # there is nobody any more
        report = await run_batch(manifest, tmp_path / "out", prodia=client)
    assert (report.ending, report.skipped, report.requests) == ("complete", 1, 0)


def answered(status: int) -> Attempt:
    return Attempt(1, datetime.now(UTC), 0.0, 0.1, "refused", may_have_run=False, status=status)


class Question:
    def __init__(self, *answers) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def __call__(self):
        self.asked += 1
        await asyncio.sleep(0.01)
        return self.answers.pop(0)


@pytest.mark.parametrize(
    "answer", [NotFoundError("no such job"), ServerError("out"), TransportError("no route"), None]
)
async def test_one_question_lets_all_go(answer):
    scout = Scout(ask := Question(answer))
    await asyncio.wait_for(asyncio.gather(*[scout.enter(str(n)) for n in range(20)]), 5)
    assert (ask.asked, scout.is_over) == (1, True)


async def test_where_the_question_is_refused_one_job_goes_and_the_others_follow_it():
    scout = Scout(Question(*[AuthenticationError("no")] * 4))
    entering = [asyncio.ensure_future(scout.enter(str(n))) for n in range(5)]
    await entering[0]
    await asyncio.sleep(0.05)
    assert [task.done() for task in entering] == [True, False, False, False, False]
    scout.leave("3", answered(200))  # it has no say
    entering[1].cancel()
    scout.leave("0", answered(401))
    await asyncio.sleep(0.05)
    assert [task.done() for task in entering] == [True, True, True, False, False]
    assert entering[1].cancelled()
    scout.leave("2")  # it was not sent
    await asyncio.wait_for(entering[3], 5)
    assert not entering[4].done()
    scout.leave("3", answered(400))
    await asyncio.wait_for(entering[4], 5)
    scout.leave("2")
    assert scout.is_over


async def test_a_job_that_went_alone_and_was_lost_holds_nobody_up(
    emulator, write_manifest, tmp_path, monkeypatch
):
    """It is sent again, and needs the slot that another holds, which waits for what becomes of it."""

    async def refused(_):
        return AuthenticationError("a token that is good for jobs alone")

    monkeypatch.setattr(_runner, "_ask", refused)
    out, path = tmp_path / "out", write_manifest(*[echo(str(n)) | {"mode": "async"} for n in range(4)])
    manifest = Manifest(path)
    await manifest.open()
    [_, entry, *_] = await manifest.read()
    await manifest.aclose()
    async with open_journal(out) as journal:
        await journal.sent(entry, 0.0)
        await journal.submitted("1", "00000000-0000-0000-0000-000000000001", None)
    async with Prodia(base_url=emulator.base_url, token=emulator.token, max_concurrency=1) as prodia:
        report = await asyncio.wait_for(run_batch(path, out, prodia=prodia), 20)
    assert (report.done, report.lost, emulator.stats().completed) == (4, ("1",), 4)


async def test_what_was_in_flight_is_told_when_the_next_run_begins(prodia, write_manifest, tmp_path, caplog):
    caplog.set_level(logging.WARNING, "prodia_async")
    out = tmp_path / "out"
    async with open_journal(out) as journal:
        for custom_id in "abc":
            await journal.sent(an_entry(custom_id), 0.0)
        await journal.sent(an_entry("d"), 0.0)
        await journal.submitted("d", "an id", None)
    stop = asyncio.Event()
    stop.set()
    await run_batch(write_manifest(echo("new")), out, prodia=prodia, stop=stop)
    assert [record.getMessage() for record in caplog.records] == [
        "3 jobs were in flight when the last run was cut: they may have run and been billed",
        "1 job is at the service since the last run was cut: it is asked for by its id",
    ]


async def test_nothing_of_sqlites_own_stays_beside_a_finished_journal(prodia, write_manifest, tmp_path):
    manifest, out = write_manifest(*[echo(str(n)) for n in range(5)]), tmp_path / "out"
    for _ in range(2):
        await run_batch(manifest, out, prodia=prodia)
        names = {path.name for path in out.iterdir()}
        assert names == {"journal.lock", "journal.sqlite", "outputs", "results.jsonl"}
    assert len(read_results(out)) == 5
    with contextlib.closing(sqlite3.connect(f"file:{out}/journal.sqlite?mode=ro", uri=True)) as journal:
        assert journal.execute("pragma integrity_check").fetchone() == ("ok",)
