"""`aclose(drain=...)`: nothing begins, what is in flight may finish, and the caller learns what did not."""

from __future__ import annotations

import asyncio
import time

import anyio
import pytest
import support.leaks
from support.expect import until
from support.fake_clock import FakeClock
from support.leaks import assert_idle
from support.replies import DONE, PNG, Reply, in_json, job_part, multipart, output, shed
from support.servers import answer, serving, stall

from prodia_async import ClientClosedError, Fixed, InputError, Job, MemorySink, Retry, ServerError, Timeouts

pytestmark = pytest.mark.usefixtures("nothing_left")

TYPE = "inference.test.v1"
LARGE = multipart(job_part(), output(b"U" * 4_000_000))
HALF = Reply(200, LARGE.body[:2_000_000], LARGE.headers, length=len(LARGE.body))


NEVER = Timeouts(connect=1e6, first_byte=1e6, idle=1e6)


@pytest.fixture
def clock():
    return FakeClock()


def client(base_url, **options):
    return support.leaks.client(base_url, timeouts=NEVER, **options)


def named(number):
    return Job(TYPE, {"number": number}, custom_id=f"job-{number}")


def start(prodia, *numbers, **options):
    return [asyncio.create_task(prodia.run(named(number), **options)) for number in numbers]


def names(unfinished):
    return sorted(outcome.job.custom_id for outcome in unfinished)


async def ends(tasks):
    """Return the result or error of each task."""
    return await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 10)


class Gate:
    """A server's step that answers once it is opened."""

    def __init__(self, reply=DONE):
        self.opened = asyncio.Event()
        self.reply = reply

    async def __call__(self, connection, request):
        await connection.read_body(request)
        waiting = asyncio.ensure_future(self.opened.wait())
        gone = asyncio.ensure_future(connection.reader.read())
        try:
            await asyncio.wait([waiting, gone], return_when=asyncio.FIRST_COMPLETED)
        finally:
            left = gone.done()
            waiting.cancel()
            gone.cancel()
        await asyncio.wait([waiting, gone])
        if left:
            connection.close()
        else:
            await connection.write_reply(self.reply)


async def test_those_in_flight_finish_and_those_that_wait_are_sent_away_at_once(clock):
    gate = Gate()
    async with serving(gate) as server, client(server.base_url, limiter=Fixed(2), clock=clock) as prodia:
        tasks = start(prodia, 0, 1, 2, 3, 4)
        await until(lambda: len(server.requests) == 2 and prodia.stats().waiting == 3)
        closing = asyncio.create_task(prodia.aclose(drain=30))
        await until(lambda: all(task.done() for task in tasks[2:]))
        assert [each.done() for each in (closing, *tasks[:2])] == [False] * 3
        assert (prodia.stats().in_flight, prodia.stats().waiting) == (2, 0)
        gate.opened.set()
        unfinished = await asyncio.wait_for(closing, 5)
        results = await ends(tasks)
        assert [result.outputs[0].data for result in results[:2]] == [PNG, PNG]
        assert names(unfinished) == ["job-2", "job-3", "job-4"]
        for outcome in unfinished:
            error = results[int(outcome.job.custom_id[-1])]
            assert outcome.error is error
            assert type(error) is ClientClosedError
            assert (error.may_have_run, outcome.result, error.attempts) == (False, None, ())
            assert str(error).startswith(f"{TYPE} (custom_id {outcome.job.custom_id!r}): ")
        assert len(server.requests) == 2
        assert clock.next_due is None


async def test_what_does_not_finish_in_time_is_cut_and_named(clock):
    async with serving(stall()) as server, client(server.base_url, clock=clock) as prodia:
        tasks = start(prodia, 0, 1)
        await until(lambda: sum(request.complete for request in server.requests) == 2)
        engine = prodia._engines.peek()
        closing = asyncio.create_task(prodia.aclose(drain=30))
        await asyncio.sleep(0.01)
        clock.advance(29)
        await asyncio.sleep(0.01)
        assert not closing.done()
        clock.advance(1)
        unfinished = await asyncio.wait_for(closing, 5)
        errors = await ends(tasks)
        assert names(unfinished) == ["job-0", "job-1"]
        assert {id(outcome.error) for outcome in unfinished} == {id(error) for error in errors}
        assert all(type(error) is ClientClosedError and error.may_have_run for error in errors)
        assert [[attempt.verdict for attempt in error.attempts] for error in errors] == [["cancelled"]] * 2
        stats = engine.stats()
        assert (stats.jobs, stats.failed, stats.cancelled, stats.in_flight) == (2, 2, 0, 0)


