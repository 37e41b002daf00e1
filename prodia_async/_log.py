"""The logger `prodia_async`, and what PRODIA_LOG sets it to."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from prodia_async._errors import InputError

if TYPE_CHECKING:
    from prodia_async._errors import ProdiaError
    from prodia_async._models import Attempt, EventKind

log = logging.getLogger("prodia_async")

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING}

_QUIET = frozenset(("queued", "sent", "shed"))

_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def set_up() -> None:
    """Do what the environment's PRODIA_LOG says: show the log on stderr from a level on. Raises InputError.

    Where a program has set up logging before, with a handler that hears this logger, only the level is set.
    """
    wanted = os.environ.get("PRODIA_LOG", "").strip().lower()
    if not wanted:
        return
    if wanted not in _LEVELS:
        raise InputError(f"PRODIA_LOG cannot be {wanted!r}: set it to {' or '.join(_LEVELS)}")
    log.setLevel(_LEVELS[wanted])
    if not log.hasHandlers():
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter(_FORMAT))
        log.addHandler(handler)


def log_event(
    kind: EventKind, subject: object, attempt: Attempt | None, error: ProdiaError | None = None
) -> None:
    """Log what happened to a job: what ends it, or sends it again, at level info, the rest at debug.

    `subject` is only made text where somebody hears of it.
    """
    level = logging.DEBUG if kind in _QUIET else logging.INFO
    if not log.isEnabledFor(level):
        return
    if error is not None:
        log.log(level, "%s: %s", kind, error)
    elif attempt is None:
        log.log(level, "%s: %s", kind, subject)
    else:
        log.log(level, "%s: %s: %s", kind, subject, _of(attempt))


def _of(attempt: Attempt) -> str:
    said = [f"attempt {attempt.number}", f"waited {attempt.waited:.3f} s", f"took {attempt.elapsed:.3f} s"]
    said += [f"status {attempt.status}"] if attempt.status is not None else []
    said += [f"Retry-After {attempt.retry_after:g} s"] if attempt.retry_after is not None else []
    said += [f"request id {attempt.request_id}"] if attempt.request_id else []
    return ", ".join(said) + (f": {attempt.reason}" if attempt.reason else "")
