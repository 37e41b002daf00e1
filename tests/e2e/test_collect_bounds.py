"""Fetching many asynchronous jobs at once, leaving in the middle, and the emulator's asynchronous API."""

from __future__ import annotations

import asyncio
import functools
import itertools

import aiohttp
import pytest
from support.expect import until
from support.leaks import Census
from support.remote_jobs import (
    JOB,
    OUTPUTS,
    PROCESSED,
    PROCESSING,
    Service,
    Sinks,
    collecting,
    collector_at,
    connected,
    cut,
    picture,
    stored,
)
from support.replies import PNG, Reply, shed
from support.servers import answer, stall

from prodia_async import Job
from prodia_async._pacing.clock import SystemClock
from prodia_async._settings import Polling
from prodia_async.emulator import Emulator

pytestmark = pytest.mark.usefixtures("nothing_left")

QUICK = Polling(interval=0.01, max_interval=0.01)
HOSTILE = ["../../etc/passwd", "..", "a b?c#d%2e.png", "grün/☃.bin", "x"]


class TestBounds:
    async def test_so_many_questions_and_downloads_are_under_way_and_no_more(self):
        may_answer = {"state": asyncio.Event(), "output": asyncio.Event()}

        def held(reply, what):
            async def step(connection, request):
                await may_answer[what].wait()
                await answer(reply)(connection, request)

            return step

        service = Service(state=[held(PROCESSED, "state")], **{"a.png": [held(picture(PNG), "output")]})
        async with collecting(service, jumps=lambda: False) as collector:
            ask = functools.partial(collector.collect, priced=False, is_new=False)
            jobs = [ask(f"id-{n}", JOB, Sinks()) for n in range(40)]
            tasks = [asyncio.ensure_future(each) for each in jobs]
            await until(lambda: service.now_open["state"] == 32)
            may_answer["state"].set()
            await until(lambda: service.now_open["output"] == 32 and service.order().count("output") == 40)
            assert await collector.state("id-1") == "processed"  # downloads take no place from questions
            may_answer["output"].set()
            found = await asyncio.gather(*tasks)
        assert {verdict.kind for verdict, _ in found} == {"done"}
        assert service.most_open == {"state": 32, "output": 32}

    async def test_who_waits_holds_no_place(self):
        service = Service(state=[shed(60)] * 100 + [PROCESSED])

        def all_wait():  # no time passes before each of them was sent away once
            return len(service.asked) >= 100 and collector.transport.is_idle

        async with collecting(service, jumps=all_wait) as collector:
            jobs = [collector.state(f"id-{n}") for n in range(100)]
            assert set(await asyncio.wait_for(asyncio.gather(*jobs), 10)) == {"processed"}
        assert service.times()[:100] == [0.0] * 100


class TestCancellation:
    @pytest.mark.parametrize("step", [stall(), answer(Reply(body=b"[", length=99), then="stall")])
    @pytest.mark.parametrize("what", ["state", "job", "output", "b.bin"])
    async def test_while_the_server_says_nothing(self, what, step):
        service, sinks = Service(**{what: [step]}), Sinks()
        async with collecting(service) as collector:
            task = asyncio.ensure_future(collector.collect("id-1", JOB, sinks, priced=False))
            await until(lambda: what in service.order())
            await asyncio.sleep(0.01)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()
            assert collector.places.polls.value == collector.places.downloads.value == 32
        assert all(sinks.discarded)

    async def test_at_every_turn_of_the_loop(self, tmp_path):
        """A busy service and a break included; nothing is left, and each sink ended once."""
        endings = set()
        for turns in itertools.count(1):
            census = Census(tmp_path)
            broken = {"b.bin": [Reply(503), cut(OUTPUTS["b.bin"]), picture(OUTPUTS["b.bin"])]}
            service, sinks = Service(state=[shed(0), PROCESSING, PROCESSED], **broken), Sinks()
            quick = Polling(interval=1e-6, max_interval=1e-6)
            async with collecting(service, SystemClock(), polling=quick) as collector:
                task = asyncio.ensure_future(collector.collect("id-1", JOB, sinks, priced=False))
                for _ in range(turns * 3):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait([task])
                assert collector.places.polls.value == collector.places.downloads.value == 32
                assert collector.transport.busy == 0
            await census.assert_nothing_left()
            endings.add((task.cancelled(), *sinks.discarded))
            if not task.cancelled():
                break
        assert endings == {(True,), (True, 1), (True, 1, 1), (False, 1, 0)}


class TestEmulator:
    async def submitted(self, emulator, config):
        """Submit a job as plainly as can be, and return its id."""
        order = {"type": "emulator.bytes.v1", "config": config}
        headers = {"Authorization": f"Bearer {emulator.token}"}
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{emulator.base_url}/v2/job/async", json=order, headers=headers) as reply,
        ):
            return (await reply.json())["id"]

    async def collected(self, emulator, job_id):
        sinks = Sinks()
        async with connected(emulator.token) as transport:
            collector = collector_at(
                emulator.base_url, transport, SystemClock(), emulator.token, polling=QUICK
            )
            verdict, received = await collector.collect(job_id, Job(""), sinks, priced=True)
        return verdict, received, sinks

    async def test_outputs_with_hostile_names_come_whole_through_breaks_and_busy_times(self):
        orders = {"poll_status": 503, "poll_times": 3, "retry_after": 0.01, "drop": "during", "times": 2}
        async with Emulator(latency=0.03) as emulator:
            config = {"size": 70_000, "outputs": len(HOSTILE), "filename": HOSTILE, "emulator": orders}
            job_id = await self.submitted(emulator, config)
            verdict, received, sinks = await self.collected(emulator, job_id)
        assert verdict.kind == "done"
        assert [output.filename for output in received.outputs()] == HOSTILE
        assert {len(data) for data in stored(received).values()} == {70_000}
        assert (verdict.result.id, verdict.result.type) == (job_id, "emulator.bytes.v1")
        assert verdict.result.price.dollars > 0
        assert sinks.discarded == [1, 1, 0]

    async def test_one_that_failed_and_one_that_expired(self):
        async with Emulator(latency=0) as emulator:
            failed = await self.submitted(emulator, {"size": 1, "emulator": {"fail": "no cats"}})
            verdict, received, _ = await self.collected(emulator, failed)
            assert (verdict.kind, verdict.reason, received) == ("failed", "the job failed: no cats", None)
            expired = await self.submitted(emulator, {"size": 1, "emulator": {"lifetime": 0}})
            verdict, received, _ = await self.collected(emulator, expired)
            assert (verdict.kind, verdict.status, received) == ("lost", 404, None)
            assert verdict.reason.startswith("the job is expired or unknown: ")
