"""Asynchronous jobs are waited for and fetched, over real sockets, on a clock that jumps over the waits."""

from __future__ import annotations

import asyncio
import itertools
import random

import pytest
from support.leaks import TOKEN
from support.remote_jobs import (
    JOB,
    OUTPUTS,
    PROCESSED,
    PROCESSING,
    RESULT,
    Failing,
    Service,
    Sinks,
    collecting,
    cut,
    ended,
    picture,
    stored,
)
from support.replies import PNG, Reply, in_json, job, shed
from support.servers import answer, hang_up, stall

from prodia_async import InputError, Limits, Retry
from prodia_async._collecting import UnansweredError
from prodia_async._settings import Polling

pytestmark = pytest.mark.usefixtures("nothing_left")

GONE = in_json(404, {"message": "gone"})


class TestWaiting:
    async def test_a_job_is_waited_for_and_its_outputs_are_fetched_in_order(self):
        service, sinks = Service(state=[PROCESSING, PROCESSING, PROCESSED]), Sinks()
        async with collecting(service) as collector:
            verdict, received = await collector.collect("id-1", JOB, sinks, priced=False)
        assert (verdict.kind, verdict.may_have_run) == ("done", True)
        assert stored(received) == OUTPUTS
        assert [output.filename for output in received.outputs()] == list(OUTPUTS)
        assert sinks.discarded == [0]
        assert service.order() == ["state"] * 3 + ["job", "output", *OUTPUTS]
        assert service.times() == [1.0, 2.5, 4.75]

    async def test_the_waits_grow_up_to_a_cap_and_an_old_job_is_asked_for_at_once(self):
        service = Service(state=[PROCESSING] * 5 + [PROCESSED])
        polling = Polling(interval=2.0, max_interval=7.0, growth=2.0)
        async with collecting(service, polling=polling) as collector:
            assert await collector.finished("id-1", is_new=False) == "processed"
        assert service.times() == [0.0, 2.0, 6.0, 13.0, 20.0, 27.0]

    async def test_chance_shortens_the_waits_of_many_so_that_they_part(self):
        service = Service(state=[PROCESSING] * 20 + [PROCESSED])
        async with collecting(service, chance=random.Random(1)) as collector:
            await asyncio.gather(*[collector.finished(f"id-{n}") for n in range(20)])
        assert len(set(service.times()[:20])) == 20
        assert 0.8 <= service.times()[0] < service.times()[19] <= 1.0

    @pytest.mark.parametrize("word", [b'"processed"', b"Completed\n", b"'failed'"])
    async def test_quotes_and_capitals_do_not_hide_the_end(self, word):
        service = Service(state=[Reply(body=word)])
        async with collecting(service) as collector:
            assert await collector.finished("id-1") == word.decode().strip("'\"\n").lower()

    async def test_an_unknown_state_is_not_the_end(self):
        odd = [Reply(body=word) for word in (b"", b"queued", b"finished", b"proc essed")]
        service = Service(state=[*odd, PROCESSED])
        async with collecting(service) as collector:
            assert [await collector.state("id-1") for _ in range(2)] == ["", "queued"]
            assert await collector.finished("id-1") == "processed"
        assert len(service.asked) == 5

    async def test_a_busy_service_is_waited_out_and_told_waits_are_kept_to(self):
        busy = [shed(20), Reply(500), Reply(503, headers={"Retry-After": "9999"}), shed(None)]
        service = Service(state=[*busy, PROCESSING, PROCESSED])
        async with collecting(service, retry=Retry(max_errors=0, max_retry_after=50)) as collector:
            assert await collector.finished("id-1") == "processed"
        steps = [b - a for a, b in itertools.pairwise(service.times())]
        assert steps == [20.0, 2.25, 50.0, 5.0625, 7.59375]

    async def test_broken_connections_are_waited_out(self):
        stalled = []

        async def silent(connection, request):
            stalled.append(request)
            await stall()(connection, request)
            stalled.clear()

        broken = [hang_up("reset"), hang_up("close"), cut(b"processed"), silent]
        service = Service(state=[*broken, PROCESSED])
        async with collecting(service, retry=Retry(max_errors=0)) as collector:
            collector.transport.waits_for = stalled  # its time is jumped over, too
            assert await collector.state("id-1") == "processed"
        times = service.times()
        assert len(times) == 5
        assert len(set(times)) >= 4  # aiohttp itself repeats a GET once, at once
        assert times[4] - times[3] > 70

    @pytest.mark.parametrize(("between", "kind"), [([], "malformed"), ([PROCESSING], "done")])
    async def test_answers_that_make_no_sense_end_it_when_they_come_in_a_row(self, between, kind):
        nonsense = Reply(body=b"<p>", headers={"Content-Type": "text/html"})
        service = Service(state=[nonsense, nonsense, *between, nonsense, PROCESSED])
        async with collecting(service) as collector:
            verdict, _ = await collector.collect("id-1", JOB, Sinks(), priced=False)
        assert verdict.kind == kind


