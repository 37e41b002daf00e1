"""What an HTTP status means for an attempt (API reference, Status Codes)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prodia_async._models import VerdictKind

_OK = 200
_TOO_MANY_REQUESTS = 429
_SERVICE_UNAVAILABLE = 503
_SERVER_ERROR = range(500, 600)
_REFUSALS = range(300, 500)


def kind_of(status: int) -> VerdictKind:
    """Return the verdict that `status` alone gives; "done" for 200 means that its body is to be read."""
    if status == _OK:
        return "done"
    if status == _TOO_MANY_REQUESTS:
        return "shed"
    return "server_error" if status in _SERVER_ERROR else "refused"


def may_have_run(status: int) -> bool:
    """Tell whether the service may have run, and billed, a job that it answered with `status`.

    3xx and 4xx say that it was not taken, 503 that the service was not available. Any other 5xx can come
    after the work was done, and what a status means that HTTP does not know (101 in place of an answer, 999),
    nobody can tell.
    """
    return status not in _REFUSALS and status != _SERVICE_UNAVAILABLE
