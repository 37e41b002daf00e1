"""Multipart bodies made by hand, and what the client's decoder reads of them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from prodia_async import Limits
from prodia_async._wire.parts import PartReader

BOUNDARY = "b3d4fb976dce6e5d036fa7fb3da645bcfcc56384abb2cb618f8c8bdfd360"
CONTENT_TYPE = f"multipart/form-data; boundary={BOUNDARY}"


def read_by_client(
    body: bytes, cuts: Sequence[int] = (), content_type: str = CONTENT_TYPE
) -> list[tuple[str | None, str | None, str, bytes]]:
    """Return name, file name, media type and content of each part, read in pieces.

    Raises MalformedReplyError.
    """
    reader = PartReader(content_type.partition("boundary=")[2], Limits())
    edges = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    parts: list[list[object]] = []
    for begin, end in itertools.pairwise(edges):
        for item in reader.feed(body[begin:end]):
            if isinstance(item, bytes):
                parts[-1][3] += item
            elif item is not None:
                parts.append([item.name, item.filename, item.content_type, b""])
    reader.close()
    return [tuple(part) for part in parts]
