"""The gate: who passes, who waits and for how long; and batches in miniature, on a clock that jumps."""

from __future__ import annotations

import asyncio
import errno
import logging
import random
from datetime import UTC, datetime

import pytest
from support.fake_clock import FakeClock

from prodia_async._errors import ProdiaError
from prodia_async._models import Attempt
from prodia_async._pacing.retry import backoff
from prodia_async._settings import Retry
from prodia_async.batch._gate import Gate, GaveUpError


async def turns(count=8):
    for _ in range(count):
        await asyncio.sleep(0)


class Stage:
    """A gate, and jobs that are moved by hand."""

    def __init__(self, give_up_after=None):
        self.clock = FakeClock()
        self.gate = Gate(self.clock, random.Random(1), give_up_after=give_up_after)
        self.begun = {}

    def attempt(self, verdict, begun=None, reason="refused by peer"):
        wall = self.clock.wall() if begun is None else begun
        return Attempt(
            1,
            datetime.fromtimestamp(wall, UTC),
            0.0,
            0.1,
            verdict,
            may_have_run=False,
            reason=reason,
        )

    async def enter(self, *jobs):
        """Let jobs come to the gate one after another; return their tasks."""
        tasks = []
        for job in jobs:
            if job not in self.begun:
                self.gate.begin(job)
            self.begun[job] = self.clock.wall()
            tasks.append(asyncio.ensure_future(self.gate.enter(job)))
            await turns()
        return tasks

    def end(self, job, verdict):
        self.gate.attempt_ended(job, self.attempt(verdict))

    def leave(self, job):
        self.begun.pop(job, None)
        self.gate.leave(job)

    async def outage(self, verdict="not_sent"):
        for number in range(20):
            self.gate.attempt_ended(f"lost-{number}", self.attempt(verdict))
        await turns()

    async def wait(self, seconds):
        self.clock.advance(seconds)
        await turns()


@pytest.fixture
def stage():
    return Stage()


def passed(tasks):
    return "".join("x" if task.done() and not task.exception() else "." for task in tasks)


def full(path="/data/out"):
    return OSError(errno.ENOSPC, "No space left on device", path)


async def test_without_a_pause_all_pass(stage):
    assert passed(await stage.enter(*"abc")) == "xxx"
    assert stage.gate.paused is None
    assert stage.gate.pauses == 0
    assert stage.clock.next_due is None


async def test_while_paused_one_at_a_time_tries_in_order(stage):
    await stage.outage()
    assert stage.gate.paused == "the service fails or cannot be reached: refused by peer"
    assert stage.gate.pauses == 1
    tasks = await stage.enter(*"abcd")
    assert passed(tasks) == "...."
    await stage.wait(1)
    assert passed(tasks) == "x..."
    await stage.wait(100)
    assert passed(tasks) == "x..."
    stage.end("a", "server_error")
    (again,) = await stage.enter("a")
    await stage.wait(0.9)
    assert passed(tasks) == "x..."
    await stage.wait(1.1)
    assert passed(tasks) == "xx.."
    stage.end("b", "not_sent")
    await stage.wait(4)
    stage.end("c", "unknown")
    await stage.wait(8)
    assert passed([*tasks, again]) == "xxxx."
    stage.end("d", "unknown")
    await stage.wait(16)
    assert passed([*tasks, again]) == "xxxxx"


async def test_a_trial_that_becomes_due_while_the_gate_looks_is_not_lost(stage, monkeypatch):
    await stage.outage()
    tasks = await stage.enter("a")
    due, read = stage.clock.next_due, stage.clock.monotonic
    stage.clock.advance(due - read() - 0.0015)

    def passing():
        stage.clock._now += 0.001  # time goes on from one reading to the next
        return read()

    monkeypatch.setattr(stage.clock, "monotonic", passing)
    stage.gate._look()  # as a timer that fires early has it look
    monkeypatch.undo()
    await stage.wait(1)
    assert passed(tasks) == "x"


