"""A job result as JSON: reading it, and telling it from other JSON."""

from __future__ import annotations

from typing import Any

import msgspec


def read_job(body: bytes) -> dict[str, Any] | None:
    """Return the JSON object that `body` holds; None where it holds none that can be read."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def is_result(value: dict[str, Any] | None) -> bool:
    """Tell whether a JSON object is a job result: it says the job's state or its id."""
    return value is not None and ("state" in value or "id" in value)
