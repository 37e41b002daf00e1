"""What a web server answers where a job brought nothing, in any framework."""

from __future__ import annotations

from math import ceil

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

_BUSY = 5.0
"""Seconds after which a client may come again where the service named none."""

MOST_SECONDS = 600.0
"""That a client may take to read an output, unless told otherwise: a connection is held meanwhile."""


def answer_for(error: ProdiaError) -> tuple[int, str, dict[str, str]]:
    """Return the status, a sentence and the headers to answer with; the log is the place for the rest.

    503 for a full line, 504 for a job that ran into its `timeout`, 400 and 422 for an order that the service,
    or the client, does not take, and 502 for the rest. What is wrong with an order is told in full: such a
    message names the job type, the inputs and the request id. Errors of any other kind are the server's to
    deal with, and may name its own network.
    """
    if isinstance(error, QueueFullError | CapacityError | ClientClosedError):
        seconds = (error.retry_after if isinstance(error, CapacityError) else None) or _BUSY
        return 503, "too much to do: please come again", {"Retry-After": str(ceil(seconds))}
    if isinstance(error, ProdiaTimeoutError):
        return 504, "not done in time: please try again, or allow more", {}
    if isinstance(error, BadRequestError):
        return 400, str(error), {}
    if isinstance(error, InputError):
        return 422, str(error), {}
    if isinstance(error, JobFailedError):
        return 502, str(error), {}
    return 502, "the service that runs the jobs gave no valid answer", {}