async def test_without_a_drain_all_are_cut_at_once(clock):
    async with serving(stall()) as server, client(server.base_url, limiter=Fixed(1), clock=clock) as prodia:
        tasks = start(prodia, 0, 1)
        await until(lambda: server.requests and server.requests[0].complete)
        unfinished = await asyncio.wait_for(prodia.aclose(), 5)
        errors = await ends(tasks)
        assert names(unfinished) == ["job-0", "job-1"]
        assert [error.may_have_run for error in errors] == [True, False]


async def test_nothing_under_way_is_nothing_unfinished(clock):
    async with serving(answer(DONE)) as server, client(server.base_url, clock=clock) as prodia:
        assert await prodia.aclose() == ()
        await prodia.run(named(0))
        assert await prodia.aclose() == ()
        assert await prodia.aclose(drain=30) == ()
        assert await prodia.aclose(drain=30) == ()
        with pytest.raises(InputError, match="drain cannot be -1"):
            await prodia.aclose(drain=-1)


async def test_a_job_that_fails_on_its_own_is_no_unfinished_one(clock):
    gate = Gate(in_json(500, {"message": "broken"}))
    async with (
        serving(gate) as server,
        client(server.base_url, clock=clock, retry=Retry(max_errors=0)) as prodia,
    ):
        [task] = start(prodia, 0)
        await until(lambda: server.requests)
        closing = asyncio.create_task(prodia.aclose(drain=30))
        await asyncio.sleep(0.01)
        gate.opened.set()
        assert await asyncio.wait_for(closing, 5) == ()
        assert isinstance((await ends([task]))[0], ServerError)


@pytest.mark.parametrize("reply", [shed(60), in_json(500, {})], ids=["shed", "500"])
async def test_a_job_that_backs_off_is_sent_away_at_once(reply, clock):
    """Before the drain begins, and during it: it would not be sent again anyhow."""
    retry = Retry(backoff=50.0)
    gate = Gate(reply)
    async with (
        serving(answer(reply), gate) as server,
        client(server.base_url, clock=clock, retry=retry, limiter=Fixed(8)) as prodia,
    ):
        [before] = start(prodia, 0)
        await until(lambda: prodia.stats().requests == 1 and prodia.stats().in_flight == 0)
        [during] = start(prodia, 1)
        await until(lambda: len(server.requests) == 2)
        closing = asyncio.create_task(prodia.aclose(drain=1000))
        await until(before.done)
        assert not closing.done()
        gate.opened.set()
        await until(during.done)
        unfinished = await asyncio.wait_for(closing, 5)
        assert names(unfinished) == ["job-0", "job-1"]
        for error in await ends([before, during]):
            assert type(error) is ClientClosedError
            assert error.may_have_run is (reply.status == 500)
            assert len(error.attempts) == 1
        assert clock.monotonic() == 0
        assert len(server.requests) == 2


class SlowSink(MemorySink):
    """Keeps nothing until it is told to."""

    def __init__(self):
        super().__init__()
        self.entered, self.go_on, self.discarded = asyncio.Event(), asyncio.Event(), False

    async def commit(self, result):
        self.entered.set()
        await self.go_on.wait()
        await super().commit(result)

    async def discard(self):
        self.discarded = True
        await super().discard()


@pytest.mark.parametrize("in_time", [True, False])
async def test_a_slow_sink_has_the_same_time(in_time, clock):
    sink = SlowSink()
    async with serving(answer(DONE)) as server, client(server.base_url, clock=clock) as prodia:
        [task] = start(prodia, 0, to=lambda job: sink)
        await sink.entered.wait()
        closing = asyncio.create_task(prodia.aclose(drain=30))
        await asyncio.sleep(0.01)
        clock.advance(29)
        await asyncio.sleep(0.01)
        assert [closing.done(), task.done()] == [False, False]
        if in_time:
            sink.go_on.set()
        else:
            clock.advance(1)
        unfinished = await asyncio.wait_for(closing, 5)
        [ended] = await ends([task])
        assert names(unfinished) == ([] if in_time else ["job-0"])
        assert sink.discarded is not in_time
        if not in_time:
            assert type(ended) is ClientClosedError
            assert ended.may_have_run is True


@pytest.mark.parametrize("spool", [True, False])
async def test_a_slow_source_is_cut_in_time(spool, clock):
    closed = []

    async def slow():
        try:
            yield b"first"
            await asyncio.Event().wait()
        finally:
            closed.append(True)

    async with serving(stall()) as server, client(server.base_url, clock=clock) as prodia:
        job = Job(TYPE, {}, [("slow.bin", slow())], custom_id="job-0")
        task = asyncio.create_task(prodia.run(job, spool=spool, expect_continue=False))
        await until(lambda: prodia.stats().jobs == 1 and (spool or server.requests))
        await asyncio.sleep(0.05)
        closing = asyncio.create_task(prodia.aclose(drain=30))
        await asyncio.sleep(0.05)
        assert closing.done() == spool  # what is only spooled is not in flight
        clock.advance(30)
        unfinished = await asyncio.wait_for(closing, 5)
        [error] = await ends([task])
        assert names(unfinished) == ["job-0"]
        assert type(error) is ClientClosedError
        assert error.may_have_run is False
        assert closed == [True]


