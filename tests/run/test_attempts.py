"""The one retry loop: what it asks the limiter for, what it records and tells, and in which order."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from pacing.bench import Bench, settle
from run.scripted import ScriptedRun
from support.fake_clock import START

from prodia_async._models import Verdict
from prodia_async._pacing.line import Phase
from prodia_async._settings import Retry

DONE = Verdict("done", may_have_run=True, status=200, request_id="r-9")
NOT_SENT = Verdict("not_sent", may_have_run=False, reason="refused")
SERVER_ERROR = Verdict("server_error", may_have_run=True, status=500)
UNKNOWN = Verdict("unknown", may_have_run=True)


def shed(retry_after=None):
    return Verdict("shed", may_have_run=False, status=429, retry_after=retry_after)


class Job:
    """A job whose attempts bring the verdicts of a script, each after `took` seconds."""

    def __init__(self, bench, *script, took=0.0, before_send=None, notify=None, **retry):
        self.bench = bench
        self.events = []
        self.turns = []
        self.script = list(script)
        self.took = took
        self._run = ScriptedRun(
            bench,
            lambda turn: self.send(turn),  # noqa: PLW0108 - a test may set another
            retry=Retry(**retry),
            before_send=before_send,
            notify=notify or self.hear,
        )

    def hear(self, kind, attempt):
        if kind != "queued":
            self.events.append((kind, attempt and attempt.number))

    @property
    def log(self):
        return self._run.record.attempts

    async def send(self, turn):
        self.turns.append(turn)
        self.events.append(("send", len(self.turns)))
        turn.body_sent()
        if self.took:
            await self.bench.clock.sleep(self.took)
        verdict = self.script.pop(0)
        if isinstance(verdict, Exception):
            raise verdict
        return verdict

    async def run(self):
        return await self._run.verdict()

    async def finish(self):
        """Run to the end, moving the clock to whatever is due next."""
        task = asyncio.ensure_future(self.run())
        while not task.done():
            await settle()
            due = self.bench.clock.next_due
            if not task.done():
                assert due is not None, "the job waits for ever"
                self.bench.clock.advance(due - self.bench.clock.monotonic())
        assert self.bench.counts == (0, 0, 0, 0)
        assert all(turn.phase is Phase.IDLE for turn in self.turns)
        return task.result()


@pytest.fixture
def bench():
    return Bench(limit=2)


class TestCourse:
    async def test_done_at_once(self, bench):
        job = Job(bench, DONE)
        assert await job.finish() is DONE
        assert job.events == [("sent", None), ("send", 1)]

    async def test_it_goes_on_until_a_verdict_is_final(self, bench):
        script = [shed(2.0), NOT_SENT, SERVER_ERROR, UNKNOWN, shed(), DONE]
        job = Job(bench, *script, resend_unknown=1)
        assert await job.finish() is DONE
        assert [attempt.verdict for attempt in job.log] == [each.kind for each in script]
        assert [attempt.number for attempt in job.log] == [1, 2, 3, 4, 5, 6]

    @pytest.mark.parametrize(
        "verdict",
        [
            Verdict("failed", may_have_run=True),
            Verdict("refused", may_have_run=False, status=400),
            Verdict("timed_out", may_have_run=True),
            Verdict("malformed", may_have_run=True),
            Verdict("bad_input", may_have_run=False),
            Verdict("not_kept", may_have_run=True),
            UNKNOWN,
        ],
        ids=lambda verdict: verdict.kind,
    )
    async def test_a_final_verdict_is_returned_and_nothing_is_told_of_a_retry(self, bench, verdict):
        job = Job(bench, verdict, DONE)
        assert await job.finish() is verdict
        assert job.events == [("sent", None), ("send", 1)]
        assert len(job.log) == 1

    async def test_a_shed_is_told_as_such_even_where_it_ends_the_job(self, bench):
        job = Job(bench, shed(999.0))
        assert (await job.finish()).kind == "shed"
        assert job.events == [("sent", None), ("send", 1), ("shed", 1)]

    async def test_events_come_in_order(self, bench):
        job = Job(bench, shed(1.0), SERVER_ERROR, DONE)
        await job.finish()
        first, second, third = [[("sent", None), ("send", number)] for number in (1, 2, 3)]
        assert job.events == [*first, ("shed", 1), *second, ("retried", 2), *third]

    async def test_the_limiter_hears_what_it_must(self, bench):
        job = Job(bench, shed(1.0), SERVER_ERROR, NOT_SENT, DONE)
        await job.finish()
        [line] = bench.limiter.lines.values()
        assert (line.shed, line.completed) == (1, 1)

    @pytest.mark.parametrize("kind", ["done", "failed", "not_kept"])
    async def test_a_job_that_ran_counts_as_completed(self, bench, kind):
        await Job(bench, Verdict(kind, may_have_run=True)).finish()
        assert bench.limiter.lines["a"].completed == 1


class TestRecord:
    async def test_it_tells_when_and_how_long(self, bench):
        bench.clock.advance(100.0)
        verdict = Verdict("refused", False, "no", status=400, request_id="r-1")
        job = Job(bench, shed(10.0), verdict, took=3.0)
        await job.finish()
        first, second = job.log
        began = datetime.fromtimestamp(START + 100.0, UTC)
        assert (first.started_at, first.waited, first.elapsed) == (began, 0.0, 3.0)
        assert (first.verdict, first.may_have_run, first.status, first.retry_after) == (
            "shed",
            False,
            429,
            10.0,
        )
        assert 10.0 <= second.waited <= 11.0
        assert second.started_at - began == timedelta(seconds=3.0 + second.waited)
        assert (second.reason, second.status, second.request_id) == ("no", 400, "r-1")
        assert second.retry_after is None

    async def test_waiting_counts_time_in_line_and_backing_off(self, bench):
        bench.limiter.limit = 1
        held = await bench.hold()
        job = Job(bench, NOT_SENT, DONE, backoff=8.0)
        task = asyncio.ensure_future(job.run())
        await settle()
        bench.clock.advance(5.0)
        held.slot.success()
        await settle()
        bench.clock.advance(8.0)
        await task
        first, second = job.log
        assert first.waited == 5.0
        assert 0 < second.waited <= 8.0

    async def test_no_slot_is_held_while_backing_off(self, bench):
        job = Job(bench, NOT_SENT, DONE, backoff=8.0)
        task = asyncio.ensure_future(job.run())
        await settle()
        assert bench.counts == (0, 0, 0, 0)
        assert bench.clock.next_due is not None
        bench.clock.advance(8.0)
        assert (await task).kind == "done"

    async def test_a_send_that_raises_is_recorded_and_its_slot_is_free(self, bench):
        job = Job(bench, RuntimeError("a bug"))
        with pytest.raises(RuntimeError, match="a bug"):
            await job.finish()
        [attempt] = job.log
        assert (attempt.verdict, attempt.may_have_run) == ("unknown", True)
        assert bench.limiter.lines["a"].completed == 0


class TestBeforeSend:
    async def test_it_is_awaited_after_the_slot_and_before_the_send(self, bench):
        seen = []

        async def before_send(number):
            seen.append((number, bench.in_flight, len(job.turns), list(job.events[-1:])))
            await bench.clock.sleep(1.0)

        job = Job(bench, NOT_SENT, DONE, before_send=before_send, backoff=0.0)
        await job.finish()
        assert seen == [(1, 1, 0, []), (2, 1, 1, [("retried", 1)])]

    async def test_one_that_raises_frees_the_slot_and_sends_nothing(self, bench):
        async def before_send(number):
            raise OSError("the journal's disk is full")

        job = Job(bench, DONE, before_send=before_send)
        with pytest.raises(OSError, match="disk is full"):
            await job.finish()
        assert job.events == []
        assert job.log == []

    async def test_a_notify_that_raises_frees_the_slot(self, bench):
        def notify(kind, attempt):
            if kind == "sent":
                raise RuntimeError(kind)

        job = Job(bench, DONE, notify=notify)
        with pytest.raises(RuntimeError, match="sent"):
            await job.finish()

    async def test_one_that_is_cancelled_frees_the_slot(self, bench):
        async def before_send(number):
            await asyncio.Event().wait()

        job = Job(bench, DONE, before_send=before_send)
        task = asyncio.ensure_future(job.run())
        await settle()
        assert bench.counts == (1, 0, 0, 0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert bench.counts == (0, 0, 0, 0)


class TestCancellation:
    async def cancelled(self, bench, job):
        """Cancel the job where it stands now; nothing of it may stay."""
        task = asyncio.ensure_future(job.run())
        await settle()
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert all(turn.phase is Phase.IDLE for turn in job.turns)
        assert bench.clock.next_due is None

    async def test_while_waiting_for_a_slot(self, bench):
        held = [await bench.hold(), await bench.hold()]
        job = Job(bench, DONE)
        await self.cancelled(bench, job)
        assert (job.log, bench.counts) == ([], (2, 0, 0, 0))
        for each in held:
            each.slot.ignore()

    async def test_while_sending(self, bench):
        job = Job(bench, DONE, took=5.0)
        await self.cancelled(bench, job)
        [attempt] = job.log
        assert (attempt.verdict, attempt.may_have_run, attempt.reason) == ("cancelled", True, "cancelled")
        assert bench.counts == (0, 0, 0, 0)

    async def test_while_sending_before_the_request_was_out(self, bench):
        job = Job(bench)

        async def send(turn):
            await asyncio.Event().wait()

        job.send = send
        await self.cancelled(bench, job)
        assert job.log[0].may_have_run is False

    @pytest.mark.parametrize("verdict", [NOT_SENT, shed(60.0)], ids=["backing off", "resting"])
    async def test_between_two_attempts(self, bench, verdict):
        job = Job(bench, verdict, DONE)
        await self.cancelled(bench, job)
        assert [attempt.verdict for attempt in job.log] == [verdict.kind]
        assert bench.counts == (0, 0, 0, 0)
