"""The sinks that write files: into a folder, or to one path.

Small outputs are collected and reach the disk in one trip to a worker thread; larger ones go there in blocks,
the next being received while the last is written. Where the disk is full, a sink may be told to wait for
room (`WaitForRoom`): then it goes on where it was.

An output is written to `.prodia-<hex>.part` in its folder. When all outputs of a job are complete they are
renamed one after another. Until the first rename everything can be undone.
"""

# ruff: noqa: PTH101, PTH105, PTH108, PTH112, PTH114, PTH120 - pathlib costs as much as the system does
from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import threading
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from msgspec import Struct

from prodia_async._errors import OutputError, quoted, reason_of
from prodia_async._files.landing import MOST_IN_A_NAME, add, mode_of, name_of, new_file, safe_name
from prodia_async._files.threads import Trip, start
from prodia_async._models import JobResult, OutputInfo
from prodia_async._settings import Limits, MiB
from prodia_async._wire import media

_SMALL = MiB  # an output up to this size may be collected
_BLOCK = MiB // 2  # what goes to disk at once; twice that is held, and what was collected before
_FEW = 4 * 1024  # a smaller piece is copied behind the one before: many small objects would cost more
_FULL = (errno.ENOSPC, errno.EDQUOT)

Pieces: TypeAlias = "list[bytes | bytearray]"
"""Bytes as they came: at most some 520 of them go to the system at once, which takes 1,024."""

WaitForRoom: TypeAlias = Callable[[OSError], Awaitable[None]]
"""Awaited when a disk or a quota is full. It returns when the write is to be tried again; an error that it
raises ends the waiting, and the sink with it."""


class Budget(Struct):
    """How many bytes of small outputs may be collected at the same time (`Limits.collect`), in one loop."""

    limit: int
    used: int = 0


class DiskWriter(Struct, eq=False):
    """One output on its way to disk: first in memory, then in a temporary file, then at `location`.

    It is collected while it is small and the budget allows; after that it goes `in_blocks`.
    """

    _sink: FolderSink
    suffix: str
    in_blocks: bool = False
    is_dropped: bool = False  # what comes late goes nowhere
    location: str | None = None
    temporary: str = ""
    rest: Pieces = []
    _held: int = 0  # bytes in `rest`, and of the budget while they are collected
    _is_closed: bool = False
    _under_way: tuple[tuple[Pieces, bool], Trip[None]] | None = None
    _descriptor: int = -1
    _size: int = 0
    _is_lost: bool = False

    @property
    def path(self) -> Path | None:
        """Where the output stands, once it is committed."""
        return None if self.location is None else Path(self.location)

    async def write(self, data: bytes) -> None:
        size, budget = len(data), self._sink.budget
        if self._is_closed:
            raise RuntimeError("write() after close()")
        if not self.in_blocks:
            if self._held + size <= _SMALL and budget.used + size <= budget.limit:
                budget.used += size
            else:
                self.in_blocks = True
                budget.used -= self._held
        self._held += size
        if self.rest and isinstance(last := self.rest[-1], bytearray) and size + len(last) <= _FEW:
            last += data
        else:  # what may still change is copied
            self.rest.append(bytearray(data) if size < _FEW else bytes(data))
        if self.in_blocks and self._held >= _BLOCK:
            await self._flush()

    async def close(self) -> None:
        if self.in_blocks and not self._is_closed:
            await self._flush(last=True)
            await self._written()
        self._is_closed = True

    async def _flush(self, *, last: bool = False) -> None:
        """Hand what is held to a thread once the block before is written."""
        await self._written()
        work = self.rest, last
        self.rest, self._held = [], 0
        self._under_way = work, start(self.put, *work)

    async def _written(self) -> None:
        """Wait until the block under way is written, on a full disk for as long as the sink does."""
        while self._under_way is not None:
            work, trip = self._under_way
            self._under_way = None
            try:
                await trip.result()
            except OSError as error:
                await self._sink.has_room(error, self._is_lost)
                self._under_way = work, start(self.put, *work)

    def put(self, block: Pieces, last: bool = False) -> None:
        """Append a block to the temporary file, in a thread; `last` closes it.

        After a block that failed the file ends where the block before it ended: it can be written again.
        """
        with self._sink.lock:
            if self.is_dropped:
                return
            if not self.temporary:
                self.temporary, self._descriptor = new_file(self._sink.folder or self._sink.find_folder())
            descriptor, size = self._descriptor, sum(map(len, block))
            try:
                written = os.writev(descriptor, block) if block and hasattr(os, "writev") else 0
                if written < size:
                    left = memoryview(b"".join(block))[written:]
                    while left:
                        left = left[os.write(descriptor, left) :]
                if last:
                    self._descriptor = -1  # first: it is gone, whatever closing it tells
                    os.close(descriptor)
                else:
                    self._size += size
            except OSError:
                if not self._size:
                    self.remove()
                elif self._descriptor < 0:
                    # Closing tells of writes that a network file system put off: of which, is not known.
                    self._is_lost = True
                else:
                    os.lseek(descriptor, self._size, os.SEEK_SET)
                    with contextlib.suppress(OSError):  # it only frees room: it will be written over
                        os.ftruncate(descriptor, self._size)
                raise

    def remove(self) -> None:
        """Remove the temporary file, under the lock: it can be written anew. Nothing that has landed."""
        with contextlib.suppress(OSError):
            if self._descriptor >= 0:
                os.close(self._descriptor)
        with contextlib.suppress(OSError):
            if self.temporary:
                os.unlink(self.temporary)
        self._descriptor, self.temporary, self._size = -1, "", 0

    def release(self) -> None:
        """Forget the bytes, and give back what they took of the budget."""
        self.is_dropped = True  # first: a thread that finds nothing in `rest` must know why
        if not self.in_blocks:
            self._sink.budget.used -= self._held
        self.rest, self._held, self._is_closed = [], 0, True


