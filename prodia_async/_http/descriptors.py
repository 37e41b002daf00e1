"""How many jobs the process's file descriptors allow at once."""

from __future__ import annotations

import logging
import pathlib
from contextlib import suppress

log = logging.getLogger("prodia_async")

_SPARE = 64
"""Descriptors left to the rest of the process."""

_PER_JOB = 4
"""A job in flight may hold a connection and a file; so may a reply that is read on after its permit ended."""


def allowed_concurrency(wanted: int, *, told: bool) -> int:
    """Return `wanted`, or fewer where the descriptors do not allow it; a user who has `told` us is warned.

    Out of descriptors, every other open in the process fails too, so the limit is kept from the start.
    """
    limit = _descriptor_limit()
    if limit is None:
        return wanted
    allowed = max(1, (limit - _open_descriptors() - _SPARE) // _PER_JOB)
    if wanted <= allowed:
        return wanted
    log.log(
        logging.WARNING if told else logging.INFO,
        "max_concurrency lowered from %d to %d: the process may open %d files (raise it with `ulimit -n`)",
        wanted,
        allowed,
        limit,
    )
    return allowed


def _descriptor_limit() -> int | None:
    try:
        import resource  # noqa: PLC0415 - Windows has none
    except ImportError:
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def _open_descriptors() -> int:
    for folder in ("/proc/self/fd", "/dev/fd"):
        with suppress(OSError):
            return sum(1 for _ in pathlib.Path(folder).iterdir())
    return 0
