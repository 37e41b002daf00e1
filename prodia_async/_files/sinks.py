"""Where outputs go: into memory, to a file, into a folder, or to a sink of the user's own.

A sink serves one attempt of one job. Its outputs are opened one after another; then `commit` makes them
stand, or `discard` leaves nothing of them. Small outputs are collected and reach the disk in one trip to a
worker thread; larger ones go there in blocks, the next being received while the last is written. Where the
disk is full, a sink may be told to wait for room (`WaitForRoom`): then it goes on where it was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeAlias

from prodia_async._errors import OutputError
from prodia_async._files.hops import Hop, start
from prodia_async._files.landing import Landing, Part, Place, drop_all, is_full
from prodia_async._files.names import safe_name
from prodia_async._files.pieces import Pieces
from prodia_async._settings import Limits, MiB
from prodia_async._wire import media

if TYPE_CHECKING:
    import os
    from pathlib import Path

    from prodia_async._models import JobResult, OutputInfo

_SMALL = MiB  # an output up to this size may be collected
_BLOCK = MiB // 2  # what goes to disk at once; twice that is held, and what was collected before

WaitForRoom: TypeAlias = Callable[[OSError], Awaitable[None]]
"""Awaited when a disk or a quota is full. It returns when the write is to be tried again; an error that it
raises ends the waiting, and the sink with it."""


class Writer(Protocol):
    """Takes one output's bytes, in order."""

    async def write(self, data: bytes) -> None:
        """Take the next bytes; waits where the disk is slower than the network."""

    async def close(self) -> None:
        """Take note that the output is whole. After one that was cut short only `Sink.discard` follows."""


class Sink(Protocol):
    """Takes the outputs of one attempt of a job. Whatever it raises ends the job with OutputError."""

    async def open(self, output: OutputInfo) -> Writer:
        """Begin an output; the one before it is closed."""

    async def commit(self, result: JobResult) -> None:
        """Make the outputs stand: the job is done, and all of them are closed."""

    async def discard(self) -> None:
        """Leave nothing of what is not committed. May be called again, after a failure and after a cancel."""


class Budget:
    """How many bytes of small outputs may be collected at the same time (`Limits.collect`), in one loop."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0

    def take(self, n: int) -> bool:
        """Take `n` bytes; False, and nothing taken, if there are not so many left."""
        if self.used + n > self.limit:
            return False
        self.used += n
        return True

    def give(self, n: int) -> None:
        """Give `n` taken bytes back."""
        self.used -= n


class _MemoryWriter:
    def __init__(self, count: Callable[[int], None]) -> None:
        self._count = count
        self._buffer = bytearray()
        self._data: bytes | None = None

    @property
    def data(self) -> bytes | None:
        """The output's bytes, once it is closed."""
        return self._data

    async def write(self, data: bytes) -> None:
        self._count(len(data))
        self._buffer += data

    async def close(self) -> None:
        self._data = bytes(self._buffer)
        self._buffer = bytearray()

    def clear(self) -> None:
        self._data, self._buffer = None, bytearray()


class MemorySink:
    """Keeps a job's outputs in memory, at most `limit` bytes together; writers show them as `data`."""

    def __init__(self, limit: int = Limits().max_memory_output) -> None:
        self._limit = limit
        self._size = 0
        self._writers: list[_MemoryWriter] = []

    def _count(self, size: int) -> None:
        """Count bytes to come. Raises OutputError above the limit."""
        self._size += size
        if self._size > self._limit:
            raise OutputError(
                f"the job's outputs are larger than {self._limit} bytes (Limits.max_memory_output): "
                "write them to a file or folder with to=",
                may_have_run=True,
            )

    async def open(self, output: OutputInfo) -> _MemoryWriter:  # noqa: ARG002 - part of the interface Sink
        writer = _MemoryWriter(self._count)
        self._writers.append(writer)
        return writer

    async def commit(self, result: JobResult) -> None:  # noqa: ARG002 - part of the interface Sink
        """Let go of the writers: they hold the bytes."""
        self._writers = []

    async def discard(self) -> None:
        for writer in self._writers:
            writer.clear()
        self._writers = []
        self._size = 0


