"""Requests that never arrived, and 5xx: backed off and sent again, counted in `max_errors`."""

from __future__ import annotations

import asyncio
import itertools
import socket

import pytest
from support.expect import JOB, assert_told, failure, until
from support.fake_clock import FakeClock
from support.leaks import client
from support.replies import DONE, PNG, Reply, in_json, shed
from support.servers import answer, hang_up, serving

from prodia_async import ProdiaTimeoutError, Retry, ServerError, Timeouts, TransportError

pytestmark = pytest.mark.usefixtures("nothing_left")

QUICK = Retry(backoff=0.0, max_errors=2)


class Refusing:
    """A port on which nothing listens, and nobody else can begin to."""

    def __init__(self):
        self._bound = socket.socket()
        self._bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._bound.bind(("127.0.0.1", 0))
        self.port = self._bound.getsockname()[1]
        self.base_url = f"http://127.0.0.1:{self.port}"

    def close(self):
        self._bound.close()


@pytest.fixture
def refusing():
    port = Refusing()
    yield port
    port.close()


async def test_a_refused_connection_is_tried_again_and_was_never_sent(refusing):
    async with client(refusing.base_url, retry=QUICK) as prodia:
        error = await failure(TransportError, prodia)
        assert prodia.stats().requests == 3
    assert_told(error, ["not_sent"] * 3, may_have_run=False, says="Cannot connect")
    assert "Check the network" in str(error)


async def test_a_name_that_does_not_exist_was_never_sent():
    async with client("https://service.invalid", retry=Retry(max_errors=0)) as prodia:
        error = await failure(TransportError, prodia)
    assert_told(error, ["not_sent"], may_have_run=False, says="service.invalid")


async def test_a_failed_handshake_was_never_sent():
    async def no_tls(reader, writer):
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await reader.read()
        writer.close()

    async with await asyncio.start_server(no_tls, "127.0.0.1", 0) as server:
        address = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with client(address, retry=QUICK) as prodia:
            error = await failure(TransportError, prodia)
    assert_told(error, ["not_sent"] * 3, may_have_run=False, says="127.0.0.1")


