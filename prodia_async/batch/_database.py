"""The journal's file: opening it, writing to it, reading from it. All of it blocks: threads call it."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import tempfile
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from prodia_async._errors import InputError, quoted
from prodia_async._stats import LimitChange
from prodia_async.batch import _schema as schema
from prodia_async.batch._schema import Row, Sample

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

_BUSY = 60.0
"""Seconds to wait for another program that holds the file, such as a reader where WAL does not hold."""

_MOST_SAMPLES = 4096
_IDS_A_SELECT = 500
_PROBE = 64 * 1024
_outputs = msgspec.json.Decoder(tuple[tuple[str, int], ...])
_parts = msgspec.json.Decoder(tuple[str, ...])


Values: TypeAlias = Sequence[Any] | Mapping[str, Any]
"""What a statement's placeholders stand for, by place or by name."""


class ReplacedError(Exception):
    """The journal's file is not the one that was opened: it was removed or replaced."""


class Database:
    """The one connection that writes; used by one thread at a time."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self.name: str = str(path)
        self._connection = connection
        self._path = path
        connection.execute(f"pragma busy_timeout = {_BUSY * 1000:.0f}")
        self._files = [(name, found) for name in (path, beside(path, "-wal")) if (found := _identity(name))]

    def write(self, operations: Iterable[tuple[str, Values]]) -> None:
        """Write all of it in one transaction, on disk when it returns, or none of it.

        Raises sqlite3.Error, ReplacedError, and LookupError for a job that is not in the journal.
        """
        for path, identity in self._files:
            if _identity(path) != identity:
                raise ReplacedError(str(path))
        with transaction(self._connection) as execute:
            sampled = limited = False
            for statement, values in operations:
                if execute(statement, values).rowcount != 1:
                    name = values["custom_id"] if isinstance(values, Mapping) else values[0]
                    raise LookupError(f"no row for custom_id {quoted(name)}")
                sampled |= statement is schema.SAMPLE
                limited |= statement is schema.LIMIT
            if sampled:
                self._thin()
            if limited:
                execute(schema.FEWER_LIMITS, (_MOST_SAMPLES,))

    def _thin(self) -> None:
        """Keep the samples few: where there are too many, about every second is removed, evenly over time."""
        rows = self._connection.execute("select id, at from samples order by id").fetchall()
        if len(rows) > _MOST_SAMPLES:
            keep = spread([at for _, at in rows], _MOST_SAMPLES // 2)
            gone = [(row[0],) for index, row in enumerate(rows) if index not in keep]
            self._connection.executemany("delete from samples where id = ?", gone)

    def is_full(self, error: Exception) -> bool:
        """Whether a write failed because the disk, or the user's share of it, is full."""
        if not isinstance(error, sqlite3.OperationalError):
            return False
        if "full" in str(error):
            return True
        if "I/O error" not in str(error):  # what SQLite says where a quota is used up, among others
            return False
        try:
            with tempfile.TemporaryFile(dir=self._path.parent, buffering=0) as file:
                file.write(bytes(_PROBE))
        except OSError as reason:
            return reason.errno in (errno.ENOSPC, errno.EDQUOT)
        return False

    def close(self) -> None:
        """Close the file; the last to close it moves all of the WAL into it."""
        self._connection.close()


class Reader:
    """A connection that reads what is committed, beside the one that writes; for any thread."""

    def __init__(self, path: Path) -> None:
        self._connection = connect_read_only(path)
        self._lock = threading.Lock()

    def find(self, custom_ids: Sequence[str]) -> dict[str, Row]:
        """Return the rows that there are. Raises sqlite3.Error."""
        found: dict[str, Row] = {}
        with self._lock:
            for start in range(0, len(custom_ids), _IDS_A_SELECT):
                ids = custom_ids[start : start + _IDS_A_SELECT]
                statement = schema.FIND.format(",".join("?" * len(ids)))
                for custom_id, *row, outputs, job_id, reserved in self._connection.execute(statement, ids):
                    state, attempts, fingerprint, mark = row
                    files = _outputs.decode(outputs)
                    found[custom_id] = Row(state, attempts, fingerprint, mark, files, job_id, reserved)
        return found

    def parts(self) -> list[tuple[str, tuple[tuple[str, str, int], ...]]]:
        """Return each job that is done, with its temporary files, what they become, and sizes.

        Jobs whose outputs are known to be in a store are left out.
        """
        with self._lock:
            rows = self._connection.execute(schema.PARTS).fetchall()
        found = []
        for custom_id, parts, outputs in rows:
            pairs = zip(_parts.decode(parts), _outputs.decode(outputs), strict=True)
            found.append((custom_id, tuple((part, name, size) for part, (name, size) in pairs)))
        return found

    def tells_of(self, output: str) -> bool:
        """Whether an output, its path relative to the folder, is some job's. It reads all rows."""
        with self._lock:
            return self._connection.execute(schema.TELLS, (f'"{output}"',)).fetchone() is not None

    def close(self) -> None:
        """Close it, once nobody reads."""
        with self._lock:
            self._connection.close()


