"""Lines of a binary stream, read as they come, none held that is too long."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_LINE = 4 * 1024 * 1024
_BLOCK = 64 * 1024
_BOM = b"\xef\xbb\xbf"


class Line(Struct, frozen=True):
    """A line that is not blank, and its number from 1; `text` is None for one above `MAX_LINE` bytes."""

    number: int
    text: bytes | None


class LineReader:
    """Reads lines from a stream. All of it blocks."""

    def __init__(self, stream: BinaryIO) -> None:
        # read1 returns what a pipe holds; read would wait for a whole block.
        self._next_block = getattr(stream, "read1", stream.read)
        self._rest = bytearray()
        self._number = 0
        self._skipping = False
        self._ended = False

    def read(self) -> list[Line] | None:
        """Return the lines of the next block, perhaps none; None at the end."""
        if self._ended:
            return None
        block = self._next_block(_BLOCK)
        if not block:
            self._ended = True
            block = b"\n" if self._rest or self._skipping else b""
        if self._number == 0 and not self._rest and not self._skipping:
            block = block.removeprefix(_BOM)
        return list(self._split(block))

    def _split(self, block: bytes) -> Iterable[Line]:
        first, *others = block.split(b"\n")
        pieces = [first, *others]
        for piece in pieces[:-1]:
            yield from self._line(piece)
        self._keep(pieces[-1])

    def _line(self, piece: bytes) -> Iterable[Line]:
        """Yield the line that ends with `piece`, unless it is blank."""
        self._keep(piece)
        self._number += 1
        text, too_long = bytes(self._rest), self._skipping
        self._rest.clear()
        self._skipping = False
        if too_long:
            yield Line(self._number, None)
        elif text.strip():
            yield Line(self._number, text)

    def _keep(self, piece: bytes) -> None:
        if self._skipping or len(self._rest) + len(piece) > MAX_LINE:
            self._rest.clear()
            self._skipping = True
        else:
            self._rest += piece
