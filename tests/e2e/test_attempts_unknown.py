"""The request was sent and no whole answer came: the job may have run, and is not sent again unasked."""

from __future__ import annotations

import asyncio

import pytest
from support.expect import JOB, assert_told, failure, until
from support.fake_clock import FakeClock
from support.leaks import client
from support.replies import DONE, PNG, Reply, job_part, multipart, output, shed
from support.servers import answer, hang_up, serving, stall

from prodia_async import (
    BadRequestError,
    CapacityError,
    Job,
    ProdiaTimeoutError,
    ProtocolError,
    Retry,
    Timeouts,
    TransportError,
)

pytestmark = pytest.mark.usefixtures("nothing_left")

ONCE_MORE = Retry(backoff=0.0, resend_unknown=1)
SHORT = {
    "content-length": (Reply(200, DONE.body[:500], DONE.headers, length=len(DONE.body)), "close"),
    "chunked": (Reply(200, DONE.body[:500], DONE.headers, framing="chunked", whole=False), "close"),
    "reset": (Reply(200, DONE.body[:500], DONE.headers, length=len(DONE.body)), "reset"),
}


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_connection_lost_after_the_body_is_not_sent_again(how):
    async with serving(hang_up(how)) as server, client(server.base_url) as prodia:
        error = await failure(TransportError, prodia)
        assert len(server.requests) == 1
        assert prodia.stats().stale == 0
    assert_told(error, ["unknown"], may_have_run=True, says="may have run and been billed")
    assert "resend_unknown=1" in str(error)


@pytest.mark.parametrize("how", SHORT)
async def test_a_reply_cut_short_is_not_sent_again(how, tmp_path):
    reply, then = SHORT[how]
    async with serving(answer(reply, then=then)) as server, client(server.base_url) as prodia:
        error = await failure(TransportError, prodia, to=tmp_path)
        assert len(server.requests) == 1
    assert_told(error, ["unknown"], may_have_run=True, status=200, says="cut off")
    assert list(tmp_path.iterdir()) == []


async def test_a_reply_cut_short_without_a_length_lacks_its_last_boundary(tmp_path):
    reply = Reply(200, DONE.body[:500], DONE.headers, framing="close")
    async with serving(answer(reply)) as server, client(server.base_url) as prodia:
        error = await failure(ProtocolError, prodia, to=tmp_path)
        assert len(server.requests) == 1
    assert_told(error, ["malformed"], may_have_run=True, status=200, says="cut short")
    assert list(tmp_path.iterdir()) == []


async def test_a_large_reply_cut_short_leaves_no_temporary_file(tmp_path):
    whole = multipart(output(bytes(4_000_000)), job_part())
    reply = Reply(200, whole.body[:3_000_000], whole.headers, length=len(whole.body))
    async with serving(answer(reply, then="close")) as server, client(server.base_url) as prodia:
        await failure(TransportError, prodia, to=tmp_path / "x.png")
        assert len(server.requests) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "wire",
    [b"HTTP/1.1 two hundred\r\n\r\n", b"SSH-2.0-OpenSSH_9.6\r\n", b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n"],
)
async def test_an_answer_that_is_no_http_is_malformed(wire):
    async def step(connection, request):
        await connection.read_body(request)
        connection.writer.write(wire)
        await connection.writer.drain()
        connection.close()

    async with serving(step) as server, client(server.base_url) as prodia:
        error = await failure(ProtocolError, prodia)
        assert len(server.requests) == 1
    assert_told(error, ["malformed"], may_have_run=True)


async def test_headers_without_end_are_malformed_whatever_their_status():
    reply = Reply(200, b"", {"x-large": "x" * 70_000})
    async with serving(answer(reply)) as server, client(server.base_url) as prodia:
        error = await failure(ProtocolError, prodia)
        assert len(server.requests) == 1
    assert_told(error, ["malformed"], may_have_run=True)
    assert len(str(error)) < 1000


