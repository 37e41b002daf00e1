"""The client itself: its options, its copies, its counts, its end."""

from __future__ import annotations

import asyncio
import logging

import pytest
from support.expect import JOB, until
from support.fake_clock import FakeClock
from support.leaks import TOKEN, assert_idle, client
from support.replies import DONE, PNG, in_json, shed
from support.servers import answer, serving, stall

from prodia_async import (
    Adaptive,
    Fixed,
    InputError,
    Job,
    Prodia,
    ProdiaError,
    QueueFullError,
    Retry,
    Stats,
    Timeouts,
)

pytestmark = pytest.mark.usefixtures("nothing_left")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"max_concurrency": 2, "limiter": Fixed(3)}, "not both"),
        ({"max_concurrency": 0}, "Adaptive.max_concurrency cannot be 0"),
        ({"headers": {"authorization": "x"}}, "client's own"),
        ({"headers": {"x": "a\r\nb: c"}}, "cannot be sent"),
        ({"base_url": "inference.prodia.com"}, "must be like https://"),
    ],
)
def test_options_that_cannot_work_are_refused(options, says):
    with pytest.raises(InputError, match=says):
        Prodia(**{"token": TOKEN} | options)


async def test_a_call_that_cannot_work_is_refused_before_anything_is_sent(tmp_path):
    async with serving(answer(DONE)) as server, client(server.base_url) as prodia:
        for options in (
            {"job": JOB, "config": {"a": 1}},
            {"job": JOB, "inputs": [b"x"]},
            {"job": "inference.test.v1", "timeout": 0},
            {"job": "inference.test.v1", "accept": "no type"},
            {"job": "inference.test.v1", "to": 42},
            {"job": "", "config": {}},
            {"job": "inference.test.v1", "config": {"a": float("inf")}},
        ):
            with pytest.raises(InputError):
                await prodia.run(**options)
        assert (server.connections, prodia.stats().requests) == (0, 0)


async def test_what_a_call_says_goes_over_what_the_job_says():
    async with serving(answer(DONE)) as server, client(server.base_url) as prodia:
        await prodia.run(Job("inference.test.v1", accept="image/png"), accept="image/webp", priority=2)
        assert server.requests[0].headers["accept"] == "multipart/form-data; image/webp"


async def test_copies_share_connections_and_counts_and_close_nothing():
    async with (
        serving(answer(DONE)) as server,
        client(server.base_url, headers={"x-one": "1", "x-two": "1"}) as prodia,
    ):
        copy = prodia.with_options(price=True, headers={"x-two": "2"}, retry=Retry(max_errors=0))
        await prodia.run(JOB)
        async with copy:
            await copy.run(JOB)
        await prodia.run(JOB)
        assert server.connections == 1
        assert prodia.stats() == copy.stats()
        assert prodia.stats().completed == 3
        assert [request.target.endswith("?price=true") for request in server.requests] == [False, True, False]
        assert [request.headers["x-two"] for request in server.requests] == ["1", "2", "1"]
        assert {request.headers["x-one"] for request in server.requests} == {"1"}


def test_there_is_nothing_to_count_without_a_loop():
    assert Prodia(token=TOKEN).stats() == Stats()


async def test_counts_by_type():
    async with serving(answer(shed(0)), answer(DONE)) as server, client(server.base_url) as prodia:
        await prodia.run(JOB)
        by_type = prodia.stats().by_type
    assert list(by_type) == [JOB.type]
    line = by_type[JOB.type]
    assert (line.shed, line.completed, line.limit, line.in_flight, line.waiting) == (1, 1, 1, 0, 0)
    assert line.state == "TRACK"
    assert line.latency > 0


async def test_a_full_line_refuses_without_sending():
    async with (
        serving(stall()) as server,
        client(server.base_url, limiter=Fixed(1, max_waiting=1)) as prodia,
    ):
        running = [asyncio.ensure_future(prodia.run(JOB)) for _ in range(2)]
        await until(lambda: prodia.stats().waiting == 1 and server.requests)
        with pytest.raises(QueueFullError, match="max_waiting=1") as caught:
            await prodia.run(JOB)
        assert caught.value.may_have_run is False
        for task in running:
            task.cancel()
        await asyncio.wait(running)
        assert len(server.requests) == 1