async def test_no_job_begins_during_a_drain(clock):
    gate = Gate()
    async with serving(gate) as server, client(server.base_url, clock=clock) as prodia:
        [task] = start(prodia, 0)
        await until(lambda: server.requests)
        closing = asyncio.create_task(prodia.aclose(drain=30))
        await asyncio.sleep(0.01)
        with pytest.raises(ClientClosedError, match="no more jobs") as caught:
            await prodia.run(named(1))
        assert caught.value.may_have_run is False
        with pytest.raises(ClientClosedError):
            await prodia.stream(named(2)).open()
        gate.opened.set()
        # A job that was refused never began: its own call has told it.
        assert await asyncio.wait_for(closing, 5) == ()
        assert (await ends([task]))[0].outputs[0].data == PNG
        assert len(server.requests) == 1


async def test_it_can_be_used_again_unless_it_was_drained(clock):
    async with serving(stall(), answer(DONE)) as server, client(server.base_url, clock=clock) as prodia:
        copy = prodia.with_options(price=True)
        tasks = start(prodia, 0)
        await until(lambda: server.requests and server.requests[0].complete)
        assert names(await prodia.aclose()) == ["job-0"]
        await ends(tasks)
        assert (await prodia.run(named(1))).outputs[0].data == PNG
        assert await prodia.aclose(drain=5) == ()
        for each in (prodia, copy):
            with pytest.raises(ClientClosedError, match="was stopped"):
                await each.run(named(2))
            with pytest.raises(ClientClosedError, match="was stopped"):
                await each.stream(named(3)).open()
            with pytest.raises(ClientClosedError, match="was stopped"):
                await each.as_completed([named(4)]).__aenter__()
        assert len(server.requests) == 2


async def test_many_jobs_are_all_told(clock):
    given = (named(number) for number in range(2000))
    gate = Gate()
    async with serving(gate) as server, client(server.base_url, limiter=Fixed(4), clock=clock) as prodia:
        async with prodia.as_completed(given, ahead=100) as outcomes:
            await until(lambda: len(server.requests) == 4 and prodia.stats().waiting == 96)
            closing = asyncio.create_task(prodia.aclose(drain=30))
            await until(lambda: prodia.stats().waiting == 0)
            gate.opened.set()
            unfinished = await asyncio.wait_for(closing, 5)
            found = {outcome.job.custom_id: outcome async for outcome in outcomes}
        done = [outcome for outcome in found.values() if outcome.result is not None]
        assert (len(done), len(server.requests)) == (4, 4)
        # Those that had begun are named; what was read and had not begun is refused, and no more is read.
        assert len(unfinished) == 96
        assert len(found) <= 100 + 4 * 100 + 1
        assert next(given).custom_id == f"job-{len(found)}"
        assert all(found[outcome.job.custom_id].error is outcome.error for outcome in unfinished)
        errors = [outcome.error for outcome in found.values() if outcome.result is None]
        assert all(type(error) is ClientClosedError and not error.may_have_run for error in errors)


@pytest.mark.parametrize("read", [True, False])
async def test_a_stream_under_way_may_be_read_to_its_end(read, clock):
    async with (
        serving(answer(LARGE)) as server,
        client(server.base_url, clock=clock) as prodia,
        prodia.stream(named(0)) as reply,
    ):
        closing = asyncio.create_task(prodia.aclose(drain=30))
        await asyncio.sleep(0.02)
        assert not closing.done()
        if read:
            assert sum([len(chunk) async for chunk in reply.output]) == 4_000_000
            assert [each async for each in reply] == []
            assert await asyncio.wait_for(closing, 5) == ()
        else:
            clock.advance(30)
            assert names(await asyncio.wait_for(closing, 5)) == ["job-0"]
            await anext(reply.output)  # what was handed over before
            with pytest.raises(ClientClosedError, match="client was closed"):
                await anext(reply.output)


async def test_a_drain_that_is_cancelled_closes_all_the_same(clock):
    async with serving(stall()) as server, client(server.base_url, clock=clock) as prodia:
        tasks = start(prodia, 0)
        await until(lambda: server.requests and server.requests[0].complete)
        transport = prodia._engines.peek().transport
        closing = asyncio.create_task(prodia.aclose(drain=30))
        await asyncio.sleep(0.01)
        closing.cancel()
        await asyncio.wait([closing])
        assert closing.cancelled()
        assert transport._session.closed
        assert prodia._engines.peek() is None
        [error] = await ends(tasks)
        assert error.may_have_run is True


