"""Faults of the connection, and the connection under a request, on which aiohttp would not write them."""

from __future__ import annotations

import asyncio
import socket
import struct
from http.client import responses
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias
from uuid import uuid4

from prodia_async.emulator._answer import error_answer
from prodia_async.emulator._sending import transport_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from aiohttp import web

    from prodia_async.emulator._account import EmulatorStats
    from prodia_async.emulator._answer import Answer

Framing: TypeAlias = Literal["length", "chunked", "close"]
Part: TypeAlias = Literal["nothing", "half head", "half body", "all"]

_LOOK = 0.01
"""Seconds between looks at a connection that is held."""
_LINGER_ZERO = struct.pack("ii", 1, 0)


class Terms(Protocol):
    """What a fault keeps to, as a job's orders say it: how long it holds, and what its 429 carries."""

    @property
    def fault_time(self) -> float:
        """Seconds."""

    @property
    def retry_after(self) -> float | str | None:
        """Seconds, a text, or None for no header."""


class Line:
    """Writes raw bytes to the client, and ends the connection in the way that a fault asks for.

    Every method raises ConnectionResetError where the client has left.
    """

    def __init__(self, request: web.Request, account: EmulatorStats, terms: Terms) -> None:
        self.account = account
        self.terms = terms
        self.whole = False
        self._request = request
        self._transport = transport_of(request)
        self._end = asyncio.get_running_loop().time() + terms.fault_time

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


def sent(
    part: Part, then: Literal["reset", "hang", "close"], framing: Framing = "length", extra: bytes = b""
) -> Callable[[Line, Answer], Awaitable[None]]:
    """Return what sends this part of an answer, and `extra` after it, and ends in this way."""

    async def act(line: Line, answer: Answer) -> None:
        head = _head(answer, framing)
        if part != "nothing":
            await line.write(head[: len(head) // 2] if part == "half head" else head)
        if part in ("half body", "all"):
            blocks = answer.first_half() if part == "half body" else answer.blocks()
            await line.write_body(blocks, chunked=framing == "chunked")
        if extra:
            await line.write(extra)
        if then == "close":
            line.close()
        else:
            await (line.reset() if then == "reset" else line.hang())

    return act


async def drip(line: Line, answer: Answer) -> None:
    """Send the body a byte at a time, until the time is up."""
    await line.write(_head(answer, "length"))
    for block in answer.blocks():
        for number in block:
            if not line.timely:
                line.close()
                return
            await line.write_body([bytes([number])])
            await line.pause()
    line.whole = True
    line.close()


def _early(line: Line) -> Answer:
    return error_answer(429, "no idle capacity, told during the upload", line.terms.retry_after)


async def early_429(line: Line) -> Answer:
    """Answer before the rest of the body is read."""
    return _early(line)


async def early_429_reset(line: Line) -> None:
    """Answer before the rest of the body is read, and end it."""
    answer = _early(line)
    line.account.answered(answer.status)
    await sent("all", "reset")(line, answer)


def _head(answer: Answer, framing: Framing) -> bytes:
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
