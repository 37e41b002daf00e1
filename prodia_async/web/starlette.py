"""For Starlette and FastAPI: see `prodia_async.web`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import anyio

from prodia_async import ProdiaError, Stream
from prodia_async._extras import missing
from prodia_async.web.answers import MOST_SECONDS, answer_for

try:
    from starlette.requests import Request
    from starlette.responses import JSONResponse, Response, StreamingResponse
    from starlette.types import Receive, Scope, Send
except ImportError as _error:
    raise ImportError(missing("prodia_async.web", "starlette", "web")) from _error


log: logging.Logger = logging.getLogger("prodia_async.web")

_NOBODY = 499
"""The status, by nginx's habit, of an answer to a client that has left."""


async def respond(request: Request, reply: Stream, *, seconds: float = MOST_SECONDS) -> Response:
    """Return a response that streams a job's first output; raise ProdiaError where it brings none.

    The job is given up as soon as the client leaves, or has not read the output within so many `seconds`. The
    request's body must have been read, as it has where a FastAPI route declares one.
    """
    if not await _opened(request, reply):
        return Response(status_code=_NOBODY)
    if reply.output is None:
        return JSONResponse({"detail": "the job brought no output"}, 502)
    return JobResponse(reply, reply.output.content_type, seconds=seconds)


async def refuse(request: Request, error: Exception) -> Response:  # noqa: ARG001 - as handlers are called
    """Answer a ProdiaError: `app.add_exception_handler(ProdiaError, refuse)`."""
    if not isinstance(error, ProdiaError):
        raise error
    status, sentence, headers = answer_for(error)
    log.warning("answered %d: %s", status, error)
    return JSONResponse({"detail": sentence}, status, headers)


async def _opened(request: Request, reply: Stream) -> bool:
    """Open the reply; False if the client left meanwhile, which cancels no handler by itself."""

    async def watch() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        scope.cancel()

    with anyio.CancelScope() as scope:
        watcher = asyncio.create_task(watch())
        try:
            await reply.open()
        finally:
            watcher.cancel()
    return not scope.cancelled_caught


class JobResponse(StreamingResponse):
    """The first output of an open `Stream`. Whatever happens to the response, the job is let go with it.

    A `finally` in a generator would not do: where sending the head fails, the generator never begins, and one
    that is cut off while it waits at a `yield` ends only when it is collected as garbage.
    """

    def __init__(self, reply: Stream, content_type: str, *, seconds: float = MOST_SECONDS) -> None:
        super().__init__(_first_output(reply), headers={"Content-Type": content_type})
        self._reply = reply
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, and close the reply."""
        try:
            with anyio.move_on_after(self._seconds):
                await super().__call__(scope, receive, send)
        finally:
            await self._reply.aclose()


async def _first_output(reply: Stream) -> AsyncIterator[bytes]:
    """Give its bytes. Read on to the end: a job that failed after all cuts the response."""
    async for output in reply:
        if output.index == 0:
            async for chunk in output:
                yield chunk
