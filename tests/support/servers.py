"""A scripted HTTP/1.1 server on a real socket: each request is answered by the next step of a script."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from support.replies import Reply

_BLOCK = 64 * 1024


@dataclass
class Received:
    """One request as the server got it. `size` counts the bytes of its body; `complete`: all of it came."""

    method: str
    target: str
    headers: Mapping[str, str]
    connection: int
    at: float
    body: bytearray = field(default_factory=bytearray)
    size: int = 0
    complete: bool = False

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.body).hexdigest()

    def parts(self) -> list[tuple[str, bytes]]:
        """Return the parts of a multipart body: what stands in their headers, and their content."""
        [boundary] = re.findall("boundary=(.*)", self.headers["content-type"])
        before, *pieces, end = (b"\r\n" + self.body).split(b"\r\n--" + boundary.encode())
        assert (before, end) == (b"", b"--\r\n")
        found = []
        for piece in pieces:
            head, _, content = piece.partition(b"\r\n\r\n")
            found.append((head.decode(), content))
        return found

    def inputs(self) -> dict[str, str]:
        """Return the SHA-256 of each input by its file name; names are taken as they stand in the quotes."""
        job, *inputs = self.parts()
        assert 'name="job"; filename="job.json"' in job[0]
        names = [re.findall('name="input"; filename="(.*)"', head)[0] for head, _ in inputs]
        assert len(set(names)) == len(names)
        hashes = [hashlib.sha256(content).hexdigest() for _, content in inputs]
        return dict(zip(names, hashes, strict=True))


@dataclass
class Connection:
    """One accepted connection: what a step reads from and writes to."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    number: int
    closed: bool = False

    def close(self) -> None:
        """End the connection in order, without answering."""
        self.closed = True
        self.writer.close()

    def reset(self) -> None:
        """Break the connection: the other side gets a RST, not an end of file."""
        self.closed = True
        raw: socket.socket = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def read_body(self, request: Received, *, keep: bool = True) -> None:
        """Read the request's body to its end; harmless when it was read already."""
        if request.complete:
            return
        if request.headers.get("transfer-encoding") == "chunked":
            while size := int(await self.reader.readline(), 16):
                _note(request, (await self.reader.readexactly(size + 2))[:-2], keep)
            await self.reader.readline()
            request.complete = True
            return
        left = int(request.headers.get("content-length", "0"))
        while left:
            block = await self.reader.read(min(left, _BLOCK))
            if not block:
                raise ConnectionResetError
            left -= len(block)
            _note(request, block, keep)
        request.complete = True

    async def drain_to_end(self, request: Received) -> None:
        """Count what still comes until the client hangs up."""
        while block := await self.reader.read(_BLOCK):
            _note(request, block, False)

    async def write_reply(self, reply: Reply) -> None:
        for piece in reply.wire():
            self.writer.write(piece)
            await self.writer.drain()
            await asyncio.sleep(0)


class Step(Protocol):
    """What the server does with one request, whose head has been read."""

    async def __call__(self, connection: Connection, request: Received) -> None: ...


def answer(reply: Reply, *, then: str = "keep") -> Step:
    """Read the body, send the reply, then `keep` the connection, `close` it, `reset` it or `stall`."""

    async def step(connection: Connection, request: Received) -> None:
        await connection.read_body(request)
        await connection.write_reply(reply)
        if then == "close" or reply.framing == "close":
            connection.close()
        elif then == "reset":
            # A RST overtakes bytes that wait to be read: let the client read the reply first.
            await asyncio.sleep(0.05)
            connection.reset()
        elif then == "stall":
            await connection.drain_to_end(request)

    return step


def early(reply: Reply) -> Step:
    """Answer as soon as the head of the request is there, and count what the client sends on."""

    async def step(connection: Connection, request: Received) -> None:
        await connection.write_reply(reply)
        await connection.drain_to_end(request)
        connection.close()

    return step


def hang_up(how: str, *, after: str = "body") -> Step:
    """End the connection without an answer, by `close` or `reset`, after the `head` or the `body`."""

    async def step(connection: Connection, request: Received) -> None:
        if after == "body":
            await connection.read_body(request)
        getattr(connection, how)()

    return step


def stall(*, after: str = "body") -> Step:
    """Say nothing more, and after the `head` read nothing more, until the client hangs up."""

    async def step(connection: Connection, request: Received) -> None:
        if after == "body":
            await connection.read_body(request)
            await connection.drain_to_end(request)
        else:
            connection.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await asyncio.Event().wait()

    return step


def _note(request: Received, block: bytes, keep: bool) -> None:
    request.size += len(block)
    if keep:
        request.body += block


@dataclass
class Server:
    """The running server. The last step of the script answers all further requests."""

    script: Sequence[Step]
    now: Callable[[], float]
    base_url: str = ""
    requests: list[Received] = field(default_factory=list)
    connections: int = 0
    tasks: set[asyncio.Task[Any]] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection until either side ends it."""
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        self.connections += 1
        connection = Connection(reader, writer, self.connections)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                while not connection.closed and (head := await _read_head(reader)):
                    await self._answer(connection, head)
        finally:
            self.tasks.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _answer(self, connection: Connection, head: bytes) -> None:
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ")
        pairs = (line.split(": ", 1) for line in lines if line)
        headers = {name.lower(): value for name, value in pairs}
        request = Received(method, target, headers, connection.number, self.now())
        self.requests.append(request)
        step = self.script[min(len(self.requests), len(self.script)) - 1]
        await step(connection, request)

    async def aclose(self) -> None:
        for task in list(self.tasks):
            task.cancel()
        if self.tasks:
            await asyncio.wait(self.tasks)


async def _read_head(reader: asyncio.StreamReader) -> bytes:
    try:
        return (await reader.readuntil(b"\r\n\r\n"))[:-4]
    except asyncio.IncompleteReadError:
        return b""


@contextlib.asynccontextmanager
async def serving(
    *script: Step,
    now: Callable[[], float] = time.monotonic,
    ssl: Any = None,
    port: int = 0,
    receive_buffer: int = 0,
) -> AsyncIterator[Server]:
    """Run a server that follows `script`; `receive_buffer` (bytes) makes one that takes little at once."""
    server = Server(script, now)
    # asyncio turns Nagle's delays off only where the protocol is named.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    if receive_buffer:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("127.0.0.1", port))
    running = await asyncio.start_server(server.serve, sock=listening, ssl=ssl)
    server.base_url = f"http{'s' if ssl else ''}://127.0.0.1:{listening.getsockname()[1]}"
    try:
        yield server
    finally:
        running.close()
        await server.aclose()
        await running.wait_closed()
