"""The aiohttp example alone: memory, and uploads that go straight into a job."""

from __future__ import annotations

import asyncio
import json
import time

import pytest
from examples.servers import MIB, form, head, read_head, running, until

from prodia_async.emulator import background_emulator, pattern_blocks

pytestmark = pytest.mark.newest


async def test_16_mib_to_a_client_that_reads_4_mib_a_second():
    started, size = time.monotonic(), 0
    with background_emulator(latency=0.0) as emulator:
        async with running("aiohttp", emulator) as server:
            async with server.request("POST", "/pictures", {"prompt": "warm", "size": MIB}) as answer:
                await answer.body()
            idle = server.reset_peak()
            ordered = {"prompt": "a cat", "size": 16 * MIB}
            async with server.request("POST", "/pictures", ordered, receive_buffer=65536) as answer:
                async for piece in answer.pieces():
                    size += len(piece)
                    await asyncio.sleep(max(0.0, started + size / (4 * MIB) - time.monotonic()))
            assert size == 16 * MIB
            assert server.peak() - idle <= 8 * MIB


async def test_an_upload_waits_outside_while_its_job_is_shed():
    content = b"".join(pattern_blocks(2, 64 * MIB))
    body, content_type = form(content)
    request = head("POST", "/edits", len(body), Content_Type=content_type) + body
    with background_emulator(latency=0.0, capacity=0, retry_after=0.1) as emulator:
        async with running("aiohttp", emulator, EDIT_TYPE="emulator.bytes.v1") as server:
            idle = server.reset_peak()
            async with server.connection() as (reader, writer):
                writer.write(request)
                await until(lambda: emulator.stats().shed >= 2)
                assert emulator.stats().bytes_in == 0  # the service was asked first, and said no
                assert writer.transport.get_write_buffer_size() > 48 * MIB
                emulator.capacity = 1
                answer = await asyncio.wait_for(read_head(reader, writer), 20)
                assert answer.status == 200
                await answer.body()
            assert server.peak() - idle <= 16 * MIB
        assert emulator.stats().bytes_in > 64 * MIB
        assert emulator.stats().completed == 1


async def test_an_upload_that_breaks_off_frees_the_turn():
    body, content_type = form(bytes(4 * MIB))
    request = head("POST", "/edits", len(body), Content_Type=content_type) + body
    with background_emulator(latency=0.0) as emulator:
        async with running("aiohttp", emulator) as server:
            idle = server.descriptors()
            async with server.connection() as (_, writer):
                writer.write(request[: 2 * MIB])
                await until(lambda: emulator.stats().bytes_in > MIB)
            await until(server.is_idle)
            await until(lambda: server.descriptors() <= idle)
            assert emulator.stats().completed == 0


async def test_sigterm_sends_away_what_waits_and_lets_the_rest_finish():
    with background_emulator(latency=1.0) as emulator:
        async with running("aiohttp", emulator, MAX_CONCURRENCY="1") as server:
            body = json.dumps({"prompt": "a cat"}).encode()
            request = head("POST", "/pictures", len(body)) + body
            async with server.connection() as runs, server.connection() as waits:
                for number, (_, writer) in enumerate((runs, waits), 1):
                    writer.write(request)
                    await until(lambda number=number: has_begun(server, number))
                server.terminate()
                refused = await asyncio.wait_for(read_head(*waits), 5)
                assert (refused.status, refused.headers["retry-after"]) == (503, "5")
                assert emulator.stats().completed == 0
                assert (await asyncio.wait_for(read_head(*runs), 5)).status == 200
            assert await asyncio.wait_for(server.process.wait(), 10) == 0


async def has_begun(server, jobs: int) -> bool:
    return (await server.stats())["jobs"] == jobs


async def test_a_form_without_a_file_is_refused():
    body = b'--edge\r\nContent-Disposition: form-data; name="prompt"\r\n\r\na cat\r\n--edge--\r\n'
    with background_emulator() as emulator:
        async with running("aiohttp", emulator) as server:
            content_type = "multipart/form-data; boundary=edge"
            async with server.request("POST", "/edits", body, Content_Type=content_type) as answer:
                assert (answer.status, await answer.json()) == (422, {"detail": "the form has no file"})
    assert emulator.stats().requests == 0
