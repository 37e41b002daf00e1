"""Replies that are compressed, and those that do not end where they should."""

from __future__ import annotations

import asyncio
import gzip
from dataclasses import replace

import pytest
from support.expect import JOB, assert_told, failure, until
from support.fake_clock import FakeClock
from support.leaks import client
from support.replies import BOUNDARY, DONE, JOB_ID, PNG, Reply, in_json, job, multipart, output
from support.servers import Connection, answer, serving

from prodia_async import BadRequestError, Limits, ProtocolError, Timeouts

pytestmark = pytest.mark.usefixtures("nothing_left")


def compressed(reply: Reply, body: bytes | None = None, **how) -> Reply:
    body = gzip.compress(reply.body) if body is None else body
    return replace(reply, body=body, headers={**reply.headers, "Content-Encoding": "gzip"}, **how)


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
async def test_a_compressed_reply_is_read_as_any_other(framing):
    reply = compressed(DONE)
    cuts = range(1, len(reply.body), 7)
    async with (
        serving(answer(replace(reply, framing=framing, cuts=tuple(cuts)))) as server,
        client(server.base_url) as prodia,
    ):
        result = await prodia.run(JOB)
    assert (result.id, result.outputs[0].data) == (JOB_ID, PNG)


async def test_an_error_may_be_compressed_too():
    reply = compressed(in_json(400, job("failed", error="no paint left")))
    async with serving(answer(reply)) as server, client(server.base_url) as prodia:
        error = await failure(BadRequestError, prodia)
    assert "no paint left" in error.message


async def test_a_bomb_ends_the_job_before_it_fills_anything(tmp_path):
    bomb = multipart(output(bytes(256 << 20)))
    async with (
        serving(answer(compressed(bomb))) as server,
        client(server.base_url) as prodia,
    ):
        error = await failure(ProtocolError, prodia, to=tmp_path)
    assert_told(error, ["malformed"], may_have_run=True, status=200, says="Limits.max_expansion=100")
    assert list(tmp_path.iterdir()) == []


async def test_the_bound_on_expansion_is_the_user_s():
    reply = compressed(multipart(output(bytes(8 << 20))))
    limits = Limits(max_expansion=2000)
    async with serving(answer(reply)) as server, client(server.base_url, limits=limits) as prodia:
        result = await prodia.run(JOB)
    assert result.outputs[0].size == 8 << 20


async def test_a_compressed_reply_that_breaks_off_is_malformed():
    reply = compressed(DONE, gzip.compress(DONE.body)[:-20])
    async with serving(answer(reply)) as server, client(server.base_url) as prodia:
        error = await failure(ProtocolError, prodia)
    assert_told(error, ["malformed"], may_have_run=True, status=200, says="breaks off")


class Endless:
    """A reply that is whole, and goes on and on."""

    def __init__(self) -> None:
        self.sent = 0
        self.left = False

    async def __call__(self, connection: Connection, request) -> None:
        await connection.read_body(request)
        head = f"HTTP/1.1 200 OK\r\nContent-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n"
        connection.writer.write(head.encode() + DONE.body)
        try:
            while True:
                connection.writer.write(b"more" * 1000)
                self.sent += 4000
                await connection.writer.drain()
        except ConnectionError:
            self.left = True


async def test_an_epilogue_without_end_is_not_read_on():
    endless = Endless()
    async with serving(endless) as server, client(server.base_url) as prodia:
        result = await prodia.run(JOB)
        assert result.outputs[0].data == PNG
        await until(lambda: endless.left)
    assert endless.sent < 32 << 20


@pytest.mark.parametrize("rest", [1000, None], ids=["too long a Content-Length", "chunked"])
async def test_a_reply_that_is_whole_but_does_not_end_is_done(rest):
    reply = (
        replace(DONE, length=len(DONE.body) + rest) if rest else replace(DONE, framing="chunked", whole=False)
    )
    clock = FakeClock()
    async with (
        serving(answer(reply)) as server,
        client(server.base_url, clock=clock, timeouts=Timeouts()) as prodia,
    ):
        run = asyncio.create_task(prodia.run(JOB))
        while not run.done() and clock.monotonic() < 60.0:
            await asyncio.sleep(0.02)
            clock.advance(0.5)
        result = await asyncio.wait_for(run, 5)
    assert (result.id, result.outputs[0].data) == (JOB_ID, PNG)
    assert 10.0 <= clock.monotonic() < 30.0


async def test_a_connection_that_breaks_after_the_final_boundary_takes_nothing_away():
    reply = replace(DONE, length=len(DONE.body) + 1000)
    async with (
        serving(answer(reply, then="close")) as server,
        client(server.base_url) as prodia,
    ):
        result = await prodia.run(JOB)
    assert (result.id, result.outputs[0].data) == (JOB_ID, PNG)
