"""Many jobs at once: every job has one outcome, whatever happens to the others."""

from __future__ import annotations

import asyncio

import pytest
from support.expect import until
from support.fake_clock import FakeClock
from support.leaks import assert_idle, client
from support.replies import DONE, PNG, in_json
from support.servers import answer, serving, stall

from prodia_async import (
    BadRequestError,
    ClientClosedError,
    File,
    Fixed,
    InputError,
    Job,
    MemorySink,
    Prodia,
    ProdiaError,
    ProdiaTimeoutError,
)
from prodia_async.emulator import Emulator

pytestmark = pytest.mark.usefixtures("nothing_left")


def jobs(count, kind="inference.test.v1"):
    return [Job(kind, {"number": number}, custom_id=f"job-{number}") for number in range(count)]


async def one_by_one(items):
    for item in items:
        await asyncio.sleep(0)
        yield item


FORMS = {
    "list": list,
    "tuple": tuple,
    "iterator": iter,
    "generator": lambda items: (item for item in items),
    "async generator": one_by_one,
}


@pytest.mark.parametrize("form", FORMS)
async def test_every_job_of_any_iterable_has_one_outcome(form):
    given = jobs(30)
    async with serving(answer(DONE)) as server, client(server.base_url) as prodia:
        async with prodia.as_completed(FORMS[form](given)) as outcomes:
            found = [outcome async for outcome in outcomes]
        assert len(server.requests) == 30
        assert (prodia.stats().jobs, prodia.stats().completed) == (30, 30)
    assert sorted(outcome.job.custom_id for outcome in found) == sorted(job.custom_id for job in given)
    assert all(outcome.error is None and outcome.result.outputs[0].data == PNG for outcome in found)


async def test_no_jobs_have_no_outcomes():
    async with serving(answer(DONE)) as server, client(server.base_url) as prodia:
        async with prodia.as_completed([]) as outcomes:
            assert [outcome async for outcome in outcomes] == []
            assert [outcome async for outcome in outcomes] == []
        assert server.connections == 0


async def test_one_failure_never_sinks_the_rest():
    async def step(connection, request):
        await connection.read_body(request)
        bad = b'"number":7}' in request.body
        await answer(in_json(400, {"message": "no sevens"}) if bad else DONE)(connection, request)

    async with serving(step) as server, client(server.base_url) as prodia:
        async with prodia.as_completed(jobs(20)) as outcomes:
            found = {outcome.job.custom_id: outcome async for outcome in outcomes}
        assert len(server.requests) == 20
        assert (prodia.stats().completed, prodia.stats().failed) == (19, 1)
    failed = [outcome for outcome in found.values() if outcome.error is not None]
    assert [outcome.job.custom_id for outcome in failed] == ["job-7"]
    assert type(failed[0].error) is BadRequestError
    assert failed[0].result is None
    assert all(outcome.result is not None for outcome in found.values() if outcome.error is None)


async def test_a_bad_job_is_an_outcome_too(tmp_path):
    bad = Job("inference.test.v1", {}, [tmp_path / "missing.png"], custom_id="bad")
    worse = Job("inference.test.v1", {"nan": float("nan")}, custom_id="worse")
    async with serving(answer(DONE)) as server, client(server.base_url) as prodia:
        async with prodia.as_completed([bad, *jobs(3), worse]) as outcomes:
            errors = {outcome.job.custom_id: outcome.error async for outcome in outcomes}
        assert len(server.requests) == 3
    assert {name for name, error in errors.items() if error} == {"bad", "worse"}
    assert isinstance(errors["bad"], InputError)
    assert isinstance(errors["worse"], InputError)


async def test_a_hook_that_breaks_in_an_unforeseen_way_is_an_outcome():
    class Odd:
        async def open(self, output):
            raise AssertionError

        async def commit(self, result):
            """Has nothing to keep."""

        async def discard(self):
            raise ZeroDivisionError("while tidying up")

    async with serving(answer(DONE)) as server, client(server.base_url) as prodia:
        async with prodia.as_completed(jobs(2), to=lambda job: Odd()) as outcomes:
            errors = [outcome.error async for outcome in outcomes]
        assert len(server.requests) == 2
    assert all(isinstance(error, ProdiaError) for error in errors)


