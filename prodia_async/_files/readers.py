"""How inputs are read: memory, files, and what can be read only once.

Several attempts may read one source at once. Files are read in worker threads, one block ahead.
"""

from __future__ import annotations

import contextlib
import io
import os
import select
import stat
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import TYPE_CHECKING, Any, TypeAlias
from weakref import WeakValueDictionary

from msgspec import Struct, field

from prodia_async._errors import InputError, reason_of
from prodia_async._files.threads import hop, start

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Generator, Iterator
    from contextlib import AbstractContextManager

    Mark: TypeAlias = tuple[int, int | None]
    """What tells that a file has changed: its size and, on disk, the time of its last change."""

    Opened: TypeAlias = tuple[int, Callable[[int, int], Any], Callable[[], Mark]]
    """A file in one reading: where it begins, what takes (size, position) of it, and what looks at it."""

BLOCK = 512 * 1024
OPEN_BINARY = "open it with mode 'rb'"
_HEAD = 512  # bytes that are looked at to tell a media type
_LOOK_AGAIN = 100  # milliseconds


class Source(Struct, eq=False):
    """An input that is ready to be sent, as `filename`; `label` names it in errors.

    `size` is in bytes, None where it is not known beforehand; `head` has the first bytes where they are.
    `owned` is a file of ours, which is closed with the source.
    """

    label: str
    reading: Callable[[Source], Reader]
    size: int | None = None
    head: Any = b""
    replayable: bool = True
    filename: str = ""
    content_type: str = ""
    owned: Any = None
    was_opened: bool = False

    def open(self) -> Reader:
        """Begin one attempt's reading, from the start. Raises InputError if it cannot be read again."""
        if self.was_opened and not self.replayable:
            raise InputError(f"{self.label} was read and cannot be sent again: pass a file, or spool=True")
        self.was_opened = True
        return self.reading(self)

    def told_of(self) -> AbstractContextManager[None]:
        return told_of(f"{self.label} could not be read", "correct the source, and run it again")

    async def aclose(self) -> None:
        """Release what we made, such as a spooled file; never closes what the user opened."""
        if self.owned is not None:
            await start(self.owned.close).settled()


def in_memory(label: str, data: bytes | bytearray | memoryview) -> Source:
    """Return the source of bytes. They are copied block by block, as they are sent."""
    return Source(label, partial(Reader, data=data), len(data), bytes(data[:_HEAD]))


def in_stream(label: str, items: AsyncIterable[bytes], *, is_ours: bool = False) -> Source:
    return Source(label, partial(Reader, items=items, is_ours=is_ours), replayable=False)


def in_file(label: str, opening: Callable[[], AbstractContextManager[Opened]]) -> Source:
    """Return the source of a file. Blocks, raises what the file raises, and InputError for one at its end."""
    with opening() as (begin, take, look):
        mark, head = look(), checked(take(_HEAD, begin), label)
    size = mark[0] - begin
    if size <= 0 < mark[0]:  # it was written just now, or read
        raise InputError(f"{label} stands at its end: seek(0) before you pass it")
    if size < len(head):
        raise InputError(f"{label} has more bytes than its size says: pass what it holds as bytes")

    def blocks(source: Source) -> Generator[bytes]:
        """Read it once. Before the last block comes, the file is let go."""
        with source.told_of(), opening() as (_, take, look):
            block, left, has_changed = b"", size, look() != mark
            while left and not has_changed:
                if block:
                    yield block
                block = checked(take(min(BLOCK, left), begin + size - left), source.label)
                left -= len(block)
                has_changed = not block or left < 0
            if has_changed or look() != mark:
                raise _changed(source.label)
        yield block

    return Source(
        label, lambda source: Reader(source, items=_ahead(blocks(source), size), is_ours=True), size, head
    )


