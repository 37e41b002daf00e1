"""The examples' web servers in processes of their own, and a client that reads as slowly as it is told."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pathlib
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from prodia_async.emulator import Emulator

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"
MIB = 1024 * 1024
_PATIENCE = 20.0
_COMMANDS = {
    "fastapi": ["-m", "uvicorn", "fastapi_app:app", "--app-dir", str(EXAMPLES), "--port", "0"],
    "aiohttp": [str(EXAMPLES / "aiohttp_app.py"), "0"],
}


async def until(what: Callable[[], Any], within: float = 5.0) -> None:
    """Wait until `what()`, or what it can be awaited for, is true."""

    async def look() -> None:
        while True:
            found = what()
            if await found if asyncio.iscoroutine(found) else found:
                return
            await asyncio.sleep(0.02)

    await asyncio.wait_for(look(), within)


@dataclass
class Answer:
    """An answer whose body is still to be read. `pieces` raises IncompleteReadError where it is cut short."""

    status: int
    headers: dict[str, str]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def pieces(self) -> AsyncIterator[bytes]:
        if self.headers.get("transfer-encoding") != "chunked":
            yield await self.reader.readexactly(int(self.headers["content-length"]))
            return
        while size := int(await self.reader.readuntil(b"\r\n"), 16):
            yield (await self.reader.readexactly(size + 2))[:-2]
        await self.reader.readexactly(2)

    async def body(self) -> bytes:
        return b"".join([piece async for piece in self.pieces()])

    async def json(self) -> Any:
        return json.loads(await self.body())


@dataclass
class WebServer:
    """A running example."""

    process: asyncio.subprocess.Process
    port: int
    log: bytearray = field(default_factory=bytearray)

    @contextlib.asynccontextmanager
    async def request(
        self, method: str, path: str, body: Any = b"", *, receive_buffer: int = 0, **headers: str
    ) -> AsyncIterator[Answer]:
        """Send a request, of JSON unless the body is bytes, and read the head of its answer."""
        async with self.connection(receive_buffer) as (reader, writer):
            payload = body if isinstance(body, bytes) else json.dumps(body).encode()
            writer.write(head(method, path, len(payload), **headers) + payload)
            yield await asyncio.wait_for(read_head(reader, writer), _PATIENCE)

    @contextlib.asynccontextmanager
    async def connection(
        self, receive_buffer: int = 0
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """Connect, with a receive buffer of so many bytes (0: the system's own); in the end, leave."""
        connected = socket.socket()
        if receive_buffer:
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connected.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connected, ("127.0.0.1", self.port))
        reader, writer = await asyncio.open_connection(sock=connected)
        try:
            yield reader, writer
        finally:
            writer.transport.abort()
            await asyncio.sleep(0)

    async def stats(self) -> Any:
        async with self.request("GET", "/stats") as answer:
            return await answer.json()

    async def is_idle(self) -> bool:
        stats = await self.stats()
        return (stats["in_flight"], stats["waiting"]) == (0, 0)

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def reset_peak(self) -> int:
        """Forget the peak of the process's resident memory; return what it is now, in bytes."""
        pathlib.Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")
        return self.peak()

    def peak(self) -> int:
        """Return the peak of the process's resident memory, in bytes."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) * 1024

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)


def head(method: str, path: str, length: int, **headers: str) -> bytes:
    """Return the head of a request; the names of further headers are written with underscores."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close", f"Content-Length: {length}"]
    headers.setdefault("Content_Type", "application/json")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


async def read_head(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Answer:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").strip().split("\r\n")
    pairs = (line.split(": ", 1) for line in lines)
    return Answer(int(first.split()[1]), {name.lower(): value for name, value in pairs}, reader, writer)


def form(content: bytes, *, filename: str = "input.bin", prompt: str = "a cat") -> tuple[bytes, str]:
    """Return the body of a form with a prompt and a file, and its content type."""
    body = b"\r\n".join(
        [
            b'--edge\r\nContent-Disposition: form-data; name="prompt"\r\n',
            prompt.encode(),
            f'--edge\r\nContent-Disposition: form-data; name="image"; filename="{filename}"'.encode(),
            b"Content-Type: image/png\r\n",
            content,
            b"--edge--\r\n",
        ]
    )
    return body, "multipart/form-data; boundary=edge"


@contextlib.asynccontextmanager
async def running(kind: str, emulator: Emulator, **environment: str) -> AsyncIterator[WebServer]:
    """Run an example on the emulator; in the end it is stopped, and must not have complained."""
    command = [sys.executable, "-X", "dev", *_COMMANDS[kind]]
    variables = {
        **os.environ,
        "PRODIA_BASE_URL": emulator.base_url,
        "PRODIA_TOKEN": emulator.token,
        "PYTHONUNBUFFERED": "1",
        "PICTURE_TYPE": "emulator.bytes.v1",
        "EDIT_TYPE": "emulator.echo.v1",
        **environment,
    }
    process = await asyncio.create_subprocess_exec(
        *command, env=variables, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    server = WebServer(process, 0)
    try:
        await asyncio.wait_for(_started(server), _PATIENCE)
        reading = asyncio.ensure_future(_read_log(server))
        try:
            yield server
        finally:
            if process.returncode is None:
                server.terminate()
            await asyncio.wait_for(process.wait(), _PATIENCE)
            await reading
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert emulator.token.encode() not in server.log


async def _started(server: WebServer) -> None:
    assert server.process.stdout is not None
    while not server.port:
        line = await server.process.stdout.readline()
        assert line, server.log.decode()
        server.log += line
        server.port = int((re.findall(rb"[Rr]unning on http://127.0.0.1:(\d+)", line) or [0])[0])


async def _read_log(server: WebServer) -> None:
    assert server.process.stdout is not None
    while block := await server.process.stdout.read(65536):
        server.log += block
