"""Replies, decoded as they arrive: outputs and the job part (API reference, Response Body).

A reply may be compressed by a proxy in between, though none is asked for (RFC 9110, section 8.4.1). A bomb of
a few kilobytes can expand to gigabytes: what comes out is bounded by what came in.
"""

from __future__ import annotations

import re
import zlib
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec
from msgspec import Struct

from prodia_async._wire import media
from prodia_async._wire.heads import Head, read_head

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prodia_async._settings import Limits

_MAX_PREAMBLE = 64 * 1024
_MAX_HEADER = 64 * 1024  # above any setting: held headers are copied with each chunk until they are whole
MOST_LEVELS = 100
"""Levels of lists and objects: what is deeper could be read, and then not be written down or read again."""
_BOUNDARY = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,68}[\x21-\x7e])?")  # RFC 2046, 5.1.1, not so narrow
_MORE = -1  # more has to come first

_ENCODINGS = ("gzip", "x-gzip", "deflate")
_EITHER = zlib.MAX_WBITS | 32  # a gzip or a zlib header
_PIECE = 256 * 1024
_WINDOW = 16 * 1024
"""Bytes that zlib is given at once: at the end of a member it copies what is left of them, and members of a
few bytes would make it copy a whole block for each."""
_FREE = 1024 * 1024
"""Bytes that may come out whatever came in: a short text of one repeated word is no bomb."""


class MalformedReplyError(Exception):
    """A reply is not of the form that the API promises; the message is one clear sentence."""


class JobPart(Struct, frozen=True):
    """The job part, whole."""

    body: bytes


Event: TypeAlias = Head | bytes | JobPart
"""What a reply brings: a head begins an output, bytes are its next piece, and b"" says that it is whole."""

_PREAMBLE = Head()  # what comes before the first delimiter, and is no part


class MultipartDecoder:
    """A multipart reply: one job part and outputs, in any order; parts of other names are skipped.

    A part's headers are held until they are whole, and a delimiter until it is told from content, so that
    every split of a body gives the same verdict.
    """

    def __init__(self, boundary: str, limits: Limits) -> None:
        if not _BOUNDARY.fullmatch(boundary):
            raise MalformedReplyError(f"the reply's multipart boundary cannot be {boundary!r}")
        self.is_complete = False  # whether the final boundary has come
        self.job_so_far = bytearray()
        """What has come of the job part, for a body that breaks off."""
        self._delimiter = b"\r\n--" + boundary.encode("ascii")
        self._limits = limits
        self._held = b"\r\n"  # a delimiter may open the body without a line break
        self._preamble = bytearray()
        self._is_opening = False  # whether nothing of the part's content was seen
        self._names: list[str | None] = []
        self._part: Head | None = _PREAMBLE
        self._left: int | None = None  # of what the part's Content-Length promises

    def feed(self, data: bytes) -> list[Event]:
        events: list[Event] = []
        if self._is_opening and self._held == b"\r\n" and data[:1] not in (b"", b"-"):
            self._held, self._is_opening = b"", False  # no delimiter: the chunk is not copied for it
        data, self._held = self._held + data, b""
        delimiter = self._delimiter
        position = 0
        while position != _MORE and not self.is_complete:
            part = self._part
            if part is None:
                position = self._read_head(data, position, events)
                continue
            end = data.find(delimiter, position)
            is_last = end >= 0
            if not is_last:  # what may begin a delimiter is held
                end = data.rfind(b"\r", max(position, len(data) - len(delimiter) + 1))
                end = end if end >= 0 and delimiter.startswith(data[end:]) else len(data)
                self._held = data[end:]
            if self._is_opening and is_last and end == position:  # some readers take it for content
                raise MalformedReplyError("a malformed reply: a boundary follows a part's headers at once")
            if self._is_opening and end > position:
                position, self._is_opening = position + 2, False
            if self._left is not None or (part.name != "output" and end > position):
                self._count(part, data[position:end], is_last=is_last)
            if part.name == "output" and end > position:
                events.append(data[position:end])
            if is_last and part.name in ("output", "job"):
                events.append(b"" if part.name == "output" else JobPart(bytes(self.job_so_far)))
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

    def _read_head(self, data: bytes, position: int, events: list[Event]) -> int:
        """Read what follows a delimiter: the end, or a part's headers. Return where its content begins."""
        begin = position + 2
        if data.startswith(b"--", position):
            self.is_complete = True
            self.close()
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
            part = read_head(data[begin:end])
        except ValueError as error:
            raise MalformedReplyError(f"the headers of a part of the reply are malformed: {error}") from None
        self._part, self._left, self._is_opening = part, part.length, True
        if part.name == "job" and "job" in self._names:
            raise MalformedReplyError("the reply holds two job parts")
        self._names.append(part.name)
        if part.name == "output":
            events.append(part)
        return end + 2  # the line break before the content may be that of a delimiter

    def _count(self, part: Head, data: bytes, *, is_last: bool) -> None:
        """Check how long a part may be, and keep what belongs to the job part, or comes before all."""
        if self._left is not None:
            self._left -= len(data)
            if self._left < 0 or (is_last and self._left):
                how = "longer" if self._left < 0 else "shorter"
                raise MalformedReplyError(f"a part of the reply is malformed: {how} than its Content-Length")
        if part is _PREAMBLE:
            self._preamble += data
            if self._delimiter[1:] in self._preamble:
                raise MalformedReplyError("a line before the reply's first boundary ends in a bare LF")
            if len(self._preamble) > _MAX_PREAMBLE:
                raise MalformedReplyError("the reply's multipart body does not begin with its boundary")
        elif part.name == "job":
            most = self._limits.max_job_part
            if len(self.job_so_far) + len(data) > most:
                raise MalformedReplyError(f"the reply's job part exceeds {most} bytes")
            self.job_so_far += data


