"""The FastAPI example alone: memory, uploads, and closing a reply whose response never began."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time

import pytest
from examples.servers import MIB, form, running
from starlette.requests import ClientDisconnect

from prodia_async import Prodia
from prodia_async.emulator import Emulator, background_emulator, pattern_blocks
from prodia_async.web import JobResponse

pytestmark = pytest.mark.newest


@pytest.mark.parametrize("rate", [16, pytest.param(4, marks=pytest.mark.nightly)])
async def test_64_mib_to_a_client_that_reads_so_many_a_second(rate):
    digest, started, size = hashlib.sha256(), time.monotonic(), 0
    with background_emulator(latency=0.0) as emulator:
        async with running("fastapi", emulator) as server:
            async with server.request("POST", "/pictures", {"prompt": "warm", "size": MIB}) as answer:
                await answer.body()
            idle = server.reset_peak()
            ordered = {"prompt": "a cat", "size": 64 * MIB, "seed": 1}
            async with server.request("POST", "/pictures", ordered, receive_buffer=65536) as answer:
                async for piece in answer.pieces():
                    digest.update(piece)
                    size += len(piece)
                    await asyncio.sleep(max(0.0, started + size / (rate * MIB) - time.monotonic()))
                    # The socket to the service is slowed down as well: its buffers hold some MiB at most.
                    assert emulator.stats().bytes_out < size + 24 * MIB
            assert server.peak() - idle <= 32 * MIB
            assert await server.is_idle()
    assert digest.digest() == pattern_digest(1, 64 * MIB)


async def test_an_upload_is_not_copied_into_memory():
    content = b"".join(pattern_blocks(2, 64 * MIB))
    body, content_type = form(content)
    with background_emulator(latency=0.0) as emulator:
        async with running("fastapi", emulator, EDIT_TYPE="emulator.bytes.v1") as server:
            warm = form(bytes(2 * MIB))[0]
            async with server.request("POST", "/edits", warm, Content_Type=content_type) as answer:
                await answer.body()
            idle = server.reset_peak()
            async with server.request("POST", "/edits", body, Content_Type=content_type) as answer:
                assert answer.status == 200
                await answer.body()
            assert server.peak() - idle <= 16 * MIB
        assert emulator.stats().bytes_in > 66 * MIB


async def left() -> dict[str, str]:
    return {"type": "http.disconnect"}


async def forever(*_) -> None:
    await asyncio.Event().wait()


async def lost(_message) -> None:
    raise OSError("the client has left")


async def stuck_in_the_body(message) -> None:
    if message["type"] == "http.response.body":
        await forever()


@pytest.mark.parametrize(
    ("version", "receive", "send"),
    [
        ("2.3", left, forever),  # cancelled before the head is sent: the generator never begins
        ("2.4", forever, lost),  # the same, as newer servers tell it
        ("2.3", left, stuck_in_the_body),
        ("2.3", forever, stuck_in_the_body),  # a client that never reads
    ],
)
async def test_a_response_that_does_not_end_lets_the_job_go(version, receive, send):
    async with (
        Emulator(latency=0.0) as emulator,
        Prodia(base_url=emulator.base_url, token=emulator.token) as prodia,
    ):
        reply = await prodia.stream("emulator.bytes.v1", {"size": 8 * MIB}).open()
        assert "closed" not in repr(reply)
        response = JobResponse(reply, "image/png", seconds=0.3)
        with contextlib.suppress(ClientDisconnect):
            await response({"type": "http", "asgi": {"spec_version": version}}, receive, send)
        assert "closed" in repr(reply)
        assert prodia.stats().in_flight == 0


def pattern_digest(seed: int, size: int) -> bytes:
    digest = hashlib.sha256()
    for block in pattern_blocks(seed, size):
        digest.update(block)
    return digest.digest()
