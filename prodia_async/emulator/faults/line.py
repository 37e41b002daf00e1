"""The connection under a request, for faults that write what aiohttp would not let them write."""

from __future__ import annotations

import asyncio
import socket
import struct
from dataclasses import dataclass
from http.client import responses
from typing import TYPE_CHECKING, Literal
from uuid import uuid4

from prodia_async.emulator.sending import transport_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiohttp import web

    from prodia_async.emulator.account import Account
    from prodia_async.emulator.answer import Answer, RetryAfter

_LOOK = 0.01
"""Seconds between looks at a connection that is held."""
_LINGER_ZERO = struct.pack("ii", 1, 0)


@dataclass(frozen=True)
class Terms:
    """What a fault keeps to: for how many seconds it holds a connection, and what a 429 carries."""

    seconds: float
    retry_after: RetryAfter


class Line:
    """Writes raw bytes to the client, and ends the connection in the way that a fault asks for.

    Every method raises ConnectionResetError where the client has left.
    """

    def __init__(self, request: web.Request, account: Account, terms: Terms) -> None:
        self.account = account
        self.terms = terms
        self.whole = False
        self._request = request
        self._transport = transport_of(request)
        self._end = asyncio.get_running_loop().time() + terms.seconds

    @property
    def timely(self) -> bool:
        """Whether the fault may hold the connection longer."""
        return asyncio.get_running_loop().time() < self._end

    async def write(self, data: bytes) -> None:
        """Send bytes that are no part of a body, as soon as the client takes them."""
        self._require_client()
        self._transport.write(data)
        await self._request.writer.drain()

    async def write_body(self, blocks: Iterable[bytes], *, chunked: bool = False) -> None:
        """Send bytes of a body, and count them."""
        for block in blocks:
            self.account.bytes_out += len(block)
            await self.write(b"%x\r\n%b\r\n" % (len(block), block) if chunked else block)

    async def pause(self) -> None:
        """Wait for a moment."""
        await asyncio.sleep(_LOOK)
        self._require_client()

    async def hang(self) -> None:
        """Do nothing until the client leaves or the time is up; then close."""
        while self.timely:
            await self.pause()
        self.close()

    async def reset(self) -> None:
        """Send what was written, then end the connection with a reset (RST)."""
        while self._transport.get_write_buffer_size() and self.timely:
            await self.pause()
        connection = self._transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
        self._transport.abort()

    def close(self) -> None:
        """Send what was written, then end the connection as usual (FIN)."""
        self._transport.close()

    def _require_client(self) -> None:
        if self._transport.is_closing():
            raise ConnectionResetError


def head(answer: Answer, framing: Literal["length", "chunked", "close"] = "length") -> bytes:
    """Return the status line and the headers of an answer whose connection is closed after it."""
    lines = [
        f"HTTP/1.1 {answer.status} {responses.get(answer.status, '')}",
        *(f"{name}: {value}" for name, value in answer.headers),
        f"Content-Type: {answer.content_type}",
        f"x-request-id: {uuid4()}",
        "Connection: close",
    ]
    if framing == "length":
        lines.append(f"Content-Length: {answer.size}")
    elif framing == "chunked":
        lines.append("Transfer-Encoding: chunked")
    return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace")
