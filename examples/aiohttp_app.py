"""Pictures from a web server: aiohttp, with uploads and outputs that go straight through: see docs/web.md.

python examples/aiohttp_app.py
curl -F prompt='as an oil painting' -F image=@input.jpg -o painted.jpg http://127.0.0.1:8080/edits
"""

from __future__ import annotations

import logging
import math
import os
import sys
from pathlib import PurePath
from typing import TYPE_CHECKING

import msgspec
from aiohttp import BodyPartReader, web

from prodia_async import Adaptive, Job, Prodia
from prodia_async.web.aiohttp import respond

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PICTURE_TYPE = os.environ.get("PICTURE_TYPE", "inference.flux-fast.schnell.txt2img.v2")
EDIT_TYPE = os.environ.get("EDIT_TYPE", "inference.flux.schnell.img2img.v1")
MAX_CONCURRENCY = int(os.environ.get("MAX_CONCURRENCY", "256"))
MAX_WAITING = int(os.environ.get("MAX_WAITING", "100"))  # more are answered 503 at once
DRAIN = 30.0  # seconds for the jobs in flight when the server stops
MAX_PROMPT = 32 * 1024  # bytes

PRODIA = web.AppKey("prodia", Prodia)
log = logging.getLogger("pictures")


async def client(app: web.Application) -> AsyncIterator[None]:
    """Keep one client for the whole app: it holds the connections, the line and what was learned."""
    async with Prodia(limiter=Adaptive(max_concurrency=MAX_CONCURRENCY, max_waiting=MAX_WAITING)) as prodia:
        app[PRODIA] = prodia
        yield


async def drain(app: web.Application) -> None:
    """Send away what waits in line, and let the jobs in flight finish; then aiohttp ends the handlers."""
    for outcome in await app[PRODIA].aclose(drain=DRAIN):
        log.warning("%s", outcome.error)


async def make_picture(request: web.Request) -> web.StreamResponse:
    """Make a picture from words: the body is its configuration."""
    seconds = deadline(request)
    try:
        config = msgspec.json.decode(await request.read(), type=dict)
    except msgspec.DecodeError as error:
        return refusal(str(error))
    return await respond(request, request.app[PRODIA].stream(PICTURE_TYPE, config, timeout=seconds))


async def edit_picture(request: web.Request) -> web.StreamResponse:
    """Make a picture from another: the form's `prompt`, then a file, which is sent on while it arrives."""
    seconds, prompt = deadline(request), ""
    form = await request.multipart()
    while (part := await form.next()) is not None:
        if not isinstance(part, BodyPartReader):
            return refusal("a form inside the form")
        if part.filename is not None:
            name = PurePath(part.filename).name
            inputs = [(name, pieces(part), part.headers.get("Content-Type"))]
            job = Job(EDIT_TYPE, {"prompt": prompt, "image": name}, inputs=inputs)
            return await respond(request, request.app[PRODIA].stream(job, timeout=seconds))
        if part.name == "prompt":
            prompt = (await part.read_chunk(MAX_PROMPT)).decode(errors="replace")
    return refusal("the form has no file")


async def pieces(part: BodyPartReader) -> AsyncIterator[bytes]:
    """Give an upload's bytes as the service takes them: the client is read no faster than that."""
    while chunk := await part.read_chunk(64 * 1024):
        yield chunk


def refusal(sentence: str) -> web.Response:
    """Answer a request that makes no order."""
    return web.json_response({"detail": sentence}, status=422)


def deadline(request: web.Request) -> float:
    """Return the seconds until the picture has to begin. Raises HTTPUnprocessableEntity."""
    try:
        seconds = float(request.headers.get("Request-Timeout", "60"))
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= 300:
        raise web.HTTPUnprocessableEntity(text="Request-Timeout: must be seconds, at most 300")
    return seconds


async def get_stats(request: web.Request) -> web.Response:
    """Tell what the client does."""
    stats = msgspec.json.encode(request.app[PRODIA].stats())
    return web.Response(body=stats, content_type="application/json")


def make_app() -> web.Application:
    """Put the app together."""
    app = web.Application()
    app.cleanup_ctx.append(client)
    app.on_shutdown.append(drain)
    app.router.add_post("/pictures", make_picture)
    app.router.add_post("/edits", edit_picture)
    app.router.add_get("/stats", get_stats)
    return app


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8080
    web.run_app(make_app(), host="127.0.0.1", port=port, handler_cancellation=True)
