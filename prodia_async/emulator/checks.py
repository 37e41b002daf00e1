"""Checks of values in a job's configuration; each raises JobError, which becomes a 400.

`where` is what the message calls the object in which the value stands.
"""

from __future__ import annotations

from typing import Any

from prodia_async.emulator.request import JobError


def integer(
    config: dict[str, Any], name: str, default: int, least: int, most: int, *, where: str = "config"
) -> int:
    """Return `config[name]`, a whole number within the bounds."""
    value = config.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise JobError(f"{where}.{name}: must be a whole number from {least} to {most}")
    return value


def number(
    config: dict[str, Any], name: str, default: float, least: float, most: float, *, where: str = "config"
) -> float:
    """Return `config[name]`, a number within the bounds."""
    value = config.get(name, default)
    if not isinstance(value, int | float) or isinstance(value, bool) or not least <= value <= most:
        raise JobError(f"{where}.{name}: must be a number from {least:g} to {most:g}")
    return value


def text(
    config: dict[str, Any], name: str, default: str | None, most: int = 32768, *, where: str = "config"
) -> str:
    """Return `config[name]`, a string of 1 to `most` characters; needed where `default` is None."""
    value = config.get(name, default)
    if not isinstance(value, str) or len(value) > most or (default is None and not value):
        raise JobError(f"{where}.{name}: must be a string of 1 to {most} characters")
    return value


def flag(config: dict[str, Any], name: str, default: bool, *, where: str = "config") -> bool:
    """Return `config[name]`, true or false."""
    value = config.get(name, default)
    if not isinstance(value, bool):
        raise JobError(f"{where}.{name}: must be true or false")
    return value
