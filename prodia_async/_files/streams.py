"""Inputs that can be read only once, and spooling, which makes them repeatable."""

from __future__ import annotations

import asyncio
import contextlib
import select
import tempfile
from typing import TYPE_CHECKING, Any, BinaryIO

from prodia_async._errors import InputError
from prodia_async._files.bodies import BLOCK, HEAD, BytesBody, FileBody, unreadable
from prodia_async._files.hops import hop, start

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator

    from prodia_async._files.bodies import Body, Reader

_SPOOL_MEMORY = 1024 * 1024
_LOOK_AGAIN = 100  # milliseconds


class _OneShot:
    """Opens once: what was read is gone."""

    head = b""
    size: int | None = None
    replayable = False
    _opened = False

    def open_once(self, label: str) -> None:
        if self._opened:
            raise InputError(f"{label} was read and cannot be sent again: pass a file, or spool=True")
        self._opened = True

    async def aclose(self) -> None:
        """Leave it as it is: it is the user's."""


class StreamBody(_OneShot):
    """An async iterable of bytes."""

    def __init__(self, items: AsyncIterable[bytes]) -> None:
        self._items = items

    async def open(self, label: str) -> Reader:
        self.open_once(label)
        return _StreamReader(self._items, label)


class PipeBody(_OneShot):
    """An open file without a position: a pipe, a socket's file, a terminal."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    async def open(self, label: str) -> Reader:
        self.open_once(label)
        return _PipeReader(self._file, label)


class _StreamReader:
    def __init__(self, items: AsyncIterable[bytes], label: str) -> None:
        self._items = items
        self._label = label
        self._iterator: AsyncIterator[bytes] | None = None
        self._rest = memoryview(b"")

    async def read(self) -> bytes:
        if not self._rest:
            self._rest = memoryview(await self._next())
        block, self._rest = self._rest[:BLOCK], self._rest[BLOCK:]
        return bytes(block)

    async def _next(self) -> bytes:
        """Return the next item that is not empty, or b"" at the end."""
        item: Any = b""
        try:
            if self._iterator is None:
                self._iterator = aiter(self._items)
            while isinstance(item, bytes | bytearray | memoryview) and not item:
                item = await anext(self._iterator)
        except StopAsyncIteration:
            return b""
        except Exception as error:
            raise unreadable(self._label, error) from error
        return _checked(item, self._label)

    async def close(self) -> None:
        """Close the iterator, if it is one that `aiter` made for us."""
        iterator, self._iterator = self._iterator, None
        aclose = None if iterator is self._items else getattr(iterator, "aclose", None)
        if aclose is not None:
            with contextlib.suppress(Exception):  # the reading is over: its clean-up cannot change the job
                await aclose()


class _PipeReader:
    """Reads a pipe in threads of their own, which look every 0.1 s whether they are still wanted.

    A thread that hung in the read itself would hold the file's lock, and abort the interpreter at its exit
    if the file is standard input; it would also take bytes that the user may want after a cancellation.
    """

    def __init__(self, file: Any, label: str) -> None:
        # One raw read a block: read() would hold back what came until a whole block is there.
        self._read = getattr(file, "read1", file.read)
        self._label = label
        self._ended = False
        self._poll = _poll(file)

    async def read(self) -> bytes:
        if self._ended:
            return b""
        try:
            block = _checked(await hop(self._take, abandon=True), self._label)
        except InputError:
            raise
        except Exception as error:
            raise unreadable(self._label, error) from error
        except asyncio.CancelledError:
            self._ended = True
            raise
        self._ended = not block
        return block

    def _take(self) -> Any:
        while self._poll is not None and not self._ended:
            if self._poll.poll(_LOOK_AGAIN):
                break
        return b"" if self._ended else self._read(BLOCK)

    async def close(self) -> None:
        self._ended = True


def _poll(file: Any) -> Any:
    """Return what waits for the file's descriptor; None where there is none, or nothing to wait with."""
    make = getattr(select, "poll", None)
    if make is None:  # pragma: no cover - Windows, where pipes cannot be waited for
        return None
    try:
        poll = make()
        poll.register(file.fileno(), select.POLLIN)
    except (AttributeError, OSError, ValueError):
        return None
    return poll


async def spooled(body: Body, label: str) -> Body:
    """Read a one-shot body now, into memory (up to 1 MiB) or a temporary file, and return that."""
    reader = await body.open(label)
    async with contextlib.AsyncExitStack() as stack:
        try:
            made = await _kept(reader, label)
            stack.push_async_callback(made.aclose)
        finally:
            await reader.close()
        stack.pop_all()  # it is the caller's now
        return made


async def _kept(reader: Reader, label: str) -> Body:
    kept = bytearray()
    while block := await reader.read():
        kept += block
        if len(kept) > _SPOOL_MEMORY:
            return await _kept_in_file(reader, kept, label)
    return BytesBody(bytes(kept))


async def _kept_in_file(reader: Reader, kept: bytearray, label: str) -> Body:
    """Write what was read and what follows to a temporary file that has no name."""
    head, size = bytes(kept[:HEAD]), 0
    try:
        file: Any = await hop(tempfile.TemporaryFile, undo=lambda made: made.close())
    except OSError as error:
        raise _not_spooled(label, error) from error
    try:
        while kept:
            size += len(kept)
            await hop(file.write, kept)
            kept = bytearray()
            while len(kept) < BLOCK and (block := await reader.read()):
                kept += block
        await hop(file.flush)
    except BaseException as error:
        await start(file.close).settled()
        if isinstance(error, OSError):
            raise _not_spooled(label, error) from error
        raise
    return FileBody(file, 0, size, head, owned=True)


def _not_spooled(label: str, error: OSError) -> InputError:
    return InputError(f"{label} could not be kept in a temporary file: {error}: make room, or pass a file")


def _checked(block: Any, label: str) -> bytes:
    if not isinstance(block, bytes | bytearray | memoryview):
        kind = "nothing yet" if block is None else type(block).__name__
        raise InputError(f"{label} gave {kind} where bytes are needed: let it give bytes")
    return bytes(block)
