"""The parts of a multipart body, found as it arrives.

The delimiters are looked for here, and each part's headers are held until they are whole, so that every split
of a body gives the same verdict; `multipart` reads the headers, once for each form that they have.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

from msgspec import Struct
from multipart import (  # type: ignore[import-untyped]  # it ships no type hints
    MultipartError,
    PushMultipartParser,
)

from prodia_async._wire import disposition

if TYPE_CHECKING:
    from collections.abc import Callable

    from prodia_async._settings import Limits

_MAX_PREAMBLE = 64 * 1024
_MAX_HEADERS = 64
_MAX_LINE = 8 * 1024
_MAX_HEADER = 64 * 1024  # above any setting: held headers are copied with each chunk until they are whole
_MAX_REMEMBERED = 1024
_BOUNDARY = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,68}[\x21-\x7e])?")  # RFC 2046, 5.1.1, not so narrow
_START = b"\r\n"  # a delimiter may open the body without a line break
_MORE = -1  # more has to come first


class MalformedReplyError(Exception):
    """A reply is not of the form that the API promises; the message is one clear sentence."""


class PartStart(Struct, frozen=True):
    """A part begins: its form name, file name and media type, as the service wrote them.

    `length`: how many bytes of content its headers promise, if they do.
    """

    name: str | None
    filename: str | None
    content_type: str
    length: int | None = None


Item: TypeAlias = PartStart | bytes | None
"""A part's start, a piece of its content, or its end (None)."""


class PartReader:
    """Turns pieces of a multipart body into the starts, contents and ends of its parts, within `limits`.

    After it has raised MalformedReplyError it is spent.
    """

    def __init__(self, boundary: str, limits: Limits) -> None:
        if not _BOUNDARY.fullmatch(boundary):
            raise MalformedReplyError(f"the reply's multipart boundary cannot be {boundary!r}")
        self.is_complete = False
        """Whether the final boundary has come; what follows it means nothing."""
        self._delimiter = b"\r\n--" + boundary.encode("ascii")
        self._max_header = min(limits.max_header, _MAX_HEADER)
        self._max_parts = limits.max_parts
        self._parts = self._skipped = self._received = 0
        self._promised: int | None = None
        self._read: Callable[[bytes, int, list[Item]], int] = self._read_preamble
        self._held = _START

    def feed(self, data: bytes) -> list[Item]:
        """Return what `data` brings, in order. What follows the end is ignored."""
        items: list[Item] = []
        if self.is_complete or not data:
            return items
        position = 0
        line = self._delimiter[2:]
        if self._held is _START and len(data) > len(line) + 1 and data.startswith(line):  # as most bodies do
            self._held = b""
            position = self._pass_delimiter(data, -len(_START))
        elif self._held:
            data = self._held + data
            self._held = b""
        while position != _MORE:
            position = self._read(data, position, items)
        return items

    def close(self) -> None:
        """Say that the body has ended; raises MalformedReplyError where it lacks its final boundary."""
        if not self.is_complete:
            raise MalformedReplyError("the reply was cut short: its final multipart boundary is missing")

    # Each reads one thing at `position` and returns where the next begins, or holds the rest for _MORE.

    def _read_preamble(self, data: bytes, position: int, items: list[Item]) -> int:  # noqa: ARG002 - one signature
        delimiter = self._delimiter
        start = data.find(delimiter)
        if 0 <= data.find(delimiter[1:]) != start + 1:
            raise MalformedReplyError("a line before the reply's first boundary ends in a bare LF")
        kept = start if start >= 0 else max(0, len(data) - len(delimiter) + 1)
        self._skipped += kept
        if self._skipped > _MAX_PREAMBLE:
            raise MalformedReplyError("the reply's multipart body does not begin with its boundary")
        if start < 0 or len(data) < start + len(delimiter) + 2:
            return self._hold(data, kept)
        return self._pass_delimiter(data, start)

    def _read_head(self, data: bytes, position: int, items: list[Item]) -> int:
        if data.startswith(b"\r\n", position):
            raise MalformedReplyError("a malformed reply: a part of it has no headers")
        end = data.find(b"\r\n\r\n", position)
        if (end if end >= 0 else len(data) - 3) - position > self._max_header:
            raise MalformedReplyError(f"the headers of a part of the reply exceed {self._max_header} bytes")
        if end < 0:
            return self._hold(data, position)
        head = data[position:end]
        start = (_remembered if len(head) <= _MAX_REMEMBERED else _part_start)(head)
        items.append(start)
        self._promised, self._received = start.length, 0
        self._read = self._read_opening
        return end + 4

    def _read_opening(self, data: bytes, position: int, items: list[Item]) -> int:  # noqa: ARG002 - one signature
        """Refuse a part whose delimiter follows its headers at once: some readers take it for content."""
        line = self._delimiter[2:]
        if data.startswith(line, position):
            raise MalformedReplyError("a malformed reply: a boundary follows a part's headers at once")
        if len(data) - position < len(line) and line.startswith(data[position:]):
            return self._hold(data, position)
        self._read = self._read_content
        return position

    def _read_content(self, data: bytes, position: int, items: list[Item]) -> int:
        delimiter = self._delimiter
        end = data.find(delimiter, position)
        if end < 0:
            end = data.rfind(b"\r", max(position, len(data) - len(delimiter) + 1))
            if end < 0 or not delimiter.startswith(data[end:]):
                end = len(data)
        if end > position:
            self._count(end - position)
            items.append(data[position:end])
        if len(data) < end + len(delimiter) + 2:
            return self._hold(data, end)
        if self._promised is not None and self._received != self._promised:
            raise MalformedReplyError("a part of the reply is malformed: shorter than its Content-Length")
        items.append(None)
        return self._pass_delimiter(data, end)

    def _count(self, size: int) -> None:
        self._received += size
        if self._promised is not None and self._received > self._promised:
            raise MalformedReplyError("a part of the reply is malformed: longer than its Content-Length")

    def _pass_delimiter(self, data: bytes, start: int) -> int:
        """See what a delimiter announces: another part, or the end."""
        end = start + len(self._delimiter) + 2
        what = data[end - 2 : end]
        if what == b"--":
            self.is_complete = True
            return _MORE
        if what != b"\r\n":
            raise MalformedReplyError("the reply's multipart body is malformed: text follows a boundary")
        self._parts += 1
        if self._parts > self._max_parts:
            raise MalformedReplyError(f"the reply has more than Limits.max_parts={self._max_parts} parts")
        self._read = self._read_head
        return end

    def _hold(self, data: bytes, position: int) -> int:
        self._held = data[position:]
        return _MORE