class SingleDecoder:
    """A reply that is one output or, if it is not longer than `max_job_part`, a job result."""

    is_complete = False

    def __init__(self, content_type: str, max_job_part: int) -> None:
        self._start: Head | None = Head("output", content_type=content_type)  # None once it has begun
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
            return [b""]
        body = bytes(self._held)
        if not body:
            raise MalformedReplyError("the reply is empty")
        return [JobPart(body)] if is_result(read_json(body)) else [self._start, body, b""]


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


def is_compressed(content_encoding: str | None) -> bool:
    """Tell whether a reply of this Content-Encoding is to be inflated. Raises MalformedReplyError."""
    encoding = (content_encoding or "").strip().lower()
    if encoding in ("", "identity"):
        return False
    if encoding not in _ENCODINGS:
        raise MalformedReplyError(f"it is encoded as {content_encoding!r}, which was not asked for")
    return True


class Inflater:
    """Inflates gzip and zlib data: take all that `feed` gives for what has come, then feed it more.

    `max_expansion`: how many times the data fed may come out, beyond the first MiB. Both methods raise
    MalformedReplyError.
    """

    def __init__(self, max_expansion: int) -> None:
        self._max_expansion = max_expansion
        self._stream = zlib.decompressobj(_EITHER)
        self._fed = self._taken = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what comes of the next data, in pieces of at most 256 KiB."""
        self._fed += len(data)
        for at in range(0, len(data), _WINDOW):
            window = data[at : at + _WINDOW]
            while window:
                if self._stream.eof:  # another member (RFC 1952, section 2.2)
                    self._stream = zlib.decompressobj(_EITHER)
                try:
                    piece = self._stream.decompress(window, _PIECE)
                except zlib.error as error:
                    raise MalformedReplyError(f"it is compressed, and damaged: {error}") from None
                window = self._stream.unused_data if self._stream.eof else self._stream.unconsumed_tail
                self._taken += len(piece)
                if self._taken > _FREE + self._max_expansion * self._fed:
                    most = f"Limits.max_expansion={self._max_expansion}"
                    raise MalformedReplyError(f"it expands to more than {most} times what was sent")
                if piece:
                    yield piece

    def close(self) -> None:
        """Say that no more comes: it must be whole."""
        if self._fed and not self._stream.eof:
            raise MalformedReplyError("it is compressed, and breaks off")
