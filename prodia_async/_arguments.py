"""What users pass to a client, checked before anything is sent."""

from __future__ import annotations

import inspect
import logging
import os
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from prodia_async._errors import InputError
from prodia_async._events import Hook
from prodia_async._models import Job
from prodia_async._settings import Adaptive, Fixed, Token
from prodia_async._wire import address

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from prodia_async._models import Event

log = logging.getLogger("prodia_async")

_OWN_HEADERS = {"authorization", "accept", "accept-encoding", "content-type", "content-length", "user-agent"}


def hook_of(on_event: Callable[[Event], object] | None) -> Hook | None:
    """Return what tells `on_event`. Raises InputError for a coroutine function."""
    if inspect.iscoroutinefunction(on_event) or inspect.iscoroutinefunction(type(on_event).__call__):
        raise InputError("on_event must be a plain function: a coroutine would never be awaited")
    return None if on_event is None else Hook(on_event)


def token_of(given: str | None) -> Token | InputError:
    """Return the token, or what is wrong with it: an error raised in here would show it in its traceback."""
    value = given if given is not None else os.environ.get("PRODIA_TOKEN")
    if value is None:
        return InputError("no token: set PRODIA_TOKEN or pass Prodia(token=...)")
    try:
        return Token(value)
    except InputError as error:
        return error.with_traceback(None)


def plain(token: Token | None) -> str | None:
    """Return the token's own text, for a client that is made again."""
    return None if token is None else token.authorization().removeprefix("Bearer ")


def address_of(given: str | None, allow_insecure: bool | None) -> address.Address:
    """Return where the service is. Raises InputError where the token would travel unencrypted."""
    found = address.parse(given or os.environ.get("PRODIA_BASE_URL") or address.DEFAULT_BASE_URL)
    if found.scheme == "https" or found.is_loopback:
        return found
    if allow_insecure is None:
        allow_insecure = os.environ.get("PRODIA_ALLOW_INSECURE") == "1"
    if not allow_insecure:
        raise InputError(
            f"{found.url} would carry the token unencrypted to another computer: use https://, or say "
            "Prodia(allow_insecure=True) or PRODIA_ALLOW_INSECURE=1"
        )
    log.warning("the token travels unencrypted to %s", found.url)
    return found


def limiter_of(given: Adaptive | Fixed | None, max_concurrency: int | None) -> Adaptive | Fixed:
    """Return the limiter's settings. Raises InputError for two of them."""
    if given is not None and max_concurrency is not None:
        raise InputError("give limiter= or max_concurrency=, not both")
    if max_concurrency is not None:
        return Adaptive(max_concurrency)
    return given if given is not None else Adaptive()


def headers_of(given: Mapping[str, str] | None) -> dict[str, str]:
    """Return the headers for each request. Raises InputError for one that is ours, or cannot be sent."""
    headers = dict(given or {})
    for name, value in headers.items():
        if name.lower() in _OWN_HEADERS:
            raise InputError(f"the header {name} is the client's own: use its argument instead")
        if not (name.isascii() and name.isprintable() and value.isprintable()):
            raise InputError(f"the header {name!r} holds characters that cannot be sent")
    return headers


def job_of(job: str | Job, **given: Any) -> Job:
    """Make the Job of a call's arguments; those that were not given keep the Job's own values."""
    given = {name: value for name, value in given.items() if value is not None}
    if isinstance(given.get("inputs"), list):
        given["inputs"] = tuple(given["inputs"])  # the list may change; anything else is checked in its place
    if isinstance(job, Job):
        if "config" in given or "inputs" in given:
            raise InputError("config= and inputs= go with a job type; a Job has its own")
        return replace(job, **given)
    return Job(job, **given)
