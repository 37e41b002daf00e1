"""The door: what callers give is checked and fixed here, once, before anything else happens.

`token_of`, `address_of` and their like are for clients. `call` makes one value of a job and of how it is to
be run: its JSON is written, its inputs are listed and its paths are absolute from then on, whatever becomes
of what the caller gave; no room below asks again. What is wrong with a job is kept in `Call.error`, for the
run to raise: it is that job's own failure, and counted and told as such.
"""

from __future__ import annotations

import inspect
import logging
import math
import os
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias, get_args

from msgspec import Struct
from msgspec.structs import replace

from prodia_async._errors import InputError
from prodia_async._files.inputs import Given, listed
from prodia_async._files.outputs import To, fixed
from prodia_async._models import Attempt, EventKind, Job, JobHandle, JobResult, Mode
from prodia_async._settings import Adaptive, Fixed, Limits, Options, Polling, Retry, Timeouts, Token
from prodia_async._submission import Submission
from prodia_async._wire import address
from prodia_async._wire.job import accept_header, job_json

log = logging.getLogger("prodia_async")

BeforeSend: TypeAlias = Callable[[int], Awaitable[None]]
Notify: TypeAlias = Callable[[EventKind, Attempt | None], None]
JobPartHook: TypeAlias = Callable[[bytes], None]

_OWN_HEADERS = {"authorization", "accept", "accept-encoding", "content-type", "content-length", "user-agent"}
_OF_A_JOB = ("config", "inputs", "accept", "custom_id", "priority", "mode")
_MODES = get_args(Mode)
_MOST_SHOWN = 200
"""Characters of a value that a message quotes."""


class Call(Struct, frozen=True, kw_only=True):
    """One job and how it is to be run, checked and fixed; `timeout` in seconds bounds all of it.

    `json`, `inputs`: what is sent; `to`: where outputs go. `line`: the limiter's line that it stands in.
    With `patient` the time begins when the first attempt is sent, and waiting in line before it costs none;
    not `bounded`: the line is never too full for it. `expect_continue`, `spool`: see `Prodia.run`.
    `before_send` is awaited before the first byte of each attempt; `notify` hears of the job's events before
    the client's own hook does, and must not raise. `attempts`: those that were made before.

    A stream: `job_part` hears of a reply's job part as soon as it has come; `has_begun` tells whether a
    reader has seen a part of the reply, so that nothing may follow this attempt.

    The asynchronous API: with `job_id` the service has the job already, and it is only collected;
    `submission` says how it stands. `is_new`: it was submitted just now, and need not be asked for at once.
    `is_detached`: it is only submitted, and its turn is left to whoever has `Run.turn`. `submitted` is
    awaited as soon as the service has the job. `make_handle` makes what a timeout's error carries.
    """

    job: Job
    to: To = None
    json: bytes = b""
    inputs: tuple[Given, ...] = ()
    line: str = ""
    error: InputError | None = None
    timeout: float | None = None
    price: bool | None = None
    spool: bool = False
    expect_continue: bool | int | None = None
    bounded: bool = True
    patient: bool = False
    before_send: BeforeSend | None = None
    notify: Notify | None = None
    attempts: tuple[Attempt, ...] = ()
    job_part: JobPartHook | None = None
    has_begun: Callable[[], bool] | None = None
    job_id: str | None = None
    submission: Submission | None = None
    is_new: bool = True
    is_detached: bool = False
    submitted: Callable[[JobResult], Awaitable[None]] | None = None
    make_handle: Callable[[str], JobHandle] | None = None


def call(job: str | Job, to: To = None, *, self: object = None, **given: Any) -> Call:  # noqa: ARG001
    """Return a job as it is at this moment, and how it is to be run.

    `given` has fields of `Job`, of which those that are None are not given, and of `Call`: a method passes
    all its variables, and so `self`. Never raises for what is wrong with a job.
    """
    kind: object = job
    try:
        whole = _job(job, {name: given.pop(name, None) for name in _OF_A_JOB})
        check(given)
        return Call(
            job=whole,
            to=fixed(to),
            json=job_json(whole),
            inputs=listed(whole.inputs) if whole.inputs != () else (),
            line=whole.type if whole.mode == "sync" else f"{whole.type} (async)",
            **given,
        )
    except InputError as error:
        known = job if isinstance(job, Job) else Job(kind if isinstance(kind, str) else "")
        found = error.with_traceback(None)
    return Call(job=known, error=found)