def breaking(count):
    yield from jobs(count)
    raise ValueError("line 6 is broken")


async def async_breaking(count):
    for job in jobs(count):
        yield job
    raise ValueError("line 6 is broken")


@pytest.mark.parametrize("make", [breaking, async_breaking])
async def test_an_iterable_that_fails_is_told_after_all_outcomes(make):
    async with serving(answer(DONE)) as server, client(server.base_url) as prodia:
        async with prodia.as_completed(make(5)) as outcomes:
            found = [await anext(outcomes) for _ in range(5)]
            with pytest.raises(ValueError, match="line 6 is broken") as caught:
                await anext(outcomes)
            assert [outcome async for outcome in outcomes] == []
        assert len(server.requests) == 5
    assert type(caught.value) is ValueError
    assert all(outcome.error is None for outcome in found)


@pytest.mark.parametrize("item", ["inference.test.v1", None, {"type": "inference.test.v1"}])
async def test_what_is_no_job_is_told_after_the_jobs_before_it(item):
    async with serving(answer(DONE)) as server, client(server.base_url) as prodia:
        async with prodia.as_completed([*jobs(2), item, *jobs(2)]) as outcomes:
            found = [await anext(outcomes) for _ in range(2)]
            with pytest.raises(InputError, match="takes Job values"):
                await anext(outcomes)
        assert len(server.requests) == 2
    assert all(outcome.error is None for outcome in found)


async def test_what_is_no_iterable_is_refused_at_once():
    async with client("http://127.0.0.1:9") as prodia:
        with pytest.raises(InputError, match="iterable"):
            prodia.as_completed(Job("inference.test.v1"))
        with pytest.raises(InputError, match="ahead cannot be 0"):
            prodia.as_completed([], ahead=0)


@pytest.mark.parametrize("to", ["x.png", File("x")])
async def test_a_file_cannot_take_the_outputs_of_many_jobs(to):
    async with client("http://127.0.0.1:9") as prodia:
        with pytest.raises(InputError, match="pass a folder"):
            prodia.as_completed(jobs(2), to=to)


async def test_a_hundred_jobs_into_one_folder_are_a_hundred_files(tmp_path):
    (tmp_path / "cat.jpg").write_bytes(b"was here before")
    many = [
        Job("emulator.bytes.v1", {"seed": n, "content_type": "image/jpeg"}, custom_id="cat")
        for n in range(100)
    ]
    async with (
        Emulator(capacity=16, latency=0.002, retry_after=0.01) as emulator,
        client(emulator.base_url, token=emulator.token, max_concurrency=32) as prodia,
    ):
        async with prodia.as_completed(many, to=tmp_path) as outcomes:
            paths = [outcome.result.outputs[0].path async for outcome in outcomes]
        assert prodia.stats().completed == emulator.stats().completed == 100
    assert len(set(paths)) == 100
    assert sorted(tmp_path.iterdir()) == sorted([tmp_path / "cat.jpg", *paths])
    assert (tmp_path / "cat.jpg").read_bytes() == b"was here before"
    assert len({path.read_bytes() for path in paths}) == 100


async def test_ahead_jobs_of_each_type_are_started_and_no_more():
    """With ahead=3 and nothing answered, three jobs of each type are started; the rest is left alone."""
    events = []
    taken = []

    def source():
        for number in range(10):
            for kind in ("inference.a.v1", "inference.b.v1"):
                taken.append(kind)
                yield Job(kind, custom_id=f"{kind}-{number}")

    async with (
        serving(stall()) as server,
        client(server.base_url, max_concurrency=2, on_event=events.append) as prodia,
    ):
        async with prodia.as_completed(source(), ahead=3):
            await until(lambda: len(server.requests) == 2)
            await asyncio.sleep(0.01)
            started = [event.job.type for event in events if event.kind == "queued"]
            assert sorted(started) == ["inference.a.v1"] * 3 + ["inference.b.v1"] * 3
            assert prodia.stats().in_flight == 2
            assert prodia.stats().waiting == 4
            # Three of each are started, and at most 4 × ahead are put aside.
            assert len(taken) == 6 + 12
        assert_idle(prodia)