async def test_an_unknown_outcome_is_sent_again_when_that_was_asked_for():
    script = hang_up("reset"), answer(DONE)
    async with serving(*script) as server, client(server.base_url, retry=ONCE_MORE) as prodia:
        result = await prodia.run(JOB)
        assert len(server.requests) == 2
    assert [attempt.verdict for attempt in result.attempts] == ["unknown", "done"]
    assert [attempt.may_have_run for attempt in result.attempts] == [True, True]
    assert result.outputs[0].data == PNG


async def test_a_malformed_answer_is_sent_again_when_that_was_asked_for():
    html = Reply(200, b"<html>", {"Content-Type": "text/html"})
    async with (
        serving(answer(html), answer(DONE)) as server,
        client(server.base_url, retry=ONCE_MORE) as prodia,
    ):
        result = await prodia.run(JOB)
        assert len(server.requests) == 2
    assert [attempt.verdict for attempt in result.attempts] == ["malformed", "done"]


async def test_it_is_sent_again_as_often_as_was_asked_for_and_no_more():
    async with serving(hang_up("close")) as server, client(server.base_url, retry=ONCE_MORE) as prodia:
        error = await failure(TransportError, prodia)
        assert len(server.requests) == 2
    assert_told(error, ["unknown", "unknown"], may_have_run=True)


async def test_a_later_shed_does_not_hide_that_an_earlier_attempt_may_have_run():
    retry = Retry(backoff=0.0, resend_unknown=1, patience=0)
    async with (
        serving(hang_up("close"), answer(shed(1))) as server,
        client(server.base_url, retry=retry) as prodia,
    ):
        error = await failure(CapacityError, prodia)
        assert len(server.requests) == 2
    assert_told(error, ["unknown", "shed"], may_have_run=True, status=429)
    assert [attempt.may_have_run for attempt in error.attempts] == [True, False]


@pytest.mark.parametrize("how", ["reset", "close"])
async def test_a_reused_connection_that_breaks_is_counted_apart(how):
    """The server closes the kept connection just as the next request comes."""
    async with serving(answer(DONE), hang_up(how)) as server, client(server.base_url) as prodia:
        await prodia.run(JOB)
        with pytest.raises(TransportError) as caught:
            await prodia.run(JOB)
        assert (len(server.requests), server.connections) == (2, 1)
        assert prodia.stats().stale == 1
    assert_told(caught.value, ["unknown"], may_have_run=True)


async def test_a_connection_that_was_closed_in_between_is_not_used_again():
    async with (
        serving(answer(DONE, then="close"), answer(DONE)) as server,
        client(server.base_url, retry=Retry(backoff=0.0, resend_unknown=1)) as prodia,
    ):
        await prodia.run(JOB)
        await prodia.run(JOB)
        assert server.connections == 2


async def never_again(step, limits, says, **options):
    retry = Retry(backoff=0.0, resend_unknown=9)
    async with (
        serving(step, answer(DONE), receive_buffer=4096) as server,
        client(server.base_url, retry=retry, timeouts=limits) as prodia,
    ):
        error = await failure(ProdiaTimeoutError, prodia, **options)
        assert len(server.requests) == 1
    assert isinstance(error, TimeoutError)
    assert says in str(error)
    return error


async def test_an_answer_that_does_not_begin_in_time_is_never_sent_again():
    error = await never_again(stall(), Timeouts(first_byte=0.05), "Timeouts.first_byte=0.05 s")
    assert_told(error, ["timed_out"], may_have_run=True)


async def test_a_reply_that_stalls_is_never_sent_again(tmp_path):
    reply = Reply(200, DONE.body[:500], DONE.headers, length=len(DONE.body))
    step = answer(reply, then="stall")
    error = await never_again(step, Timeouts(idle=0.05), "Timeouts.idle=0.05 s", to=tmp_path)
    assert_told(error, ["timed_out"], may_have_run=True)
    assert list(tmp_path.iterdir()) == []


async def test_a_server_that_stops_reading_is_never_sent_to_again(tmp_path):
    path = tmp_path / "large.bin"
    path.write_bytes(bytes(16 * 1024 * 1024))
    job = Job("inference.test.v1", inputs=[path], custom_id="cat-1")
    step = stall(after="head")
    error = await never_again(step, Timeouts(idle=0.05), "took nothing of the request", job=job)
    assert_told(error, ["timed_out"], may_have_run=False)