@pytest.mark.parametrize("verdict", ["done", "failed"])
async def test_the_first_trial_that_runs_ends_the_pause(stage, verdict, caplog):
    caplog.set_level(logging.INFO, "prodia_async")
    await stage.outage()
    tasks = await stage.enter(*"abcd")
    await stage.wait(1)
    stage.end("b", "done")
    await turns()
    assert passed(tasks) == "x..."
    stage.end("a", verdict)
    await turns()
    assert passed(tasks) == "xxxx"
    assert stage.gate.paused is None
    assert stage.clock.next_due is None
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "the batch is paused: the service fails or cannot be reached: refused by peer"),
        ("INFO", "the batch goes on after 1 s of pause"),
    ]


async def test_the_back_off_begins_anew_at_each_pause(stage):
    for _ in range(2):
        await stage.outage()
        for number in range(4):
            job = f"job-{number}"
            (task,) = await stage.enter(job)
            await stage.wait(0.49 * 2**number)
            assert passed([task]) == "."
            await stage.wait(0.51 * 2**number)
            assert passed([task]) == "x"
            stage.end(job, "server_error" if number < 3 else "done")
            await stage.wait(0.01)
    assert stage.gate.pauses == 2


@pytest.mark.parametrize("verdict", ["shed", "refused", "timed_out"])
async def test_a_trial_that_tells_nothing_is_over_and_the_wait_does_not_grow(stage, verdict):
    await stage.outage()
    tasks = await stage.enter(*"abcdefgh")
    for number in range(8):
        await stage.wait(1)
        assert passed(tasks) == "x" * (number + 1) + "." * (7 - number)
        stage.end("abcdefgh"[number], verdict)
        await turns()
        assert passed(tasks) == "x" * (number + 1) + "." * (7 - number)


async def test_a_trial_that_leaves_gives_its_place_to_the_next(stage):
    await stage.outage()
    tasks = await stage.enter(*"abc")
    await stage.wait(1)
    stage.leave("c")
    await turns()
    assert passed(tasks) == "x.."
    stage.leave("a")
    await turns()
    assert passed(tasks) == "xx."


@pytest.mark.parametrize("first", ["cancel", "cancel and try", "pass"])
async def test_a_cancelled_wait_gives_its_place_up(stage, first):
    await stage.outage()
    tasks = await stage.enter(*"abc")
    if first == "pass":
        stage.clock.advance(1)
    tasks[0].cancel()
    if first == "cancel and try":
        stage.clock.advance(1)
    await turns()
    await stage.wait(1)
    assert tasks[0].cancelled()
    assert passed(tasks[1:]) == "x."
    stage.leave("a")
    await turns()
    assert passed(tasks[1:]) == "x."


async def test_when_all_waits_are_cancelled_no_timer_is_left():
    stage = Stage(give_up_after=10)
    await stage.outage()
    tasks = await stage.enter(*"abc")
    assert stage.clock.next_due is not None
    for task in tasks:
        task.cancel()
    await turns()
    assert stage.clock.next_due is None


async def test_giving_up_tells_all_who_wait_and_all_who_come():
    stage = Stage(give_up_after=600)
    await stage.outage()
    tasks = await stage.enter(*"abc")
    await stage.wait(1)
    stage.end("a", "unknown")
    await stage.wait(598)
    assert passed(tasks) == "xx."
    await stage.wait(1)
    (late,) = await stage.enter("d")
    for task in (tasks[2], late):
        with pytest.raises(
            GaveUpError, match=r"gave up after 600 s of pause: the service fails .*: refused by"
        ):
            await task
    stage.end("b", "done")
    with pytest.raises(GaveUpError, match="run the same batch again") as caught:
        await (await stage.enter("e"))[0]
    assert isinstance(caught.value, ProdiaError)
    assert caught.value.message == stage.gate.gave_up
    assert not caught.value.may_have_run
    with pytest.raises(GaveUpError):
        await stage.gate.wait_for_room(full())
    assert stage.clock.next_due is None


