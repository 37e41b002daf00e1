"""Sending an answer with the fault that it meets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from prodia_async.emulator.faults.kinds import Altered, Fault, Refusal, Wire
from prodia_async.emulator.faults.line import Line
from prodia_async.emulator.sending import send, transport_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from prodia_async.emulator.account import Account
    from prodia_async.emulator.answer import Answer
    from prodia_async.emulator.faults.line import Terms


async def deliver(
    request: web.Request,
    answer: Answer,
    fault: Fault | None,
    terms: Terms,
    account: Account,
    *,
    on_headers: Callable[[], None] | None = None,
    on_end: Callable[[], None] | None = None,
) -> web.StreamResponse:
    """Send an answer as `send` does, or as a fault of whole answers or of the wire has it.

    `on_headers` is called in any case, `on_end` only for an answer whose last byte leaves.
    """
    if isinstance(fault, Altered | Refusal | Wire):
        transport_of(request)
        account.faulted(fault.name)
    if isinstance(fault, Wire):
        line = Line(request, account, terms)
        if on_headers is not None:
            on_headers()
        await fault.act(line, answer)
        if on_end is not None and line.whole:
            on_end()
        return web.StreamResponse()  # for nobody: the connection is closed
    if isinstance(fault, Altered):
        answer = fault.change(answer)
    elif isinstance(fault, Refusal):
        answer = fault.answer(terms.retry_after)
    return await send(request, answer, account, on_headers=on_headers, on_end=on_end)
