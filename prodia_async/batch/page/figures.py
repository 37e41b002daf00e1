"""Numbers as people read them."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import msgspec

_UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


def count(value: float) -> str:
    """Return a whole number with thousands set apart: 12,345."""
    return f"{value:,.0f}"


def amount(value: float) -> str:
    """Return a number with two or three significant figures: 0.042, 1.5, 320, 12,345."""
    if value == 0 or abs(value) >= 100:  # noqa: PLR2004 - three figures stand before the point
        return count(value)
    digits = max(0, 1 - math.floor(math.log10(abs(value))))
    text = f"{value:.{min(digits, 6)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def dollars(value: float) -> str:
    """Return an amount of money: $12.34, and with more places where it is less than a cent or so."""
    return f"${value:,.2f}" if value >= 0.1 or value == 0 else f"${amount(value)}"  # noqa: PLR2004 - ten cents


def duration(seconds: float) -> str:
    """Return a span of time in at most two units: 0.54 s, 42 s, 3 min 20 s, 2 h 5 min."""
    if seconds < 10:  # noqa: PLR2004 - one figure before the point
        return f"{amount(seconds)} s"
    rest, parts = round(seconds), []
    for unit, size in _UNITS:
        number, rest = divmod(rest, size)
        if number:
            parts.append(f"{number} {unit}")
        elif parts:
            break
    return " ".join(parts[:2])


def moment(text: str | None) -> str | None:
    """Return a time of ISO 8601 as "22 Nov 2026, 13:28 UTC"; None for what is no time."""
    try:
        time = msgspec.convert(text, datetime)
        if time.tzinfo is not None:
            time = time.astimezone(UTC)
    except (msgspec.ValidationError, OverflowError):
        return None
    return f"{time.day} {time:%b %Y, %H:%M} UTC"