class TestEnds:
    @pytest.mark.parametrize("what", ["state", "job", "output", "b.bin"])
    async def test_404_at_any_stage_means_that_the_job_is_lost(self, what):
        verdict = await ended(service := Service(**{what: [GONE]}))
        assert (verdict.kind, verdict.status) == ("lost", 404)
        assert verdict.reason == "the job is expired or unknown: gone"
        assert (verdict.result is None) is (what in ("state", "job"))
        assert service.order()[-1] == what

    async def test_a_token_that_is_refused_ends_it(self):
        verdict = await ended(Service(state=[in_json(401, {"message": "who?"})]))
        assert (verdict.kind, verdict.status, verdict.reason) == ("refused", 401, "who?")

    async def test_a_job_that_failed_says_why_and_nothing_is_fetched(self):
        failed = in_json(200, job("failed", error=f"bad key {TOKEN}"))
        service, sinks = Service(state=[Reply(body=b"failed")], job=[failed]), Sinks()
        verdict = await ended(service, sinks)
        assert (verdict.kind, verdict.reason) == ("failed", "the job failed: bad key ***")
        assert verdict.result.error == "bad key ***"
        assert service.order() == ["state", "job"]
        assert sinks.made == []

    @pytest.mark.parametrize("what", ["job", "output"])
    @pytest.mark.parametrize(
        ("step", "kind"),
        [
            (Reply(body=b"{"), "malformed"),
            (answer(Reply(body=b"[", length=9), then="reset"), "unknown"),
            (cut(b"{}"), "unknown"),
        ],
    )
    async def test_broken_answers_are_asked_for_again_so_often_and_then_end_it(self, what, step, kind):
        service = Service(**{what: [step, shed(0), Reply(502), step, step]})
        verdict = await ended(service)
        assert verdict.kind == kind
        assert service.order().count(what) == 5

    async def test_a_result_that_lags_behind_is_asked_for_again(self):
        service = Service(job=[in_json(200, job("processing")), RESULT])
        async with collecting(service) as collector:
            verdict, received = await collector.collect("id-1", JOB, Sinks(), priced=True)
        assert (verdict.kind, stored(received)) == ("done", OUTPUTS)

    async def test_an_id_that_cannot_be_one_is_refused(self):
        async with collecting(service := Service()) as collector:
            with pytest.raises(InputError, match="the job's id cannot be ''"):
                await collector.collect("", JOB, Sinks(), priced=False)
        assert service.asked == []


class TestOutputs:
    async def test_a_job_without_outputs_is_done(self):
        async with collecting(Service(output=[Reply(body=b"null")])) as collector:
            verdict, received = await collector.collect("id-1", JOB, Sinks(), priced=False)
        assert (verdict.kind, verdict.result.outputs, received.outputs()) == ("done", (), ())

    async def test_one_that_breaks_off_begins_all_of_them_anew_in_another_sink(self):
        broken = cut(OUTPUTS["b.bin"])
        service, sinks = Service(**{"b.bin": [broken, broken, picture(OUTPUTS["b.bin"])]}), Sinks()
        async with collecting(service) as collector:
            verdict, received = await collector.collect("id-1", JOB, sinks, priced=False)
        assert (verdict.kind, stored(received)) == ("done", OUTPUTS)
        assert sinks.discarded == [1, 1, 0]
        fetched = [what for what in service.order() if what in OUTPUTS]
        assert fetched == ["a.png", "b.bin"] * 2 + ["a.png", "b.bin", "message.txt"]
        assert service.times("a.png") == [1.0, 2.0, 3.5]

    async def test_one_that_breaks_off_again_and_again_ends_it(self):
        sinks = Sinks()
        verdict = await ended(Service(**{"b.bin": [cut(OUTPUTS["b.bin"])]}), sinks)
        assert (verdict.kind, verdict.status) == ("unknown", 200)
        assert verdict.reason.startswith("the reply was cut off: ")
        assert verdict.result.state.current == "processed"
        assert sinks.discarded == [1, 1, 1]

    async def test_what_breaks_before_its_first_byte_is_asked_for_by_itself(self):
        early = answer(Reply(length=9), then="close")
        service, sinks = (
            Service(**{"b.bin": [shed(3), early, Reply(500), picture(OUTPUTS["b.bin"])]}),
            Sinks(),
        )
        async with collecting(service) as collector:
            _, received = await collector.collect("id-1", JOB, sinks, priced=False)
        assert stored(received) == OUTPUTS
        assert sinks.discarded == [0]
        assert service.order().count("a.png") == 1
        assert service.times("b.bin") == [1.0, 4.0, 5.5, 7.75]

    async def test_one_output_by_its_name_is_stored_and_a_broken_one_begins_anew(self):
        service = Service(**{"b.bin": [cut(OUTPUTS["b.bin"])]})
        async with collecting(service) as collector:
            assert (await collector.fetch("id-1", ("a.png",), Sinks())).outputs()[0].data == PNG
            with pytest.raises(UnansweredError) as caught:
                await collector.fetch("id-1", ("b.bin",), Sinks())
        assert (caught.value.verdict.kind, caught.value.begun) == ("unknown", True)
        assert service.order()[:3] == ["a.png", "b.bin", "b.bin"]


class TestSinks:
    async def test_one_that_cannot_be_made_keeps_nothing(self):
        full = OSError("no room")

        def make():
            raise full

        verdict = await ended(Service(), Sinks(make))
        assert (verdict.kind, verdict.cause) == ("not_kept", full)
        assert verdict.reason == "its sink could not be made: no room"
        assert verdict.result.id == job()["id"]

    @pytest.mark.parametrize("where", ["open", "write", "close"])
    async def test_one_that_raises_is_not_tried_again(self, where):
        sinks = Sinks(lambda: Failing(where))
        verdict = await ended(Service(), sinks)
        assert (verdict.kind, str(verdict.cause)) == ("not_kept", where)
        assert sinks.discarded == [1]

    async def test_outputs_that_are_too_large_are_not_kept(self):
        sinks = Sinks(limits=Limits(max_output_bytes=1000))
        verdict = await ended(Service(), sinks)
        assert (verdict.kind, verdict.cause) == ("not_kept", None)
        assert "max_output_bytes=1000" in verdict.reason
