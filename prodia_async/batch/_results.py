"""What became of a batch's jobs, read from its journal. All of it blocks: it reads and writes files."""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
import sqlite3
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import TypeVar, cast

import msgspec

from prodia_async._errors import InputError, OutputError, quoted, reason_of
from prodia_async._stats import LimitChange
from prodia_async.batch import _schema as schema
from prodia_async.batch._database import (
    connect_read_only,
    explain,
    foreign,
    newer,
    read_about,
    read_limits,
    read_samples,
)
from prodia_async.batch._lock import FolderLock
from prodia_async.batch._records import Record
from prodia_async.batch._schema import FILE_NAME, Sample

T = TypeVar("T")

_ROWS_A_SELECT = 200
_BLOCK = 256 * 1024


def read_results(folders: Sequence[Path], *, failed_only: bool = False) -> Iterator[Record]:
    """Yield the record of each job that is done or failed, folder by folder, ordered by custom_id in each.

    It reads the journals without changing or locking them, so it works while a batch runs, and after one was
    killed; a job is read as it stands when its turn comes. Memory does not grow with the batch.

    Raises InputError at once if a folder holds no journal, or one that cannot be read, and later if a journal
    turns out to be damaged.
    """
    for folder in folders:
        with contextlib.closing(_connect(folder)):
            pass
    lines = itertools.chain.from_iterable(_lines(folder, failed_only=failed_only) for folder in folders)
    return (cast("Record", msgspec.json.decode(line)) for line in lines)


def write_results(folder: Path) -> Path:
    """Write `results.jsonl` into a batch's folder, from its journal, and return its path.

    An older one is replaced at once when the new one is complete. Raises InputError as `read_results` does,
    and where a batch is at work in the folder, which writes the file itself in the end; OutputError where the
    file cannot be written; the older one then stands as it was.
    """
    with contextlib.closing(_connect(folder)):  # first: a lock leaves a file
        pass
    try:
        lock = FolderLock(folder, since=time.time())
    except OSError as error:
        raise _unwritten(folder / "results.jsonl", error) from error
    try:
        return write_unlocked(folder)
    finally:
        lock.release()


def write_unlocked(folder: Path) -> Path:
    """Write `results.jsonl` as `write_results` does, for a batch that has the folder's lock."""
    path = folder / "results.jsonl"
    temporary = folder / f"{path.name}.{secrets.token_hex(4)}.part"
    lines = _lines(folder, failed_only=False)
    try:
        with contextlib.closing(lines), contextlib.ExitStack() as undo:
            undo.callback(temporary.unlink, missing_ok=True)
            with temporary.open("xb", buffering=_BLOCK) as file:
                file.writelines(line + b"\n" for line in lines)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
    except OSError as error:
        raise _unwritten(path, error) from error
    return path


def _unwritten(path: Path, error: OSError) -> OutputError:
    failure = OutputError(
        f"{quoted(str(path))} could not be written: {reason_of(error)}. Write it anew when that is "
        "corrected: the journal has everything."
    )
    failure.errno = error.errno
    return failure


def samples(folder: Path) -> list[Sample]:
    """Return the samples of a batch's progress, oldest first. Raises InputError as `read_results` does."""
    with contextlib.closing(_connect(folder)) as connection:
        return _explained(folder, lambda: read_samples(connection))


def limits(folder: Path) -> list[LimitChange]:
    """Return how the limits have changed, oldest first. Raises InputError as `read_results` does."""
    with contextlib.closing(_connect(folder)) as connection:
        return _explained(folder, lambda: read_limits(connection))


def about(folder: Path) -> dict[str, str]:
    """Return what the jobs belong to: "service" and "shard". Raises InputError as `read_results` does."""
    with contextlib.closing(_connect(folder)) as connection:
        return _explained(folder, lambda: read_about(connection))


def _lines(folder: Path, *, failed_only: bool) -> Generator[bytes]:
    """Yield the lines, without newlines. Each select stands alone: a long one would keep the WAL growing."""
    states = "'failed'" if failed_only else "'done', 'failed'"
    statement = schema.RECORDS.format(states)
    with contextlib.closing(_connect(folder)) as connection:
        last, end = "", b"}"
        if service := _explained(folder, lambda: read_about(connection)).get("service"):
            end = b',"service":%b}' % msgspec.json.encode(service)

        def select() -> list[tuple[str, bytes]]:
            return connection.execute(statement, (last, _ROWS_A_SELECT)).fetchall()

        while rows := _explained(folder, select):
            yield from (record.removesuffix(b"}") + end for _, record in rows)
            last = rows[-1][0]


def _connect(folder: Path) -> sqlite3.Connection:
    """Open a folder's journal for reading. Raises InputError where there is none, or none of ours."""
    path = folder / FILE_NAME
    if not path.is_file():
        raise InputError(
            f"{str(folder)!r} holds no journal of a batch ({FILE_NAME}): name the folder that --out named"
        )

    def check() -> None:
        if connection.execute("pragma application_id").fetchone()[0] != schema.APPLICATION_ID:
            raise foreign(path)
        if (version := connection.execute("pragma user_version").fetchone()[0]) > schema.VERSION:
            raise newer(path, version)

    connection = _explained(folder, lambda: connect_read_only(path))
    try:
        _explained(folder, check)
    except BaseException:
        connection.close()
        raise
    return connection


def _explained(folder: Path, read: Callable[[], T]) -> T:
    try:
        return read()
    except sqlite3.Error as error:
        raise explain(folder / FILE_NAME, error) from error
