"""What a reply says: its status and its Retry-After, the job result, and the reason in an error's body."""

from __future__ import annotations

import contextlib
import math
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw
from msgspec.structs import asdict, fields

from prodia_async._models import Job, JobResult, JobState, Metrics, Price, Reported, VerdictKind
from prodia_async._settings import Limits
from prodia_async._wire import media
from prodia_async._wire.decoder import (
    MOST_LEVELS,
    MalformedReplyError,
    MultipartDecoder,
    is_result,
    read_json,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    Redact = Callable[[str], str]

_TOO_MANY_REQUESTS = 429
_SERVICE_UNAVAILABLE = 503
_SERVER_ERROR = range(500, 600)
_REFUSALS = range(300, 500)

# One value of a list: the comma after a day's name is part of a date and separates nothing.
_VALUE = re.compile(r"(?:\s*(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*,)?[^,]+")
_SECONDS = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?", re.IGNORECASE)

_MAX_REASON = 500
_MAX_TEXT = 16 * 1024  # of a text or web page, as much as is searched for a reason
_STATES = frozenset(("completed", "processed", "failed"))
_NO_JOB = "the reply held no readable job result: the job's id, state and metrics are unknown"

_TITLE = re.compile(r"<title[^<>]*>([^<]*)", re.IGNORECASE)
# Each pattern is linear: what is opened and never closed runs to the end.
_INVISIBLE = re.compile(
    r"<!--.*?(?:-->|\Z)|<(script|style)\b.*?(?:</\1[^<>]*>?|\Z)", re.IGNORECASE | re.DOTALL
)
_TAG = re.compile(r"<[^<>]*>?")
_CUT_JSON = re.compile(r'"(?:error|message)"\s*:\s*"([^"\\]*(?:\\.[^"\\]*)*)', re.DOTALL)

# Made here, not at its first use: msgspec then reads the types, and two threads at once crash it.
_reported = msgspec.json.Decoder(Reported)
_FIELDS = {kind: fields(kind) for kind in (Reported, JobState, Metrics, Price)}
_INNER = {"state": JobState, "metrics": Metrics, "price": Price}
_TIMES = ("created_at", "updated_at", "expires_at")


def meaning(status: int) -> tuple[VerdictKind, bool]:
    """Return the verdict of a status that is not 200, and whether the job may have run, and been billed.

    3xx and 4xx say that it was not taken, 503 that the service was not available. Any other 5xx can come
    after the work was done, and what a status means that HTTP does not know (101 in place of an answer, 999),
    nobody can tell.
    """
    if status == _TOO_MANY_REQUESTS:
        return "shed", False
    if status in _SERVER_ERROR:
        return "server_error", status != _SERVICE_UNAVAILABLE
    return "refused", status not in _REFUSALS


def retry_after(value: str | None, now: float, date: str | None = None) -> float | None:
    """Return how many seconds a Retry-After says to wait; None where it is missing or makes no sense.

    It is read leniently: seconds, also with a fraction, or a date. That is by the server's clock, which the
    reply's own `date` tells; `now`, our wall clock in seconds since the epoch, counts where there is none. A
    date in the past makes no sense. Of several values, joined by commas, the first that makes sense counts.
    There is no upper bound here.
    """
    for piece in _VALUE.findall(value or ""):
        text, seconds = piece.strip(), math.nan
        with contextlib.suppress(ValueError, OverflowError):
            if _SECONDS.fullmatch(text):
                seconds = float(text)
            elif ":" in text and (until := _moment_of(text)) is not None:
                said = _moment_of(date or "")
                seconds = until - (now if said is None else said)
        if 0 <= seconds < math.inf:
            return abs(seconds)
    return None


def _moment_of(text: str) -> float | None:
    """Read a date of HTTP, in seconds since the epoch."""
    try:
        date = parsedate_to_datetime(text)
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def job_result(body: bytes, job: Job, *, request_id: str | None = None, redact: Redact = str) -> JobResult:
    """Make a job result out of its JSON, which is kept whole as `raw` (API reference, Job Result).

    Never raises: a field that is missing or of a wrong type becomes None, type and config those of `job`. Of
    a `body` that holds no JSON object a warning says what is missing. `redact` takes the token out of texts.
    """
    text = body.decode("latin-1")
    # The token is ASCII: where it does not stand as it is, only an escape can hide it. Fewer brackets cannot
    # make too many levels.
    if "\\" not in text and redact(text) == text and text.count("{") + text.count("[") <= MOST_LEVELS:
        try:  # JobResult reads `raw` when it is looked at
            return JobResult(**asdict(_reported.decode(body)), request_id=request_id, raw=Raw(body))  # type: ignore[arg-type]
        except (msgspec.MsgspecError, UnicodeDecodeError):
            pass  # what can be read is read field by field
    found = read_json(body) or {}
    texts = shown(found, redact)
    times = {name: _moment(found.get(name)) for name in _TIMES}
    reported = _read(Reported, texts | times, type=job.type, config=job.config)
    warnings = () if found else (_NO_JOB,)
    return JobResult(**asdict(reported), request_id=request_id, warnings=warnings, raw=texts)


def _read(kind: Any, value: Any, **read: Any) -> Any:
    """Read a `kind` field by field: what cannot be read has its default; None where one has none."""
    given = value if isinstance(value, dict) else {}
    for field in _FIELDS[kind]:
        item, inner = given.get(field.name), _INNER.get(field.name)
        try:
            read[field.name] = msgspec.convert(_read(inner, item) if inner else item, field.type)
        except (msgspec.ValidationError, SystemError):  # the latter from msgspec 0.19: out of range
            if field.required and field.name not in read:
                return None
    return kind(**read)


def _moment(value: Any) -> datetime | None:
    """Read an RFC 3339 time with any fraction; one without an offset is UTC, as the API reference says."""
    try:
        moment = msgspec.convert(value, datetime)
    except msgspec.ValidationError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def shown(value: Any, redact: Redact) -> Any:
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


def reason(content_type: str | None, body: bytes, redact: Redact = str) -> str:
    """Return what an error's body says, as one line of at most 500 characters; "" where it says nothing.

    Reads JSON, the job part of a multipart body (also one that breaks off), text and web pages. Never raises,
    and lets no control character through. `redact` takes the token out, before anything is cut.
    """
    kind, body = _opened(content_type, body)
    if kind.startswith(("image/", "video/", "audio/")) or b"\0" in body[:_MAX_TEXT]:
        return ""
    found = read_json(body)
    said = redact(body.decode("utf-8", "replace"))[:_MAX_TEXT].strip()
    if found is not None:
        said = _json_reason(shown(found, redact))
    elif kind in media.PAGES or said.startswith("<"):
        import html  # noqa: PLC0415 - 3 ms that only a proxy's error page costs

        title = _TITLE.search(said)
        said = (title and title.group(1).strip()) or _TAG.sub(" ", _INVISIBLE.sub(" ", said))
        said = html.unescape(said)
    elif said.startswith("{") and (cut := _CUT_JSON.search(said)):
        said = cut.group(1)
        with contextlib.suppress(msgspec.MsgspecError, UnicodeError):  # broken escapes are shown
            said = msgspec.json.decode(f'"{said}"', type=str)
    return one_line(redact(said))


def failed_result(
    content_type: str | None, body: bytes, job: Job, *, request_id: str | None = None, redact: Redact = str
) -> JobResult | None:
    """Return the job result inside an error's body, JSON or multipart; None where there is none."""
    _, body = _opened(content_type, body)
    if not is_result(read_json(body)):
        return None
    return job_result(body, job, request_id=request_id, redact=redact)


def _opened(content_type: str | None, body: bytes) -> tuple[str, bytes]:
    """Return a body with its media type: of a multipart one the job part, as much of it as there is."""
    kind, parameters = media.split(content_type or "")
    if not kind.startswith("multipart/"):
        return kind, body
    job_part = bytearray()
    with contextlib.suppress(MalformedReplyError):  # what came before the fault still tells the reason
        decoder = MultipartDecoder(parameters.get("boundary", ""), Limits())
        job_part = decoder.job_so_far
        decoder.feed(body)
    return "application/json", bytes(job_part)


def _json_reason(value: dict[str, Any]) -> str:
    pieces = [_said(value.get("message")), _said(value.get("detail"))]
    said = _said(value.get("error")) or ": ".join(filter(None, pieces))
    state = _read(JobState, value.get("state"))
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


def one_line(text: str) -> str:
    """Cut other people's text to what any terminal or log shows as it is, at most 500 characters of it."""
    if len(text) <= _MAX_REASON and text.isprintable() and "  " not in text:
        return text.strip()
    line = " ".join("".join(char if char.isprintable() else " " for char in text[:_MAX_TEXT]).split())
    return line if len(line) <= _MAX_REASON else line[: _MAX_REASON - 1].rstrip() + "…"
