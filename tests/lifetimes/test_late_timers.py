"""A process that stood still (a lid was closed, SIGSTOP) looks at what has come before it cuts anything."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pathlib
import signal
import ssl
import sys

import pytest
import trustme

from prodia_async.emulator import Emulator

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="Windows cannot stop a process")

SCENARIO = pathlib.Path(__file__).parent / "scenarios" / "stopped.py"
STOPPED = 5.0
"""Seconds for which the process stands still: longer than each time limit of the scenario."""

SIZE = 3_000_000
JOB_PART = b'{"id": "a", "type": "inference.ping.v1", "config": {}, "state": {"current": "completed"}}'
HEAD = (
    b'--b\r\nContent-Disposition: form-data; name="job"; filename="job.json"\r\n'
    b"Content-Type: application/json\r\n\r\n%s\r\n--b\r\n"
    b'Content-Disposition: form-data; name="output"; filename="a.bin"\r\n'
    b"Content-Type: application/octet-stream\r\n\r\n" % JOB_PART
)
BODY = HEAD + bytes(SIZE) + b"\r\n--b--\r\n"
REPLY = (
    b"HTTP/1.1 200 OK\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
)


class Stopped:
    """The process, and the stop in the midst of what it does."""

    def __init__(self) -> None:
        self.process: asyncio.subprocess.Process | None = None
        self.begun = asyncio.Event()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGSTOP)
        self.begun.set()

    async def run(self, phase: str, url: str, **environment: str) -> str:
        environment = {**os.environ, "SCENARIO_URL": url, "PRODIA_TOKEN": "t0ken-of-a-test", **environment}
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(SCENARIO), phase), env=environment, stdout=asyncio.subprocess.PIPE
        )
        try:
            assert await self.process.stdout.readline() == b"ready\n"
            if phase == "poll":
                await asyncio.sleep(1.0)
                self.stop()
            await asyncio.wait_for(self.begun.wait(), 30)
            await asyncio.sleep(STOPPED)
            self.process.send_signal(signal.SIGCONT)
            said, _ = await asyncio.wait_for(self.process.communicate(), 60)
            return said.decode().strip()
        finally:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
            await self.process.wait()


@contextlib.asynccontextmanager
async def serving(talk, **options):
    """Serve with `talk`, and keep each connection until its client has closed it."""

    async def whole(reader, writer):
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await talk(reader, writer)
            await reader.read()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(whole, "127.0.0.1", 0, **options)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def request(reader):
    head = await reader.readuntil(b"\r\n\r\n")
    return next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))


@pytest.mark.parametrize("phase", ["answer", "download", "limit", "write", "nothing"])
async def test_what_came_while_the_process_stood_still_counts(phase):
    stopped = Stopped()

    async def talk(reader, writer):
        length = await request(reader)
        if phase == "write":
            await asyncio.sleep(0.5)  # both sides' buffers are full by then
            stopped.stop()
            await reader.readexactly(length)
            writer.write(REPLY)
        else:
            await reader.readexactly(length)
            early = 0 if phase in ("answer", "nothing") else len(REPLY) // 2
            writer.write(REPLY[:early])
            await writer.drain()
            await asyncio.sleep(0.5)  # and are read by then
            stopped.stop()
            if phase != "nothing":
                writer.write(REPLY[early:])
        await writer.drain()

    async with serving(talk) as port:
        said = await stopped.run(phase, f"http://127.0.0.1:{port}")
    if phase == "nothing":
        assert said.startswith("ProdiaTimeoutError")
    else:
        assert said == f"done {SIZE}"


async def test_a_handshake_goes_on(tmp_path):
    """The connection of TLS takes turns, of which the last ones come after the stop."""
    stopped, authority = Stopped(), trustme.CA()
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(theirs)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))

    async def talk(reader, writer):
        await reader.readexactly(await request(reader))
        writer.write(REPLY)
        await writer.drain()

    async def relay(reader, writer):
        hello = await reader.read(65536)
        stopped.stop()
        there, upstream = await asyncio.open_connection("127.0.0.1", secure)
        upstream.write(hello)
        await asyncio.gather(copied(reader, upstream), copied(there, writer))

    async with serving(talk, ssl=theirs) as secure, serving(relay) as port:
        said = await stopped.run("connect", f"https://127.0.0.1:{port}", SCENARIO_CA=str(tmp_path / "ca.pem"))
    assert said == f"done {SIZE}"


async def copied(reader, writer):
    with contextlib.suppress(ConnectionError):
        while block := await reader.read(65536):
            writer.write(block)
            await writer.drain()
    writer.close()


async def test_a_job_that_ended_meanwhile_is_collected():
    stopped = Stopped()
    async with Emulator(latency=0, token="t0ken-of-a-test") as emulator:
        said = await stopped.run("poll", emulator.base_url)
    assert said.startswith("done")
