"""What a reply's head says: its status (API reference, Status Codes), and Retry-After (RFC 9110, 10.2.3)."""

from __future__ import annotations

import math
import re
from datetime import timezone
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prodia_async._models import VerdictKind

_OK = 200
_TOO_MANY_REQUESTS = 429
_SERVICE_UNAVAILABLE = 503
_SERVER_ERROR = range(500, 600)
_REFUSALS = range(300, 500)

# One value of a list: the comma after a day's name is part of a date and separates nothing.
_VALUE = re.compile(r"(?:\s*(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*,)?[^,]+")


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


def retry_after(value: str | None, now: float) -> float | None:
    """Return how many seconds a Retry-After says to wait; None where it is missing or makes no sense.

    It is read leniently: seconds, also with a fraction, or a date. `now` is the wall clock in seconds since
    the epoch; a date in the past gives 0.0. Of several values, joined by commas, the first that makes sense
    counts. There is no upper bound here.
    """
    for piece in _VALUE.findall(value or ""):
        seconds = _seconds(piece.strip())
        if seconds is None:
            seconds = _until(piece.strip(), now)
        if seconds is not None:
            return seconds
    return None


def _seconds(text: str) -> float | None:
    try:
        seconds = float(text)
    except ValueError:
        return None
    # float() also reads "1_0" and digits of other scripts, which no server means as seconds.
    sensible = text.isascii() and "_" not in text and math.isfinite(seconds) and seconds >= 0
    return abs(seconds) if sensible else None


def _until(text: str, now: float) -> float | None:
    if ":" not in text:
        return None
    try:
        date = parsedate_to_datetime(text)
        moment = (date if date.tzinfo else date.replace(tzinfo=timezone.utc)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return max(0.0, moment - now)
