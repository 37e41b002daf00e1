"""Replies, decoded as they arrive: outputs and the job part (API reference, Response Body)."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec
from msgspec import Struct

from prodia_async._wire import media
from prodia_async._wire.heads import Head, read_head

if TYPE_CHECKING:
    from prodia_async._settings import Limits

_MAX_PREAMBLE = 64 * 1024
_MAX_HEADER = 64 * 1024  # above any setting: held headers are copied with each chunk until they are whole
_MAX_REMEMBERED = 1024
MOST_LEVELS = 100
"""Levels of lists and objects: what is deeper could be read, and then not be written down or read again."""
_BOUNDARY = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,68}[\x21-\x7e])?")  # RFC 2046, 5.1.1, not so narrow
_MORE = -1  # more has to come first


class MalformedReplyError(Exception):
    """A reply is not of the form that the API promises; the message is one clear sentence."""


class OutputStart(Struct, frozen=True):
    """An output begins; `filename` is the service's own name for it, never a path to trust."""

    filename: str | None
    content_type: str


class OutputEnd(Struct, frozen=True):
    """The output that began last is whole."""


class JobPart(Struct, frozen=True):
    """The job part, whole."""

    body: bytes


Event: TypeAlias = OutputStart | bytes | OutputEnd | JobPart
"""What a reply brings; bytes are a piece of the output that began last."""

_OUTPUT_END = OutputEnd()


_remembered = lru_cache(maxsize=256)(read_head)
"""The same for the few forms of headers that a service's replies keep coming with."""


class MultipartDecoder:
    """A multipart reply: one job part and outputs, in any order; parts of other names are skipped.

    A part's headers are held until they are whole, and a delimiter until it is told from content, so that
    every split of a body gives the same verdict.
    """

    def __init__(self, boundary: str, limits: Limits) -> None:
        if not _BOUNDARY.fullmatch(boundary):
            raise MalformedReplyError(f"the reply's multipart boundary cannot be {boundary!r}")
        self.is_complete = False
        """Whether the final boundary has come; what follows it means nothing."""
        self.job_so_far = bytearray()
        """What has come of the job part, for a body that breaks off."""
        self._delimiter = b"\r\n--" + boundary.encode("ascii")
        self._limits = limits
        self._held = b"\r\n"  # a delimiter may open the body without a line break
        self._has_begun = self._is_opening = False
        self._skipped = 0
        self._names: list[str | None] = []
        self._part: Head | None = None
        self._left: int | None = None  # of what the part's Content-Length promises

    def feed(self, data: bytes) -> list[Event]:
        """Return what `data` brings, in order. What follows the end is ignored."""
        events: list[Event] = []
        data, self._held = self._held + data, b""
        delimiter = self._delimiter
        position = 0 if self._has_begun else self._read_preamble(data)
        while position != _MORE and not self.is_complete:
            part = self._part
            if part is None:
                position = self._read_head(data, position, events)
                continue
            if self._is_opening:
                begin = data[position : position + len(delimiter) - 2]
                if begin == delimiter[2:]:  # some readers take it for content
                    raise MalformedReplyError(
                        "a malformed reply: a boundary follows a part's headers at once"
                    )
                self._is_opening = delimiter.startswith(begin, 2)
                if self._is_opening:
                    self._held = begin
                    break
            end = data.find(delimiter, position)
            is_last = end >= 0
            if not is_last:  # what may begin a delimiter is held
                end = data.rfind(b"\r", max(position, len(data) - len(delimiter) + 1))
                end = end if end >= 0 and delimiter.startswith(data[end:]) else len(data)
                self._held = data[end:]
            if self._left is not None or part.name != "output":
                self._count(part, data[position:end], is_last=is_last)
            if part.name == "output" and end > position:
                events.append(data[position:end])
            if is_last and part.name in ("output", "job"):
                events.append(_OUTPUT_END if part.name == "output" else JobPart(bytes(self.job_so_far)))
            self._part = None if is_last else part
            position = end + len(delimiter) if is_last else _MORE
        return events

    def close(self) -> list[Event]:
        """Say that the body has ended: it must have its final boundary, and a job part or an output."""
        if not self.is_complete:
            raise MalformedReplyError("the reply was cut short: its final multipart boundary is missing")
        if "job" not in self._names and "output" not in self._names:
            raise MalformedReplyError("the reply holds neither a job part nor an output")
        return []

    def _read_preamble(self, data: bytes) -> int:
        """Skip what comes before the first delimiter, and return where that ends."""
        delimiter = self._delimiter
        start = data.find(delimiter)
        if 0 <= data.find(delimiter[1:]) != start + 1:
            raise MalformedReplyError("a line before the reply's first boundary ends in a bare LF")
        kept = start if start >= 0 else max(0, len(data) - len(delimiter) + 1)
        self._skipped += kept
        if self._skipped > _MAX_PREAMBLE:
            raise MalformedReplyError("the reply's multipart body does not begin with its boundary")
        if start < 0:
            self._held = data[kept:]
            return _MORE
        self._has_begun = True
        return start + len(delimiter)

    def _read_head(self, data: bytes, position: int, events: list[Event]) -> int:
        """Read what follows a delimiter: the end, or a part's headers. Return where its content begins."""
        begin = position + 2
        if data.startswith(b"--", position):
            self.is_complete = True
            return _MORE
        if len(data) >= begin and not data.startswith(b"\r\n", position):
            raise MalformedReplyError("the reply's multipart body is malformed: text follows a boundary")
        if data.startswith(b"\r\n", begin):
            raise MalformedReplyError("a malformed reply: a part of it has no headers")
        end = data.find(b"\r\n\r\n", begin)
        most = min(self._limits.max_header, _MAX_HEADER)
        if (end if end >= 0 else len(data) - 3) - begin > most:
            raise MalformedReplyError(f"the headers of a part of the reply exceed {most} bytes")
        if end < 0:
            self._held = data[position:]
            return _MORE
        most = self._limits.max_parts
        if len(self._names) == most:
            raise MalformedReplyError(f"the reply has more than Limits.max_parts={most} parts")
        try:
            part = (_remembered if end - begin <= _MAX_REMEMBERED else read_head)(data[begin:end])
        except ValueError as error:
            raise MalformedReplyError(f"the headers of a part of the reply are malformed: {error}") from None
        self._part, self._left, self._is_opening = part, part.length, True
        if part.name == "job" and "job" in self._names:
            raise MalformedReplyError("the reply holds two job parts")
        self._names.append(part.name)
        if part.name == "output":
            events.append(OutputStart(part.filename, part.content_type))
        return end + 4

    def _count(self, part: Head, data: bytes, *, is_last: bool) -> None:
        """Check how long a part may be, and keep what belongs to the job part."""
        if self._left is not None:
            self._left -= len(data)
            if self._left < 0 or (is_last and self._left):
                how = "longer" if self._left < 0 else "shorter"
                raise MalformedReplyError(f"a part of the reply is malformed: {how} than its Content-Length")
        if part.name != "job":
            return
        most = self._limits.max_job_part
        if len(self.job_so_far) + len(data) > most:
            raise MalformedReplyError(f"the reply's job part exceeds {most} bytes")
        self.job_so_far += data


