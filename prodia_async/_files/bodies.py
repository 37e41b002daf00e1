"""What an input's bytes come from when they can be sent again: memory, a path, a seekable open file."""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
import threading
from abc import ABC, abstractmethod
from tempfile import SpooledTemporaryFile
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from prodia_async._errors import InputError
from prodia_async._files.hops import Hop, start

if TYPE_CHECKING:
    import io
    from pathlib import Path

BLOCK = 512 * 1024
HEAD = 512  # bytes that are looked at to tell a media type


class Reader(Protocol):
    """One attempt's reading of a source. `close` is called in any case, also after a cancelled `read`."""

    async def read(self) -> bytes:
        """Return the next block, at most 512 KiB, or b"" at the end."""

    async def close(self) -> None:
        """Give up what was opened for this reading; may be called again."""


class Body(Protocol):
    """The bytes of an input. `head` holds the first of them where they can be known beforehand."""

    head: bytes
    size: int | None
    replayable: bool

    async def open(self, label: str) -> Reader:
        """Begin one attempt's reading, from the start; `label` names the input in errors."""

    async def aclose(self) -> None:
        """Release what we made for this body, never what the user opened."""


class BytesBody:
    """Bytes in memory. They are copied block by block, as they are sent."""

    replayable = True

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        self.data = data
        self.size: int | None = len(data)
        self.head = bytes(data[:HEAD])

    async def open(self, label: str) -> Reader:
        return _BytesReader(self, label)

    async def aclose(self) -> None:
        """Nothing was opened."""


class _BytesReader:
    def __init__(self, body: BytesBody, label: str) -> None:
        self._body = body
        self._label = label
        self._offset = 0

    async def read(self) -> bytes:
        data = self._body.data
        if len(data) != self._body.size:
            raise changed(self._label)
        block = bytes(data[self._offset : self._offset + BLOCK])
        self._offset += len(block)
        return block

    async def close(self) -> None:
        """Nothing was opened."""


