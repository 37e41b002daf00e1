"""`Expect: 100-continue`: a server that does not want a job says so before its inputs are sent."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import time

import aiohttp
import anyio
import pytest
from pacing.bench import Bench
from run.scripted import ScriptedRun
from support.expect import until
from support.leaks import TOKEN, assert_idle, client
from support.replies import DONE, PNG, Reply, in_json, shed
from support.servers import answer, hang_up, serving, stall

from prodia_async import (
    AuthenticationError,
    Fixed,
    InputError,
    Job,
    ProdiaError,
    ProdiaTimeoutError,
    Retry,
    Timeouts,
    TransportError,
)
from prodia_async._http.exchange import Exchange
from prodia_async._http.transport import Body, Request
from prodia_async._http.watch import Watch
from prodia_async._pacing.clock import Deadlines, SystemClock
from prodia_async._wire.job import Plan
from prodia_async.emulator import Emulator

pytestmark = pytest.mark.usefixtures("nothing_left")

TYPE = "inference.test.v1"
CONTENT = bytes(range(256)) * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class OneShot:
    """An input that can be read once, and notes when it was asked for its first block."""

    def __init__(self):
        self.asked = []

    async def __aiter__(self):
        self.asked.append(time.monotonic())
        for begin in range(0, len(CONTENT), 50_000):
            yield CONTENT[begin : begin + 50_000]


def willing(reply=DONE):
    """Say 100 at once, and answer once the body is there."""

    async def step(connection, request):
        assert request.headers["expect"] == "100-continue"
        connection.writer.write(CONTINUE)
        await answer(reply)(connection, request)

    return step


def unwilling(reply):
    """Answer instead of saying 100, and see that no byte of the body comes."""

    async def step(connection, request):
        await connection.write_reply(reply)
        await connection.drain_to_end(request)
        connection.close()

    return step


def silent(reply=DONE):
    """Know nothing of 100: read the body when it comes."""
    return answer(reply)


async def test_a_server_that_says_100_gets_the_body_at_once():
    source = OneShot()
    async with serving(willing()) as server, client(server.base_url) as prodia:
        started = time.monotonic()
        result = await prodia.run(TYPE, inputs=[("a.bin", source)])
        assert source.asked[0] - started < 0.9  # before the wait for a silent server would be over
        [request] = server.requests
        assert request.inputs() == {"a.bin": SHA256}
        assert request.headers["transfer-encoding"] == "chunked"
        assert result.outputs[0].data == PNG
        assert server.connections == 1


async def test_a_server_that_never_says_100_gets_the_body_after_a_second():
    source = OneShot()
    async with serving(silent()) as server, client(server.base_url) as prodia:
        started = time.monotonic()
        running = asyncio.create_task(prodia.run(TYPE, inputs=[("a.bin", source)]))
        await until(lambda: server.requests)
        assert server.requests[0].headers["expect"] == "100-continue"
        await asyncio.sleep(0.1)
        assert (source.asked, server.requests[0].size) == ([], 0)
        result = await asyncio.wait_for(running, 20)
        assert source.asked[0] - started >= 0.95
        assert server.requests[0].inputs() == {"a.bin": SHA256}
        assert len(result.attempts) == len(server.requests) == 1


@pytest.mark.parametrize("reply", [shed(0.01), in_json(503, {})], ids=["429", "503"])
async def test_a_job_that_is_not_wanted_costs_nothing_of_a_one_shot_input(reply):
    source = OneShot()
    async with (
        serving(unwilling(reply), unwilling(reply), willing()) as server,
        client(server.base_url) as prodia,
    ):
        running = asyncio.create_task(prodia.run(TYPE, inputs=[("a.bin", source), ("b.txt", b"words")]))
        await until(lambda: len(server.requests) >= 2)  # the pause may be over before it is seen
        assert source.asked == [] or len(server.requests) == 3
        result = await asyncio.wait_for(running, 20)
        assert len(source.asked) == 1
        assert [request.size for request in server.requests[:2]] == [0, 0]
        assert server.requests[2].inputs()["a.bin"] == SHA256
        assert [attempt.may_have_run for attempt in result.attempts] == [False, False, True]
        assert result.outputs[0].data == PNG


async def test_a_job_that_is_refused_reads_nothing():
    source = OneShot()
    async with (
        serving(unwilling(in_json(401, {"message": "no token"}))) as server,
        client(server.base_url) as prodia,
    ):
        with pytest.raises(AuthenticationError) as caught:
            await prodia.run(TYPE, inputs=[("a.bin", source)])
        assert caught.value.may_have_run is False
        assert (source.asked, len(server.requests)) == ([], 1)
        await until(lambda: not prodia._engines.peek().transport._session.connector._acquired)
        assert server.requests[0].size == 0


async def test_417_sends_it_again_without_asking():
    source = OneShot()
    async with (
        serving(unwilling(Reply(417, b"no", {})), answer(DONE)) as server,
        client(server.base_url) as prodia,
    ):
        result = await prodia.run(TYPE, inputs=[("a.bin", source)])
        assert ["expect" in request.headers for request in server.requests] == [True, False]
        assert server.requests[1].inputs() == {"a.bin": SHA256}
        assert len(result.attempts) == prodia.stats().requests == 1
        assert len(source.asked) == 1


async def test_a_cancelled_scope_between_both_requests_waits_until_the_first_is_closed():
    gate, closed = asyncio.Event(), []

    class Unwilling:
        status = 417

        async def aclose(self):
            await gate.wait()
            closed.append(self)

    class Wire:
        async def send(self, request, watch):
            if closed:
                await asyncio.Event().wait()
            return Unwilling()

    bench = Bench()
    run = ScriptedRun(bench, None)
    options = run._call.options
    exchange = Exchange(Wire(), SystemClock(), options, run.engine.bearer)
    with Watch(Deadlines(exchange.clock), options.timeouts) as watch:
        watch.post(bench.join("a"), 1.0, expects=True)
        with anyio.CancelScope() as scope:
            asyncio.get_running_loop().call_soon(scope.cancel)
            asyncio.get_running_loop().call_later(0.05, gate.set)
            await exchange.asking(
                Request("", {}, Body(Plan("application/json", (), b"{}", 2)), expects=True), watch
            )
    assert scope.cancelled_caught
    assert len(closed) == 1


async def test_417_to_who_did_not_ask_is_an_error():
    async with serving(answer(Reply(417, b"no", {}))) as server, client(server.base_url) as prodia:
        with pytest.raises(ProdiaError) as caught:
            await prodia.run(TYPE, inputs=[("a.bin", b"x")])
        assert (caught.value.status, len(server.requests)) == (417, 1)


async def test_417_twice_is_an_error():
    reply = Reply(417, b"no", {})
    source = OneShot()
    async with serving(unwilling(reply), answer(reply)) as server, client(server.base_url) as prodia:
        with pytest.raises(ProdiaError) as caught:
            await prodia.run(TYPE, inputs=[("a.bin", source)])
        assert (caught.value.status, len(server.requests)) == (417, 2)


def sources(tmp_path):
    path = tmp_path / "file.bin"
    path.write_bytes(CONTENT)
    return {"none": None, "bytes": [("a.bin", CONTENT)], "file": [path], "one-shot": [("a.bin", OneShot())]}


@pytest.mark.parametrize(
    ("given", "asking"),
    [
        (None, {"one-shot"}),
        (False, set()),
        (True, {"bytes", "file", "one-shot"}),
        (len(CONTENT), {"bytes", "file", "one-shot"}),
        (len(CONTENT) * 2, {"one-shot"}),
    ],
)
async def test_what_expect_continue_says(given, asking, tmp_path):
    async def step(connection, request):
        if "expect" in request.headers:
            connection.writer.write(CONTINUE)
        await answer(DONE)(connection, request)

    async with serving(step) as server, client(server.base_url) as prodia:
        for name, inputs in sources(tmp_path).items():
            await prodia.run(TYPE, inputs=inputs, expect_continue=given)
            assert ("expect" in server.requests[-1].headers) == (name in asking), name
        for name, inputs in sources(tmp_path).items():
            async with prodia.stream(TYPE, inputs=inputs, expect_continue=given):
                assert ("expect" in server.requests[-1].headers) == (name in asking), name
        assert all(request.complete for request in server.requests)


async def test_a_spooled_input_can_be_sent_again_and_is_not_asked_for():
    source = OneShot()
    async with serving(answer(shed(0)), answer(DONE)) as server, client(server.base_url) as prodia:
        await prodia.run(TYPE, inputs=[("a.bin", source)], spool=True)
        assert ["expect" in request.headers for request in server.requests] == [False, False]
        assert [request.inputs() for request in server.requests] == [{"a.bin": SHA256}] * 2
        assert len(source.asked) == 1


async def test_a_one_shot_input_that_was_read_is_not_sent_again():
    """The server said 100, and shed the job after all: there is nothing to send any more."""
    source = OneShot()
    async with serving(willing(shed(0)), willing()) as server, client(server.base_url) as prodia:
        with pytest.raises(InputError, match="spool=True"):
            await prodia.run(TYPE, inputs=[("a.bin", source)])
        assert len(source.asked) == 1
        assert_idle(prodia)


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_connection_lost_while_it_is_asked_is_sent_again(how):
    source = OneShot()
    async with serving(hang_up(how, after="head"), willing()) as server, client(server.base_url) as prodia:
        result = await prodia.run(TYPE, inputs=[("a.bin", source)])
        assert [attempt.verdict for attempt in result.attempts] == ["not_sent", "done"]
        assert len(source.asked) == 1


async def test_a_reply_lost_after_the_body_is_not():
    async with (
        serving(willing(Reply(200, DONE.body[:100], DONE.headers, length=10_000))) as server,
        client(server.base_url, timeouts=Timeouts(connect=5, first_byte=5, idle=0.2)) as prodia,
    ):
        with pytest.raises(TransportError) as caught:
            await prodia.run(TYPE, inputs=[("a.bin", OneShot())])
        assert caught.value.may_have_run is True
        assert len(server.requests) == 1


@pytest.mark.parametrize("way", ["cancel", "timeout"])
async def test_a_wait_for_100_can_be_left(way):
    source = OneShot()
    async with serving(stall(after="head")) as server, client(server.base_url) as prodia:
        running = asyncio.create_task(
            prodia.run(TYPE, inputs=[("a.bin", source)], timeout=0.3 if way == "timeout" else None)
        )
        await until(lambda: server.requests)
        if way == "cancel":
            running.cancel()
        await asyncio.wait([running])
        if way == "cancel":
            assert running.cancelled()
        else:
            assert isinstance(running.exception(), ProdiaTimeoutError)
            assert running.exception().may_have_run is False
        assert_idle(prodia)
        assert source.asked == []


async def test_a_connect_time_of_less_than_a_second_is_no_trap():
    """The wait for 100 is none for the connection: a server that never says it gets the body all the same."""
    source = OneShot()
    short = Timeouts(connect=0.4, first_byte=10, idle=10)
    async with (
        serving(silent()) as server,
        client(server.base_url, timeouts=short, retry=Retry(max_errors=0)) as prodia,
    ):
        result = await prodia.run(TYPE, inputs=[("a.bin", source)])
        assert result.outputs[0].data == PNG
        assert server.requests[0].inputs() == {"a.bin": SHA256}


async def test_the_emulator_says_100_or_what_is_against_it():
    config = {"emulator": {"latency": 0.3}}
    async with (
        Emulator(capacity=1, latency=0.3, retry_after=0.1, token=TOKEN) as emulator,
        client(emulator.base_url, limiter=Fixed(2)) as prodia,
    ):
        first = asyncio.create_task(prodia.run(Job("inference.ping.v1", config)))
        await until(lambda: emulator.stats().busy == 1)
        before = emulator.stats().bytes_in
        source = OneShot()
        running = asyncio.create_task(prodia.run("emulator.echo.v1", inputs=[("a.bin", source)]))
        await until(lambda: prodia.stats().shed == 1)
        assert (source.asked, emulator.stats().bytes_in) == ([], before)
        result = await asyncio.wait_for(running, 20)
        await first
        assert result.outputs[0].data == CONTENT
        assert [attempt.verdict for attempt in result.attempts][-1] == "done"
        assert result.attempts[0].may_have_run is False
        assert len(source.asked) == 1
        account = emulator.stats()
        assert account.requests == prodia.stats().requests == 2 + account.shed
        assert account.shed == prodia.stats().shed


def test_aiohttp_still_hands_its_response_the_future_that_we_bound():
    """Nothing promises it: without it a server that never says 100 would be waited for without end."""
    parameters = inspect.signature(aiohttp.ClientResponse.__init__).parameters
    assert "continue100" in parameters, (
        f"aiohttp {aiohttp.__version__} no longer gives ClientResponse `continue100`: "
        "_http/session.py needs another way to bound the wait for a 100"
    )
    assert parameters["continue100"].kind is inspect.Parameter.KEYWORD_ONLY
