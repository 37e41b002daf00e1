"""Pictures from a web server: FastAPI, with outputs that go straight through. docs/web.md explains it.

uvicorn fastapi_app:app --app-dir examples --timeout-graceful-shutdown 30
curl --json '{"prompt": "a cat"}' -o cat.jpg http://127.0.0.1:8000/pictures
"""

import contextlib
import logging
import os
from collections.abc import AsyncIterator
from pathlib import PurePath
from typing import Annotated, Any

from fastapi import FastAPI, Form, Header, Request, Response, UploadFile
from pydantic import BaseModel, Field

from prodia_async import Adaptive, Job, Prodia, ProdiaError
from prodia_async.web import refuse, respond

PICTURE_TYPE = os.environ.get("PICTURE_TYPE", "inference.flux-fast.schnell.txt2img.v2")
EDIT_TYPE = os.environ.get("EDIT_TYPE", "inference.flux.schnell.img2img.v1")
BOUNDS = {"max_concurrency": "256", "max_waiting": "100"}  # whoever comes to a full line is answered 503


@contextlib.asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[dict[str, Prodia]]:
    """Keep one client for the whole app: it holds the connections, the line and what was learned."""
    bounds = {name: int(os.environ.get(name.upper(), value)) for name, value in BOUNDS.items()}
    prodia = Prodia(limiter=Adaptive(**bounds))
    try:
        yield {"prodia": prodia}
    finally:
        for outcome in await prodia.aclose(drain=5.0):  # requests have ended, but for those cut off
            logging.getLogger("pictures").warning("%s", outcome.error)


app = FastAPI(lifespan=lifespan)
app.add_exception_handler(ProdiaError, refuse)

# Seconds until the picture has to begin: the line, the job and its repetitions together.
Deadline = Annotated[float, Header(alias="Request-Timeout", gt=0, le=300)]


class Order(BaseModel, extra="allow"):
    """A picture's configuration. Everything else is passed on: name the fields that your users may set."""

    prompt: str = Field(min_length=1, max_length=32_768)


@app.post("/pictures")
async def make_picture(order: Order, request: Request, deadline: Deadline = 60.0) -> Response:
    """Make a picture from words."""
    return await respond(request, request.state.prodia.stream(PICTURE_TYPE, dict(order), timeout=deadline))


@app.post("/edits")
async def edit_picture(
    image: UploadFile, prompt: Annotated[str, Form()], request: Request, deadline: Deadline = 60.0
) -> Response:
    """Make a picture from another; the upload is read from where Starlette has put it."""
    name = PurePath(image.filename or "image").name
    job = Job(EDIT_TYPE, {"prompt": prompt, "image": name}, inputs=[(name, image.file, image.content_type)])
    return await respond(request, request.state.prodia.stream(job, timeout=deadline))


@app.get("/stats")
async def get_stats(request: Request) -> dict[str, Any]:
    """Tell what the client does."""
    return request.state.prodia.stats().to_dict()