async def test_smaller_priorities_go_first():
    order = []

    async def step(connection, request):
        await connection.read_body(request)
        order.append(bytes(request.body)[-3:-2])
        await connection.write_reply(DONE)

    async with serving(step) as server, client(server.base_url, max_concurrency=1) as prodia:
        many = [prodia.run("inference.test.v1", {"p": number}, priority=number) for number in (5, 3, 1, 4, 2)]
        await asyncio.gather(*many)
    assert order[1:] == sorted(order[1:])


async def test_a_slow_reply_holds_a_connection_and_no_slot():
    """One second after a reply's headers the slot is given to the next job."""
    clock, release = FakeClock(), asyncio.Event()

    async def slow(connection, request):
        await connection.read_body(request)
        head, body = DONE.wire()
        connection.writer.write(head + body[:10])
        await release.wait()
        connection.writer.write(body[10:])

    async with (
        serving(slow, answer(DONE)) as server,
        client(server.base_url, clock=clock, max_concurrency=1) as prodia,
    ):
        first = asyncio.ensure_future(prodia.run(JOB))
        await until(lambda: prodia.stats().by_type.get(JOB.type) and clock.next_due == 1.0)
        clock.advance(0.9)
        assert prodia.stats().in_flight == 1
        clock.advance(0.1)
        assert prodia.stats().in_flight == 0
        second = await prodia.run(JOB)
        assert not first.done()
        release.set()
        assert (await first).outputs == second.outputs
        assert len(server.requests) == 2


async def test_events_tell_a_jobs_way_and_their_errors_are_logged(caplog):
    seen = []

    def tell(event):
        seen.append((event.kind, event.attempt.verdict if event.attempt else None))
        assert event.job is JOB
        assert event.at.tzinfo is not None
        raise RuntimeError("the hook is broken")

    script = answer(shed(0)), answer(in_json(500, {})), answer(DONE)
    async with serving(*script) as server, client(server.base_url, on_event=tell) as prodia:
        await prodia.run(JOB)
    assert seen == [
        ("queued", None),
        ("sent", None),
        ("shed", "shed"),
        ("sent", None),
        ("retried", "server_error"),
        ("sent", None),
        ("completed", "done"),
    ]
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert {record.getMessage() for record in errors} == {"on_event raised"}


async def test_a_client_opens_again_after_it_was_closed():
    async with serving(answer(DONE)) as server, client(server.base_url) as prodia:
        await prodia.run(JOB)
        await prodia.aclose()
        await prodia.aclose()
        result = await prodia.run(JOB)
        assert server.connections == 2
    assert result.outputs[0].data == PNG


STATES = {
    "in flight": (stall(), lambda prodia, server: server.requests),
    "in line": (stall(), lambda prodia, server: server.requests and prodia.stats().waiting),
    "shed": (answer(shed(60)), lambda prodia, server: prodia.stats().shed),
    "backing off": (
        answer(in_json(503, {}, **{"Retry-After": "60"})),
        lambda prodia, server: prodia.stats().requests and not prodia.stats().in_flight,
    ),
}


@pytest.mark.parametrize("state", STATES)
async def test_closing_the_client_ends_its_jobs_with_an_error_of_ours(state):
    step, reached = STATES[state]
    clock = FakeClock()
    options = {"clock": clock, "max_concurrency": 1, "timeouts": Timeouts()}
    async with serving(step) as server, client(server.base_url, **options) as prodia:
        count = 2 if state == "in line" else 1
        running = [asyncio.ensure_future(prodia.run(JOB)) for _ in range(count)]
        await until(lambda: reached(prodia, server))
        await prodia.aclose()
        for _ in range(20):
            clock.advance(10)
            await asyncio.sleep(0)
        errors = await asyncio.wait_for(asyncio.gather(*running, return_exceptions=True), 5)
        assert len(server.requests) == 1
        assert_idle(prodia)
    assert [isinstance(error, ProdiaError) for error in errors] == [True] * count
    assert all(str(error).startswith("inference.test.v1 (custom_id 'cat-1'): ") for error in errors)


