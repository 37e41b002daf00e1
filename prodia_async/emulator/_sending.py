"""Sending an answer: whole, or cut off as a job ordered it."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

from aiohttp import web

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from prodia_async.emulator._account import EmulatorStats
    from prodia_async.emulator._answer import Answer


async def send(
    request: web.Request,
    answer: Answer,
    account: EmulatorStats,
    *,
    on_headers: Callable[[], None] | None = None,
    on_end: Callable[[], None] | None = None,
) -> web.StreamResponse:
    """Send an answer; `on_headers` and `on_end` are called just before its first and last bytes leave.

    Before, so that a client that reacts to them finds done what they do. Raises ConnectionResetError where
    the client has left.
    """
    response = _response(request, answer)
    if on_headers is not None:
        on_headers()
    await response.prepare(request)
    last = b""
    for block in [b"".join(answer.pieces)] if answer.is_there else answer.blocks():  # type: ignore[arg-type]
        if last:
            await response.write(last)
        account.bytes_out += len(block)
        last = block
    if on_end is not None:
        on_end()
    await response.write_eof(last)
    return response


async def drop(
    request: web.Request, answer: Answer, account: EmulatorStats, *, halfway: bool
) -> web.StreamResponse:
    """Close the connection: before the answer, or when half of it was sent. Raises as `send` does."""
    transport, response = transport_of(request), _response(request, answer)
    if halfway:
        await response.prepare(request)
        for block in answer.first_half():
            account.bytes_out += len(block)
            await response.write(block)
    transport.close()
    return response


def transport_of(request: web.Request) -> asyncio.Transport:
    """Return what the answer goes to. Raises ConnectionResetError where the client has left."""
    if request.transport is None:
        raise ConnectionResetError
    return request.transport


def _response(request: web.Request, answer: Answer) -> web.StreamResponse:
    transport_of(request)
    response = web.StreamResponse(status=answer.status, headers=dict(answer.headers))
    response.headers["Content-Type"] = answer.content_type
    response.headers.setdefault("x-request-id", str(uuid4()))
    if answer.sized:
        response.content_length = answer.size
    return response