async def test_giving_up_counts_from_the_pauses_beginning():
    stage = Stage(give_up_after=10)
    for _ in range(3):
        await stage.outage()
        await stage.wait(9)
        (task,) = await stage.enter("a")
        await stage.wait(0)
        stage.end("a", "done")
        await task
    await stage.outage()
    await stage.wait(11)
    with pytest.raises(GaveUpError, match="gave up after 11 s"):
        await stage.gate.enter("a")


@pytest.mark.parametrize("cancels", ["before", "after"])
async def test_giving_up_in_the_moment_of_a_cancellation_is_no_noise(cancels):
    stage = Stage(give_up_after=5)
    await stage.outage()
    tasks = await stage.enter(*"abc")
    stage.clock.advance(1)
    if cancels == "before":
        tasks[1].cancel()
    stage.clock.advance(5)
    tasks[1].cancel()
    await turns()
    assert tasks[1].cancelled()
    assert isinstance(tasks[2].exception(), GaveUpError)


async def suspend(stage, *jobs):
    """Let jobs run out of attempts; return the tasks that wait for their second chance."""
    tasks = []
    for job in jobs:
        for _ in range(5):
            stage.end(job, "server_error")
        tried = [stage.attempt("server_error", stage.begun[job])] * 5
        tasks.append(asyncio.ensure_future(stage.gate.second_chance(job, tried)))
        await turns()
    return tasks


@pytest.mark.parametrize(("jobs", "seconds"), [("a", 80), ("ab", 600), ("abcdefghi", 600)])
async def test_the_last_jobs_are_tried_for_a_while_and_have_a_last_chance(stage, jobs, seconds):
    await stage.enter(*jobs)
    tasks = await suspend(stage, *jobs)
    assert [await task for task in tasks] == [True] * len(jobs)
    assert stage.gate.paused == "the service fails or cannot be reached: refused by peer"
    began, tried = stage.clock.monotonic(), 0
    entered = await stage.enter(*jobs)
    while not all(task.done() for task in entered):
        await stage.wait(0.5)
        if sum(task.done() for task in entered) == 1 and stage.gate.paused:
            [index] = [index for index, task in enumerate(entered) if task.done()]
            stage.end(jobs[index], "server_error")
            [entered[index]] = await stage.enter(jobs[index])
            tried += 1
    assert stage.clock.monotonic() - began == pytest.approx(seconds, abs=1)
    assert 5 <= tried <= 25
    assert stage.gate.paused is None
    tasks = await suspend(stage, *jobs)
    assert [await task for task in tasks] == [False] * len(jobs)


async def test_a_success_ends_the_trials_of_the_last_jobs(stage):
    await stage.enter(*"ab")
    tasks = await suspend(stage, *"ab")
    assert [await task for task in tasks] == [True, True]
    entered = await stage.enter(*"ab")
    await stage.wait(1)
    stage.end("a", "done")
    await turns()
    assert passed(entered) == "xx"
    stage.leave("a")
    (task,) = await suspend(stage, "b")
    assert await task is True  # it began before the pause


async def test_a_service_that_answers_no_question_is_waited_for(stage):
    await stage.enter(*"ab")
    stage.gate.unanswered("a", "no route to host")
    assert stage.gate.paused == "the service fails or cannot be reached: no route to host"
    entered = await stage.enter(*"ab")
    for _ in range(200):
        await stage.wait(60)
        trials = [job for job, task in zip("ab", entered, strict=True) if task.done()]
        assert len(trials) == 1
        stage.gate.unanswered(trials[0], "still none")
        [entered["ab".index(trials[0])]] = await stage.enter(trials[0])
    assert stage.gate.paused == "the service fails or cannot be reached: still none"
    assert stage.gate.pauses == 1


async def test_a_job_waits_for_the_one_that_is_under_way(stage):
    await stage.enter(*"abc")
    (task,) = await suspend(stage, "a")
    stage.leave("b")
    await turns()
    assert not task.done()
    assert stage.gate.paused is None
    stage.leave("c")
    assert await task is True
    assert stage.gate.paused is not None


async def test_a_job_that_waits_hears_of_a_success(stage):
    await stage.enter(*"abc")
    tasks = await suspend(stage, *"ab")
    stage.end("c", "done")
    assert [await task for task in tasks] == [True, True]
    await stage.wait(1)
    await stage.enter("a")
    (task,) = await suspend(stage, "a")
    assert await task is False


