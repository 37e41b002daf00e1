"""What a reply says: the job result, typed where it is as expected, and the reason in an error's body."""

from __future__ import annotations

import contextlib
import math
import re
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta, Raw, Struct

from prodia_async._models import Job, JobResult, JobState, Metrics, Output, Price, VerdictKind
from prodia_async._settings import Limits
from prodia_async._wire import media
from prodia_async._wire.decoder import MalformedReplyError, MultipartDecoder, is_result, read_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_MAX_REASON = 500
_MAX_TEXT = 16 * 1024  # of a text or web page, as much as is searched for a reason
_MANY_BRACKETS = 100
"""So many levels at most are read; fewer brackets cannot make more."""
_STATES = frozenset(("completed", "processed", "failed"))
_NO_METRICS = Metrics()
_NO_JOB = "the reply held no readable job result: the job's id, state and metrics are unknown"

_TITLE = re.compile(r"<title[^<>]*>([^<]*)", re.IGNORECASE)
# Each pattern is linear: what is opened and never closed runs to the end.
_INVISIBLE = re.compile(
    r"<!--.*?(?:-->|\Z)|<(script|style)\b.*?(?:</\1[^<>]*>?|\Z)", re.IGNORECASE | re.DOTALL
)
_TAG = re.compile(r"<[^<>]*>?")
_CUT_JSON = re.compile(r'"(?:error|message)"\s*:\s*"([^"\\]*(?:\\.[^"\\]*)*)', re.DOTALL)

_Text = Annotated[str, Meta(min_length=1)]
_Moment = Annotated[datetime, Meta(tz=True)]


class _State(Struct, forbid_unknown_fields=True):
    current: _Text
    history: Any = None


class _Metrics(Struct, forbid_unknown_fields=True):
    elapsed: float | None = None
    ips: float | None = None


class _Price(Struct, forbid_unknown_fields=True):
    dollars: float
    product: _Text | None = None


class _Expected(Struct, forbid_unknown_fields=True):
    """A job result as the API reference has it. Nothing is skipped, so `raw` can be read from it later."""

    type: _Text
    id: _Text
    state: _State
    config: dict[str, Any] | None = None
    metrics: _Metrics | None = None
    price: _Price | None = None
    created_at: _Moment | None = None
    updated_at: _Moment | None = None
    expires_at: _Moment | None = None
    error: _Text | None = None


def job_result(
    body: bytes,
    job: Job,
    *,
    outputs: tuple[Output, ...] = (),
    request_id: str | None = None,
    redact: Callable[[str], str] = str,
) -> JobResult:
    """Make a job result out of its JSON, which is kept whole as `raw` (API reference, Job Result).

    Never raises: a field that is missing or of a wrong type becomes None, type and config those of `job`. Of
    a `body` that holds no JSON object a warning says what is missing. `redact` takes the token out of texts.
    """
    text = body.decode("latin-1")
    # The token is ASCII: where it does not stand as it is, only an escape can hide it.
    if "\\" in text or redact(text) != text or text.count("{") + text.count("[") > _MANY_BRACKETS:
        return _lenient_result(read_json(body), job, outputs, request_id, redact)
    try:
        found = msgspec.json.decode(body, type=_Expected)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return _lenient_result(read_json(body), job, outputs, request_id, redact)
    state, metrics, price = found.state, found.metrics, found.price
    return JobResult(
        type=found.type,
        config=job.config if found.config is None else found.config,
        id=found.id,
        state=JobState(state.current, state.history),
        metrics=_NO_METRICS if metrics is None else Metrics(metrics.elapsed, metrics.ips),
        price=None if price is None else Price(price.dollars, price.product),
        created_at=found.created_at,
        updated_at=found.updated_at,
        expires_at=found.expires_at,
        error=found.error,
        outputs=outputs,
        request_id=request_id,
        raw=Raw(body),  # type: ignore[arg-type]  # JobResult reads it when it is looked at
    )


def _lenient_result(
    found: Mapping[str, Any] | None,
    job: Job,
    outputs: tuple[Output, ...],
    request_id: str | None,
    redact: Callable[[str], str],
) -> JobResult:
    """Make a job result field by field: texts are those that may be shown, numbers and times as they came."""
    found = found or {}
    texts = shown(found, redact)
    config = texts.get("config")
    return JobResult(
        type=_text(texts.get("type")) or job.type,
        config=config if isinstance(config, dict) else job.config,
        id=_text(texts.get("id")),
        state=_state(texts.get("state")),
        metrics=_metrics(found.get("metrics")),
        price=_price(texts.get("price")),
        created_at=_moment(found.get("created_at")),
        updated_at=_moment(found.get("updated_at")),
        expires_at=_moment(found.get("expires_at")),
        error=_text(texts.get("error")),
        outputs=outputs,
        request_id=request_id,
        warnings=() if found else (_NO_JOB,),
        raw=texts,
    )


def shown(value: Any, redact: Callable[[str], str]) -> Any:
    """Return JSON with all its texts redacted; keys and states are the API's words, whatever the token is."""
    if isinstance(value, str):
        return value if value.lower() in _STATES else redact(value)
    if isinstance(value, dict):
        return {key: shown(item, redact) for key, item in value.items()}
    if isinstance(value, list):
        return [shown(item, redact) for item in value]
    return value


