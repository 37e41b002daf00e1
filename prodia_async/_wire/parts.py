"""The parts of a multipart body, read incrementally through `multipart`'s push parser.

The parser's verdict on a preamble, on line breaks in headers and on long headers depends on where the body
is cut. So this module finds the first delimiter itself, and follows the parser's position in the
body in order to check the raw bytes of each part's headers: every split gives the same verdict.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from msgspec import Struct
from multipart import (  # type: ignore[import-untyped]  # it ships no type hints
    MultipartError,
    PushMultipartParser,
)

from prodia_async._wire import disposition

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prodia_async._settings import Limits

_MAX_PREAMBLE = 64 * 1024
_MAX_HEADERS = 64
_MAX_LINE = 8 * 1024
_MAX_HEADER = 64 * 1024  # above any setting: held headers are copied with each chunk until they are whole
_MAX_REMEMBERED = 1024
_BOUNDARY = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,68}[\x21-\x7e])?")  # RFC 2046, 5.1.1, not so narrow


class MalformedReplyError(Exception):
    """A reply is not of the form that the API promises; the message is one clear sentence."""


class PartStart(Struct, frozen=True):
    """A part begins: its form name, file name and media type, as the service wrote them."""

    name: str | None
    filename: str | None
    content_type: str


class _Segment:
    """A part as the parser sees it; what its headers say is read here, by the service's rule."""

    __slots__ = ("bytes_received", "complete", "headers")

    def __init__(self, headers: tuple[tuple[str, str], ...]) -> None:
        self.headers = headers
        self.bytes_received = 0
        self.complete = False


class _Parser(PushMultipartParser):  # type: ignore[misc] # it ships no type hints
    def _create_segment(self, headerlist: list[tuple[str, str]]) -> _Segment:
        return _Segment(tuple(headerlist))


class PartReader:
    """Turns pieces of a multipart body into part starts, content and ends (None), within `limits`.

    After it has raised MalformedReplyError it is spent.
    """

    def __init__(self, boundary: str, limits: Limits) -> None:
        if not _BOUNDARY.fullmatch(boundary):
            raise MalformedReplyError(f"the reply's multipart boundary cannot be {boundary!r}")
        self._delimiter = b"\r\n--" + boundary.encode("ascii")
        self._max_header = min(limits.max_header, _MAX_HEADER)
        self._parser = _Parser(
            boundary,
            max_header_size=_MAX_LINE
            + 64,  # it counts the line break, or not, by the split: we count exactly
            max_header_count=_MAX_HEADERS,
            max_segment_count=limits.max_parts,
            header_charset="latin-1",
        )
        self._held = (
            b"\r\n"  # bytes not accounted for yet; a delimiter may open the body without a line break
        )
        self._skipped = 0
        self._opening = b""  # how a part's content begins, until it can be no delimiter
        self._in_preamble = True
        self._in_head = True
        self._complete = False

    def feed(self, data: bytes) -> Iterator[PartStart | bytes | None]:
        """Yield what `data` brings; to be used up before the next call. What follows the end is ignored."""
        if self._complete or not data:
            return
        if self._in_preamble:
            data = self._skip_preamble(data)
            if not data:
                return
            window, position = data, len(self._delimiter)
        else:
            window, position = self._held + data, 0
        try:
            for item in self._parser.parse(data):
                if item is None:
                    position += len(self._delimiter) + 2
                    self._complete = window[position - 2 : position] == b"--"
                    self._in_head = not self._complete
                    yield None
                elif isinstance(item, _Segment):
                    end = window.find(b"\r\n\r\n", position)
                    self._in_head = False
                    self._opening = b""
                    yield self._start(item, window[position:end])
                    position = end + 4
                else:
                    position += len(item)
                    self._check_opening(item)
                    yield bytes(item)
        except MultipartError as exc:
            raise MalformedReplyError(f"the reply's multipart body is malformed: {exc}") from exc
        self._hold(window[position:])

    def _check_opening(self, item: bytes | bytearray) -> None:
        """Refuse a part whose delimiter follows its headers at once: the parser takes it for content."""
        line = self._delimiter[2:]
        if len(self._opening) < len(line):
            self._opening += item[: len(line) - len(self._opening)]
            if self._opening == line:
                raise MalformedReplyError("a malformed reply: a boundary follows a part's headers at once")

    @property
    def is_complete(self) -> bool:
        """Whether the final boundary has come; what follows it means nothing."""
        return self._complete

    def close(self) -> None:
        """Say that the body has ended; raises MalformedReplyError where it lacks its final boundary."""
        if not self._complete:
            raise MalformedReplyError("the reply was cut short: its final multipart boundary is missing")

    def _skip_preamble(self, data: bytes) -> bytes:
        """Return the body from its first delimiter on, once that is whole; b"" before."""
        held = self._held + data
        start = held.find(self._delimiter)
        end = start + len(self._delimiter) + 2
        bare = held.find(self._delimiter[1:])
        if 0 <= bare != start + 1:
            raise MalformedReplyError("a line before the reply's first boundary ends in a bare LF")
        if start < 0:
            keep = len(self._delimiter) - 1
            self._skipped += max(0, len(held) - keep)
            self._held = held[-keep:]
        elif end > len(held):
            self._held = held
        if self._skipped + max(0, start) > _MAX_PREAMBLE:
            raise MalformedReplyError("the reply's multipart body does not begin with its boundary")
        if start < 0 or end > len(held):
            return b""
        self._held, self._in_preamble = b"", False
        self._complete = held[end - 2 : end] == b"--"
        return b"" if self._complete else held[start + 2 :]

    def _hold(self, rest: bytes) -> None:
        if self._in_head and len(rest) > self._max_header + 4:
            raise self._too_long()
        self._held = b"" if self._complete else rest

    def _start(self, segment: _Segment, head: bytes) -> PartStart:
        if not segment.headers:
            raise MalformedReplyError("a malformed reply: a part of it has no headers")
        if len(head) > self._max_header:
            raise self._too_long()
        start = _remembered if len(head) <= _MAX_REMEMBERED else _part_start
        found = start(head, segment.headers)
        if found is None:
            raise self._too_long()
        return found

    def _too_long(self) -> MalformedReplyError:
        return MalformedReplyError(f"the headers of a part of the reply exceed {self._max_header} bytes")


def _part_start(head: bytes, headers: tuple[tuple[str, str], ...]) -> PartStart | None:
    """Read a part's headers, as they came and as the parser found them; None if a line is too long."""
    if any(len(line) > _MAX_LINE for line in head.split(b"\r\n")):
        return None
    bare = head.replace(b"\r\n", b"")
    if b"\r" in bare or b"\n" in bare or b"\0" in bare:
        raise MalformedReplyError("the headers of a part of the reply hold a bare CR, LF or NUL")
    values = [_form_data(value) for name, value in headers if name == "Content-Disposition"] or [None]
    if values[0] is None or None in values:
        raise MalformedReplyError("a malformed reply: the Content-Disposition of a part cannot be read")
    content_type = next((value for name, value in headers if name == "Content-Type"), "")
    return PartStart(values[0].name, values[0].filename, content_type)


def _form_data(header: str) -> disposition.Disposition | None:
    value = disposition.parse(header.encode("latin-1"))
    return value if value is not None and value.kind == "form-data" else None


_remembered = lru_cache(maxsize=256)(_part_start)
"""The same for the few forms of headers that a service's replies keep coming with."""
