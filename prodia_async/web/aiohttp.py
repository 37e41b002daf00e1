"""For aiohttp.web: a job's output as a response, while it arrives.

    from prodia_async.web.aiohttp import respond

    async def make_picture(request: web.Request) -> web.StreamResponse:
        reply = request.app[PRODIA].stream("inference.flux-fast.schnell.txt2img.v2", await request.json())
        return await respond(request, reply)

Run it with `handler_cancellation=True`: without it, aiohttp.web runs a handler on when its client has left.
"""

from __future__ import annotations

import contextlib
import logging

import anyio
from aiohttp import web

from prodia_async import ProdiaError, Stream
from prodia_async.web.answers import MOST_SECONDS, answer_for

log: logging.Logger = logging.getLogger("prodia_async.web")


async def respond(
    request: web.Request, reply: Stream, *, seconds: float = MOST_SECONDS
) -> web.StreamResponse:
    """Send a job's first output, and return the response; a job that brings none is answered by `refuse`.

    The client has `seconds` to read it, and the job is let go whatever happens. ProdiaError is raised where
    the reply breaks off later: no answer can be given any more, and the response is cut.
    """
    async with contextlib.aclosing(reply):
        try:
            await reply.open()
        except ProdiaError as error:
            return refuse(error)
        if reply.output is None:
            return web.json_response({"detail": "the job brought no output"}, status=502)
        response = web.StreamResponse(headers={"Content-Type": reply.output.content_type})
        with anyio.fail_after(seconds):
            await response.prepare(request)
            async for output in reply:  # to its end: a job that failed after all cuts the response
                if output.index == 0:
                    async for chunk in output:
                        await response.write(chunk)
            await response.write_eof()
        return response


def refuse(error: ProdiaError) -> web.Response:
    """Return what to answer for a job that brought nothing."""
    status, sentence, headers = answer_for(error)
    log.warning("answered %d: %s", status, error)
    return web.json_response({"detail": sentence}, status=status, headers=headers)
