"""Lines of a binary stream, read as they come, none held that is too long."""

from __future__ import annotations

from typing import BinaryIO

from msgspec import Struct

from prodia_async._errors import InputError

MAX_LINE = 4 * 1024 * 1024
_BLOCK = 64 * 1024
_BOM = b"\xef\xbb\xbf"


class Line(Struct, frozen=True):
    """A line without its newline, and its number from 1; `text` is None for one above `MAX_LINE` bytes."""

    number: int
    text: bytes | None

    @property
    def blank(self) -> bool:
        """Whether nothing but white space stands in it."""
        return self.text is not None and not self.text.strip()


class LineReader:
    """Reads lines from a stream, blank ones too. All of it blocks."""

    def __init__(self, stream: BinaryIO) -> None:
        # read1 returns what a pipe holds; read would wait for a whole block.
        self._next_block = getattr(stream, "read1", stream.read)
        self.head: bytes = b""
        """How it begins, until the end of the first line at least, but for a very long one."""
        self.ahead: list[Line] = []
        """Lines that were looked at and not read: the first of them is not blank."""
        self._rest = bytearray()
        self._number = 0
        self._skipping = False
        self._ended = False

    def peek(self) -> Line | None:
        """Return the first line that is not blank, and leave it to be read; None if there is none."""
        while (lines := self.read()) is not None:
            for index, line in enumerate(lines):
                if not line.blank:
                    self.ahead = lines[index:]
                    return line
        return None

    def read(self) -> list[Line] | None:
        """Return the lines of the next block, perhaps none; None at the end."""
        if self.ahead:
            lines, self.ahead = self.ahead, []
            return lines
        if self._ended:
            return None
        block = self._next_block(_BLOCK)
        if not isinstance(block, bytes | bytearray | memoryview):
            raise InputError(
                f"the manifest's stream gives {type(block).__name__}, not bytes: open it with mode 'rb'"
            )
        block = bytes(block)
        if self._number == 0 and len(self.head) < _BLOCK:
            self.head += block
        if not block:
            self._ended = True
            block = b"\n" if self._rest or self._skipping else b""
        first, *others = block.split(b"\n")
        self._keep(first)
        if not others:
            return []
        # Whole lines within a block are never too long.
        lines = [self._end_line(), *map(Line, range(self._number + 1, self._number + len(others)), others)]
        self._number += len(others) - 1
        self._keep(others[-1])
        return lines

    def _end_line(self) -> Line:
        """Return the line that was kept so far."""
        text = None if self._skipping else bytes(self._rest)
        if self._number == 0 and text is not None:
            text = text.removeprefix(_BOM)
        self._number += 1
        self._rest.clear()
        self._skipping = False
        return Line(self._number, text)

    def _keep(self, piece: bytes) -> None:
        if self._skipping or len(self._rest) + len(piece) > MAX_LINE:
            self._rest.clear()
            self._skipping = True
        else:
            self._rest += piece
