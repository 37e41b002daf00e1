"""Spans and metrics of jobs, through OpenTelemetry: `Prodia(on_event=Telemetry())`.

It needs the extra `otel`, which brings OpenTelemetry's API; your program sets up the SDK. Names are those of
OpenTelemetry's semantic conventions (1.37, generative AI and HTTP clients) where they have one, and `prodia.`
for the rest. docs/telemetry.md lists them.
"""

from __future__ import annotations

import functools
import os
import threading
import weakref
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, TypeAlias
from urllib.parse import urlsplit

from msgspec import Struct

from prodia_async import __version__
from prodia_async._extras import missing
from prodia_async._models import Attempt

try:
    from opentelemetry import context as contexts
    from opentelemetry import metrics, trace
    from opentelemetry.context import Context
except ImportError as _error:
    raise ImportError(missing("prodia_async.telemetry", "opentelemetry", "otel")) from _error

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prodia_async._stats import Event, EventKind

__all__ = ["Telemetry"]

Attributes: TypeAlias = dict[str, str | bool | int | float | tuple[str, ...]]
State: TypeAlias = Literal["waiting", "in_flight"]

_SCHEMA = "https://opentelemetry.io/schemas/1.37.0"

_BOUNDARIES = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
"""Seconds: the convention's for gen_ai.client.operation.duration."""

_LONG_BOUNDARIES = (*_BOUNDARIES, 163.84, 327.68, 655.36, 1310.72, 2621.44)
"""Seconds: a job of a batch may wait for an hour."""

_MOST_SPANS = 100
"""Attempts of one job that get a span, the latest: a job may be shed without end."""

_STATES: dict[EventKind, State] = {"sent": "in_flight", "shed": "waiting", "retried": "waiting"}

_OUTPUT_TYPES = {"image", "text", "video"}

_WELL = {"done", "shed", "submitted"}
"""Verdicts that are no error: a 429 is a normal part of life, and should raise no alarm."""

_FIRST_ERROR = 400

_all: weakref.WeakSet[Telemetry] = weakref.WeakSet()


class _Open(Struct):
    """A job that was queued and has not ended. It holds no input and no configuration."""

    type: str
    mode: str
    accept: str
    custom_id: str | None
    context: Context
    since: datetime
    state: State = "waiting"
    told: int = 0
    """The number of the latest attempt that was told of."""
    waited: float = 0.0
    attempts: list[Attempt] = []


class _Instruments:
    """What is measured."""

    def __init__(self, meter: metrics.Meter) -> None:
        self.duration = meter.create_histogram(
            "gen_ai.client.operation.duration",
            unit="s",
            description="From the moment a job is queued to its end.",
            explicit_bucket_boundaries_advisory=_BOUNDARIES,
        )
        self.waiting = meter.create_histogram(
            "prodia.client.waiting.duration",
            unit="s",
            description="What a job's attempts waited before they were sent, together.",
            explicit_bucket_boundaries_advisory=_LONG_BOUNDARIES,
        )
        self.attempts = meter.create_counter(
            "prodia.client.attempts",
            unit="{attempt}",
            description="Attempts that have ended, by what they came to.",
        )
        self.jobs = meter.create_up_down_counter(
            "prodia.client.jobs", unit="{job}", description="Jobs that wait or are in flight."
        )


