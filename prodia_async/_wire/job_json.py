"""A job result as JSON: reading it, and telling it from other JSON."""

from __future__ import annotations

from typing import Any

import msgspec

_MOST_LEVELS = 100
"""Levels of lists and objects: what is deeper could be read, and then not be written down or read again."""


def read_job(body: bytes) -> dict[str, Any] | None:
    """Return the JSON object that `body` holds; None where it holds none that can be read."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    may_be_deep = body.count(b"{") + body.count(b"[") > _MOST_LEVELS
    return None if may_be_deep and _is_deep(value) else value


def is_result(value: dict[str, Any] | None) -> bool:
    """Tell whether a JSON object is a job result: it says the job's state or its id."""
    return value is not None and ("state" in value or "id" in value)


def _is_deep(value: dict[str, Any]) -> bool:
    """Tell whether there are too many levels, looking at one after another: recursion would have an end."""
    level: list[Any] = [value]
    for _ in range(_MOST_LEVELS):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return False
    return True


def _inside(value: Any) -> list[Any]:
    items = value.values() if isinstance(value, dict) else value
    return [item for item in items if isinstance(item, dict | list)]
