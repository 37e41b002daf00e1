"""The door: what callers give is checked and fixed here, once, before anything else happens.

`token_of`, `address_of` and their like are for clients. `call` makes one value of a job and of how it is to
be run: its JSON is written, its inputs are listed and its paths are absolute from then on, whatever becomes
of what the caller gave; no room below asks again. What is wrong with a job is kept in `Call.error`, for the
run to raise: it is that job's own failure, and counted and told as such.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias, get_args

from msgspec import Struct
from msgspec.structs import replace

from prodia_async import _settings
from prodia_async._arguments import checked
from prodia_async._collecting import Collector
from prodia_async._engine import Submission
from prodia_async._errors import InputError, JobHandle, quoted
from prodia_async._files.inputs import Given, listed
from prodia_async._files.outputs import Outputs, To
from prodia_async._models import Attempt, Job, JobResult, Mode, Verdict
from prodia_async._settings import Options, Token, TokenFunction, changed
from prodia_async._stats import EventKind
from prodia_async._wire import address
from prodia_async._wire.job import job_json

log = logging.getLogger("prodia_async")

BeforeSend: TypeAlias = Callable[[int], Awaitable[None]]
Notify: TypeAlias = Callable[[EventKind, Attempt | None], None]
Ask: TypeAlias = Callable[[Collector, Callable[[], Outputs]], Awaitable[tuple[Verdict, Outputs | None]]]

_OF_A_JOB = ("config", "inputs", "accept", "custom_id", "priority", "mode", "extra")
_OPTIONS = ("headers", "price", "timeout")
_MODES = get_args(Mode)
_PLAIN = {(str, int, str, str), (str, int, str, type(None))}
"""The kinds of `type`, `priority`, `mode` and `custom_id` that most jobs have; others are looked at twice."""

_NEEDED = ("type", "priority", "mode")


class Call(Struct, frozen=True, kw_only=True):
    """One job and how it is to be run, checked and fixed; `options`: the client's, less what it says itself.

    `json`, `inputs`: what is sent; `to`: where outputs go. `line`: the limiter's line that it stands in.
    With `patient` its time begins when the first attempt is sent, and waiting in line before it costs none;
    not `bounded`: the line is never too full for it. `expect_continue`, `spool`: see `Prodia.run`.
    `before_send` is awaited before the first byte of each attempt; `notify` hears of the job's events before
    the client's own hook does, and must not raise. `attempts`: those that were made before.

    A stream: `has_begun` tells whether a reader has seen a part of the reply, so that nothing may follow this
    attempt.

    The asynchronous API: with `job_id` the service has the job already, and it is only collected;
    `submission` says how it stands. With `ask` that is asked instead, which is neither counted nor told of.
    `is_detached`: it is only submitted, and its turn is left to whoever has `Run.turn`. `submitted` is
    awaited as soon as the service has the job. `on_state` hears of its states while it is waited for.
    `make_handle` makes what a timeout's error carries.
    """

    job: Job
    options: Options
    to: To = None
    json: bytes = b""
    inputs: tuple[Given, ...] = ()
    line: str = ""
    error: InputError | None = None
    spool: bool = False
    expect_continue: bool | int | None = None
    bounded: bool = True
    patient: bool = False
    before_send: BeforeSend | None = None
    notify: Notify | None = None
    attempts: tuple[Attempt, ...] = ()
    has_begun: Callable[[], bool] | None = None
    job_id: str | None = None
    submission: Submission | None = None
    ask: Ask | None = None
    is_detached: bool = False
    on_state: Callable[[str], object] | None = None
    submitted: Callable[[JobResult], Awaitable[None]] | None = None
    make_handle: Callable[[str], JobHandle] | None = None


def call(options: Options, job: str | Job, to: To = None, *, self: object = None, **given: Any) -> Call:  # noqa: ARG001
    """Return a job as it is at this moment, and how it is to be run.

    `given` has fields of `Job` and of `Options`, of which those that are None are not given, and of `Call`:
    a method passes all its variables, and so `self`. Never raises for what is wrong with a job.
    """
    try:
        whole = _job(job, {name: given.pop(name, None) for name in _OF_A_JOB})
        plain = checked({"to": to, **given})
        own = {name: value for name in _OPTIONS if (value := plain.pop(name, None)) is not None}
        return Call(
            job=whole,
            options=changed(options, own) if own else options,
            json=job_json(whole),
            inputs=() if type(whole.inputs) is tuple and not whole.inputs else listed(whole.inputs),
            line=whole.type if whole.mode == "sync" else f"{whole.type} (async)",
            **plain,
        )
    except InputError as error:
        found = error.with_traceback(None)
    except Exception as error:  # noqa: BLE001 - objects of the caller's own may raise anything when looked at
        found = InputError(f"what was given cannot be read: {quoted(error)}")
        found.__cause__ = error
    return Call(job=_named(job), options=options, error=found)


def _job(job: str | Job, given: dict[str, Any]) -> Job:
    given = {name: value for name, value in given.items() if value is not None}
    if not isinstance(job, Job):
        whole = Job(job, **given)
    elif "config" in given or "inputs" in given:
        raise InputError("config= and inputs= go with a job type; a Job has its own")
    else:
        whole = replace(job, **given) if given else job
    kinds = type(whole.type), type(whole.priority), type(whole.mode), type(whole.custom_id)
    if kinds not in _PLAIN or whole.mode not in _MODES:
        fields = {name: getattr(whole, name) for name in (*_NEEDED, "custom_id")}
        whole = replace(whole, **checked(fields, needed=_NEEDED))
    if whole.accept is not None:
        whole = replace(whole, **checked({"accept": whole.accept}))
    return whole


def _named(job: Any) -> Job:
    """Return a job that cannot be run, with what can be told of it."""
    given: Job = job if issubclass(type(job), Job) else Job(job)
    names: dict[str, str] = {}
    for name in ("type", "custom_id"):
        with contextlib.suppress(InputError):
            names |= checked({name: getattr(given, name)})
    return Job(names.get("type", ""), given.config, given.inputs, custom_id=names.get("custom_id"))


def subject(job: Job) -> str:
    """Name a job in a message."""
    kind = quoted(job.type, str) or "the job"
    return kind if job.custom_id is None else f"{kind} (custom_id {quoted(job.custom_id)})"


def token_of(given: str | TokenFunction | None) -> Token | TokenFunction | InputError:
    """Return the token, what gives it, or what is wrong with it."""
    value: Any = given if given is not None else os.environ.get("PRODIA_TOKEN")
    if value is None:
        return InputError("no token: set PRODIA_TOKEN or pass Prodia(token=...)")
    return value if callable(value) else _settings.token_of(value)


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