class Telemetry:
    """Makes spans and metrics of a client's jobs: pass it as `on_event`.

    All arguments are keyword-only and optional:

    - `tracer_provider`, `meter_provider`: default: OpenTelemetry's global ones, also when they are set later.
    - `custom_ids`: put `Job.custom_id` into spans; default False, for it may say who a user is.
    - `base_url`: where the client sends its jobs, for `server.address` and `server.port`; default: unsaid.
    - `max_open`: jobs whose end it waits for, default 100,000; the oldest above it is told of as abandoned.

    A job is a span that begins when the job is queued, below the span in which your program started it, with
    a span below it for each attempt; all are made when the job has ended. No token, prompt, configuration,
    file name or error message goes into any of them. One object can serve several clients, and pickles if
    its providers do. Raises ValueError for arguments that cannot work.

        async with Prodia(on_event=Telemetry()) as prodia:
            await prodia.run("inference.flux-fast.schnell.txt2img.v2", {"prompt": "a cat"})
    """

    def __init__(
        self,
        *,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
        custom_ids: bool = False,
        base_url: str | None = None,
        max_open: int = 100_000,
    ) -> None:
        self._arguments = {name: value for name, value in locals().items() if name != "self"}
        if max_open < 1:
            raise ValueError("max_open must be at least 1")
        self._custom_ids = custom_ids
        self._server = _server(base_url)
        self._max_open = max_open
        self._tracer = trace.get_tracer("prodia_async", __version__, tracer_provider, _SCHEMA)
        meter = metrics.get_meter("prodia_async", __version__, meter_provider, _SCHEMA)
        self._instruments = _Instruments(meter)
        self.forget()
        _all.add(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return functools.partial(Telemetry, **self._arguments), ()

    def forget(self) -> None:
        """Let go of all jobs that are open: in a forked child they are the parent's."""
        self._lock = threading.Lock()
        self._open: dict[int, _Open] = {}

    def __call__(self, event: Event) -> None:
        """Take note of an event; those of a job that is not open, since it was abandoned, are left out."""
        with self._lock:  # each client that shares this calls from a thread of its own
            if event.kind == "queued":
                self._begin(event)
                return
            job = self._open.get(event.run)
            if job is None:
                return
            if event.attempt is not None and event.attempt.number > job.told:
                self._count(job, event.attempt)
            if event.kind in _STATES:
                self._move(job, _STATES[event.kind])
            else:
                del self._open[event.run]
                self._end(job, event.kind, event.at, event)

    def _begin(self, event: Event) -> None:
        if len(self._open) >= self._max_open:
            oldest = self._open.pop(next(iter(self._open)))
            self._end(oldest, "abandoned", event.at)
        job = event.job
        opened = _Open(
            type=job.type,
            mode=job.mode,
            accept=job.accept or "",
            custom_id=job.custom_id if self._custom_ids else None,
            context=_parent(),
            since=event.at,
        )
        self._open[event.run] = opened
        self._add(opened, 1)

    def _move(self, job: _Open, state: State) -> None:
        if state != job.state:
            self._add(job, -1)
            job.state = state
            self._add(job, 1)

    def _add(self, job: _Open, number: int) -> None:
        self._instruments.jobs.add(number, {**self._about(job), "prodia.job.state": job.state})

    def _count(self, job: _Open, attempt: Attempt) -> None:
        job.told = attempt.number
        job.waited += attempt.waited
        if len(job.attempts) >= _MOST_SPANS:
            del job.attempts[0]
        job.attempts.append(attempt)
        counted = self._about(job) | {"prodia.verdict": attempt.verdict}
        if attempt.status is not None:
            counted["http.response.status_code"] = attempt.status
        self._instruments.attempts.add(1, counted)

    def _about(self, job: _Open) -> Attributes:
        """Return what every measurement and every job's span says."""
        about: Attributes = {
            "gen_ai.operation.name": "generate_content",
            "gen_ai.provider.name": "prodia",
            **self._server,
        }
        if job.type:  # a handle made from an id does not know it
            about["gen_ai.request.model"] = job.type
        return about

    def _end(
        self,
        job: _Open,
        outcome: EventKind | Literal["abandoned"],
        at: datetime,
        event: Event | None = None,
    ) -> None:
        self._add(job, -1)
        about = self._about(job)
        if event is not None and event.error is not None:
            about["error.type"] = type(event.error).__name__
        elif outcome == "cancelled":
            about["error.type"] = "cancelled"
        if outcome != "abandoned":
            self._instruments.duration.record(max(0.0, (at - job.since).total_seconds()), about)
        if job.told:
            self._instruments.waiting.record(job.waited, about)
        self._write(job, {**about, "prodia.outcome": outcome, **_details(job), **_of_end(event)}, at)

    def _write(self, job: _Open, attributes: Attributes, at: datetime) -> None:
        kind = trace.SpanKind.CLIENT
        name = f"generate_content {job.type}".rstrip()
        span = self._tracer.start_span(
            name, job.context, kind, attributes, start_time=_nanoseconds(job.since)
        )
        if not span.is_recording():  # a sampler has decided against it
            return
        if attributes["prodia.outcome"] == "failed":
            span.set_status(trace.StatusCode.ERROR)
        within = trace.set_span_in_context(span, job.context)
        for attempt in job.attempts:
            self._write_attempt(job, attempt, within)
        span.end(max(_nanoseconds(at), _nanoseconds(job.since)))

    def _write_attempt(self, job: _Open, attempt: Attempt, within: Context) -> None:
        path = "/v2/job/async" if job.mode == "async" else "/v2/job"
        attributes: Attributes = {"http.request.method": "POST", "url.template": path, **self._server}
        attributes |= _of_attempt(attempt)
        span = self._tracer.start_span(
            f"POST {path}",
            within,
            trace.SpanKind.CLIENT,
            attributes,
            start_time=_nanoseconds(attempt.started_at),
        )
        if "error.type" in attributes and attempt.verdict != "cancelled":
            span.set_status(trace.StatusCode.ERROR)
        span.end(_nanoseconds(attempt.started_at + timedelta(seconds=attempt.elapsed)))


def _parent() -> Context:
    """Return the caller's context, with no more of the caller's span than what names it as the parent."""
    identity = trace.get_current_span().get_span_context()
    return trace.set_span_in_context(trace.NonRecordingSpan(identity), contexts.get_current())


def _server(base_url: str | None) -> Attributes:
    if base_url is None:
        return {}
    parts = urlsplit(base_url)
    if parts.hostname is None:
        raise ValueError("base_url must be a URL such as https://inference.prodia.com")
    port = parts.port or (80 if parts.scheme == "http" else 443)
    return {"server.address": parts.hostname, "server.port": port}


def _details(job: _Open) -> Attributes:
    details: Attributes = {
        "prodia.job.mode": job.mode,
        "prodia.job.attempts": job.told,
        "prodia.job.waited": job.waited,
    }
    kind = job.accept.partition("/")[0]
    if kind in _OUTPUT_TYPES:
        details["gen_ai.output.type"] = kind
    if job.custom_id is not None:
        details["prodia.job.custom_id"] = job.custom_id
    return details


def _of_end(event: Event | None) -> Attributes:
    """Return what the service said at the end; an error's message may quote the job, and stays out."""
    found: Attributes = {}
    if event is None:
        return found
    if event.error is not None:
        found["prodia.may_have_run"] = bool(getattr(event.error, "may_have_run", False))
    job_id = event.job_id or getattr(getattr(event.error, "result", None), "id", None)
    if job_id is not None:
        found["gen_ai.response.id"] = job_id
    if event.dollars is not None:
        found["prodia.job.dollars"] = event.dollars
    return found


def _of_attempt(attempt: Attempt) -> Attributes:
    return dict(_facts(attempt))


def _facts(attempt: Attempt) -> Iterator[tuple[str, Any]]:
    yield "prodia.verdict", attempt.verdict
    yield "prodia.attempt.waited", attempt.waited
    yield "prodia.may_have_run", attempt.may_have_run
    if attempt.number > 1:
        yield "http.request.resend_count", attempt.number - 1
    if attempt.status is not None:
        yield "http.response.status_code", attempt.status
    if attempt.request_id is not None:
        yield "http.response.header.x-request-id", (attempt.request_id,)
    if attempt.retry_after is not None:
        yield "prodia.retry_after", attempt.retry_after
    if attempt.verdict not in _WELL:
        failed = attempt.status is not None and attempt.status >= _FIRST_ERROR
        yield "error.type", str(attempt.status) if failed else attempt.verdict


def _nanoseconds(at: datetime) -> int:
    return round(at.timestamp() * 1_000_000) * 1000  # a datetime knows microseconds


def _forget_all() -> None:
    for telemetry in list(_all):
        telemetry.forget()


if hasattr(os, "register_at_fork"):  # pragma: no branch - absent on Windows, which has no fork
    os.register_at_fork(after_in_child=_forget_all)