async def test_a_job_that_waits_hears_of_a_pause_and_keeps_its_second_chance(stage):
    await stage.enter(*"abc")
    tasks = await suspend(stage, *"ab")
    await stage.outage()
    assert [await task for task in tasks] == [True, True]
    tasks = await stage.enter(*"ab")
    await stage.wait(1)
    stage.end("a", "failed")
    await stage.wait(1)
    await stage.enter(*"ab")
    (task,) = await suspend(stage, "a")
    assert not task.done()
    task.cancel()


async def test_a_wait_for_a_second_chance_can_be_cancelled(stage):
    await stage.enter(*"abc")
    tasks = await suspend(stage, *"ab")
    tasks[0].cancel()
    stage.leave("c")
    await turns()
    assert tasks[0].cancelled()
    assert await tasks[1] is True
    stage.leave("a")
    stage.leave("b")
    assert not stage.gate._health.jobs


async def test_jobs_that_wait_for_a_second_chance_hear_of_giving_up():
    stage = Stage(give_up_after=5)
    await stage.enter(*"ab")
    (task,) = await suspend(stage, "a")
    write = asyncio.ensure_future(stage.gate.wait_for_room(full()))
    await turns()
    for _ in range(20):
        await stage.wait(0.5)
        if write.done():
            break
        await turns()
    while not task.done():
        write = asyncio.ensure_future(stage.gate.wait_for_room(full()))
        await turns()
        await stage.wait(1)
    assert await task is True
    with pytest.raises(GaveUpError):
        await write


async def test_a_full_disk_pauses_and_the_writer_tries_again(stage, caplog):
    writes = []
    for longest in [1, 2, 4, 8, 16, 32, 60, 60]:
        write = asyncio.ensure_future(stage.gate.wait_for_room(full()))
        await turns()
        assert stage.gate.paused == "the disk is full: /data/out"
        await stage.wait(0.49 * longest)
        assert not write.done()
        await stage.wait(0.51 * longest)
        assert write.done()
        writes.append(write)
    tasks = await stage.enter("a", "b")
    assert passed(tasks) == ".."
    stage.gate.stored()
    await turns()
    assert passed(tasks) == "xx"
    assert stage.gate.paused is None
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    stage.gate.stored()


async def test_many_writers_try_together(stage):
    writes = [asyncio.ensure_future(stage.gate.wait_for_room(full(None))) for _ in range(5)]
    await turns()
    assert stage.gate.paused == "the disk is full"
    await stage.wait(0.3)
    writes.append(asyncio.ensure_future(stage.gate.wait_for_room(full())))
    await turns()
    writes[0].cancel()
    await stage.wait(0.7)
    assert [write.done() for write in writes] == [True] * 6
    again = asyncio.ensure_future(stage.gate.wait_for_room(full()))
    await turns()
    stage.gate.stored()
    await again


async def test_a_writer_that_comes_late_waits_too(stage):
    write = asyncio.ensure_future(stage.gate.wait_for_room(full()))
    await turns()
    await stage.wait(1)
    await write
    await stage.wait(100)
    late = asyncio.ensure_future(stage.gate.wait_for_room(full()))
    await turns()
    assert not late.done()
    await stage.wait(2)
    assert late.done()


async def test_a_job_is_sent_on_a_full_disk_only_when_no_write_waits(stage):
    write = asyncio.ensure_future(stage.gate.wait_for_room(full()))
    await turns()
    tasks = await stage.enter(*"ab")
    for _ in range(5):
        while not write.done():
            await stage.wait(1)
        write = asyncio.ensure_future(stage.gate.wait_for_room(full()))
        await turns()
    assert passed(tasks) == ".."
    write.cancel()
    await turns()
    assert passed(tasks) == ".."
    await stage.wait(60)
    assert passed(tasks) == "x."
    stage.gate.stored()
    await turns()
    assert passed(tasks) == "xx"


