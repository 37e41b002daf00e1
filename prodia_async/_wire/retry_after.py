"""The Retry-After header (RFC 9110, 10.2.3), read leniently: seconds, also with a fraction, or a date."""

from __future__ import annotations

import math
import re
from datetime import timezone
from email.utils import parsedate_to_datetime

# One value of a list: the comma after a day's name is part of a date and separates nothing.
_VALUE = re.compile(r"(?:\s*(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*,)?[^,]+")


def parse(value: str | None, now: float) -> float | None:
    """Return how many seconds to wait, or None where the header is missing or makes no sense.

    `now` is the wall clock in seconds since the epoch; a date in the past gives 0.0. Of several values,
    joined by commas, the first that makes sense counts. There is no upper bound here.
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
