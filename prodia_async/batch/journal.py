"""The journal: what a batch has sent and what came of it, so that the same command goes on from there."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import sqlite3
import weakref
from typing import TYPE_CHECKING, Any

import msgspec

from prodia_async._errors import InputError, OutputError, quoted, reason_of
from prodia_async._files.threads import hop, start
from prodia_async.batch import schema
from prodia_async.batch.database import Reader, explain
from prodia_async.batch.lock import FolderLock
from prodia_async.batch.opening import open_database
from prodia_async.batch.schema import FILE_NAME, Row, Sample, Totals
from prodia_async.batch.writer import Failure, Writer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Sequence
    from pathlib import Path

    from prodia_async.batch.database import Database, Values
    from prodia_async.batch.manifest import Entry

__all__ = ["Journal", "Row", "Sample", "Totals"]

_MOST_WAITING = 8 * 1024 * 1024
"""Bytes that may wait to be written before whoever adds to them is asked to wait."""

_ROW = 500
"""About how many bytes an operation takes beside its record."""


class Journal:
    """The journal of one batch, `journal.sqlite` in its folder; made by `open`, ended by `aclose`.

    One thread writes, and each commit is on disk (`synchronous=FULL`) before anybody hears of it. `sent` is
    awaited: its row is committed before the request leaves. `waiting`, `done`, `failed` and `sample` are
    taken at once, by the call itself, and committed soon after; awaiting what they return waits for room
    where very much is queued. `totals` is what earlier runs came to, as found at `open`.

    All raise OutputError, which says what to do, once the journal cannot be written any more: its file is
    gone or was replaced, or the disk fails. A full disk does not end it: `on_full` hears a reason, everything
    is kept and tried again, and `on_full(None)` tells that it is over.
    """

    def __init__(self, reader: Reader, writer: Writer, totals: Totals) -> None:
        self.totals = totals
        self._reader = reader
        self._writer = writer
        self._loop = asyncio.get_running_loop()
        self._closed = self._told = False
        # A journal that is dropped without `aclose`, as with a killed loop, lets go of its folder.
        self._dropped = weakref.finalize(self, writer.end)
        self._dropped.atexit = False

    @classmethod
    async def open(
        cls,
        folder: Path,
        *,
        wall: Callable[[], float],
        on_full: Callable[[str | None], object] = lambda _: None,
        retry_every: float = 1.0,
    ) -> Journal:
        """Open the folder's journal, made if it is missing, for this process alone.

        `wall`: the time of day, in seconds since 1970, for the lock's note. `retry_every`: seconds between
        two tries to write to a full disk. Attempts in flight when an earlier run was cut are settled: they
        count as spent, at what was reserved for them.

        Raises InputError, which says what to do: another batch is at work in the folder, the journal was
        written by a newer version, is damaged or another program's, or the folder cannot be written to.
        """
        lock, database, reader, totals = await hop(_open, folder, wall(), undo=_close)
        closing = (reader.close, database.close, lock.release)
        loop = asyncio.get_running_loop()
        writer = Writer(database, loop, on_full=on_full, retry_every=retry_every, closing=closing)
        writer.start()
        return cls(reader, writer, totals)

    @property
    def is_broken(self) -> bool:
        """Whether it cannot be written any more."""
        return self._writer.failure is not None

    async def find(self, custom_ids: Sequence[str]) -> dict[str, Row]:
        """Return what is committed of these jobs, by custom_id; unknown ones are left out."""
        self._check()
        try:
            return await hop(self._reader.find, custom_ids)
        except sqlite3.Error as error:
            reason = f"the batch's journal could not be read: {error}. Check the disk."
            raise Failure(reason, errno.EIO).error() from error

    async def sent(self, entry: Entry, reserved: float) -> None:
        """Write down that an attempt goes out, with `reserved` dollars; returns once that is committed.

        When this is cancelled or raises, the attempt is not to be sent, and does not count.
        """
        self._check()
        custom_id = entry.job.custom_id
        values = (custom_id, entry.job.type, entry.fingerprint, entry.inputs_mark, reserved)
        waiter = self._loop.create_future()
        self._writer.put(schema.SENT, values, waiter, _ROW)
        try:
            await waiter
        except asyncio.CancelledError:
            self._writer.put(schema.NOT_SENT, (custom_id,), None, _ROW)
            raise
        except OutputError:
            self._told = True
            raise

    async def submitted(self, custom_id: str, job_id: str, expires_at: float | None) -> None:
        """Write down that the service has a job, under `job_id`; returns once that is committed.

        `expires_at`: when it may forget the job, in seconds since 1970. Who runs the batch again collects it.
        """
        values = {"custom_id": custom_id, "job_id": job_id, "expires_at": expires_at}
        self._put(schema.SUBMITTED, values, _ROW)
        await self.flush()

    def unsent(self, entry: Entry) -> Awaitable[None]:
        """Write down a job that could not be sent at all, so that `failed` may follow."""
        values = (entry.job.custom_id, entry.job.type, entry.fingerprint, entry.inputs_mark)
        return self._put(schema.UNSENT, values, _ROW)

    def waiting(self, custom_id: str, *, uncertain: float | None) -> Awaitable[None]:
        """Write down that a job waits: its attempt ended without a result.

        `uncertain`: None if it did not run (shed, not sent), else the dollars reckoned for it.
        """
        return self._put(schema.WAITING, {"custom_id": custom_id, "uncertain": uncertain}, _ROW)

    def done(
        self,
        custom_id: str,
        record: bytes,
        outputs: Sequence[tuple[str, int]],
        dollars: float | None,
        *,
        uncertain: float | None = None,
    ) -> Awaitable[None]:
        """Write down a job that is done: its line of results.jsonl, outputs (path, bytes) and price.

        `uncertain`: the dollars reckoned for it where it has no price.
        """
        return self._ended("done", custom_id, record, outputs, dollars=dollars, uncertain=uncertain)

    def failed(
        self,
        custom_id: str,
        record: bytes,
        outputs: Sequence[tuple[str, int]],
        dollars: float | None,
        *,
        uncertain: float | None,
        job_id: str | None = None,
    ) -> Awaitable[None]:
        """Write down a job that failed; `uncertain` as for `waiting`.

        `job_id`: the service has it still, and it is collected when failed jobs are retried.
        """
        return self._ended(
            "failed", custom_id, record, outputs, dollars=dollars, uncertain=uncertain, job_id=job_id
        )

    def sample(self, sample: Sample) -> Awaitable[None]:
        """Keep a sample for the report's charts; at most 4,096 are kept, evenly spread over the time."""
        return self._put(schema.SAMPLE, msgspec.structs.astuple(sample), _ROW)

    async def flush(self) -> None:
        """Return once all that was said so far is committed."""
        self._check()
        waiter = self._loop.create_future()
        self._writer.put(None, (), waiter, 0)
        try:
            await waiter
        except OutputError:
            self._told = True
            raise

    async def aclose(self) -> None:
        """Commit what was said, close the file and release the folder, also when cancelled; twice is well.

        A disk that is full is tried again a few times only. Raises OutputError if something could not be
        written and nobody was told so before.
        """
        self._closed = True
        if self._dropped.detach() is not None:
            self._writer.end()
        await start(self._writer.join, apart=True).settled()
        if self._writer.failure is not None and self._writer.unwritten and not self._told:
            self._told = True
            raise self._writer.failure.error()

    def _ended(
        self,
        state: str,
        custom_id: str,
        record: bytes,
        outputs: Any,
        *,
        dollars: float | None,
        uncertain: float | None,
        job_id: str | None = None,
    ) -> Awaitable[None]:
        values = {
            "state": state,
            "custom_id": custom_id,
            "record": record,
            "outputs": msgspec.json.encode(outputs).decode(),
            "dollars": dollars,
            "uncertain": uncertain,
            "job_id": job_id,
        }
        return self._put(schema.ENDED, values, _ROW + len(record))

    def _put(self, statement: str, values: Values, size: int) -> Awaitable[None]:
        self._check()
        self._writer.put(statement, values, None, size)
        return _Room(self)

    def _check(self) -> None:
        if self._writer.failure is not None:
            self._told = True
            raise self._writer.failure.error()
        if self._closed:
            raise OutputError("the batch's journal is closed")


class _Room:
    """Awaited, it waits for room where very much is queued."""

    __slots__ = ("_journal",)

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def __await__(self) -> Generator[Any, None, None]:
        journal = self._journal
        if journal._writer.backlog > _MOST_WAITING:  # noqa: SLF001 - the journal's own answer
            yield from journal.flush().__await__()


def _open(folder: Path, since: float) -> tuple[FolderLock, Database, Reader, Totals]:
    with contextlib.ExitStack() as undo:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = FolderLock(folder, since=since)
        except (OSError, ValueError) as error:
            said = f"{quoted(str(folder))} cannot be written ({reason_of(error)}): choose another place"
            raise InputError(said) from error
        undo.callback(lock.release)
        for left in folder.glob("results.jsonl.*.part"):  # by a process that was killed
            left.unlink(missing_ok=True)
        path = folder / FILE_NAME
        database, totals = open_database(path)
        undo.callback(database.close)
        try:
            reader = Reader(path)
        except sqlite3.Error as error:
            raise explain(path, error) from error
        undo.pop_all()
    return lock, database, reader, totals


def _close(opened: tuple[FolderLock, Database, Reader, Totals]) -> None:
    lock, database, reader, _ = opened
    reader.close()
    database.close()
    lock.release()