async def test_a_drain_in_a_scope_that_is_cancelled_closes_all_the_same(clock):
    from prodia_async import _loops

    async with serving(stall()) as server, client(server.base_url, clock=clock) as prodia:
        tasks = start(prodia, 0)
        await until(lambda: server.requests and server.requests[0].complete)
        engine = prodia._engines.peek()
        with anyio.move_on_after(0.05) as scope:
            await prodia.aclose(drain=30)
        assert scope.cancelled_caught
        assert engine.transport._session.closed
        assert prodia._engines.peek() is None
        assert engine not in _loops._open
        [error] = await ends(tasks)
        assert error.may_have_run is True


@pytest.mark.parametrize("drain", [0, 1000])
async def test_a_sink_may_close_the_client(drain, clock):
    """Its own job cannot end before the closing does, and is not waited for."""

    class ClosingSink(MemorySink):
        async def commit(self, result):
            self.unfinished = await prodia.aclose(drain=drain)
            await super().commit(result)

    sink = ClosingSink()
    started = time.monotonic()
    async with serving(stall(), answer(DONE)) as server, client(server.base_url, clock=clock) as prodia:
        [other] = start(prodia, 0)
        await until(lambda: server.requests and server.requests[0].complete)
        [task] = start(prodia, 1, to=lambda job: sink)
        async with clock.jumping(lambda: len(server.requests) == 2 and prodia._engines.peek().is_closing):
            [ended, error] = await ends([task, other])
        assert ended.outputs[0].size == len(PNG)
        assert names(sink.unfinished) == ["job-0"]
        assert type(error) is ClientClosedError
    assert time.monotonic() - started < 4  # it did not wait out the time for clean-ups


@pytest.mark.parametrize("drain", [0, 1000])
async def test_a_source_may_close_the_client(drain, clock):
    async def closing():
        yield b"first"
        await prodia.aclose(drain=drain)
        yield b"second"

    async with serving(stall()) as server, client(server.base_url, clock=clock) as prodia:
        job = Job(TYPE, {}, [("closing.bin", closing())], custom_id="job-0")
        task = asyncio.create_task(prodia.run(job, expect_continue=False))
        await until(lambda: server.requests)
        await asyncio.sleep(0.05)
        clock.advance(1000)
        [error] = await ends([task])
        assert isinstance(error, ClientClosedError | InputError)


async def test_a_copy_closes_nothing(clock):
    gate = Gate()
    async with serving(gate) as server, client(server.base_url, clock=clock) as prodia:
        tasks = start(prodia, 0)
        await until(lambda: server.requests)
        assert await prodia.with_options(price=True).aclose(drain=30) == ()
        gate.opened.set()
        assert (await ends(tasks))[0].outputs[0].data == PNG
        assert_idle(prodia)


async def test_a_caller_that_leaves_during_a_drain_is_cancelled_and_not_named(clock):
    async with serving(stall()) as server, client(server.base_url, clock=clock) as prodia:
        [task] = start(prodia, 0)
        await until(lambda: server.requests and server.requests[0].complete)
        engine = prodia._engines.peek()
        closing = asyncio.create_task(prodia.aclose(drain=30))
        await asyncio.sleep(0.01)
        task.cancel()
        assert await asyncio.wait_for(closing, 5) == ()
        assert task.cancelled()
        assert (engine.stats().cancelled, engine.stats().failed) == (1, 0)


async def test_a_cut_job_leaves_its_task_as_it_was(clock):
    """The task that ran it is not taken for a cancelled one: it goes on."""

    async def work(prodia):
        with pytest.raises(ClientClosedError):
            await prodia.run(named(0))
        await asyncio.sleep(0)
        async with anyio.create_task_group() as group:
            group.start_soon(asyncio.sleep, 0)
        with anyio.fail_after(5):
            await asyncio.sleep(0)
        return "went on"

    async with serving(stall()) as server, client(server.base_url, clock=clock) as prodia:
        task = asyncio.create_task(work(prodia))
        await until(lambda: server.requests and server.requests[0].complete)
        await prodia.aclose()
        assert await task == "went on"
        assert getattr(task, "cancelling", int)() == 0


async def test_two_close_at_once(clock):
    gate = Gate()
    async with serving(gate) as server, client(server.base_url, clock=clock) as prodia:
        tasks = start(prodia, 0, 1)
        await until(lambda: len(server.requests) == 2)
        both = [asyncio.create_task(prodia.aclose(drain=seconds)) for seconds in (30, 20)]
        await asyncio.sleep(0.01)
        clock.advance(20)
        told = await asyncio.wait_for(asyncio.gather(*both), 5)
        assert names([outcome for each in told for outcome in each]) == ["job-0", "job-1"]
        assert all(type(error) is ClientClosedError for error in await ends(tasks))