def connect_read_only(path: Path) -> sqlite3.Connection:
    """Open a journal for reading, while a batch writes to it too. Raises sqlite3.Error.

    Where its folder cannot be written to, SQLite could not coordinate with a writer, and is told that there
    is none, unless a run that was cut has left a WAL. Where it can, and there is no WAL, the connection is
    one that may write, and does not: only such a one removes SQLite's own files when it is the last to close.
    """
    mode = "mode=ro"
    if not beside(path, "-wal").exists():
        mode = (
            "mode=rw"
            if os.access(path.parent, os.W_OK) and os.access(path, os.W_OK)
            else "mode=ro&immutable=1"
        )
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?{mode}",
        uri=True,
        isolation_level=None,
        timeout=_BUSY,
        check_same_thread=False,
    )
    connection.execute("pragma query_only = on")
    return connection


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[Callable[..., sqlite3.Cursor]]:
    """Give `execute`; commit in the end, or roll back and raise."""
    connection.execute("begin immediate")
    try:
        yield connection.execute
        connection.execute("commit")
    except BaseException:
        if connection.in_transaction:  # after some errors SQLite has rolled back by itself
            connection.execute("rollback")
        raise


def read_samples(connection: sqlite3.Connection) -> list[Sample]:
    """Return all samples, oldest first."""
    return [Sample(*row) for row in connection.execute(schema.SAMPLES)]


def read_limits(connection: sqlite3.Connection) -> list[LimitChange]:
    """Return the changes of limits, oldest first; none from a journal of an earlier version."""
    return [LimitChange(*row) for row in _if_any(connection, "limits", schema.LIMITS)]


def read_about(connection: sqlite3.Connection) -> dict[str, str]:
    """Return what the jobs belong to, by name; nothing from a journal of an earlier version."""
    return dict(_if_any(connection, "about", schema.ABOUT))


def _if_any(connection: sqlite3.Connection, table: str, statement: str) -> Iterable[Any]:
    has_table = connection.execute("select 1 from sqlite_master where name = ?", (table,)).fetchone()
    return connection.execute(statement) if has_table else ()


def spread(times: Sequence[float], most: int) -> set[int]:
    """Return the indexes of at most `most` of the times (seconds), as evenly apart as they can be.

    The distance grows from a hundredth of a second; a long pause between two times counts as one distance.
    """
    step = 0.01
    while True:
        keep, last = {0}, times[0]
        for index, at in enumerate(times):
            if abs(at - last) >= step:
                keep.add(index)
                last = at
        if len(keep) <= most:
            return keep
        step *= 2


def explain(path: Path, error: Exception) -> InputError:
    """Return what is to be said of a journal that cannot be opened or read."""
    text, name = getattr(error, "strerror", None) or str(error), repr(str(path))
    if "not a database" in text:
        return foreign(path)
    if "malformed" in text:
        return damaged(path, text)
    if "locked" in text or "busy" in text:
        return InputError(f"{name} is held by another program ({text}): close it there and try again")
    if "full" in text:
        return InputError(f"{name} cannot be opened: the disk is full. Make room and try again.")
    return InputError(f"{name} cannot be opened ({text}): check the folder's permissions and its disk")


def foreign(path: Path) -> InputError:
    """Return what is to be said of a file that another program made."""
    return InputError(
        f"{str(path)!r} is no journal of a batch, or its beginning is lost: choose another folder"
    )


def newer(path: Path, version: int) -> InputError:
    """Return what is to be said of a journal of a version that is not known here."""
    return InputError(
        f"{str(path)!r} was written by a newer prodia-async (journal version {version}; this one knows "
        f"{schema.VERSION}): upgrade it (pip install --upgrade prodia-async), or choose another folder"
    )


def damaged(path: Path, reason: str) -> InputError:
    """Return what is to be said of a journal that is not whole."""
    return InputError(
        f"{str(path)!r} is damaged ({reason}): put it back from a backup, or rescue its rows with `sqlite3 "
        f"{path.name} .recover`. To begin anew, move it away with its -wal and -shm: all jobs then run, "
        "and are paid, again; the outputs stay."
    )


def beside(path: Path, suffix: str) -> Path:
    """Return the path of one of SQLite's own files beside a journal."""
    return path.with_name(path.name + suffix)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
