"""A forward proxy that relays plain HTTP requests and CONNECT tunnels to one server, whatever their host."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass
class Proxy:
    """The running proxy. `asked` lists the first line of each request; `status` refuses all of them."""

    target: str
    status: int | None = None
    url: str = ""
    asked: list[str] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            first, _, rest = head.partition(b"\r\n")
            self.asked.append(first.decode())
            self.heads.append(head.decode())
            if self.status is not None:
                writer.write(f"HTTP/1.1 {self.status} Refused\r\nContent-Length: 0\r\n\r\n".encode())
            else:
                await self._relay(first, rest, reader, writer)
        writer.close()

    async def _relay(
        self, first: bytes, rest: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        target = urlsplit(self.target)
        there, upstream = await asyncio.open_connection(target.hostname, target.port)
        if first.startswith(b"CONNECT "):
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            method, address, version = first.split(b" ")
            parts = urlsplit(address)
            path = parts.path + (b"?" + parts.query if parts.query else b"")
            upstream.write(b" ".join([method, path, version]) + b"\r\n" + rest)
        await asyncio.gather(_copy(reader, upstream), _copy(there, writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while block := await reader.read(65536):
            writer.write(block)
            await writer.drain()
    writer.close()


@contextlib.asynccontextmanager
async def proxying(target: str, status: int | None = None) -> AsyncIterator[Proxy]:
    proxy = Proxy(target, status)
    running = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.url = f"http://127.0.0.1:{running.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        running.close()
        await running.wait_closed()