def _job(job: str | Job, given: dict[str, Any]) -> Job:
    given = {name: value for name, value in given.items() if value is not None}
    if not isinstance(job, Job):
        whole = Job(job, **given)
    elif "config" in given or "inputs" in given:
        raise InputError("config= and inputs= go with a job type; a Job has its own")
    else:
        whole = replace(job, **given) if given else job
    named: object = whole.custom_id  # what a caller without a type checker gave
    if named is not None and type(named) is not str:
        if type(named) is not int and not isinstance(named, uuid.UUID):
            raise _refused("custom_id", named, "text, such as 'row-1'")
        whole = replace(whole, custom_id=str(named))  # a row's number, a database's key
    if type(whole.priority) is not int:
        raise _refused("priority", whole.priority, "a whole number; a smaller one goes first")
    if whole.mode not in _MODES:
        raise _refused("mode", whole.mode, "'sync' or 'async'")
    if whole.accept is not None:
        accept_header(whole.accept)  # for its check
    return whole


def subject(job: Job) -> str:
    """Name a job in a message."""
    kind = job.type or "the job"
    return kind if job.custom_id is None else f"{kind} (custom_id {job.custom_id!r})"


def check(given: Mapping[str, Any]) -> None:
    """Raise InputError for an argument of a kind that it does not take; None is no argument."""
    for name, value in given.items():
        if value is None or name not in _TAKES:
            continue
        is_good, form = _TAKES[name]
        if not is_good(value):
            raise _refused(name, value, form)


def _refused(name: str, value: object, form: str) -> InputError:
    shown = repr(value)
    shown = shown if len(shown) <= _MOST_SHOWN else shown[:_MOST_SHOWN] + "…"
    return InputError(f"{name} cannot be {shown}: it takes {form}")


def _is(*kinds: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, kinds)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)


def _is_function(value: object) -> bool:
    return callable(value) and not (
        inspect.iscoroutinefunction(value) or inspect.iscoroutinefunction(type(value).__call__)
    )


_Test: TypeAlias = Callable[[Any], bool]

_TAKES: dict[str, tuple[_Test, str]] = {
    # of a call
    "timeout": (lambda value: _is_number(value) and value > 0, "seconds above 0, such as 30"),
    "price": (_is(bool), "True or False"),
    "spool": (_is(bool), "True or False"),
    "expect_continue": (_is(int), "True, False, or bytes from which on the server is asked"),
    "ahead": (lambda value: type(value) is int and value >= 1, "a number of jobs, at least 1"),
    # of a client
    "base_url": (_is(str), "a URL, such as 'https://inference.prodia.com'"),
    "retry": (_is(Retry), "Retry(...), such as Retry(max_errors=3)"),
    "timeouts": (_is(Timeouts), "Timeouts(...), such as Timeouts(idle=30)"),
    "polling": (_is(Polling), "Polling(...), such as Polling(interval=2)"),
    "limits": (_is(Limits), "Limits(...), such as Limits(max_parts=10)"),
    "limiter": (_is(Adaptive, Fixed), "Adaptive(...) or Fixed(8)"),
    "max_concurrency": (
        lambda value: type(value) is int,
        "a whole number: the most jobs in flight",
    ),
    "headers": (_is(Mapping), "a mapping of text to text, such as {'X-Team': 'art'}"),
    "user_agent": (_is(str), "text"),
    "on_event": (_is_function, "a plain function: a coroutine would never be awaited"),
    "allow_insecure": (_is(bool), "True or False"),
    "pickle_token": (_is(bool), "True or False"),
    "session_options": (_is(Mapping), "a mapping of options of aiohttp.ClientSession"),
    "transport": (callable, "a function that makes a Transport"),
    "drain": (lambda value: _is_number(value) and value >= 0, "seconds, at least 0"),
}


def options_of(given: Mapping[str, Any], **more: Any) -> Options:
    """Return what may differ between copies of a client, from what it was given."""
    return Options(
        headers=headers_of(given["headers"]),
        retry=given["retry"] or Retry(),
        timeouts=given["timeouts"] or Timeouts(),
        polling=given["polling"] or Polling(),
        limits=given["limits"] or Limits(),
        price=given["price"],
        **more,
    )


def token_of(given: str | None) -> Token | InputError:
    """Return the token, or what is wrong with it: an error raised in here would show it in its traceback."""
    value = given if given is not None else os.environ.get("PRODIA_TOKEN")
    if value is None:
        return InputError("no token: set PRODIA_TOKEN or pass Prodia(token=...)")
    kind: object = value
    if not isinstance(kind, str):
        return InputError(f"the token must be text, not {type(kind).__name__}")
    try:
        return Token(value)
    except InputError as error:
        return error.with_traceback(None)


def revealed(token: Token | None) -> str | None:
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
        both: tuple[object, object] = name, value
        if not all(isinstance(each, str) for each in both):
            raise _refused("headers", {name: value}, _TAKES["headers"][1])
        if name.lower() in _OWN_HEADERS:
            raise InputError(f"the header {name} is the client's own: use its argument instead")
        if not (name.isascii() and name.isprintable() and value.isprintable()):
            raise InputError(f"the header {name!r} holds characters that cannot be sent")
    return headers
