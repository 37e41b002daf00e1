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
_MOST_LEVELS = 100
"""Levels of lists and objects: what is deeper could be read, and then not be written down or read again."""
_BOUNDARY = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,68}[\x21-\x7e])?")  # RFC 2046, 5.1.1, not so narrow
_PRINTABLE = re.compile(r"[\x20-\x7e]+")
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


class _Part(Struct, frozen=True):
    """A part by its headers, and the event that it begins with, if it is an output."""

    head: Head
    start: OutputStart | None


def _read_part(head: bytes) -> _Part:
    """Read a part's headers. Raises MalformedReplyError."""
    try:
        found = read_head(head)
    except ValueError as error:
        raise MalformedReplyError(f"the headers of a part of the reply are malformed: {error}") from None
    is_output = found.name == "output"
    return _Part(found, OutputStart(found.filename, clean(found.content_type)) if is_output else None)


_remembered = lru_cache(maxsize=256)(_read_part)
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
        self._has_begun = self._is_opening = self._has_job = self._has_output = False
        self._skipped = self._parts = 0
        self._part: _Part | None = None
        self._promised: int | None = None

    def feed(self, data: bytes) -> list[Event]:
        """Return what `data` brings, in order. What follows the end is ignored."""
        events: list[Event] = []
        data, self._held = self._held + data, b""
        delimiter = self._delimiter
        position = 0
        if not self._has_begun:
            position = self._read_preamble(data)
        elif self._is_opening:
            position = self._read_opening(data)
        while position != _MORE and not self.is_complete:
            part = self._part
            if part is None:
                position = self._read_head(data, position, events)
                continue
            found = data.find(delimiter, position)
            end = found if found >= 0 else self._sure_until(data, position)
            if self._promised is not None:
                self._count(end - position, is_last=found >= 0)
            if part.start is not None:
                if end > position:
                    events.append(data[position:end])
                if found >= 0:
                    events.append(_OUTPUT_END)
            else:
                self._collect(part, data[position:end], events, is_last=found >= 0)
            if found < 0:
                self._held = data[end:]
                break
            self._part = None
            position = found + len(delimiter)
        return events

    def close(self) -> list[Event]:
        """Say that the body has ended: it must have its final boundary, and a job part or an output."""
        if not self.is_complete:
            raise MalformedReplyError("the reply was cut short: its final multipart boundary is missing")
        if not (self._has_job or self._has_output):
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
        self._parts += 1
        if self._parts > self._limits.max_parts:
            most = self._limits.max_parts
            raise MalformedReplyError(f"the reply has more than Limits.max_parts={most} parts")
        self._part = part = (_remembered if end - begin <= _MAX_REMEMBERED else _read_part)(data[begin:end])
        self._promised = part.head.length
        if part.start is not None:
            self._has_output = True
            events.append(part.start)
        line = self._delimiter[2:]
        if line.startswith(data[end + 4 : end + 4 + len(line)]):
            return self._read_opening(data[end + 4 :])
        return end + 4

    def _read_opening(self, data: bytes) -> int:
        """Refuse a part whose delimiter follows its headers at once: some readers take it for content."""
        line = self._delimiter[2:]
        if data.startswith(line):
            raise MalformedReplyError("a malformed reply: a boundary follows a part's headers at once")
        self._is_opening = line.startswith(data)
        if self._is_opening:
            self._held = data
        return _MORE if self._is_opening else 0

    def _sure_until(self, data: bytes, position: int) -> int:
        """Return how far a piece without a delimiter is content: its end may begin one."""
        delimiter = self._delimiter
        end = data.rfind(b"\r", max(position, len(data) - len(delimiter) + 1))
        return end if end >= 0 and delimiter.startswith(data[end:]) else len(data)

    def _collect(self, part: _Part, data: bytes, events: list[Event], *, is_last: bool) -> None:
        """Keep what belongs to the job part."""
        if part.head.name != "job":
            return
        if self._has_job:
            raise MalformedReplyError("the reply holds two job parts")
        most = self._limits.max_job_part
        if len(self.job_so_far) + len(data) > most:
            raise MalformedReplyError(f"the reply's job part exceeds {most} bytes")
        self.job_so_far += data
        if is_last:
            self._has_job = True
            events.append(JobPart(bytes(self.job_so_far)))

    def _count(self, size: int, *, is_last: bool) -> None:
        left = (self._promised or 0) - size
        if left < 0:
            raise MalformedReplyError("a part of the reply is malformed: longer than its Content-Length")
        if is_last and left:
            raise MalformedReplyError("a part of the reply is malformed: shorter than its Content-Length")
        self._promised = left


class SingleDecoder:
    """A reply that is one output, or one job result, which is JSON.

    What exceeds the bound on the job part is no job result, and is passed on as an output.
    """

    is_complete = False

    def __init__(self, content_type: str, limits: Limits, *, is_json: bool) -> None:
        self._start = OutputStart(None, content_type)
        self._max_job_part = limits.max_job_part
        self._json = bytearray() if is_json else None
        self._has_begun = False

    def feed(self, data: bytes) -> list[Event]:
        """Return `data` as output; JSON is collected first, unless it is too long for a job result."""
        if self._json is not None:
            self._json += data
            if len(self._json) <= self._max_job_part:
                return []
            data, self._json = bytes(self._json), None
        if not data:
            return []
        events: list[Event] = [data] if self._has_begun else [self._start, data]
        self._has_begun = True
        return events

    def close(self) -> list[Event]:
        """Say that the body has ended, and return the job part that it was; an empty one is no output."""
        if self._json:
            body = bytes(self._json)
            return [JobPart(body)] if is_result(read_json(body)) else [self._start, body, _OUTPUT_END]
        if not self._has_begun:
            raise MalformedReplyError("the reply is empty")
        return [_OUTPUT_END]


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
    if kind in ("text/html", "application/xhtml+xml"):
        raise MalformedReplyError("the answer is an HTML page instead of a result: a proxy in between?")
    return SingleDecoder(clean(header), limits, is_json=kind == "application/json")


def clean(content_type: str) -> str:
    """Return a Content-Type that is safe to show and to split, as the service wrote it."""
    text = content_type.strip()
    readable = _PRINTABLE.fullmatch(text) and media.is_type(media.split(text)[0])
    return text if readable else media.OCTETS


def read_json(body: bytes) -> dict[str, Any] | None:
    """Return the JSON object that `body` holds; None where it holds none that can be read."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    may_be_deep = body.count(b"{") + body.count(b"[") > _MOST_LEVELS
    return None if may_be_deep and _is_deep(value) else value


def is_result(value: dict[str, Any] | None) -> bool:
    """Tell whether a JSON object is a job result: it says the job's state or its id."""
    return value is not None and ("state" in value or "id" in value)


def _is_deep(value: dict[str, Any]) -> bool:
    """Tell whether there are too many levels, looking at one after another: recursion would have an end."""
    level: list[Any] = [value]
    for _ in range(_MOST_LEVELS):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return False
    return True


def _inside(value: Any) -> list[Any]:
    items = value.values() if isinstance(value, dict) else value
    return [item for item in items if isinstance(item, dict | list)]
