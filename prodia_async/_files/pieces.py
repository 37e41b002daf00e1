"""Bytes as they came, on their way to a file: kept as they are, and written together."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_FEW = 4 * 1024
"""Bytes below which a piece is copied behind the one before: many small objects would cost more."""

_MOST = 512
"""Pieces that go to the system at once: POSIX promises 16, Linux and macOS take 1,024."""


class Pieces:
    """A growing run of bytes; `size` is its length."""

    __slots__ = ("_pieces", "size")

    def __init__(self, data: bytes = b"") -> None:
        self.size = 0
        self._pieces: list[bytes | bytearray] = []
        if data:
            self.add(data)

    def add(self, data: bytes) -> None:
        """Append a piece; what may still change is copied."""
        self.size += len(data)
        last = self._pieces[-1] if self._pieces else None
        if isinstance(last, bytearray) and len(data) + len(last) <= _FEW:
            last += data
        elif len(data) < _FEW:
            self._pieces.append(bytearray(data))
        else:
            self._pieces.append(data if type(data) is bytes else bytes(data))

    def write_to(self, descriptor: int) -> None:
        """Write all of it at the file's position. Raises OSError, with a part of it written perhaps."""
        pieces: list[bytes | bytearray | memoryview] = list(self._pieces)
        begin = 0
        while begin < len(pieces):
            written = _write(descriptor, pieces[begin : begin + _MOST])
            while begin < len(pieces) and written >= len(pieces[begin]):
                written -= len(pieces[begin])
                begin += 1
            if written:
                pieces[begin] = memoryview(pieces[begin])[written:]


def _write(descriptor: int, pieces: Sequence[bytes | bytearray | memoryview]) -> int:
    if len(pieces) > 1 and hasattr(os, "writev"):
        return os.writev(descriptor, pieces)
    return os.write(descriptor, pieces[0])