class PathBody:
    """A file that is opened anew for each attempt, and must stay as it was when it was looked at."""

    replayable = True

    def __init__(self, path: Path, seen: os.stat_result, head: bytes) -> None:
        self.path = path
        self.head = head
        self.size: int | None = seen.st_size
        self.mark = _mark(seen)

    @classmethod
    def examine(cls, path: Path, label: str) -> PathBody:
        """Look at the file. Blocks. Raises InputError unless it is a regular file that can be read."""
        try:
            seen = path.stat()
            if not stat.S_ISREG(seen.st_mode):
                kind = "a folder" if stat.S_ISDIR(seen.st_mode) else "not a regular file"
                raise InputError(f"{label}: {str(path)!r} is {kind}: pass a file, or open it and pass that")
            with path.open("rb", buffering=0) as file:
                return cls(path, os.fstat(file.fileno()), file.read(HEAD))
        except (OSError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            reason = getattr(error, "strerror", None) or error
            raise InputError(f"{label}: {str(path)!r} cannot be read: {reason}: check the path") from error

    async def open(self, label: str) -> Reader:
        return BlockReader(_PathBlocks(self, label))

    async def aclose(self) -> None:
        """Each reading closes its own file."""


class FileBody:
    """An open, seekable file, read from the position that it had when it was looked at, and left there.

    `owned` says that the file is ours (a spooled one) and is closed with the body.
    """

    replayable = True

    def __init__(self, file: BinaryIO, begin: int, end: int, head: bytes, *, owned: bool = False) -> None:
        self.file = file
        self.begin = begin
        self.size: int | None = max(0, end - begin)
        self.head = head
        self.lock = threading.Lock()  # the position is one, and two attempts may overlap for a moment
        self._owned = owned
        self.mark = _file_mark(file, end)

    @classmethod
    def examine(cls, file: BinaryIO) -> FileBody | None:
        """Look at a file that a user opened. Blocks. Returns None for one that has no position."""
        seen = _file_stat(file)
        if seen is not None and not stat.S_ISREG(seen.st_mode):
            return None
        try:
            if not getattr(file, "seekable", lambda: True)():
                return None
            begin = file.tell()
        except (AttributeError, OSError):
            return None
        file.seek(0, os.SEEK_END)
        end = file.tell()
        file.seek(begin)
        head = file.read(HEAD)
        file.seek(begin)
        return cls(file, begin, end, head)

    async def open(self, label: str) -> Reader:
        return BlockReader(_FileBlocks(self, label))

    async def aclose(self) -> None:
        if self._owned:
            await start(self.file.close).settled()


class Blocks(ABC):
    """One attempt's blocks of a file of known size. `take` and `release` block: worker threads call them."""

    def __init__(self, label: str, size: int) -> None:
        self.label = label
        self.ended = False
        self._left = size
        self._lock = threading.Lock()

    def take(self) -> bytes:
        """Return the next block; the last one only after a look whether the file has changed."""
        with self._lock:
            if self.ended:
                return b""
            try:
                block = self._next()
            except BaseException:
                self._end()
                raise
            if not self._left:
                self._end()
            return block

    def release(self) -> None:
        """Wait for a block under way, and read no further."""
        with self._lock:
            self._end()

    def _next(self) -> bytes:
        block = self.read(min(BLOCK, self._left))
        self._left -= len(block)
        cut_short = not block and self._left > 0
        if cut_short or (not self._left and self.has_changed()):
            raise changed(self.label)
        return block

    def _end(self) -> None:
        self.ended = True
        self.close()

    @abstractmethod
    def read(self, size: int) -> bytes:
        """Read at most `size` bytes from where the last read ended."""

    @abstractmethod
    def has_changed(self) -> bool:
        """Tell whether the file is no longer as it was when it was looked at."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the file; may be called again."""


class _PathBlocks(Blocks):
    def __init__(self, body: PathBody, label: str) -> None:
        super().__init__(label, body.size or 0)
        self._body = body
        self._file: io.FileIO | None = None

    def read(self, size: int) -> bytes:
        if self._file is None:
            self._file = self._body.path.open("rb", buffering=0)
            if self.has_changed():
                raise changed(self.label)
        return self._file.read(size)

    def has_changed(self) -> bool:
        return self._file is not None and _mark(os.fstat(self._file.fileno())) != self._body.mark

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


class _FileBlocks(Blocks):
    def __init__(self, body: FileBody, label: str) -> None:
        super().__init__(label, body.size or 0)
        self._body = body
        self._offset = body.begin

    def read(self, size: int) -> bytes:
        with self._body.lock:
            self._body.file.seek(self._offset)
            block = self._body.file.read(size)
        self._offset += len(block)
        return block

    def has_changed(self) -> bool:
        with self._body.lock:
            self._body.file.seek(0, os.SEEK_END)
            return _file_mark(self._body.file, self._body.file.tell()) != self._body.mark

    def close(self) -> None:
        """Rewind, so that a job that is run again sends the same and not an empty rest."""
        with self._body.lock, contextlib.suppress(OSError, ValueError):  # the user may have closed it
            self._body.file.seek(self._body.begin)


class BlockReader:
    """Reads `Blocks` in worker threads, one block ahead."""

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks
        self._ahead: Hop[bytes] | None = None

    async def read(self) -> bytes:
        if self._ahead is None:
            if self._blocks.ended:
                return b""
            self._ahead = start(self._blocks.take)
        try:
            block = await self._ahead.result()
        except InputError:
            self._ahead = None
            raise
        except Exception as error:
            self._ahead = None
            raise unreadable(self._blocks.label, error) from error
        except asyncio.CancelledError:
            await self.close()  # nobody comes back for this block
            raise
        self._ahead = None if self._blocks.ended else start(self._blocks.take)
        return block

    async def close(self) -> None:
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            ahead.cancel()
        if ahead is not None or not self._blocks.ended:
            await start(self._blocks.release).settled()


def _file_mark(file: Any, size: int) -> tuple[int, int | None]:
    """Return what tells that an open file has changed: its size and, on disk, the time of its last change."""
    seen = _file_stat(file)
    return size, None if seen is None else seen.st_mtime_ns


def _file_stat(file: Any) -> os.stat_result | None:
    """Return the status of the file on disk under an open file; None where there is none."""
    if isinstance(file, SpooledTemporaryFile):
        return None  # asking for its descriptor would move it from memory to disk
    try:
        return os.fstat(file.fileno())
    except (AttributeError, OSError, TypeError, ValueError):
        return None


def changed(label: str) -> InputError:
    """Return the error for an input that is no longer what was announced."""
    return InputError(f"{label} changed while it was sent: let nobody write to it, and run the job again")


def unreadable(label: str, error: Exception) -> InputError:
    """Return the error for an input whose source failed."""
    reason = str(error) or type(error).__name__
    return InputError(
        f"{label} could not be read: {reason.rstrip('.')}: correct the source, and run it again"
    )


def _mark(seen: os.stat_result) -> tuple[int, int]:
    return seen.st_size, seen.st_mtime_ns