async def test_closing_does_not_hide_that_an_attempt_may_have_run():
    clock = FakeClock()
    reply = in_json(500, {}, **{"Retry-After": "60"})
    async with serving(answer(reply)) as server, client(server.base_url, clock=clock) as prodia:
        running = asyncio.ensure_future(prodia.run(JOB))
        await until(lambda: prodia.stats().requests and not prodia.stats().in_flight)
        await prodia.aclose()
        clock.advance(60)
        with pytest.raises(ProdiaError, match="the client was closed") as caught:
            await running
    assert [attempt.verdict for attempt in caught.value.attempts] == ["server_error"]
    assert caught.value.may_have_run is True


async def test_closing_the_client_ends_a_rest_at_once():
    """A job that was told to come again in a minute does not keep its caller waiting for that minute."""
    async with serving(answer(shed(60))) as server, client(server.base_url) as prodia:
        running = asyncio.ensure_future(prodia.run(JOB))
        await until(lambda: prodia.stats().shed)
        await prodia.aclose()
        with pytest.raises(ProdiaError, match="the client was closed"):
            await asyncio.wait_for(running, 5)


async def test_errors_before_the_first_attempt_name_the_job():
    async with client("http://127.0.0.1:9") as prodia:
        with pytest.raises(InputError, match=r"^inference\.test\.v1 \(custom_id 'a'\): input 1: .*missing"):
            await prodia.run("inference.test.v1", custom_id="a", inputs=["missing.png"])


class RecordingSink:
    """A sink of a user's own, whose discard() would undo a commit, and raises."""

    def __init__(self, calls):
        self.calls = calls

    async def open(self, output):
        return self

    async def write(self, data):
        self.calls.append("write")

    async def close(self):
        self.calls.append("close")

    async def commit(self, result):
        self.calls.append("commit")

    async def discard(self):
        self.calls.append("discard")
        raise ValueError("nothing to discard")


async def test_a_committed_output_is_never_discarded():
    calls = []
    async with serving(answer(DONE)) as server, client(server.base_url) as prodia:
        await prodia.run(JOB, to=lambda job: RecordingSink(calls))
    assert calls == ["write", "close", "commit"]


async def test_a_discard_that_raises_does_not_hide_what_happened(caplog):
    calls = []
    async with serving(answer(shed(0)), answer(DONE)) as server, client(server.base_url) as prodia:
        await prodia.run(JOB, to=lambda job: RecordingSink(calls))
    assert calls == ["discard", "write", "close", "commit"]
    assert "discard() raised" in caplog.text


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ({}, ""),
        ({"price": False, "retry": Retry(), "limiter": Adaptive(), "headers": {}}, ""),
        ({"base_url": "https://inference.prodia.com/v2/"}, ""),
        ({"base_url": "https://other.example"}, "base_url='https://other.example', "),
        ({"max_concurrency": 3}, "limiter=Adaptive(max_concurrency=3, initial=4, "),
        ({"limiter": Fixed(3)}, "limiter=Fixed(max_concurrency=3, "),
        ({"timeout": 60, "price": True}, "timeout=60.0, price=True, "),
        ({"timeouts": Timeouts(idle=5)}, "timeouts=Timeouts(connect=10.0, first_byte=600.0, idle=5, "),
        ({"headers": {"X-Key": "hunter2"}}, "headers={'X-Key': ***}, "),
        ({"session_options": {"auth": "hunter2"}}, "session_options={'auth': ***}, "),
    ],
    ids=str,
)
def test_a_client_shows_what_is_not_as_usual(options, shown):
    for prodia in (Prodia(token=TOKEN, **options), Prodia(token=lambda: TOKEN, **options)):
        assert repr(prodia).startswith(f"Prodia({shown}")
        assert repr(prodia).endswith("token=***)")
        assert "hunter2" not in repr(prodia)
        assert TOKEN not in repr(prodia)


def test_a_copy_shows_what_is_its_own():
    copy = Prodia(token=TOKEN).with_options(timeout=3, headers={"X-Team": "art"})
    assert repr(copy) == "Prodia(timeout=3.0, headers={'X-Team': ***}, token=***)"