async def test_a_full_type_does_not_stop_another():
    """Each job of the slow type is answered last; the jobs of the quick type pass by."""
    release = asyncio.Event()

    async def step(connection, request):
        await connection.read_body(request)
        if b"slow" in request.body:
            await release.wait()
        await connection.write_reply(DONE)

    many = [*jobs(4, "inference.slow.v1"), *jobs(6, "inference.quick.v1")]
    order = []
    async with (
        serving(step) as server,
        client(server.base_url) as prodia,
        prodia.as_completed(many, ahead=2) as outcomes,
    ):
        async for outcome in outcomes:
            order.append(outcome.job.type)
            if len(order) == 6:
                release.set()
    assert order == ["inference.quick.v1"] * 6 + ["inference.slow.v1"] * 4


async def test_outcomes_that_nobody_takes_stop_the_reading():
    taken = []

    def source():
        for job in jobs(1000):
            taken.append(job)
            yield job

    async with (
        serving(answer(DONE)) as server,
        client(server.base_url) as prodia,
        prodia.as_completed(source(), ahead=2),
    ):
        await until(lambda: len(server.requests) == 2)
        await asyncio.sleep(0.02)
        assert len(server.requests) == 2
        assert len(taken) == 2 + 8


@pytest.mark.parametrize("how", ["break", "raise", "cancel"])
async def test_leaving_early_cancels_what_is_in_flight(tmp_path, how):
    async def leave(prodia):
        async with prodia.as_completed(jobs(20), to=tmp_path) as outcomes:
            async for _ in outcomes:
                break
            await until(lambda: prodia.stats().in_flight == 8)
            if how == "raise":
                raise KeyError("on the way")
            if how == "cancel":
                asyncio.current_task().cancel()
                await asyncio.sleep(1)

    async with serving(answer(DONE), stall()) as server, client(server.base_url) as prodia:
        expected = {"break": (), "raise": KeyError, "cancel": asyncio.CancelledError}[how]
        if expected:
            with pytest.raises(expected) as caught:
                await asyncio.ensure_future(leave(prodia))
            assert type(caught.value) is expected
        else:
            await leave(prodia)
        assert_idle(prodia)
        assert prodia.stats().completed == 1
    assert len(list(tmp_path.iterdir())) == 1


async def test_several_readers_share_the_outcomes():
    async with serving(answer(DONE)) as server, client(server.base_url) as prodia:
        async with prodia.as_completed(jobs(40)) as outcomes:

            async def read():
                return [outcome.job.custom_id async for outcome in outcomes]

            shares = await asyncio.wait_for(asyncio.gather(read(), read(), read()), 10)
        assert len(server.requests) == 40
    names = [name for share in shares for name in share]
    assert sorted(names) == sorted(job.custom_id for job in jobs(40))


async def test_several_readers_all_end_where_the_iterable_fails():
    """Exactly one of them hears the error."""
    async with serving(answer(DONE)) as server, client(server.base_url) as prodia:
        async with prodia.as_completed(breaking(5)) as outcomes:

            async def read():
                return [outcome async for outcome in outcomes]

            readers = asyncio.gather(read(), read(), read(), return_exceptions=True)
            ended = await asyncio.wait_for(readers, 10)
        assert len(server.requests) == 5
    assert [type(each) for each in ended].count(ValueError) == 1


async def test_jobs_run_in_the_tasks_of_those_before_them():
    tasks = set()

    def sink(job):
        tasks.add(asyncio.current_task())
        return MemorySink()

    async with serving(answer(DONE)) as server, client(server.base_url) as prodia:
        async with prodia.as_completed(jobs(100), to=sink, ahead=4) as outcomes:
            found = [outcome async for outcome in outcomes]
        assert all(task.done() for task in tasks)
        assert len(server.requests) == 100
    assert len(found) == 100
    assert 1 <= len(tasks) <= 4