class Reader:
    """One attempt's reading, in blocks. `close` is called in any case, also after a cancelled `read`."""

    def __init__(self, source: Source, data: Any = b"", items: Any = None, *, is_ours: bool = False) -> None:
        self._source = source
        self._data = data
        self._offset = 0
        with source.told_of():
            self._iterator: Any = None if items is None else aiter(items)
        self._is_ours = is_ours or self._iterator is not items

    async def read(self) -> bytes:
        """Return the next block, at most 512 KiB, or b"" at the end."""
        if self._iterator is None and self._source.size != len(self._data):
            raise _changed(self._source.label)
        while self._iterator is not None and self._offset == len(self._data):  # an item may be empty
            with self._source.told_of():
                item = await anext(self._iterator, self)
            if item is self:  # the end
                break
            self._data, self._offset = checked(item, self._source.label), 0
        block = bytes(self._data[self._offset : self._offset + BLOCK])
        self._offset += len(block)
        return block

    async def close(self) -> None:
        """Close the iterator, if it was made for us."""
        if self._is_ours and hasattr(self._iterator, "aclose"):
            with contextlib.suppress(Exception):  # the reading is over: its clean-up cannot change the job
                await self._iterator.aclose()


async def _ahead(blocks: Generator[bytes], size: int) -> AsyncGenerator[bytes]:
    """Give a file's blocks, `size` bytes in all, which worker threads read, one ahead."""
    trip = start(next, blocks)
    try:
        while block := await trip.result():
            size -= len(block)
            if not size:
                yield block
                return
            trip = start(next, blocks)
            yield block
    except BaseException:  # also where nobody comes back for more
        try:
            if not trip.cancel():
                await trip.settled()
        finally:
            await start(blocks.close).settled()
        raise


@contextlib.contextmanager
def on_disk(file: Any, begin: int = 0) -> Iterator[Opened]:
    """Read a regular file, by path or open, by position: that moves neither the file, nor another reading.

    Each reading has a descriptor of its own: that of a file which a user closes may become another file's.
    """
    is_path = isinstance(file, Path)
    with io.FileIO(file if is_path else os.dup(file.fileno())) as own:
        if not is_path:
            file.fileno()  # or else it was closed on the way, and its number was another file's already

        def take(size: int, position: int) -> bytes | None:
            if hasattr(os, "pread"):
                return os.pread(own.fileno(), size, position)
            own.seek(position)  # pragma: no cover - Windows
            return own.read(size)  # pragma: no cover - Windows

        def look() -> Mark:
            seen = os.fstat(own.fileno())
            return seen.st_size, seen.st_mtime_ns

        yield begin, take, look


class _Place(Struct, eq=False, weakref=True):
    """The position of one file object, which all its readings share: they hold the lock while they move it.

    `home` is where the user left it, and where it goes back when the last of them ends: a job that is run
    again sends no empty rest.
    """

    _file: Any
    _lock: Any = field(default_factory=threading.RLock)
    """Can be taken twice: the collector may end a forgotten reading in the middle of another."""
    _readings: int = 0
    _home: int = 0

    @contextlib.contextmanager
    def opened(self) -> Iterator[Opened]:
        with self._lock:
            if not self._readings:
                self._home = int(self._file.tell())
            self._readings += 1
        try:
            yield self._home, self._take, self._look
        finally:
            with self._lock, contextlib.suppress(OSError, ValueError):  # the user may have closed it
                self._readings -= 1
                if not self._readings:
                    self._file.seek(self._home)

    def _take(self, size: int, position: int) -> Any:
        with self._lock:
            self._file.seek(position)
            return self._file.read(size)

    def _look(self) -> Mark:
        with self._lock:
            self._file.seek(0, os.SEEK_END)
            seen = status_of(self._file)
            return self._file.tell(), None if seen is None else seen.st_mtime_ns


_places_lock = threading.Lock()
_places: WeakValueDictionary[int, _Place] = WeakValueDictionary()
"""By the file's id, which its place keeps alive: not all files take weak references."""


