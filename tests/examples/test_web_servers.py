"""What both web examples promise, over real sockets: each runs in a process of its own."""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket

import pytest
from examples.servers import MIB, form, head, running, until

from prodia_async.emulator import background_emulator, pattern_blocks

pytestmark = pytest.mark.newest


@pytest.fixture(params=["fastapi", "aiohttp"])
def kind(request):
    return request.param


@pytest.fixture
def emulator():
    with background_emulator(latency=0.0, retry_after=0.1) as server:
        yield server


def order(**config):
    return {"prompt": "a cat", **config}


def assert_no_traceback(server) -> None:
    assert b"Traceback" not in server.log, server.log.decode()
    assert b"Warning" not in server.log, server.log.decode()


async def test_a_picture_goes_through_whole(kind, emulator):
    async with running(kind, emulator) as server:
        ordered = order(size=3 * MIB, seed=5, content_type="image/webp")
        async with server.request("POST", "/pictures", ordered) as answer:
            assert (answer.status, answer.headers["content-type"]) == (200, "image/webp")
            assert await answer.body() == b"".join(pattern_blocks(5, 3 * MIB))
        stats = await server.stats()
        assert (stats["completed"], stats["in_flight"], stats["requests"]) == (1, 0, 1)
    assert_no_traceback(server)


async def test_only_the_first_of_several_outputs_is_sent(kind, emulator):
    async with running(kind, emulator) as server:
        async with server.request("POST", "/pictures", order(size=MIB, seed=5, outputs=3)) as answer:
            assert await answer.body() == b"".join(pattern_blocks(5, MIB))
        assert (await server.stats())["completed"] == 1


async def test_an_upload_arrives_whole(kind, emulator):
    content = b"".join(pattern_blocks(9, 5 * MIB + 1))
    body, content_type = form(content, filename="katze ü.png")
    async with (
        running(kind, emulator) as server,
        server.request("POST", "/edits", body, Content_Type=content_type) as answer,
    ):
        assert (answer.status, answer.headers["content-type"]) == (200, "image/png")
        assert await answer.body() == content
    assert_no_traceback(server)


ERRORS = [
    # what is ordered, its deadline, and the status, Retry-After and sentence of the answer
    ({"emulator": {"fail": "too many cats"}}, "60", 400, None, "too many cats"),
    ({"emulator": {"fail": "too many cats", "fail_200": True}}, "60", 502, None, "too many cats"),
    ({"emulator": {"status": 401}}, "60", 502, None, "the service that runs the jobs"),
    ({"emulator": {"latency": 5}}, "0.3", 504, None, "not done in time"),
    ({"outputs": 0}, "60", 502, None, "no output"),
    # The last: after it the type has no capacity for as long as the service said.
    ({"emulator": {"status": 429, "retry_after": 300}}, "60", 503, "300", "too much to do"),
]


async def test_an_error_is_answered_properly(kind, emulator):
    async with running(kind, emulator) as server:
        for config, deadline, status, retry_after, sentence in ERRORS:
            ordered = order(**config)
            async with server.request("POST", "/pictures", ordered, Request_Timeout=deadline) as answer:
                told = await answer.body()
            assert (answer.status, answer.headers.get("retry-after")) == (status, retry_after)
            assert sentence in json.loads(told)["detail"]
            assert emulator.base_url.encode() not in told
            assert await server.is_idle()
    assert_no_traceback(server)


async def test_a_senseless_order_is_refused(kind, emulator):
    async with running(kind, emulator) as server:
        for deadline in ("soon", "0", "-1", "nan", "inf", "301"):
            async with server.request("POST", "/pictures", order(), Request_Timeout=deadline) as answer:
                assert answer.status == 422
                assert b"timeout" in (await answer.body()).lower()
        for body in (b"{", b"[]"):
            async with server.request("POST", "/pictures", body) as answer:
                assert answer.status == 422
        body, content_type = form(b"x", filename="a\tb.png")
        async with server.request("POST", "/edits", body, Content_Type=content_type) as answer:
            assert (answer.status, "name" in (await answer.json())["detail"]) == (422, True)
    assert emulator.stats().requests == 0