def _part_start(head: bytes) -> PartStart:
    """Read a part's headers, as they came. Raises MalformedReplyError."""
    bare = head.replace(b"\r\n", b"")
    if b"\r" in bare or b"\n" in bare or b"\0" in bare:
        raise MalformedReplyError("the headers of a part of the reply hold a bare CR, LF or NUL")
    headers = _headers(head)
    values = [_form_data(value) for name, value in headers if name == "Content-Disposition"] or [None]
    if values[0] is None or None in values:
        raise MalformedReplyError("a malformed reply: the Content-Disposition of a part cannot be read")
    content_type = next((value for name, value in headers if name == "Content-Type"), "")
    length = next((int(value) for name, value in headers if name == "Content-Length"), None)
    return PartStart(values[0].name, values[0].filename, content_type, length)


class _HeadParser(PushMultipartParser):  # type: ignore[misc] # it ships no type hints
    """Reads headers, and leaves what they say to us: the service reads them by Go's rule."""

    def _create_segment(self, headerlist: list[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
        return tuple(headerlist)


def _headers(head: bytes) -> tuple[tuple[str, str], ...]:
    """Split headers into names, spelled as usual, and values."""
    parser = _HeadParser(
        "b", max_header_size=_MAX_LINE, max_header_count=_MAX_HEADERS, header_charset="latin-1"
    )
    try:
        headers: tuple[tuple[str, str], ...] = next(parser.parse(b"--b\r\n" + head + b"\r\n\r\n"))
    except MultipartError as exc:
        raise MalformedReplyError(f"the headers of a part of the reply are malformed: {exc}") from exc
    return headers


def _form_data(header: str) -> disposition.Disposition | None:
    value = disposition.parse(header.encode("latin-1"))
    return value if value is not None and value.kind == "form-data" else None


_remembered = lru_cache(maxsize=256)(_part_start)
"""The same for the few forms of headers that a service's replies keep coming with."""