async def test_each_job_has_its_own_timeout():
    clock = FakeClock()
    async with (
        serving(answer(DONE), stall()) as server,
        client(server.base_url, clock=clock, max_concurrency=1) as prodia,
        prodia.as_completed(jobs(3), timeout=100) as outcomes,
    ):
        assert (await anext(outcomes)).error is None
        await until(lambda: len(server.requests) == 2)
        clock.advance(100)
        rest = [outcome.error async for outcome in outcomes]
    assert [type(error) for error in rest] == [ProdiaTimeoutError] * 2
    assert sorted(error.may_have_run for error in rest) == [False, True]


async def test_jobs_that_are_shed_are_all_done_in_the_end():
    async with (
        Emulator(capacity=2, latency=0.001, retry_after=0.005) as emulator,
        client(emulator.base_url, token=emulator.token, max_concurrency=6) as prodia,
    ):
        async with prodia.as_completed(jobs(40, "emulator.bytes.v1")) as outcomes:
            results = [outcome.result async for outcome in outcomes]
        assert emulator.stats().shed == prodia.stats().shed > 0
        assert emulator.stats().completed == 40
    assert all(result.outputs[0].size == 1024 for result in results)


async def test_a_generator_around_it_that_is_closed_ends_its_jobs(nothing_left):
    async with (
        Emulator(capacity=8, latency=30) as emulator,
        client(emulator.base_url, token=emulator.token) as prodia,
    ):

        async def results():
            async with prodia.as_completed(Job("emulator.bytes.v1") for _ in range(40)) as outcomes:
                yield "begun"
                async for outcome in outcomes:
                    yield outcome

        generator = results()
        assert await anext(generator) == "begun"
        await asyncio.sleep(0.05)
        assert prodia.stats().in_flight
        await generator.aclose()
        assert (prodia.stats().in_flight, prodia.stats().waiting) == (0, 0)


@pytest.mark.parametrize("left", [False, True])
async def test_outcomes_that_are_read_outside_of_their_block_say_so_at_once(left):
    async with serving(answer(DONE)) as server, client(server.base_url) as prodia:
        outcomes = prodia.as_completed(jobs(3))
        if left:
            async with outcomes:
                pass
        with pytest.raises(InputError, match="inside their block"):
            await asyncio.wait_for(anext(outcomes), 5)
        assert prodia.stats().in_flight == 0


def test_it_can_be_made_outside_of_a_loop():
    assert Prodia(token="t").as_completed([]) is not None


async def test_a_generator_around_the_block_that_is_left_alone_cancels_what_is_in_flight():
    async def results(prodia):
        async with prodia.as_completed(jobs(60)) as outcomes:
            async for outcome in outcomes:
                yield outcome

    async with (
        Emulator(capacity=4, latency=0.1) as emulator,
        Prodia(base_url=emulator.base_url, token=emulator.token) as prodia,
    ):
        async for _ in results(prodia):
            break
        await until(lambda: prodia.stats().in_flight == prodia.stats().waiting == 0)
        ended = prodia.stats().completed
        await asyncio.sleep(0.3)
        assert prodia.stats().completed == ended < 20


async def test_what_somebody_else_cancelled_is_the_failure_of_its_job_alone():
    class Sink(MemorySink):
        async def commit(self, result):
            future = asyncio.get_running_loop().create_future()
            future.cancel()
            await future

    sinks = iter([Sink, MemorySink, MemorySink])
    async with (
        serving(answer(DONE)) as server,
        client(server.base_url) as prodia,
        prodia.as_completed(jobs(3), to=lambda job: next(sinks)()) as outcomes,
    ):
        errors = [outcome.error async for outcome in outcomes]
    assert [type(error).__name__ for error in errors if error] == ["OutputError"]