async def test_a_full_line_is_answered_at_once(kind, emulator):
    async with running(kind, emulator, MAX_CONCURRENCY="1", MAX_WAITING="1") as server:
        slow = order(emulator={"latency": 3})
        async with server.connection() as first, server.connection() as second:
            await ask(first, slow)
            await until(lambda: in_line(server, 1, 0))
            await ask(second, slow)
            await until(lambda: in_line(server, 1, 1))
            async with server.request("POST", "/pictures", order()) as answer:
                assert answer.status == 503
                assert 1 <= int(answer.headers["retry-after"]) <= 60
        await until(server.is_idle)


async def test_who_leaves_in_line_or_while_the_job_runs_frees_the_turn(kind, emulator):
    async with running(kind, emulator, MAX_CONCURRENCY="1") as server:
        idle = server.descriptors()
        slow = order(emulator={"latency": 1.5})
        async with server.connection() as runs:
            await ask(runs, slow)
            await until(lambda: in_line(server, 1, 0))
            async with server.connection() as waits:
                await ask(waits, slow)
                await until(lambda: in_line(server, 1, 1))
            await until(lambda: in_line(server, 1, 0))
        await until(server.is_idle)
        assert emulator.stats().completed == 0  # long before the job would have been done
        await until(lambda: server.descriptors() <= idle)
        stats = await server.stats()
        assert (stats["jobs"], stats["cancelled"], stats["requests"]) == (2, 2, 1)
        await until(lambda: emulator.stats().billed == 1)  # the service finishes what it has begun
    assert_no_traceback(server)


async def test_who_leaves_in_the_middle_frees_turn_and_connections(kind, emulator):
    async with running(kind, emulator) as server:
        idle = server.descriptors()
        async with server.request("POST", "/pictures", order(size=64 * MIB), receive_buffer=65536) as answer:
            async for _ in answer.pieces():
                break
            assert emulator.stats().disconnected == 0
        await until(lambda: emulator.stats().disconnected == 1)
        await until(server.is_idle)
        await until(lambda: server.descriptors() <= idle)
    assert emulator.stats().bytes_out < 48 * MIB
    assert_no_traceback(server)


async def test_a_reply_that_breaks_off_cuts_the_response(kind, emulator):
    async with running(kind, emulator) as server:
        ordered = order(size=4 * MIB, emulator={"drop": "during"})
        async with server.request("POST", "/pictures", ordered) as answer:
            assert answer.status == 200
            with pytest.raises(asyncio.IncompleteReadError):
                await answer.body()
        assert await server.is_idle()


async def test_sigterm_lets_a_stream_finish(kind, emulator):
    async with running(kind, emulator) as server:
        ordered, digest = order(size=32 * MIB, seed=3), hashlib.sha256()
        async with server.request("POST", "/pictures", ordered, receive_buffer=65536) as answer:
            told = False
            async for piece in answer.pieces():
                digest.update(piece)
                if not told:
                    told = True
                    server.terminate()
                    await until(lambda: refuses(server))
        await asyncio.wait_for(server.process.wait(), 10)
    assert digest.digest() == hashlib.sha256(b"".join(pattern_blocks(3, 32 * MIB))).digest()
    assert server.process.returncode in (0, -15)
    assert_no_traceback(server)


async def ask(connection, ordered) -> None:
    body = json.dumps(ordered).encode()
    connection[1].write(head("POST", "/pictures", len(body)) + body)


async def in_line(server, in_flight: int, waiting: int) -> bool:
    stats = await server.stats()
    return (stats["in_flight"], stats["waiting"]) == (in_flight, waiting)


async def refuses(server) -> bool:
    """Tell whether nothing listens at the port: asyncio trips over a connection made while it closes it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", server.port))
        except OSError:
            return False
    return True