async def test_a_quota_is_named():
    stage = Stage(give_up_after=0.4)
    write = asyncio.ensure_future(stage.gate.wait_for_room(OSError(errno.EDQUOT, "quota", "/data")))
    await turns()
    assert stage.gate.paused == "the disk quota is used up: /data"
    (task,) = await stage.enter("a")
    await stage.wait(0.4)
    for waiting in (write, task):
        with pytest.raises(GaveUpError, match=r"of pause: the disk quota is used up: /data\. Make room"):
            await waiting


async def test_a_full_journal_lets_nobody_by(stage):
    stage.gate.disk_full("the journal cannot be written: the disk is full")
    stage.gate.disk_full("the journal cannot be written: the disk is full")
    assert stage.gate.pauses == 1
    tasks = await stage.enter(*"ab")
    await stage.wait(1000)
    assert passed(tasks) == ".."
    assert stage.gate.paused == "the journal cannot be written: the disk is full"
    stage.gate.disk_full(None)
    await turns()
    assert passed(tasks) == "xx"
    stage.gate.disk_full(None)
    assert stage.gate.paused is None


async def test_causes_of_a_pause_end_one_by_one(stage):
    await stage.outage()
    stage.gate.disk_full("full")
    write = asyncio.ensure_future(stage.gate.wait_for_room(full()))
    tasks = await stage.enter(*"ab")
    await stage.wait(100)
    await write
    assert stage.gate.pauses == 3
    assert stage.gate.paused == "full"
    stage.gate.disk_full(None)
    assert stage.gate.paused == "the disk is full: /data/out"
    stage.gate.stored()
    await turns()
    assert stage.gate.paused.startswith("the service fails")
    assert passed(tasks) == "x."
    stage.end("a", "done")
    await turns()
    assert passed(tasks) == "xx"


class Batch:
    """A batch in miniature: permits, attempts with back-off, and a service of which a function decides."""

    def __init__(self, concurrency, answer, *, give_up_after=None):
        self.clock = FakeClock()
        self.chance = random.Random(7)
        self.gate = Gate(self.clock, self.chance, give_up_after=give_up_after)
        self.permits = asyncio.Semaphore(concurrency)
        self.ahead = max(24, 4 * concurrency)
        self.answer = answer
        self.done, self.failed, self.sent = set(), set(), 0
        self.trials = self.most_trials = 0

    async def run(self, jobs):
        jobs = iter(jobs)
        workers = [asyncio.ensure_future(self._worker(jobs)) for _ in range(self.ahead)]
        everything = asyncio.gather(*workers)
        while not everything.done():
            await turns(10)
            due = self.clock.next_due
            if due is not None:
                self.clock.advance(max(0.0, due - self.clock.monotonic()))
        await everything
        assert not self.gate._health.jobs

    async def _worker(self, jobs):
        for job in jobs:
            self.gate.begin(job)
            try:
                await self._job(job)
            finally:
                self.gate.leave(job)

    async def _job(self, job):
        while True:
            attempts = await self._attempts(job)
            if attempts[-1].verdict == "done":
                self.done.add(job)
                return
            if not await self.gate.second_chance(job, attempts):
                self.failed.add(job)
                return

    async def _attempts(self, job):
        attempts, retry = [], Retry()
        while True:
            async with self.permits:
                await self.gate.enter(job)
                attempts.append(await self._attempt(job))
                self.gate.attempt_ended(job, attempts[-1])
            if attempts[-1].verdict == "done" or len(attempts) > retry.max_errors:
                return attempts
            await self.clock.sleep(backoff(len(attempts) - 1, retry, self.chance))

    async def _attempt(self, job):
        self.sent += 1
        is_trial = self.gate.paused is not None
        self.trials += is_trial
        self.most_trials = max(self.most_trials, self.trials)
        started = self.clock.wall()
        verdict, seconds = self.answer(job, self.clock.monotonic())
        await self.clock.sleep(seconds * self.chance.uniform(0.7, 1.3))
        self.trials -= is_trial
        return Attempt(1, datetime.fromtimestamp(started, UTC), 0.0, seconds, verdict, may_have_run=False)