async def test_a_job_is_sent_as_it_was_when_it_was_handed_over(tmp_path, monkeypatch):
    """One dict, one list and one folder that are used again and again."""
    monkeypatch.chdir(tmp_path)

    for number in range(6):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "in.txt").write_bytes(str(number).encode())

    def again():
        config, inputs = {}, []
        for number in range(6):
            monkeypatch.chdir(tmp_path / str(number))
            config["number"], inputs[:] = number, ["in.txt"]
            yield Job("inference.emulator.echo.v1", config, inputs, custom_id=str(number))
        monkeypatch.chdir(tmp_path)

    async with (
        Emulator(latency=0) as emulator,
        Prodia(base_url=emulator.base_url, token=emulator.token) as prodia,
    ):
        async with prodia.as_completed(again()) as outcomes:
            found = {outcome.job.custom_id: outcome.result async for outcome in outcomes}
        shared, runs = {}, []
        for number in range(3):
            shared["number"] = number
            runs.append(prodia.run("inference.ping.v1", shared))
        sent = [result.raw["config"]["number"] for result in await asyncio.gather(*runs)]
    assert {key: result.raw["config"]["number"] for key, result in found.items()} == {
        str(number): number for number in range(6)
    }
    assert {key: result.outputs[0].data for key, result in found.items()} == {
        str(number): str(number).encode() for number in range(6)
    }
    assert sent == [0, 1, 2]


async def test_a_client_that_is_closed_begins_no_job_that_was_put_aside():
    async with Emulator(capacity=2, latency=0.02) as emulator:
        prodia = Prodia(base_url=emulator.base_url, token=emulator.token, limiter=Fixed(1))
        taken, done, closed = [], [], []

        def noted():
            for job in jobs(12, "inference.ping.v1"):
                taken.append(job.custom_id)
                yield job

        async with prodia.as_completed(noted(), ahead=2) as outcomes:
            async for outcome in outcomes:
                if not done:
                    await prodia.aclose()
                is_closed = isinstance(outcome.error, ClientClosedError)
                (closed if is_closed else done).append(outcome.job.custom_id)
                assert not is_closed or outcome.job.custom_id in outcome.error.message
        assert sorted(done + closed) == sorted(taken)
        assert len(closed) > 6  # some were put aside
        assert emulator.stats().requests <= len(done) + 1  # one was in flight, and cut
        assert prodia._engines.peek() is None


async def test_an_iterable_that_meets_a_cancellation_of_something_else_says_so():
    async def cut():
        for job in jobs(3):
            yield job
        cancelled = asyncio.get_running_loop().create_future()
        cancelled.cancel()
        await cancelled

    async with (
        serving(answer(DONE)) as server,
        client(server.base_url) as prodia,
        prodia.as_completed(cut()) as outcomes,
    ):
        assert [(await anext(outcomes)).error for _ in range(3)] == [None] * 3
        with pytest.raises(ProdiaError, match="the iterable of jobs met a cancellation"):
            await anext(outcomes)


async def test_its_block_can_be_entered_once():
    async with serving(answer(DONE)) as server, client(server.base_url) as prodia:
        outcomes = prodia.as_completed(jobs(2))
        async with outcomes:
            with pytest.raises(InputError, match="entered once"):
                await outcomes.__aenter__()
            assert len([outcome async for outcome in outcomes]) == 2
        with pytest.raises(InputError, match="entered once"):
            await outcomes.__aenter__()


async def test_what_a_transport_of_the_users_raises_is_told_without_the_token():
    class Broken:
        async def send(self, request, progress):
            progress.body_sent()
            raise RuntimeError("cannot send with secret-token-1234567890")

        async def aclose(self):
            """Holds nothing."""

    prodia = Prodia(base_url="http://127.0.0.1:1", token="secret-token-1234567890", transport=Broken)
    async with prodia, prodia.as_completed(jobs(1)) as outcomes:
        error = (await anext(outcomes)).error
    assert error.message.startswith("inference.test.v1 (custom_id 'job-0'): RuntimeError: cannot send with ")
    assert "1234567890" not in error.message
    assert ([attempt.verdict for attempt in error.attempts], error.may_have_run) == (["unknown"], True)