class FolderSink:
    """Writes outputs into a folder as `<custom_id or job id>.<ext of its type>`, then -2, -3 ...

    No file is ever replaced, and no name leads out of the folder, which is made when it is missing.
    `budget` is shared by sinks that are in use at the same time. Without `wait_for_room` a full disk ends
    the job.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        custom_id: str | None = None,
        budget: Budget | None = None,
        *,
        wait_for_room: WaitForRoom | None = None,
    ) -> None:
        self.budget: Budget = Budget(Limits().collect) if budget is None else budget
        self.lock: threading.Lock = threading.Lock()
        """Held while a file is touched: outputs may be dropped while a block is being written."""
        self._path = os.fspath(folder)
        self.folder: str | None = self._path
        self._file: str | None = None
        self._custom_id = custom_id
        self._wait_for_room = wait_for_room
        self._writers: list[DiskWriter] = []
        self._number = 0

    async def open(self, output: OutputInfo) -> DiskWriter:
        """Return the writer of a new file, which has a temporary name until the commit."""
        writer = DiskWriter(self, media.suffix_for(output.content_type))
        self._writers.append(writer)
        return writer

    async def commit(self, result: JobResult) -> None:
        """Write and name all outputs. From the first rename on, a cancellation waits until all have names.

        One that comes while a full disk is waited for ends the waiting: what has its name keeps it.
        """
        writers = self._writers
        stem = safe_name(self._custom_id or result.id or result.request_id or "output")
        try:
            while writers:
                trip = start(self._land, writers, stem)
                try:
                    await trip.result()
                    break
                except asyncio.CancelledError:
                    for writer in writers:
                        writer.release()
                    trip.cancel()
                    await trip.settled()
                    raise
                except OSError as error:
                    await self.has_room(error)
        except (Exception, asyncio.CancelledError):
            await self.discard()
            raise
        for writer in writers:
            writer.release()
        self._writers = []

    async def discard(self) -> None:
        """Remove the temporary files, also of a write under way, and give the budget back."""
        writers, self._writers, self._number = self._writers, [], 0
        for writer in writers:
            writer.release()
        if any(writer.in_blocks for writer in writers):
            await start(self._land, writers, "").settled()

    async def has_room(self, error: OSError, is_lost: bool = False) -> None:
        """Wait for room on a full disk. Raises OutputError where that is not what failed, or nobody waits."""
        if self._wait_for_room is not None and error.errno in _FULL and not is_lost:
            with contextlib.suppress(Exception):  # whatever ends the waiting, what failed is the write
                await self._wait_for_room(error)
                return
        place = f" ({quoted(error.filename, str)})" if error.filename else ""
        kept = OutputError(f"the output could not be written: {reason_of(error)}{place}", may_have_run=True)
        kept.errno = error.errno
        kept.written = tuple(path for writer in self._writers if (path := writer.path) is not None)
        raise kept from error

    def find_folder(self) -> str:
        """Find out, in a thread, the folder of all files; an exact path may turn out to be a folder."""
        if os.path.isdir(self._path):
            self.folder = self._path
        else:  # written through a link, as `cp` does
            self._file = os.path.realpath(self._path) if os.path.islink(self._path) else self._path
            self.folder = os.path.dirname(self._file) or os.curdir
        return self.folder

    def _land(self, writers: Sequence[DiskWriter], stem: str) -> None:
        """Write what is still in memory, then rename all files in order; in the end remove temporary ones.

        Where it fails, the files that were written in blocks are kept for another call, which goes on there.
        Of what was dropped nothing is left.
        """
        try:
            for writer in writers:
                if not writer.in_blocks and writer.location is None:
                    writer.put(writer.rest, last=True)
            if not writers[0].is_dropped:
                for writer in writers:
                    if writer.location is None:
                        self._settle(writer, stem)
        finally:
            with self.lock:
                for writer in writers:
                    if writer.temporary and (writer.is_dropped or not writer.in_blocks):
                        writer.remove()

    def _settle(self, writer: DiskWriter, stem: str) -> None:
        """Give a complete file its name: the first of an exact file replaces what is there, no other does."""
        number = self._number + 1
        if self._file is not None and number == 1:
            mode = mode_of(self._file)
            if mode is not None:
                with contextlib.suppress(OSError):
                    os.chmod(writer.temporary, mode & 0o777)
            os.replace(writer.temporary, self._file)
            target = self._path
        else:
            if self._file is not None:
                stem = Path(self._file).stem
                if len(os.fsencode(stem)) > MOST_IN_A_NAME:  # with a number it may be too long for the system
                    stem = safe_name(stem)
            while not add(
                writer.temporary, target := f"{self.folder}{os.sep}{name_of(stem, writer.suffix, number)}"
            ):
                number += 1
        writer.temporary, writer.location, self._number = "", target, number


class FileSink(FolderSink):
    """Writes the first output to exactly `path`, replacing what is there, the others beside it.

    Further outputs are named `x-2.<ext of its type>` and never replace a file. A path that is a folder
    by the time of writing is treated as FolderSink treats it, and so are `budget` and `wait_for_room`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        budget: Budget | None = None,
        *,
        custom_id: str | None = None,
        wait_for_room: WaitForRoom | None = None,
    ) -> None:
        super().__init__(path, custom_id, budget, wait_for_room=wait_for_room)
        self.folder: str | None = None