def kind_of_result(result: JobResult) -> VerdictKind:
    """Return the verdict on a synchronous result: "done" if completed, or if nothing is known of it."""
    if result.state is not None:
        return "done" if result.state.current == "completed" else "failed"
    return "failed" if result.raw else "done"


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _number(value: Any) -> float | None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _state(value: Any) -> JobState | None:
    current = _text(value.get("current")) if isinstance(value, dict) else None
    return JobState(current, value.get("history")) if current is not None else None


def _metrics(value: Any) -> Metrics:
    if not isinstance(value, dict):
        return _NO_METRICS
    return Metrics(elapsed=_number(value.get("elapsed")), ips=_number(value.get("ips")))


def _price(value: Any) -> Price | None:
    dollars = _number(value.get("dollars")) if isinstance(value, dict) else None
    return Price(dollars, _text(value.get("product"))) if dollars is not None else None


def _moment(value: Any) -> datetime | None:
    """Read an RFC 3339 time with any fraction; one without an offset is UTC, as the API reference says."""
    if not isinstance(value, str):
        return None
    try:
        moment: datetime = msgspec.convert(value, datetime)
    except msgspec.ValidationError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


def reason(content_type: str | None, body: bytes, redact: Callable[[str], str] = str) -> str:
    """Return what an error's body says, as one line of at most 500 characters; "" where it says nothing.

    Reads JSON, the job part of a multipart body (also one that breaks off), text and web pages. Never raises,
    and lets no control character through. `redact` takes the token out, before anything is cut.
    """
    kind = media.split(content_type or "")[0]
    if kind.startswith("multipart/"):
        body, kind = _job_part(content_type or "", body), "application/json"
    if kind.startswith(("image/", "video/", "audio/")) or b"\0" in body[:_MAX_TEXT]:
        return ""
    found = read_json(body)
    if found is not None:
        return one_line(redact(_json_reason(shown(found, redact))))
    text = redact(body.decode("utf-8", "replace"))[:_MAX_TEXT].strip()
    if kind in ("text/html", "application/xhtml+xml") or text.startswith("<"):
        return one_line(redact(_html_reason(text)))
    cut = _CUT_JSON.search(text) if text.startswith("{") else None
    return one_line(redact(_unescaped(cut.group(1))) if cut else text)


def failed_result(
    content_type: str | None,
    body: bytes,
    job: Job,
    *,
    request_id: str | None = None,
    redact: Callable[[str], str] = str,
) -> JobResult | None:
    """Return the job result inside an error's body, JSON or multipart; None where there is none."""
    if media.split(content_type or "")[0].startswith("multipart/"):
        body = _job_part(content_type or "", body)
    if not is_result(read_json(body)):
        return None
    return job_result(body, job, request_id=request_id, redact=redact)


def _job_part(content_type: str, body: bytes) -> bytes:
    """Return the job part of a multipart body, as much of it as there is."""
    try:
        decoder = MultipartDecoder(media.split(content_type)[1].get("boundary", ""), Limits())
    except MalformedReplyError:
        return b""
    with contextlib.suppress(MalformedReplyError):  # what came before the fault still tells the reason
        decoder.feed(body)
    return bytes(decoder.job_so_far)


def _json_reason(value: dict[str, Any]) -> str:
    pieces = [_said(value.get("error"))]
    if not pieces[0]:
        pieces = [_said(value.get("message")), _said(value.get("detail"))]
    said = ": ".join(piece for piece in pieces if piece)
    state = _state(value.get("state"))
    if not said and state is not None:
        return f"the job's state is {state.current}"
    return said or _said(value)


def _said(value: Any) -> str:
    if isinstance(value, dict) and isinstance(value.get("message"), str):
        value = value["message"]
    if isinstance(value, str):
        return value.strip()
    if value is None or value in ({}, []):
        return ""
    try:
        return msgspec.json.encode(value).decode()
    except RecursionError:
        return ""


def _unescaped(text: str) -> str:
    """Undo JSON's escapes in a string that was cut out of a document; give it raw where they are broken."""
    try:
        value: str = msgspec.json.decode(f'"{text}"', type=str)
    except (msgspec.MsgspecError, UnicodeError):
        return text
    return value


def _html_reason(text: str) -> str:
    title = _TITLE.search(text)
    said = title.group(1).strip() if title else ""
    import html  # noqa: PLC0415 - 3 ms that only a proxy's error page costs

    return html.unescape(said or _TAG.sub(" ", _INVISIBLE.sub(" ", text)))


def one_line(text: str) -> str:
    """Cut other people's text to what any terminal or log shows as it is, at most 500 characters of it."""
    if len(text) <= _MAX_REASON and text.isprintable() and "  " not in text:
        return text.strip()
    cut = text[:_MAX_TEXT]
    line = " ".join("".join(char if char.isprintable() else " " for char in cut).split())
    return line if len(line) <= _MAX_REASON else line[: _MAX_REASON - 1].rstrip() + "…"
