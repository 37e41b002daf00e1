"""Pictures from a web server: FastAPI, with outputs that go straight through. docs/web.md explains it.

uvicorn fastapi_app:app --app-dir examples --timeout-graceful-shutdown 30
curl --json '{"prompt": "a cat"}' -o cat.jpg http://127.0.0.1:8000/pictures
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator
from pathlib import PurePath
from typing import Annotated

import anyio
import msgspec
from fastapi import FastAPI, Form, Header, Request, Response, UploadFile
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, Field
from starlette.types import Receive, Scope, Send
from web_errors import answer_for

from prodia_async import Adaptive, Job, Prodia, ProdiaError, Stream

PICTURE_TYPE = os.environ.get("PICTURE_TYPE", "inference.flux-fast.schnell.txt2img.v2")
EDIT_TYPE = os.environ.get("EDIT_TYPE", "inference.flux.schnell.img2img.v1")
MAX_CONCURRENCY = int(os.environ.get("MAX_CONCURRENCY", "256"))
MAX_WAITING = int(os.environ.get("MAX_WAITING", "100"))  # more are answered 503 at once
SENDING = 600.0  # seconds that a client may take to read its picture

log = logging.getLogger("pictures")


@contextlib.asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[dict[str, Prodia]]:
    """Keep one client for the whole app: it holds the connections, the line and what was learned."""
    prodia = Prodia(limiter=Adaptive(max_concurrency=MAX_CONCURRENCY, max_waiting=MAX_WAITING))
    try:
        yield {"prodia": prodia}
    finally:
        for outcome in await prodia.aclose(drain=5.0):  # requests have ended, but for those cut off
            log.warning("%s", outcome.error)


app = FastAPI(lifespan=lifespan)

# Seconds until the picture has to begin: the line, the job and its repetitions together.
Deadline = Annotated[float, Header(alias="Request-Timeout", gt=0, le=300)]


class Order(BaseModel, extra="allow"):
    """A picture's configuration. Everything else is passed on: name the fields that your users may set."""

    prompt: str = Field(min_length=1, max_length=32_768)


@app.post("/pictures")
async def make_picture(order: Order, request: Request, deadline: Deadline = 60.0) -> Response:
    """Make a picture from words."""
    return await answer(request, request.state.prodia.stream(PICTURE_TYPE, dict(order), timeout=deadline))


@app.post("/edits")
async def edit_picture(
    image: UploadFile, prompt: Annotated[str, Form()], request: Request, deadline: Deadline = 60.0
) -> Response:
    """Make a picture from another; the upload is read from where Starlette has put it."""
    name = PurePath(image.filename or "image").name
    job = Job(EDIT_TYPE, {"prompt": prompt, "image": name}, inputs=[(name, image.file, image.content_type)])
    return await answer(request, request.state.prodia.stream(job, timeout=deadline))


@app.get("/stats")
async def get_stats(request: Request) -> Response:
    """Tell what the client does."""
    return Response(msgspec.json.encode(request.state.prodia.stats()), media_type="application/json")


@app.exception_handler(ProdiaError)
async def refuse(_request: Request, error: ProdiaError) -> JSONResponse:
    """Answer what a job raised before its first byte."""
    status, sentence, headers = answer_for(error)
    log.warning("answered %d: %s", status, error)
    return JSONResponse({"detail": sentence}, status, headers)


async def answer(request: Request, reply: Stream) -> Response:
    """Answer with the job's first output, while it arrives."""
    if not await opened(request, reply):
        return Response(status_code=499)  # to nobody
    if reply.output is None:
        return JSONResponse({"detail": "the job brought no picture"}, 502)
    return JobResponse(reply, reply.output.content_type)


async def opened(request: Request, reply: Stream) -> bool:
    """Open the reply, or give the job up as soon as the client leaves, which cancels no handler by itself.

    The request's body must have been read, as FastAPI has done here: `receive` would take it away.
    """

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
    """A job's first output. Whatever happens to the response, the job is let go with it.

    A `finally` in the generator would not do: where sending the head fails, the generator never begins, and
    one that is cut off while it waits at a `yield` ends only when it is collected as garbage.
    """

    def __init__(self, reply: Stream, content_type: str) -> None:
        super().__init__(first_output(reply), headers={"Content-Type": content_type})
        self._reply = reply

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, and close the reply."""
        try:
            with anyio.move_on_after(SENDING):
                await super().__call__(scope, receive, send)
        finally:
            await self._reply.aclose()


async def first_output(reply: Stream) -> AsyncIterator[bytes]:
    """Give the first output's bytes. Read on to the end: a job that failed after all cuts the response."""
    async for output in reply:
        if output.index == 0:
            async for chunk in output:
                yield chunk
