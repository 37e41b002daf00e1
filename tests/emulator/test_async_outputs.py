"""The outputs of asynchronous jobs: their names, whatever these are, and their bytes."""

from __future__ import annotations

import asyncio
import tracemalloc
import uuid
from urllib.parse import quote

import aiohttp
import pytest
from emulator.helpers import until

from prodia_async.emulator import pattern_blocks

BYTES = "emulator.bytes.v1"
HOSTILE = [
    "plain.bin",
    "../../etc/passwd",
    "/etc/passwd",
    "..",
    ".",
    "a/b/../c",
    "a//b",
    "a b+c&d=e?f#g;h",
    "100%",
    "%2F",
    "%252F",
    "%41",
    "..%2f",
    "é 日本 \N{GRINNING FACE}.png",
    'a"b\\c',
    "line\r\nbreak",
    "nul\0",
    "job.json",
    "output",
    "x" * 1000,
]


async def submit(client, **config):
    return await client.ended(await client.submit(BYTES, config))


async def test_an_output_of_any_name_is_found_by_it(client):
    job_id = await submit(client, outputs=len(HOSTILE), filename=HOSTILE, seed=5)
    assert (await client.ask(job_id, "output")).json() == HOSTILE
    for index, name in enumerate(HOSTILE):
        reply = await client.ask(job_id, f"output/{quote(name, safe='')}")
        assert (reply.status, reply.body) == (200, b"".join(pattern_blocks(5 + index, 1024))), name
    assert client.emulator.stats().downloads == len(HOSTILE)


@pytest.mark.parametrize(
    ("path", "index"),
    [
        ("%2E%2E%2F%2e%2e%2fetc%2Fpasswd", 1),
        ("../../etc/passwd", 1),
        ("%2Fetc%2fpasswd", 2),
        ("..", 3),
        ("%2e%2E", 3),
        (".", 4),
        ("%2E", 4),
        ("a/b/../c", 5),
        ("a//b", 6),
    ],
)
async def test_slashes_and_dots_may_be_written_either_way(client, path, index):
    job_id = await submit(client, outputs=len(HOSTILE), filename=HOSTILE, seed=5)
    port = int(client.emulator.base_url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"GET /v2/job/async/{job_id}/output/{path} HTTP/1.1\r\nHost: x\r\n"
    writer.write(f"{head}Authorization: Bearer emulator-token\r\nConnection: close\r\n\r\n".encode())
    status, _, answer = (await reader.read()).partition(b"\r\n")
    assert status == b"HTTP/1.1 200 OK"
    assert answer.endswith(b"\r\n\r\n" + b"".join(pattern_blocks(5 + index, 1024)))
    writer.close()
    await writer.wait_closed()


async def test_repeated_and_missing_names_become_unique(client):
    given = ["a", None, "a", "", "\ud800", "?"]
    job_id = await submit(client, outputs=6, filename=given, seed=5)
    names = (await client.ask(job_id, "output")).json()
    assert (names[0], names[4]) == ("a", "?")
    assert all(uuid.UUID(names[index]) for index in (1, 2, 3, 5))
    for index, name in enumerate(names):
        reply = await client.ask(job_id, f"output/{quote(name)}")
        assert reply.body == b"".join(pattern_blocks(5 + index, 1024))


@pytest.mark.parametrize("length", [True, False])
async def test_an_output_has_its_type_and_perhaps_its_length(client, length):
    job_id = await submit(client, size=600_000, seed=1, content_type="audio/x", length=length)
    reply = await client.ask(job_id, "output/bytes.bin")
    assert reply.headers["Content-Type"] == "audio/x"
    assert reply.headers.get("Content-Length") == ("600000" if length else None)
    assert reply.headers.get("Transfer-Encoding") == (None if length else "chunked")
    assert reply.body == b"".join(pattern_blocks(1, 600_000))


async def test_a_large_output_costs_no_memory(client):
    tracemalloc.start()
    try:
        job_id = await submit(client, size=1024**3)
        url = f"{client.url}/async/{job_id}/output/bytes.bin"
        async with client.session.get(url, headers=client.headers()) as response:
            assert response.content_length == 1024**3
            await response.content.readexactly(4 * 1024 * 1024)
            response.close()
        await until(lambda: client.emulator.stats().disconnected == 1)
        assert tracemalloc.get_traced_memory()[1] < 32 * 1024 * 1024
    finally:
        tracemalloc.stop()
    stats = client.emulator.stats()
    assert (stats.downloads, stats.completed) == (0, 1)
    assert stats.bytes_out < 64 * 1024 * 1024


@pytest.mark.parametrize("length", [True, False])
async def test_the_first_downloads_can_be_cut_in_the_middle(client, length):
    orders = {"drop": "during", "times": 2}
    job_id = await submit(client, size=100_000, seed=1, length=length, emulator=orders)
    for _ in range(2):
        with pytest.raises(aiohttp.ClientPayloadError):
            await client.ask(job_id, "output/bytes.bin")
    whole = await client.ask(job_id, "output/bytes.bin")
    assert whole.body == b"".join(pattern_blocks(1, 100_000))
    stats = client.emulator.stats()
    assert (stats.downloads, stats.disconnected, stats.billed) == (1, 0, 1)