class SingleDecoder:
    """A reply that is one output or, if it is not longer than `max_job_part`, a job result."""

    is_complete = False

    def __init__(self, content_type: str, max_job_part: int) -> None:
        self._start: OutputStart | None = OutputStart(None, content_type)  # None once it has begun
        self._max_job_part = max_job_part
        self._held = bytearray()

    def feed(self, data: bytes) -> list[Event]:
        """Return `data` as output; what may be a job result is collected first."""
        if self._start is None:
            return [data] if data else []
        self._held += data
        if len(self._held) <= self._max_job_part:
            return []
        events: list[Event] = [self._start, bytes(self._held)]
        self._start = None
        return events

    def close(self) -> list[Event]:
        """Say that the body has ended, and return the job part that it was; an empty one is no output."""
        if self._start is None:
            return [_OUTPUT_END]
        body = bytes(self._held)
        if not body:
            raise MalformedReplyError("the reply is empty")
        return [JobPart(body)] if is_result(read_json(body)) else [self._start, body, _OUTPUT_END]


Decoder: TypeAlias = MultipartDecoder | SingleDecoder
"""Turns the pieces of a reply's body, cut anywhere, into events.

`feed` returns what a piece brings, in order; `close` says that the body has ended, and returns what is left.
Both raise MalformedReplyError, and nothing else, where the reply is not what the API promises; the decoder is
spent then. `is_complete` tells whether nothing that may still come means anything.
"""


def decoder_for(content_type_header: str | None, limits: Limits) -> Decoder:
    """Return the decoder for a reply of the given Content-Type; raises MalformedReplyError for a web page."""
    header = content_type_header or ""
    kind, parameters = media.split(header)
    if kind.startswith("multipart/"):
        return MultipartDecoder(parameters.get("boundary", ""), limits)
    if kind in media.PAGES:
        raise MalformedReplyError("the answer is an HTML page instead of a result: a proxy in between?")
    return SingleDecoder(media.clean(header), limits.max_job_part if kind == "application/json" else 0)


def read_json(body: bytes) -> dict[str, Any] | None:
    """Return the JSON object that `body` holds; None where it holds none that can be read."""
    try:
        value: dict[str, Any] = msgspec.json.decode(body, type=dict)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    may_be_deep = body.count(b"{") + body.count(b"[") > MOST_LEVELS
    return None if may_be_deep and _is_deep(value) else value


def is_result(value: dict[str, Any] | None) -> bool:
    """Tell whether a JSON object is a job result: it says the job's state or its id."""
    return value is not None and ("state" in value or "id" in value)


def _is_deep(value: Any, left: int = MOST_LEVELS) -> bool:
    """Tell whether there are too many levels; no more than those are looked into."""
    if not isinstance(value, dict | list):
        return False
    return not left or any(
        _is_deep(item, left - 1) for item in (value.values() if isinstance(value, dict) else value)
    )
