"""What an HTTP status means for an attempt (API reference, Status Codes)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prodia_async._models import VerdictKind

_OK = 200
_TOO_MANY_REQUESTS = 429
_SERVICE_UNAVAILABLE = 503
_SUCCESS = range(200, 300)
_SERVER_ERROR = range(500, 600)


def kind_of(status: int) -> VerdictKind:
    """Return the verdict that `status` alone gives; "done" for 200 means that its body is to be read."""
    if status == _OK:
        return "done"
    if status == _TOO_MANY_REQUESTS:
        return "shed"
    return "server_error" if status in _SERVER_ERROR else "refused"


def may_have_run(status: int) -> bool:
    """Tell whether the service may have run, and billed, a job that it answered with `status`.

    503 says that the service was not available; any other 5xx can come after the work was done.
    """
    return status in _SUCCESS or (status in _SERVER_ERROR and status != _SERVICE_UNAVAILABLE)
