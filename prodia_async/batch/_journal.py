"""The journal: what a batch has sent and what came of it, so that the same command goes on from there."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import sqlite3
import weakref
from typing import TYPE_CHECKING

import msgspec

from prodia_async._errors import InputError, OutputError, quoted, reason_of
from prodia_async._files.threads import hop, start
from prodia_async.batch import _schema as schema
from prodia_async.batch._database import Reader, explain
from prodia_async.batch._lock import FolderLock
from prodia_async.batch._opening import open_database
from prodia_async.batch._schema import FILE_NAME, Row, Sample, Totals
from prodia_async.batch._writer import Failure, Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from prodia_async._stats import LimitChange
    from prodia_async.batch._database import Database, Values
    from prodia_async.batch._manifest import Entry

__all__ = ["Journal", "Row", "Sample", "Totals"]


class Journal:
    """The journal of one batch, `journal.sqlite` in its folder; made by `open`, ended by `aclose`.

    One thread writes, and each commit is on disk (`synchronous=FULL`) before anybody hears of it. `sent` is
    awaited: its row is committed before the request leaves. `waiting`, `done`, `failed` and `sample` are
    taken at once, by the call itself, and committed soon after. `totals` is what earlier runs came to, as
    found at `open`.

    All raise OutputError, which says what to do, once the journal cannot be written any more: its file is
    gone or was replaced, or the disk fails. A full disk does not end it: `on_full` hears a reason, everything
    is kept and tried again, and `on_full(None)` tells that it is over.
    """

    def __init__(self, reader: Reader, writer: Writer, totals: Totals) -> None:
        self.totals = totals
        self.reader = reader
        """What is committed, for worker threads."""
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
        about: Mapping[str, str] | None = None,
        on_full: Callable[[str | None], object] = lambda _: None,
        retry_every: float = 1.0,
    ) -> Journal:
        """Open the folder's journal, made if it is missing, for this process alone.

        `wall`: the time of day, in seconds since 1970, for the lock's note. `about`: what the jobs belong to
        (a service, a shard), by name. `retry_every`: seconds between two tries to write to a full disk.
        Attempts in flight when an earlier run was cut are settled: they count as spent, at what was reserved
        for them.

        Raises InputError, which says what to do: another batch is at work in the folder, jobs of another
        service or shard have run there, the journal was written by a newer version, is damaged or another
        program's, or the folder cannot be written to.
        """
        lock, database, reader, totals = await hop(_open, folder, wall(), about or {}, undo=_close)
        closing = (reader.close, database.close, lock.release)
        loop = asyncio.get_running_loop()
        writer = Writer(database, loop, on_full=on_full, retry_every=retry_every, closing=closing)
        writer.start()
        return cls(reader, writer, totals)

    async def find(self, custom_ids: Sequence[str]) -> dict[str, Row]:
        """Return what is committed of these jobs, by custom_id; unknown ones are left out."""
        self._check()
        try:
            return await hop(self.reader.find, custom_ids)
        except sqlite3.Error as error:
            reason = f"the batch's journal could not be read: {error}. Check the disk."
            raise Failure(reason, errno.EIO).error() from error

    async def sent(self, entry: Entry, reserved: float) -> None:
        """Write down that an attempt goes out, with `reserved` dollars; returns once that is committed.

        When this is cancelled or raises, the attempt is not to be sent, and does not count.
        """
        custom_id = entry.job.custom_id
        values = (custom_id, entry.job.type, entry.fingerprint, entry.inputs_mark, reserved)
        waiter = self._loop.create_future()
        self._put(schema.SENT, values, waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            self._writer.queue.put((schema.NOT_SENT, (custom_id,), None, None))
            raise
        except OutputError:
            self._told = True
            raise

    async def submitted(self, custom_id: str, job_id: str, expires_at: float | None) -> None:
        """Write down that the service has a job, under `job_id`; returns once that is committed.

        `expires_at`: when it may forget the job, in seconds since 1970. Who runs the batch again collects it.
        """
        values = {"custom_id": custom_id, "job_id": job_id, "expires_at": expires_at}
        self._put(schema.SUBMITTED, values)
        await self.flush()

    def unsent(self, entry: Entry) -> None:
        """Write down a job that could not be sent at all, so that `failed` may follow."""
        values = (entry.job.custom_id, entry.job.type, entry.fingerprint, entry.inputs_mark)
        self._put(schema.UNSENT, values)

    def waiting(self, custom_id: str, *, uncertain: float | None) -> None:
        """Write down that a job waits: its attempt ended without a result.

        `uncertain`: None if it did not run (shed, not sent), else the dollars reckoned for it.
        """
        self._put(schema.WAITING, {"custom_id": custom_id, "uncertain": uncertain})

    def done(
        self,
        custom_id: str,
        record: bytes,
        outputs: Sequence[tuple[str, int]],
        dollars: float | None,
        *,
        uncertain: float | None = None,
        parts: Sequence[str] = (),
        then: Callable[[], object] | None = None,
    ) -> asyncio.Future[None]:
        """Write down a job that is done: its line of results.jsonl, outputs (path, bytes) and price.

        `uncertain`: the dollars reckoned for it where it has no price. `parts`: the temporary files of the
        outputs, in order, to which `then` gives their names as soon as the row is committed, in the journal's
        thread. What is returned is awaited for both, and raises what `then` raises.
        """
        values = {
            "state": "done",
            "custom_id": custom_id,
            "record": record,
            "outputs": msgspec.json.encode(outputs).decode(),
            "parts": msgspec.json.encode(parts).decode() if parts else None,
            "dollars": dollars,
            "uncertain": uncertain,
            "job_id": None,
        }
        waiter = self._loop.create_future()
        self._put(schema.ENDED, values, waiter, then)
        return waiter

    def failed(
        self,
        custom_id: str,
        record: bytes,
        dollars: float | None,
        *,
        uncertain: float | None,
        job_id: str | None = None,
    ) -> None:
        """Write down a job that failed; `uncertain` as for `waiting`.

        `job_id`: the service has it still, and it is collected when failed jobs are retried.
        """
        values = {
            "state": "failed",
            "custom_id": custom_id,
            "record": record,
            "outputs": None,
            "parts": None,
            "dollars": dollars,
            "uncertain": uncertain,
            "job_id": job_id,
        }
        self._put(schema.ENDED, values)

    def kept(self, custom_id: str) -> None:
        """Take note that the outputs of a job that is done are in a store: it needs its files no more."""
        self._put(schema.KEPT, (custom_id,))

    def sample(self, sample: Sample) -> None:
        """Keep a sample for the report's charts; at most 4,096 are kept, evenly spread over the time."""
        self._put(schema.SAMPLE, msgspec.structs.astuple(sample))

    def limit(self, change: LimitChange) -> None:
        """Keep a change of a job type's limit; the last 4,096 are kept."""
        self._put(schema.LIMIT, msgspec.structs.astuple(change))

    async def flush(self) -> None:
        """Return once all that was said so far is committed."""
        waiter = self._loop.create_future()
        self._put(None, (), waiter)
        try:
            await waiter
        except OutputError:
            self._told = True
            raise

    async def aclose(self, last: Callable[[], object] | None = None) -> None:
        """Commit what was said, close the file and release the folder, also when cancelled; twice is well.

        `last` is called in a thread when the file is closed, while the folder is still this batch's alone,
        unless the journal is broken; what it raises is raised. A disk that is full is tried again a few times
        only. Raises OutputError if something could not be written and nobody was told so before.
        """
        self._closed = True
        self._writer.last = self._writer.last or last
        if self._dropped.detach() is not None:
            self._writer.end()
        await start(self._writer.join, apart=True).settled()
        if self._writer.failure is not None and self._writer.unwritten and not self._told:
            self._told = True
            raise self._writer.failure.error()
        if self._writer.last_error is not None:
            raise self._writer.last_error

    def _put(
        self,
        statement: str | None,
        values: Values,
        waiter: asyncio.Future[None] | None = None,
        then: Callable[[], object] | None = None,
    ) -> None:
        if self._closed or self._writer.failure is not None:
            self._check()
        self._writer.queue.put((statement, values, waiter, then))

    def _check(self) -> None:
        if self._writer.failure is not None:
            self._told = True
            raise self._writer.failure.error()
        if self._closed:
            raise OutputError("the batch's journal is closed")


def _open(
    folder: Path, since: float, about: Mapping[str, str]
) -> tuple[FolderLock, Database, Reader, Totals]:
    with contextlib.ExitStack() as undo:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = FolderLock(folder, since=since)
        except InputError:  # a ValueError, and the lock has said what to do
            raise
        except (OSError, ValueError) as error:
            said = f"{quoted(str(folder))} cannot be written ({reason_of(error)}): choose another place"
            raise InputError(said) from error
        undo.callback(lock.release)
        for left in folder.glob("results.jsonl.*.part"):  # by a process that was killed
            left.unlink(missing_ok=True)
        path = folder / FILE_NAME
        database, totals = open_database(path, about)
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