class _DiskWriter:
    """Collects an output while it is small and the budget allows; writes blocks to its part after that."""

    def __init__(self, part: Part, budget: Budget, wait_for_room: WaitForRoom | None) -> None:
        self.part = part
        self._budget = budget
        self._wait_for_room = wait_for_room
        self._taken = 0
        self._pieces: Pieces | None = Pieces()
        self.collects = True
        self._pending: tuple[Callable[[], None], Hop[None]] | None = None

    @property
    def path(self) -> Path | None:
        """Where the output stands, once it is committed."""
        return self.part.path

    @property
    def rest(self) -> Pieces | None:
        """What commit has still to write; None if all of it is in the temporary file."""
        return self._pieces

    async def write(self, data: bytes) -> None:
        if self.collects and self._taken + len(data) <= _SMALL and self._budget.take(len(data)):
            self._taken += len(data)
            self._add(data)
            return
        self.collects = False
        self.give_back()
        for begin in range(0, len(data), _BLOCK):
            if self._add(data[begin : begin + _BLOCK]) >= _BLOCK:
                await self._flush()

    def _add(self, data: bytes) -> int:
        if self._pieces is None:
            raise RuntimeError("write() after close()")
        self._pieces.add(data)
        return self._pieces.size

    async def close(self) -> None:
        if not self.collects and self._pieces is not None:
            await self._flush(last=True)
            self._pieces = None
            await self._written()

    async def _flush(self, *, last: bool = False) -> None:
        """Hand the buffer to a thread once the block before is written."""
        await self._written()
        block, self._pieces = self._pieces or Pieces(), Pieces()
        write = partial(self.part.write, block, last=last)
        self._pending = write, start(write)

    async def _written(self) -> None:
        """Wait until the block under way is written, on a full disk for as long as `wait_for_room` does."""
        while self._pending is not None:
            write, trip = self._pending
            self._pending = None if await self._is_written(trip) else (write, start(write))

    async def _is_written(self, trip: Hop[None]) -> bool:
        """Wait for a block; False when it is to be tried again. Raises OutputError."""
        try:
            await trip.result()
        except OSError as error:
            if not self.part.lost and await _has_room(self._wait_for_room, error):
                return False
            raise _not_kept(error) from error
        return True

    def give_back(self) -> None:
        """Give the budget back: the bytes go to disk, or nowhere."""
        self._budget.give(self._taken)
        self._taken = 0

    def release(self) -> None:
        """Forget the bytes and what they took of the budget."""
        self.give_back()
        self._pieces = None


class _DiskSink:
    def __init__(
        self, place: Place, custom_id: str | None, budget: Budget | None, wait_for_room: WaitForRoom | None
    ) -> None:
        self._landing = Landing(place)
        self._custom_id = custom_id
        self._wait_for_room = wait_for_room
        self._budget = Budget(Limits().collect) if budget is None else budget
        self._writers: list[_DiskWriter] = []
        self.is_committed = False
        """Whether all outputs stand, though a commit was cancelled."""

    async def open(self, output: OutputInfo) -> _DiskWriter:
        part = Part(self._landing.place, media.suffix_for(output.content_type))
        writer = _DiskWriter(part, self._budget, self._wait_for_room)
        self._writers.append(writer)
        return writer

    async def commit(self, result: JobResult) -> None:
        """Write and name all outputs. From the first rename on, a cancellation waits until all have names.

        One that comes while a full disk is waited for ends the waiting: what has its name keeps it.
        """
        if not self._writers:
            return
        stem = safe_name(self._custom_id or result.id or result.request_id or "output")
        try:
            while not await self._lands(stem):
                pass
        except BaseException:
            await self.discard()
            raise
        finally:
            self._release()
            self._writers = []

    async def _lands(self, stem: str) -> bool:
        """Try to write and name all outputs; False when it is to be tried again. Raises OutputError."""
        parts = [(writer.part, writer.rest) for writer in self._writers]
        trip = start(partial(self._landing.land, parts, stem, patient=self._wait_for_room is not None))
        try:
            await trip.result()
        except asyncio.CancelledError:
            self._landing.dead = True
            if not trip.cancel():
                await trip.settled()
            self.is_committed = all(part.location is not None for part, _ in parts)
            raise
        except OSError as error:
            if await _has_room(self._wait_for_room, error):
                return False
            written = tuple(part.path for part, _ in parts if part.path is not None)
            raise _not_kept(error, written) from error
        return True

    async def discard(self) -> None:
        """Remove the temporary files, also of a write under way, and give the budget back."""
        parts = [writer.part for writer in self._writers if not writer.collects]
        self._release()
        if parts:
            await start(drop_all, parts).settled()

    def _release(self) -> None:
        for writer in self._writers:
            writer.release()


class FileSink(_DiskSink):
    """Writes the first output to exactly `path`, replacing what is there, the others beside it.

    Further outputs are named `x-2.<ext of its type>` and never replace a file. A path that is a folder
    by the time of writing is treated as FolderSink treats it. `budget` is shared by sinks that are in use
    at the same time. Without `wait_for_room` a full disk ends the job.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        budget: Budget | None = None,
        *,
        custom_id: str | None = None,
        wait_for_room: WaitForRoom | None = None,
    ) -> None:
        super().__init__(Place(path, exact=True), custom_id, budget, wait_for_room)


class FolderSink(_DiskSink):
    """Writes outputs into a folder as `<custom_id or job id>.<ext of its type>`, then -2, -3 ...

    No file is ever replaced, and no name leads out of the folder, which is made when it is missing.
    `budget` and `wait_for_room` are those of FileSink.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        custom_id: str | None = None,
        budget: Budget | None = None,
        *,
        wait_for_room: WaitForRoom | None = None,
    ) -> None:
        super().__init__(Place(folder, exact=False), custom_id, budget, wait_for_room)


async def _has_room(wait: WaitForRoom | None, error: OSError) -> bool:
    """Wait for room on a full disk; False where that is not what failed, or where nobody waits (any more)."""
    if wait is None or not is_full(error):
        return False
    try:
        await wait(error)
    except Exception:  # noqa: BLE001 - whatever ends the waiting, what failed is the write
        return False
    return True


def _not_kept(error: OSError, written: tuple[Path, ...] = ()) -> OutputError:
    reason = error.strerror or str(error)
    place = f" ({error.filename})" if error.filename else ""
    kept = OutputError(f"the output could not be written: {reason}{place}", may_have_run=True)
    kept.errno = error.errno
    kept.written = written
    return kept
