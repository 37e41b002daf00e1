"""How numbers are said."""

from __future__ import annotations

_SMALL = 10
"""Dollars below which more decimals are told: most jobs cost less than a cent."""


def count(number: int, noun: str, plural: str = "") -> str:
    """Return such as `1 job` or `1,200 jobs`."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def dollars(amount: float) -> str:
    """Return such as `$0.00375`, `$0.50` or `$1,200.00`."""
    whole, _, decimals = f"{amount:,.6f}".partition(".")
    return f"${whole}.{decimals.rstrip('0'):0<2}" if amount < _SMALL else f"${amount:,.2f}"


def duration(seconds: float) -> str:
    """Return such as `12 s`, `3 min 5 s` or `2 h 46 min`."""
    minutes, whole = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours:,} h {minutes} min"
    return f"{minutes} min {whole} s" if minutes else f"{whole} s"
