"""What a test reads of another process."""

from __future__ import annotations

import time
from typing import Any


def complaints(stderr: str) -> str:
    """Return what was said on standard error, less asyncio's notes of slow steps: the machine is busy."""
    return "".join(line for line in stderr.splitlines(keepends=True) if not line.startswith("Executing <"))


def all_that_ran(emulator: Any) -> int:
    """Return how many jobs a service has run, once it runs none: while those who send them are stopped."""
    before = None
    while (stats := emulator.stats()).busy or before != (stats.requests, stats.completed):
        before = stats.requests, stats.completed
        time.sleep(0.1)
    return int(stats.completed)
