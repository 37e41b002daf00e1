"""Lines of a manifest that wait for others of their types: the first in memory, however many more on disk."""

from __future__ import annotations

import pickle
import tempfile
from collections import deque
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, TypeAlias, cast

if TYPE_CHECKING:
    from pathlib import Path

    from prodia_async.batch._entries import Entry

_MOST = 256
"""Lines of a piece: so many are read back at once."""

_MOST_BYTES = 1024**3
"""Of the file: some 3,000,000 lines; a source without an end must not fill a disk."""


class _Place(NamedTuple):
    """Where a piece stands in the file."""

    offset: int
    size: int


_Piece: TypeAlias = "deque[Entry] | _Place"


class Aside:
    """Queues of lines, one in `pieces` for each job type, in order; `count` is how many are in memory.

    `spill` and `next` may write and read a file without a name in `folder`, which is gone with the process:
    they are called in a thread, and one at a time.
    """

    def __init__(self, folder: Path) -> None:
        self.count: int = 0
        self._folder = folder
        self._file: BinaryIO | None = None
        self._end = 0
        self._spilt = 0  # pieces in the file
        self.pieces: dict[str, deque[_Piece]] = {}

    def put(self, entry: Entry) -> None:
        """Add a line, to memory."""
        pieces = self.pieces.setdefault(entry.job.type, deque())
        last = pieces[-1] if pieces else None
        if not isinstance(last, deque) or len(last) == _MOST:
            pieces.append(last := deque())
        last.append(entry)
        self.count += 1

    @property
    def is_full(self) -> bool:
        """Whether no more is to be written to the file."""
        return self._end >= _MOST_BYTES

    def is_at_hand(self, kind: str) -> bool:
        """Whether the next line of a type is in memory."""
        return isinstance(self.pieces[kind][0], deque)

    def next(self, kind: str) -> Entry:
        """Take out the next line of a type, of which one waits. Raises OSError."""
        pieces = self.pieces[kind]
        piece = pieces[0]
        if isinstance(piece, _Place):
            pieces[0] = piece = self._read(piece)
            self.count += len(piece)
            self._spilt -= 1
            if not self._spilt:
                self._end = 0
        entry = piece.popleft()
        self.count -= 1
        if not piece:
            pieces.popleft()
            if not pieces:
                del self.pieces[kind]
        return entry

    def spill(self, kinds: set[str]) -> None:
        """Move the lines of these types to the file. Where that raises, as of a full disk, some stay."""
        for kind in kinds & {*self.pieces}:
            pieces = self.pieces[kind]
            for index, piece in enumerate(pieces):
                if isinstance(piece, deque):
                    pieces[index] = self._write(piece)
                    self.count -= len(piece)
                    self._spilt += 1

    def close(self) -> None:
        """Forget all lines, and give the file's room back."""
        self.pieces.clear()
        self.count = 0
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write(self, piece: deque[Entry]) -> _Place:
        if self._file is None:
            self._file = cast("BinaryIO", tempfile.TemporaryFile(dir=self._folder, buffering=0))  # noqa: SIM115
        data = pickle.dumps(piece, pickle.HIGHEST_PROTOCOL)
        self._file.seek(self._end)
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) :]
        place = _Place(self._end, len(data))
        self._end += len(data)
        return place

    def _read(self, place: _Place) -> deque[Entry]:
        if self._file is None:
            raise AssertionError("what stands in the file was written to it")
        self._file.seek(place.offset)
        parts, missing = [], place.size
        while missing and (part := self._file.read(missing)):
            parts.append(part)
            missing -= len(part)
        found: deque[Entry] = pickle.loads(b"".join(parts))  # noqa: S301 - our own, in a file that has no name
        return found
