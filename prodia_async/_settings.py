"""What a client is set to, each option with its default and unit; and what the process allows it."""

from __future__ import annotations

import logging
import math
import numbers
import operator
import pathlib
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Literal, TypeAlias, get_args

from msgspec import Struct
from msgspec.structs import force_setattr, replace

from prodia_async._errors import InputError, quoted
from prodia_async._stats import Event

MiB = 1024 * 1024

log = logging.getLogger("prodia_async")

Probing: TypeAlias = Literal["eager", "normal", "frugal"]


def require(condition: bool, what: str, value: object) -> None:
    """Raise InputError unless `condition` holds for the option `what`."""
    if not condition:
        raise InputError(f"{what} cannot be {quoted(value)}")


def whole(value: Any, least: float = -math.inf) -> int:
    """Return a whole number, of whatever class but bool, as a plain one. Raises for anything else."""
    plain = operator.index(value)
    if isinstance(value, bool) or not float(plain) >= least:
        raise ValueError
    return plain


def number(value: Any, *, above: float = -math.inf, least: float = -math.inf) -> float:
    """Return a number, of whatever class but bool, as a plain one. Raises for anything else."""
    real: Any = numbers.Real
    if isinstance(value, bool) or not isinstance(value, real):
        raise TypeError
    plain = float(value)
    if not (plain > above and plain >= least):
        raise ValueError
    return plain


def _check(options: Struct, *, above: float = -math.inf) -> None:
    """Raise InputError for an option that is no number of its declared kind, or not `above`, or below 0."""
    for name, kind in type(options).__annotations__.items():
        value = getattr(options, name)
        if (value is None and "None" in kind) or kind == "Probing":
            continue
        take, form = (whole, "a whole number") if kind.startswith("int") else (number, "a number")
        try:
            plain = take(value)
        except Exception:  # noqa: BLE001 - a value may be any object of the user's
            said = f"{type(options).__name__}.{name} cannot be {quoted(value)}: it takes {form}"
            raise InputError(said) from None
        if type(value) not in (int, float):
            force_setattr(options, name, plain)
        require(plain > above and plain >= 0, f"{type(options).__name__}.{name}", getattr(options, name))


class Retry(Struct, frozen=True, kw_only=True):
    """When a job is sent again. A shed (429) is bounded by time, a failure by count.

    `patience`: seconds from a job's first 429 until it is given up; None waits for ever.
    `max_errors`: how many failed attempts (not sent, 5xx) a job survives.
    `backoff`, `max_backoff`: seconds; after failure n (from 0) the wait is chance × min(max_backoff,
    backoff × 2^n).
    `max_retry_after`: a Retry-After above it (seconds) ends the job with CapacityError.
    `resend_unknown`: how often a job is sent again after an attempt that may have run and been billed.
    """

    patience: float | None = None
    max_errors: int = 4
    backoff: float = 0.5
    max_backoff: float = 30.0
    max_retry_after: float = 120.0
    resend_unknown: int = 0

    def __post_init__(self) -> None:
        _check(self)


class Timeouts(Struct, frozen=True, kw_only=True):
    """How long one attempt waits for the server, in seconds.

    `connect`: for the connection, TLS included. `first_byte`: for the answer, once the body is sent, or the
    run's own `timeout` where that is more, since the answer comes when the job is done. `idle`: for the next
    piece of a reply, or for the server to take the next piece of the body; time that your own sink or source
    takes does not count. `keepalive`: how long an unused connection is kept.
    """

    connect: float = 10.0
    first_byte: float = 600.0
    idle: float = 60.0
    keepalive: float = 10.0

    def __post_init__(self) -> None:
        _check(self, above=0)


class Polling(Struct, frozen=True, kw_only=True):
    """How often the service is asked for an asynchronous job, in seconds.

    The first wait is `interval`; each is `growth` times the one before, at most `max_interval`, and shortened
    by up to a fifth at random, so that many jobs do not ask at once. A 429 or 5xx is waited out, at least its
    Retry-After.
    """

    interval: float = 1.0
    max_interval: float = 10.0
    growth: float = 1.5

    def __post_init__(self) -> None:
        _check(self)
        require(0 < self.interval < math.inf, "Polling.interval", self.interval)
        require(self.interval <= self.max_interval < math.inf, "Polling.max_interval", self.max_interval)
        require(1 <= self.growth < math.inf, "Polling.growth", self.growth)


class Limits(Struct, frozen=True, kw_only=True):
    """What a reply may cost, in bytes and counts.

    `collect`: all small outputs under way together, before they go to disk in one piece.
    `max_memory_output`: the outputs of one job with `to=None`. `max_output_bytes`: the outputs of one job
    anywhere; None for no bound. `max_job_part`: the job part. `max_parts`: parts of a reply.
    `max_header`: all headers of one part. `max_expansion`: how many times its size a compressed reply may
    expand to.
    """

    collect: int = 32 * MiB
    max_memory_output: int = 256 * MiB
    max_output_bytes: int | None = None
    max_job_part: int = 4 * MiB
    max_parts: int = 1000
    max_header: int = 16 * 1024
    max_expansion: int = 100

    def __post_init__(self) -> None:
        _check(self)


