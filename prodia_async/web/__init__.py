"""A job's output as a web server's response, while it arrives; and what to answer when there is none.

In Starlette and FastAPI (extra `web`):

    from prodia_async.web import refuse, respond

    app.add_exception_handler(ProdiaError, refuse)

    @app.post("/pictures")
    async def make_picture(order: Order, request: Request) -> Response:
        reply = request.state.prodia.stream("inference.flux-fast.schnell.txt2img.v2", dict(order), timeout=60)
        return await respond(request, reply)

`prodia_async.web.aiohttp` has the same for aiohttp.web, and `answer_for` will do for any other framework.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prodia_async.web.answers import answer_for

if TYPE_CHECKING:
    from prodia_async.web.starlette import JobResponse, refuse, respond

__all__ = ["JobResponse", "answer_for", "refuse", "respond"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from prodia_async.web import starlette  # noqa: PLC0415 - only its own users have it

    return getattr(starlette, name)
