"""Replies, decoded as they arrive: outputs and the job part (API reference, Response Body)."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol, TypeAlias

from msgspec import Struct

from prodia_async._wire import media
from prodia_async._wire.job_json import is_result, read_job
from prodia_async._wire.parts import MalformedReplyError, PartReader, PartStart

if TYPE_CHECKING:
    from prodia_async._settings import Limits

__all__ = [
    "Decoder",
    "DirectDecoder",
    "Event",
    "JobPart",
    "JsonDecoder",
    "MalformedReplyError",
    "MultipartDecoder",
    "OutputData",
    "OutputEnd",
    "OutputStart",
    "decoder_for",
]

_PRINTABLE = re.compile(r"[\x20-\x7e]+")


class OutputStart(Struct, frozen=True):
    """An output begins; `filename` is the service's own name for it, never a path to trust."""

    filename: str | None
    content_type: str


OutputData: TypeAlias = bytes
"""A piece of the output that began last."""


class OutputEnd(Struct, frozen=True):
    """The output that began last is whole."""


_OUTPUT_END = OutputEnd()


class JobPart(Struct, frozen=True):
    """The job part, whole."""

    body: bytes


Event: TypeAlias = OutputStart | OutputData | OutputEnd | JobPart


class Decoder(Protocol):
    """Turns the pieces of a reply's body, cut anywhere, into events.

    Both methods raise MalformedReplyError, and nothing else, where the reply is not what the API promises;
    the decoder is spent then.
    """

    @property
    def is_complete(self) -> bool:
        """Whether nothing that may still come means anything."""

    def feed(self, data: bytes) -> list[Event]:
        """Return what `data` brings, in order."""

    def close(self) -> list[Event]:
        """Say that the body has ended, and return what is left."""


def decoder_for(content_type_header: str | None, limits: Limits) -> Decoder:
    """Return the decoder for a reply of the given Content-Type; raises MalformedReplyError for a web page."""
    kind, parameters = media.split(content_type_header or "")
    if kind.startswith("multipart/"):
        return MultipartDecoder(parameters.get("boundary", ""), limits)
    if kind in ("text/html", "application/xhtml+xml"):
        raise MalformedReplyError("the answer is an HTML page instead of a result: a proxy in between?")
    content_type = _clean(content_type_header)
    if kind == "application/json":
        return JsonDecoder(content_type, limits)
    return DirectDecoder(content_type)


@lru_cache(maxsize=64)
def _clean(content_type: str | None) -> str:
    """Return a Content-Type that is safe to show and to split, as the service wrote it."""
    text = (content_type or "").strip()
    readable = _PRINTABLE.fullmatch(text) and media.is_type(media.split(text)[0])
    return text if readable else media.OCTETS


class MultipartDecoder:
    """A multipart reply: one job part and outputs, in any order; parts of other names are skipped."""

    def __init__(self, boundary: str, limits: Limits) -> None:
        self._reader = PartReader(boundary, limits)
        self._max_job_part = limits.max_job_part
        self._part: str | None = None
        self._job: bytearray | None = None
        self._outputs = 0

    @property
    def is_complete(self) -> bool:
        """Whether the final boundary has come."""
        return self._reader.is_complete

    @property
    def job_so_far(self) -> bytes:
        """What has come of the job part, for a body that breaks off."""
        return bytes(self._job or b"")

    def feed(self, data: bytes) -> list[Event]:
        """Return what `data` brings, in order."""
        events: list[Event] = []
        for item in self._reader.feed(data):
            if isinstance(item, bytes):
                if self._part == "output":
                    events.append(item)
                elif self._part == "job":
                    self._collect(item)
            elif item is None:
                self._end(events)
            else:
                self._start(item, events)
        return events

    def close(self) -> list[Event]:
        """Say that the body has ended: it must have its final boundary, and a job part or an output."""
        self._reader.close()
        if self._job is None and not self._outputs:
            raise MalformedReplyError("the reply holds neither a job part nor an output")
        return []

    def _start(self, start: PartStart, events: list[Event]) -> None:
        self._part = start.name
        if start.name == "output":
            self._outputs += 1
            events.append(OutputStart(start.filename, _clean(start.content_type)))
        elif start.name == "job":
            if self._job is not None:
                raise MalformedReplyError("the reply holds two job parts")
            self._job = bytearray()

    def _collect(self, data: bytes) -> None:
        job = self._job
        if job is None or len(job) + len(data) > self._max_job_part:
            raise MalformedReplyError(f"the reply's job part exceeds {self._max_job_part} bytes")
        job += data

    def _end(self, events: list[Event]) -> None:
        if self._part == "output":
            events.append(_OUTPUT_END)
        elif self._part == "job":
            events.append(JobPart(self.job_so_far))


class DirectDecoder:
    """A reply that is one output and nothing else."""

    is_complete = False

    def __init__(self, content_type: str) -> None:
        self._start = OutputStart(None, content_type)
        self._begun = False

    def feed(self, data: bytes) -> list[Event]:
        """Return what `data` brings, in order."""
        if not data:
            return []
        events: list[Event] = [data] if self._begun else [self._start, data]
        self._begun = True
        return events

    def close(self) -> list[Event]:
        """Say that the body has ended; an empty one is no output."""
        if not self._begun:
            raise MalformedReplyError("the reply is empty")
        return [_OUTPUT_END]


class JsonDecoder:
    """A JSON reply: a job result, or else an output like any other.

    What exceeds the bound on the job part is no job result, and is passed on as an output.
    """

    is_complete = False

    def __init__(self, content_type: str, limits: Limits) -> None:
        self._direct = DirectDecoder(content_type)
        self._max_job_part = limits.max_job_part
        self._body: bytearray | None = bytearray()

    def feed(self, data: bytes) -> list[Event]:
        """Collect `data`, or pass it on once the body is too long for a job result."""
        if self._body is None:
            return self._direct.feed(data)
        self._body += data
        if len(self._body) <= self._max_job_part:
            return []
        collected, self._body = bytes(self._body), None
        return self._direct.feed(collected)

    def close(self) -> list[Event]:
        """Say that the body has ended, and return the job part or the output that it was."""
        if self._body is None:
            return self._direct.close()
        body = bytes(self._body)
        if is_result(read_job(body)):
            return [JobPart(body)]
        return [*self._direct.feed(body), *self._direct.close()]