def jobs(count, name="job"):
    return [f"{name}-{number}" for number in range(count)]


@pytest.mark.parametrize("concurrency", [1, 4, 64])
@pytest.mark.parametrize("verdict", ["not_sent", "server_error", "unknown"])
async def test_an_outage_of_three_hours_fails_no_job(concurrency, verdict):
    middle = 1000 * 0.3 / concurrency

    def answer(job, now):
        return (verdict, 0.05) if middle <= now < middle + 10_800 else ("done", 0.3)

    batch = Batch(concurrency, answer)
    await batch.run(jobs(2000))
    assert (len(batch.done), batch.failed) == (2000, set())
    assert (batch.gate.pauses, batch.most_trials) == (1, 1)
    assert batch.clock.monotonic() > 10_800
    assert batch.sent < 2000 + 10_800 / 30 + 20 + 5 * batch.ahead


@pytest.mark.parametrize("concurrency", [1, 4, 64])
async def test_poisonous_jobs_at_the_end_fail_and_no_other(concurrency):
    batch = Batch(concurrency, lambda job, _: ("server_error" if "poison" in job else "done", 0.3))
    await batch.run(jobs(200) + jobs(8, "poison"))
    assert batch.failed == set(jobs(8, "poison"))
    assert len(batch.done) == 200
    assert batch.gate.pauses == 1
    assert batch.sent <= 200 + 8 * 15
    assert 600 <= batch.clock.monotonic() < 700


@pytest.mark.parametrize("concurrency", [1, 4, 64])
async def test_poisonous_jobs_in_between_fail_after_one_trial(concurrency):
    mixed = [f"poison-{number}" if number % 10 == 5 else f"job-{number}" for number in range(300)]
    batch = Batch(concurrency, lambda job, _: ("unknown" if "poison" in job else "done", 0.3))
    await batch.run(mixed)
    assert len(batch.failed) == 30
    assert all("poison" in job for job in batch.failed)
    assert batch.gate.pauses == 0


@pytest.mark.parametrize("concurrency", [1, 4, 64])
@pytest.mark.parametrize("others", [0, 50])
async def test_a_lone_failing_job_fails_after_some_trials(concurrency, others):
    batch = Batch(concurrency, lambda job, _: ("server_error" if job == "bad" else "done", 0.3))
    await batch.run([*jobs(others), "bad"])
    assert batch.failed == {"bad"}
    assert others + 10 <= batch.sent <= others + 20
    assert 80 <= batch.clock.monotonic() < 180


@pytest.mark.parametrize("left", [1, 2, 3, 5, 7, 10, 13, 15, 18, 19])
@pytest.mark.parametrize(
    ("verdict", "seconds"), [("server_error", 40), ("server_error", 12), ("not_sent", 10_800)]
)
async def test_an_outage_at_the_very_end_fails_no_job(left, verdict, seconds):
    """The last ones of 200, and batches that are no longer."""
    for others in (0, 200 - left):
        gone: list[float] = []

        def answer(job, now, gone=gone):
            if "last" not in job:
                return "done", 0.3
            gone.append(now)
            return (verdict, 0.05) if now < gone[0] + seconds else ("done", 0.3)

        batch = Batch(8, answer)
        await batch.run(jobs(others) + jobs(left, "last"))
        assert (len(batch.done), batch.failed) == (others + left, set())


@pytest.mark.parametrize("begins", [0.0, 5.0])
async def test_a_gateway_that_fails_for_seconds_fails_no_job(begins):
    def answer(job, now):
        return ("server_error", 0.02) if begins <= now < begins + 20 else ("done", 0.3)

    batch = Batch(8, answer)
    await batch.run(jobs(400))
    assert (len(batch.done), batch.failed) == (400, set())


async def test_a_batch_gives_up_when_it_is_told_to():
    batch = Batch(16, lambda job, now: ("not_sent" if now > 5 else "done", 0.3), give_up_after=300)
    with pytest.raises(GaveUpError):
        await batch.run(jobs(2000))
    assert batch.failed == set()
    assert 300 < batch.clock.monotonic() < 320
