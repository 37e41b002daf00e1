"""What can be said of an answer that is no result."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prodia_async._http.inflated import plain
from prodia_async._http.transport import Fault
from prodia_async._pacing.clock import Clock, Deadline
from prodia_async._wire import media
from prodia_async._wire.decoder import MalformedReplyError
from prodia_async._wire.result import one_line, reason

if TYPE_CHECKING:
    from collections.abc import Callable

    from prodia_async._http.transport import Reply
    from prodia_async._settings import Limits

_MAX_ERROR_BODY = 64 * 1024
"""Bytes of an error's body that are read for its reason."""

_ERROR_BODY_TIME = 5.0
"""Seconds that an error's body may take: its status and headers say the most."""


async def error_body(reply: Reply, clock: Clock, limits: Limits) -> bytes:
    """Return as much of an error's body as comes in time, and can be read."""
    body = b""
    with Deadline(clock, clock.monotonic() + _ERROR_BODY_TIME):
        try:
            said = plain(reply, limits)
            while len(body) < _MAX_ERROR_BODY and (piece := await said.read()):
                body += piece
        except (Fault, MalformedReplyError):
            pass  # what was read so far has to do
    return body[:_MAX_ERROR_BODY]


def what_it_says(reply: Reply, content_type: str | None, body: bytes, redact: Callable[[str], str]) -> str:
    """Return what an answer that is no result says, in one line, and something if it says nothing."""
    if 300 <= reply.status < 400:  # noqa: PLR2004 - the class of redirects
        place = redact(reply.headers.get("Location", ""))[:200]
        return f"the server answered with a redirect to {place!r}, which is not followed"
    kind = media.split(content_type or "")[0]
    said = reason(content_type, body, redact)
    what = f" with {kind}" if body and media.is_type(kind) else ""
    return redact(said or f"the server answered {reply.status}{what}")


def request_id_of(reply: Reply, redact: Callable[[str], str]) -> str | None:
    """Return the answer's `x-request-id`, in one line: any byte may stand in a header."""
    said = reply.headers.get("x-request-id")
    return None if said is None else one_line(redact(said))