async def test_the_whole_jobs_timeout_is_never_sent_again():
    error = await never_again(stall(), Timeouts(), "timeout=0.05 s", timeout=0.05)
    assert_told(error, ["cancelled"], may_have_run=True, says="was under way")


async def test_time_that_our_own_source_takes_is_not_idle_time():
    clock = FakeClock()

    async def slowly():
        yield b"a"
        clock.advance(500)
        yield b"b"

    async with serving(answer(DONE)) as server, client(server.base_url, clock=clock) as prodia:
        await prodia.run("inference.test.v1", inputs=[("x.bin", slowly())])
        assert len(server.requests) == 1


async def test_the_first_byte_may_take_as_long_as_the_job():
    clock = FakeClock()

    async def step(connection, request):
        await connection.read_body(request)
        clock.advance(300)
        await connection.write_reply(DONE)

    limits = Timeouts(first_byte=1)
    async with serving(step) as server, client(server.base_url, clock=clock, timeouts=limits) as prodia:
        result = await prodia.run(JOB, timeout=400)
        assert result.attempts[0].elapsed == 300


async def test_an_error_whose_body_stalls_is_told_by_its_status():
    """An error's body gets five seconds: long enough for a reason, short beside the reply's time limit."""
    clock = FakeClock()
    reply = Reply(400, b'{"message": "bad', {"Content-Type": "application/json"}, length=999)

    async def step(connection, request):
        await connection.read_body(request)
        await connection.write_reply(reply)
        await until(lambda: clock.next_due == 5.0)
        clock.advance(5)
        await connection.drain_to_end(request)

    async with serving(step) as server, client(server.base_url, clock=clock) as prodia:
        error = await failure(BadRequestError, prodia)
        assert len(server.requests) == 1
    assert_told(error, ["refused"], may_have_run=False, status=400)


@pytest.mark.parametrize("rest", [b"", b"and more"])
async def test_a_whole_reply_is_a_result_though_the_upload_goes_on(rest):
    """Its connection does not end, either: ten seconds are enough for that."""
    source_may_go_on, clock = asyncio.Event(), FakeClock()

    async def step(connection, request):
        await connection.write_reply(Reply(200, DONE.body + rest, DONE.headers, length=len(DONE.body) + 100))
        await connection.drain_to_end(request)

    async def source():
        yield b"x" * 1000
        await source_may_go_on.wait()
        yield b"y" * 1000

    async with (
        serving(step) as server,
        client(server.base_url, clock=clock, timeouts=Timeouts(connect=3)) as prodia,
    ):
        run = asyncio.ensure_future(
            prodia.run("inference.test.v1", inputs=[("a.bin", source())], expect_continue=False)
        )
        await until(lambda: server.requests)
        watched = prodia._engines.peek().deadlines.watched
        await until(lambda: [each.when for each in watched.values()] == [10.0])
        clock.advance(10)
        result = await asyncio.wait_for(run, 5)
        assert result.outputs[0].data == PNG
        assert len(server.requests) == 1


async def test_a_whole_reply_is_not_lost_to_the_limit_of_the_run():
    """What follows the final boundary gets half of the time that is left, not all of it."""
    clock = FakeClock()

    async def step(connection, request):
        await connection.read_body(request)
        await connection.write_reply(Reply(200, DONE.body, DONE.headers, length=len(DONE.body) + 100))
        await connection.drain_to_end(request)

    async with serving(step) as server, client(server.base_url, clock=clock) as prodia:
        run = asyncio.ensure_future(prodia.run(JOB, timeout=8))
        await until(lambda: server.requests)
        watched = prodia._engines.peek().deadlines.watched
        await until(lambda: [each.when for each in watched.values()] == [4.0])
        clock.advance(4)
        result = await asyncio.wait_for(run, 5)
        assert result.outputs[0].data == PNG