def status_of(file: Any) -> os.stat_result | None:
    """Return the status of the file on disk under an open file; None where there is none."""
    if isinstance(file, SpooledTemporaryFile):
        return None  # asking for its descriptor would move it from memory to disk
    try:
        return os.fstat(file.fileno())
    except (AttributeError, OSError, TypeError, ValueError):
        return None


def of_file(label: str, file: Any) -> Source:
    """Return the source of a file that a user opened, which may be any object, from where it stands. Blocks.

    One without a position is read once. Raises InputError for one at its end, and for what the file raises.
    """
    with told_of(f"{label} cannot be read", OPEN_BINARY):
        raw = file.raw if type(file) is io.BufferedReader else file
        if not _has_position(file):
            return in_stream(label, _piped(file, raw), is_ours=True)
        # A subclass may give other bytes than its descriptor, and what is written to may hold some back.
        if type(raw) is io.FileIO and hasattr(os, "pread"):
            return in_file(label, partial(on_disk, file, file.tell()))
        with _places_lock:
            place = _places.setdefault(id(file), _Place(file))
        return in_file(label, place.opened)


def _has_position(file: Any) -> bool:
    """Tell whether a file can be read from where it stands, again and again."""
    seen = status_of(file)
    if seen is not None and not stat.S_ISREG(seen.st_mode):
        return False
    for layer in (file, getattr(file, "raw", None)):  # gzip and tarfile say yes, whatever they read from
        below = getattr(layer, "fileobj", None)
        if below is not None and not getattr(below, "seekable", bool)():
            return False
    try:
        return getattr(file, "seekable", lambda: True)() and file.tell() is not None and callable(file.seek)
    except (AttributeError, OSError):
        return False


async def _piped(file: Any, raw: Any) -> AsyncGenerator[Any]:
    """Give the blocks of an open file without a position: a pipe, a socket's, a response of HTTP, a terminal.

    It is read in threads of their own. Where only the descriptor has bytes, they look every 0.1 s whether
    they are still wanted: a thread that hung in the read itself would hold the file's lock, and abort the
    interpreter at its exit if the file is standard input; it would also take bytes that the user may want
    after a cancellation. Of any other file the descriptor says nothing: its bytes may have been read ahead.
    """
    # One raw read a block: read() would hold back what came until a whole block is there.
    read = file.read1 if type(file) is io.BufferedReader else file.read
    is_wanted, poll = True, None
    if type(raw) is io.FileIO:
        with contextlib.suppress(AttributeError, ValueError):  # on Windows, or closed: it says so itself
            poll = select.poll()
            poll.register(raw.fileno(), select.POLLIN)

    def take() -> Any:
        if poll is not None and not _read_ahead(file):
            while is_wanted and not poll.poll(_LOOK_AGAIN):
                pass
        return read(BLOCK) if is_wanted else b""

    try:
        while (block := await hop(take, abandon=True)) != b"":
            yield block
    finally:
        is_wanted = False


def _read_ahead(file: Any) -> bytes:
    """Return what a file has read and not given yet; where that is nothing, peek() alone waits for more."""
    if type(file) is io.FileIO:
        return b""
    file.raw.readinto = lambda _: None  # it has nothing now, as a descriptor says that does not block
    try:
        return bytes(file.peek())
    finally:
        del file.raw.readinto


@contextlib.contextmanager
def told_of(what: str, advice: str) -> Iterator[None]:
    """Raise whatever a source raises as InputError: `what` says what could not be read."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{what}: {reason_of(error).rstrip('.')}: {advice}") from error


def checked(block: Any, label: str) -> bytes:
    if not isinstance(block, bytes | bytearray | memoryview):
        given = "gave nothing yet" if block is None else f"gives {type(block).__name__}"
        raise InputError(f"{label} {given} where bytes are needed: {OPEN_BINARY}, or let it give bytes")
    return bytes(block)


def _changed(label: str) -> InputError:
    return InputError(f"{label} changed while it was sent: let nobody write to it, and run the job again")
