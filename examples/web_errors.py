"""What a web server answers when a job brought no picture: for fastapi_app.py and aiohttp_app.py alike."""

from __future__ import annotations

import math

from prodia_async import (
    BadRequestError,
    CapacityError,
    ClientClosedError,
    InputError,
    JobFailedError,
    ProdiaError,
    ProdiaTimeoutError,
    QueueFullError,
)

BUSY = 5.0
"""Seconds after which a client may come again where the service named none."""


def answer_for(error: ProdiaError) -> tuple[int, str, dict[str, str]]:
    """Return the status, a sentence and the headers to answer with; the log is the place for the rest.

    What is wrong with an order is told in full: such a message names the job type, the inputs and the
    request id. Errors of any other kind are ours to deal with, and may name our own network.
    """
    if isinstance(error, QueueFullError | CapacityError | ClientClosedError):
        seconds = (error.retry_after if isinstance(error, CapacityError) else None) or BUSY
        return 503, "too much to do: please come again", {"Retry-After": str(math.ceil(seconds))}
    if isinstance(error, ProdiaTimeoutError):
        return 504, "not done in time: please try again, or allow more", {}
    if isinstance(error, BadRequestError):
        return 400, str(error), {}
    if isinstance(error, InputError):
        return 422, str(error), {}
    if isinstance(error, JobFailedError):
        return 502, str(error), {}
    return 502, "the service that makes the pictures did not answer as it should", {}
