"""Multipart bodies made by hand, and what the client's decoder reads of them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from msgspec.structs import replace

from prodia_async import Limits
from prodia_async._wire.decoder import Event, MultipartDecoder
from prodia_async._wire.heads import Head

BOUNDARY = "b3d4fb976dce6e5d036fa7fb3da645bcfcc56384abb2cb618f8c8bdfd360"
CONTENT_TYPE = f"multipart/form-data; boundary={BOUNDARY}"


class EveryPart(MultipartDecoder):
    """The client's decoder, which here gives every part as an output, whatever its name.

    `names` are their form names, in order.
    """

    def __init__(self, content_type: str) -> None:
        super().__init__(content_type.partition("boundary=")[2], Limits())
        self.names: list[str | None] = []

    def _read_head(self, data: bytes, position: int, events: list[Event]) -> int:
        found = super()._read_head(data, position, [])
        if self._part is not None:
            self.names.append(self._part.name)
            events.append(self._part)
            self._part = replace(self._part, name="output")
        return found

    def close(self) -> list[Event]:
        """Say that the body has ended, which may have no part here."""
        return super().close() if self._names or not self.is_complete else []


def read_by_client(
    body: bytes, cuts: Sequence[int] = (), content_type: str = CONTENT_TYPE
) -> list[tuple[str | None, str | None, str, bytes]]:
    """Return name, file name, media type and content of each part, read in pieces.

    Raises MalformedReplyError.
    """
    decoder = EveryPart(content_type)
    edges = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    events = [event for begin, end in itertools.pairwise(edges) for event in decoder.feed(body[begin:end])]
    decoder.close()
    parts: list[list[object]] = []
    for event in events:
        if isinstance(event, bytes):
            parts[-1][2] += event
        else:
            assert isinstance(event, Head)
            parts.append([event.filename, event.content_type, b""])
    return [(name, *part) for name, part in zip(decoder.names, parts, strict=True)]