class Adaptive(Struct, frozen=True):
    """The limiter that learns the service's capacity, job type by job type; the default.

    `max_concurrency`: the most jobs in flight, all types together. `initial`: the first guess for a type.
    `probing`: how often more is tried; "frugal" suits large inputs. `max_waiting`: how many jobs may stand
    in line before QueueFullError.
    """

    max_concurrency: int = 256
    initial: int = 4
    probing: Probing = "normal"
    max_waiting: int = 10_000

    def __post_init__(self) -> None:
        _check(self)
        require(self.max_concurrency >= 1, "Adaptive.max_concurrency", self.max_concurrency)
        require(self.initial >= 1, "Adaptive.initial", self.initial)
        kind: type = type(self.probing)
        good = kind is str and self.probing in get_args(Probing)
        require(good, "Adaptive.probing", self.probing)


class Fixed(Struct, frozen=True):
    """A fixed limit: at most `max_concurrency` jobs at once, at most `max_waiting` more in line.

    A job that was shed keeps its slot until its Retry-After has passed, so a full service is asked again
    by few, not by all.
    """

    max_concurrency: int = 8
    max_waiting: int = 10_000

    def __post_init__(self) -> None:
        _check(self)
        require(self.max_concurrency >= 1, "Fixed.max_concurrency", self.max_concurrency)


class Options(Struct, frozen=True, kw_only=True):
    """What may differ between copies of a client: see `Prodia` for each.

    `url`: where jobs are sent. `redact` takes the token out of a text. `tell` hears of each event.
    """

    url: str
    redact: Callable[[str], str]
    headers: Mapping[str, str] = {}
    retry: Retry = Retry()
    timeouts: Timeouts = Timeouts()
    polling: Polling = Polling()
    limits: Limits = Limits()
    price: bool = False
    timeout: float | None = None
    tell: Callable[[Event], None] | None = None


def changed(options: Options, given: dict[str, Any]) -> Options:
    """Return options with what was given instead; headers go beside those that have other names."""
    if "headers" in given:
        names = {name.lower() for name in given["headers"]}
        kept = {name: value for name, value in options.headers.items() if name.lower() not in names}
        given = {**given, "headers": kept | given["headers"]}
    return replace(options, **given)


class Secret:
    """A header's value, shown to nobody but the connection; `hidden`: what no text may hold."""

    __slots__ = ("_others", "header", "hidden")

    def __init__(self, header: str, *hidden: str) -> None:
        self.header: str = header
        self.hidden: tuple[str, ...] = hidden
        self._others: tuple[str, ...] = ()

    def hide(self, other: Secret) -> None:
        """Take what is secret in another out of texts, too: of the last ones at least."""
        if other.hidden[0] not in self._others:
            self._others = (*self._others, *other.hidden)[-_MOST_OTHERS:]

    def redact(self, text: str) -> str:
        """Return `text` without what is secret."""
        for hidden in (*self._others, *self.hidden):
            text = text.replace(hidden, "***")
        return text

    def __repr__(self) -> str:
        return f"{type(self).__name__}(***)"


_MOST_OTHERS = 32  # tokens that a client remembers, of those that a function has given


class Token(Secret):
    """The API token (API reference, Authentication)."""

    __slots__ = ()

    def __init__(self, value: str) -> None:
        value = value.strip()
        if not value:
            raise InputError("the token is empty: set PRODIA_TOKEN or pass Prodia(token=...)")
        if not value.isascii() or not value.isprintable() or " " in value:
            raise InputError(
                "the token holds characters that cannot stand in a header: copy it again, without 'Bearer'"
            )
        super().__init__(f"Bearer {value}", value)


TokenFunction: TypeAlias = Callable[[], str | Awaitable[str]]
"""What `Prodia(token=...)` takes beside a text: a function that gives the token, plain or async."""


def token_of(value: Any) -> Token | InputError:
    """Return the token, or what is wrong with it: an error raised in here would show it in its traceback."""
    if not issubclass(type(value), str):
        return InputError(f"the token must be text, not {type(value).__name__}")
    try:
        return Token(str.__str__(value))
    except InputError as error:
        return error.with_traceback(None)


_SPARE = 64  # descriptors left to the rest of the process
_PER_JOB = 4  # one in flight may hold a connection and a file; so may a reply that is read after its permit


def allowed_concurrency(wanted: int, *, told: bool) -> int:
    """Return `wanted`, or fewer where the descriptors do not allow it; a user who has `told` us is warned.

    Out of descriptors, every other open in the process fails too, so the limit is kept from the start.
    """
    try:
        import resource  # noqa: PLC0415 - Windows has none
    except ImportError:
        return wanted
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return wanted
    is_open = 0
    with suppress(OSError):
        is_open = sum(1 for _ in pathlib.Path("/dev/fd").iterdir())
    allowed = max(1, (limit - is_open - _SPARE) // _PER_JOB)
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
