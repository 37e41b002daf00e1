"""Streams under load: a slow reader slows the server down, memory stays flat, and nothing is left behind."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import pathlib
import subprocess
import sys

import pytest
from support.expect import JOB, until
from support.leaks import TOKEN, Census, assert_idle, client
from support.replies import DONE, PNG, Reply, job_part, multipart, output
from support.servers import answer, serving

from prodia_async import Job
from prodia_async.emulator import background_emulator, pattern_blocks

pytestmark = pytest.mark.usefixtures("nothing_left")

MIB = 1024 * 1024
BYTES = "emulator.bytes.v1"
CLEAR_REFS = pathlib.Path("/proc/self/clear_refs")


def large(mib, written):
    """Answer with one output of so many MiB, made as it is sent; `written` has the bytes that were taken."""
    around = multipart(job_part(), output(b"@", "large.bin"))
    before, after = around.body.split(b"@", 1)
    size = mib * MIB

    async def step(connection, request):
        await connection.read_body(request)
        length = len(before) + size + len(after)
        for piece in Reply(200, before, around.headers, length=length).wire():
            connection.writer.write(piece)
        for _ in range(size // 65536):
            connection.writer.write(bytes(65536))
            await connection.writer.drain()
            written[0] += 65536
        connection.writer.write(after)

    return step


async def settled(written):
    """Wait until the server can write no more for a while."""
    before = -1
    while before != written[0]:
        before = written[0]
        await asyncio.sleep(0.25)


async def test_a_reader_that_stops_stops_the_server():
    written = [0]
    async with serving(large(64, written)) as server, client(server.base_url) as prodia:
        async with prodia.stream(JOB) as reply:
            await settled(written)
            assert 0 < written[0] <= 8 * MIB
            got = 0
            while got < 16 * MIB:
                got += len(await anext(reply.output))
            await settled(written)
            assert got <= written[0] <= got + 8 * MIB
            async for chunk in reply.output:
                got += len(chunk)
            assert got == 64 * MIB
        assert prodia.stats().completed == 1


READER = """
import asyncio, hashlib, json, pathlib, sys
from prodia_async import Prodia

def peak():
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))

async def read(prodia, size, slow):
    digest, seen = hashlib.sha256(), 0
    async with prodia.stream("emulator.bytes.v1", {"size": size, "seed": 3}) as reply:
        async for output in reply:
            async for chunk in output:
                digest.update(chunk)
                seen += len(chunk)
                if slow and seen % (4 << 20) < len(chunk):
                    await asyncio.sleep(0.05)
    return digest.hexdigest()

async def main():
    async with Prodia() as prodia:
        await read(prodia, 1 << 20, False)
        pathlib.Path("/proc/self/clear_refs").write_text("5")
        before = peak()
        digests = [await read(prodia, 64 << 20, slow) for slow in (False, True)]
        print(json.dumps([digests, peak() - before]))

asyncio.run(main())
"""


@pytest.mark.newest
@pytest.mark.skipif(not CLEAR_REFS.exists(), reason="peak RSS is read from Linux's /proc")
def test_memory_stays_flat_for_64_mib():
    with background_emulator(latency=0.0) as emulator:
        environment = {**os.environ, "PRODIA_BASE_URL": emulator.base_url, "PRODIA_TOKEN": emulator.token}
        ended = subprocess.run(
            [sys.executable, "-c", READER],
            env=environment,
            stdout=subprocess.PIPE,
            timeout=120,
            check=True,
        )
    digests, more = json.loads(ended.stdout)
    whole = hashlib.sha256(b"".join(pattern_blocks(3, 64 * MIB))).hexdigest()
    assert digests == [whole, whole]
    assert more <= 16 * MIB


@pytest.mark.newest
@pytest.mark.parametrize("count", [300, pytest.param(1000, marks=pytest.mark.nightly)])
async def test_hundreds_of_streams_with_256_at_once(count, tmp_path):
    expected = {seed: hashlib.sha256(b"".join(pattern_blocks(seed, MIB))).hexdigest() for seed in range(20)}
    at_once = asyncio.Semaphore(256)

    async def one(prodia, number):
        async with at_once:
            digest = hashlib.sha256()
            config = {"size": MIB, "seed": number % 20, "emulator": {"key": str(number)}}
            async with prodia.stream(BYTES, config) as reply:
                async for each in reply:
                    async for chunk in each:
                        digest.update(chunk)
            assert reply.result.outputs[0].size == MIB
            return digest.hexdigest() == expected[number % 20]

    with background_emulator(capacity=256, latency=0.0, token=TOKEN) as emulator:
        async with client(emulator.base_url) as prodia:
            await prodia.run(Job("inference.ping.v1"))
            census = Census(tmp_path)
            all_whole = await asyncio.gather(*(one(prodia, number) for number in range(count)))
            assert all_whole == [True] * count
            assert_idle(prodia)
            stats, account = prodia.stats(), emulator.stats()
            assert stats.jobs == stats.completed == account.completed == count + 1
            assert stats.requests == account.requests == count + 1 + account.shed
            assert (account.repeated, account.disconnected) == (0, 0)
            # Connections that are kept for the next job are no leftovers, once they are closed.
            await prodia._engines.peek().transport._session.connector.close()
            await census.assert_nothing_left()


@pytest.mark.newest
async def test_300_slow_readers_do_not_keep_a_quick_one_from_being_served():
    """They hold their connections, and capacity for a second only: there is none left before that."""
    written = [0]

    async def step(connection, request):
        await connection.read_body(request)
        slow = b'"slow"' in request.body
        await (large(1, written) if slow else answer(DONE))(connection, request)

    async with serving(step) as server, client(server.base_url) as prodia:
        slow = [prodia.stream("inference.test.v1", {"slow": n}) for n in range(300)]
        opening = asyncio.gather(*(stream.open() for stream in slow))
        quick = await asyncio.wait_for(prodia.run(JOB), 20)
        assert quick.outputs[0].data == PNG
        await asyncio.wait_for(opening, 20)
        assert server.connections >= 300
        quick = await asyncio.wait_for(prodia.run(JOB), 10)
        assert quick.outputs[0].data == PNG
        engine = prodia._engines.peek()
        await until(lambda: engine.limiter.lingering >= 256)
        for stream in slow[:100]:
            assert sum([len(chunk) async for chunk in stream.output]) == MIB
        for stream in slow:
            await stream.aclose()
        assert_idle(prodia)
        assert prodia.stats().cancelled == 200
        assert prodia.stats().completed == 102