async def test_a_connection_that_is_not_made_in_time_was_never_sent():
    """The listener's backlog takes the connection, but nobody answers the TLS greeting."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"https://127.0.0.1:{silent.getsockname()[1]}"
        options = {"retry": Retry(backoff=0.0, max_errors=1), "timeouts": Timeouts(connect=0.05)}
        async with client(address, **options) as prodia:
            error = await failure(TransportError, prodia)
            assert prodia.stats().requests == 2
    assert not isinstance(error, ProdiaTimeoutError)
    assert_told(error, ["not_sent"] * 2, may_have_run=False, says="Timeouts.connect=0.05 s")


async def test_a_service_that_comes_up_is_found(refusing):
    clock = FakeClock()
    async with client(refusing.base_url, clock=clock, retry=Retry(max_errors=1)) as prodia:
        running = asyncio.ensure_future(prodia.run(JOB))
        await until(lambda: prodia.stats().requests and not prodia.stats().in_flight)
        refusing.close()
        async with serving(answer(DONE), port=refusing.port):
            clock.advance(0.5)
            result = await running
    assert [attempt.verdict for attempt in result.attempts] == ["not_sent", "done"]
    assert result.attempts[1].waited <= 0.5


@pytest.mark.parametrize(("status", "may_have_run"), [(500, True), (502, True), (503, False), (504, True)])
async def test_a_server_error_is_tried_again_until_the_count_is_used_up(status, may_have_run):
    reply = in_json(status, {"message": "internal trouble"})
    async with serving(answer(reply)) as server, client(server.base_url, retry=QUICK) as prodia:
        error = await failure(ServerError, prodia)
        assert len(server.requests) == prodia.stats().requests == 3
        assert server.connections == 1
    assert_told(
        error, ["server_error"] * 3, may_have_run=may_have_run, status=status, says="internal trouble"
    )
    assert {attempt.may_have_run for attempt in error.attempts} == {may_have_run}
    assert (error.status, error.result) == (status, None)


async def test_a_server_error_from_a_proxy_in_html_is_read():
    reply = Reply(502, b"<html><title>Bad gateway</title>x</html>", {"Content-Type": "text/html"})
    async with (
        serving(answer(reply)) as server,
        client(server.base_url, retry=Retry(max_errors=0)) as prodia,
    ):
        error = await failure(ServerError, prodia)
        assert len(server.requests) == 1
    assert_told(error, ["server_error"], may_have_run=True, status=502, says="Bad gateway")


async def test_the_defaults_survive_four_errors():
    """may_have_run tells of earlier attempts too: the 500 may have been billed although the job then ran."""
    script = [answer(in_json(500, {}))] * 4 + [answer(DONE)]
    clock = FakeClock()
    async with (
        serving(*script, now=clock.monotonic) as server,
        client(server.base_url, clock=clock, retry=Retry()) as prodia,
        clock.jumping(lambda: prodia.stats().in_flight == 0),
    ):
        result = await prodia.run(JOB)
        times = [request.at for request in server.requests]
    assert [attempt.verdict for attempt in result.attempts] == ["server_error"] * 4 + ["done"]
    assert [attempt.may_have_run for attempt in result.attempts] == [True] * 5
    waits = [late - early for early, late in itertools.pairwise(times)]
    assert all(0 <= wait <= most for wait, most in zip(waits, (0.5, 1.0, 2.0, 4.0), strict=True))
    assert any(waits)


async def test_the_back_off_is_capped_and_differs():
    clock = FakeClock()
    async with (
        serving(answer(in_json(500, {})), now=clock.monotonic) as server,
        client(server.base_url, clock=clock, retry=Retry(max_errors=40, max_backoff=3.0)) as prodia,
        clock.jumping(lambda: prodia.stats().in_flight == 0),
    ):
        await failure(ServerError, prodia)
        times = [request.at for request in server.requests]
    waits = [late - early for early, late in itertools.pairwise(times)]
    assert len(waits) == 40
    assert max(waits) <= 3.0
    assert len(set(waits)) == 40


async def test_a_503_is_not_sent_before_its_retry_after():
    clock = FakeClock()
    script = answer(in_json(503, {}, **{"Retry-After": "20"})), answer(DONE)
    async with (
        serving(*script, now=clock.monotonic) as server,
        client(server.base_url, clock=clock, retry=Retry(max_errors=1)) as prodia,
        clock.jumping(lambda: prodia.stats().in_flight == 0),
    ):
        result = await prodia.run(JOB)
        first, second = server.requests
    assert second.at - first.at >= 20
    assert [attempt.retry_after for attempt in result.attempts] == [20.0, None]


async def test_a_503_whose_retry_after_is_above_the_cap_ends_the_job():
    reply = in_json(503, {}, **{"Retry-After": "121"})
    async with serving(answer(reply)) as server, client(server.base_url) as prodia:
        await failure(ServerError, prodia)
        assert len(server.requests) == 1


async def test_errors_and_sheds_have_budgets_of_their_own():
    bad, full = answer(in_json(500, {})), answer(shed(0))
    script = [bad, full, bad, full, full, answer(DONE)]
    async with serving(*script) as server, client(server.base_url, retry=QUICK) as prodia:
        result = await prodia.run(JOB)
        assert len(server.requests) == 6
        assert prodia.stats().shed == 3
    kinds = ["server_error", "shed", "server_error", "shed", "shed", "done"]
    assert [attempt.verdict for attempt in result.attempts] == kinds
    assert result.outputs[0].data == PNG


async def test_a_connection_that_breaks_during_the_upload_was_not_sent(tmp_path):
    """The body was not whole, so the job cannot have run: it is sent again, whole."""
    path = tmp_path / "large.bin"
    path.write_bytes(bytes(16 * 1024 * 1024))
    script = hang_up("reset", after="head"), answer(DONE)
    async with serving(*script) as server, client(server.base_url) as prodia:
        result = await prodia.run("inference.test.v1", inputs=[path])
        assert [request.size > 16 * 1024 * 1024 for request in server.requests] == [False, True]
    assert [attempt.verdict for attempt in result.attempts] == ["not_sent", "done"]
    assert result.attempts[0].may_have_run is False
