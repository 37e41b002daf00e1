"""Opening a journal: whose file it is, whether it is whole, its version, and what an earlier run has left."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
from typing import TYPE_CHECKING

from prodia_async._errors import InputError, quoted
from prodia_async.batch import _schema as schema
from prodia_async.batch._database import Database, beside, damaged, explain, foreign, newer, transaction
from prodia_async.batch._schema import Totals
from prodia_async.batch._telling import say

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_BUSY = 1.0
"""Seconds to wait, at opening, for another program that writes to the file."""

_HEADER = 100
"""Bytes of the header (SQLite, database file format, section 1.3)."""

_CACHE = 8 * 1024
"""KiB of pages kept in memory by the connection that writes."""

_WAL_PAGES = 4000
"""Pages of 4 KiB after which the WAL goes into the file; SQLite's own 1,000 writes and syncs more often."""


def open_database(path: Path, about: Mapping[str, str] | None = None) -> tuple[Database, Totals]:
    """Open the journal for writing, made if it is missing, and settle what a run that was cut has left.

    `about`: the service and the shard of this run; where jobs of others have run, it is refused.

    Attempts found in flight count as spent, at what was reserved for them. Blocks: for 1,000,000 jobs some
    seconds. The caller holds the folder's lock. Raises InputError that says what to do next.
    """
    with contextlib.ExitStack() as undo:
        try:
            version = _version(path)
            connection = undo.enter_context(contextlib.closing(_connect(path)))
            if version < schema.VERSION:
                _migrate(connection, version)
            _recognise(connection, path, about or {})
            totals = _settle(connection)
        except (sqlite3.Error, OSError) as error:
            raise explain(path, error) from error
        undo.pop_all()
        return Database(connection, path), totals


def _version(path: Path) -> int:
    """Return the version of the journal, 0 for a new one, without changing a file that is not ours."""
    if not path.exists():
        return 0
    _refuse_truncated(path)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=_BUSY)) as connection:
        application, version, tables = (
            connection.execute(query).fetchone()[0]
            for query in (
                "pragma application_id",
                "pragma user_version",
                "select count(*) from sqlite_master",
            )
        )
    if (application, tables) == (0, 0):
        return 0
    if application != schema.APPLICATION_ID:
        raise foreign(path)
    if version > schema.VERSION:
        raise newer(path, version)
    return int(version)


def _refuse_truncated(path: Path) -> None:
    """Raise InputError if the file is shorter than its header says: SQLite would fill it up with zeros."""
    with path.open("rb") as file:
        header, size = file.read(_HEADER), file.seek(0, os.SEEK_END)
    if size == 0 and (path.parent / "outputs").exists():
        raise damaged(path, "it is empty, but there are outputs")
    wal = beside(path, "-wal")
    if len(header) < _HEADER or (wal.exists() and wal.stat().st_size):
        return  # SQLite judges by itself, or a run was cut: what the file lacks may stand in the WAL
    page_size, pages = int.from_bytes(header[16:18], "big"), int.from_bytes(header[28:32], "big")
    if header.startswith(b"SQLite format 3\0") and size < page_size * pages:
        raise damaged(path, "its end is missing")


def _migrate(connection: sqlite3.Connection, version: int) -> None:
    with transaction(connection) as execute:
        for statements in schema.MIGRATIONS[version:]:
            for statement in statements:
                execute(statement)
        execute(f"pragma application_id = {schema.APPLICATION_ID}")
        execute(f"pragma user_version = {schema.VERSION}")


def _recognise(connection: sqlite3.Connection, path: Path, about: Mapping[str, str]) -> None:
    """Raise InputError where the folder's jobs are another service's, or of another part of the manifest."""
    known = dict(connection.execute(schema.ABOUT))
    if all(known.get(name) == value for name, value in about.items()):
        return
    if connection.execute(schema.IS_BEGUN).fetchone()[0]:
        for name, value in about.items():
            if known.get(name, value) != value:
                raise InputError(
                    f"{quoted(str(path.parent))} has jobs of {known[name]}, and this run is of {value}: "
                    "choose another folder, or run the batch as it was begun"
                )
    with transaction(connection) as execute:
        for item in about.items():
            execute(schema.BELONGS, item)


def _connect(path: Path) -> sqlite3.Connection:
    """Connect with WAL where it holds, otherwise, as on network file systems, with a rollback journal."""
    try:
        return _connect_as("wal", path)
    except sqlite3.OperationalError as error:
        if "locked" in str(error) or "full" in str(error):
            raise
        say(
            logging.WARNING,
            "%r: write-ahead logging does not hold here (%s): slower; a local disk would do better",
            str(path),
            error,
        )
        return _connect_as("delete", path)


def _connect_as(mode: str, path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, timeout=_BUSY, check_same_thread=False)
    try:
        if (
            mode == "delete"
        ):  # a file that was in WAL mode is changed without the shared memory that WAL needs
            connection.execute("pragma locking_mode = exclusive")
        found = connection.execute(f"pragma journal_mode = {mode}").fetchone()[0]
        _expect(mode, found)
        connection.execute("pragma locking_mode = normal")
        connection.execute("pragma synchronous = full")
        connection.execute(f"pragma cache_size = -{_CACHE}")
        connection.execute(f"pragma wal_autocheckpoint = {_WAL_PAGES}")
        with transaction(connection):  # the first use shows whether shared memory can be had
            pass
    except BaseException:
        connection.close()
        raise
    return connection


def _expect(mode: str, found: str) -> None:
    if found != mode:
        raise sqlite3.OperationalError(f"the journal mode stays {found!r}")


def _settle(connection: sqlite3.Connection) -> Totals:
    """Settle attempts in flight when a run was cut, and add up. All rows are read: damage shows here."""
    totals = _totals(connection)
    if totals.sent:
        with transaction(connection) as execute:
            execute(schema.SETTLE)
        totals = _totals(connection)
    return totals


def _totals(connection: sqlite3.Connection) -> Totals:
    done = failed = sent = submitted = uncertain_attempts = 0
    dollars: float | None = None
    uncertain = 0.0
    dearest: dict[str, float] = {}
    for row in connection.execute(schema.TOTALS):
        if None in row[:4]:
            raise sqlite3.DatabaseError("malformed: a row is lost")
        done, failed, sent = done + row[1], failed + row[2], sent + row[3]
        if row[4] is not None:
            dollars = (dollars or 0.0) + row[4]
            dearest[row[0]] = row[5]
        uncertain, uncertain_attempts = uncertain + row[6], uncertain_attempts + row[7]
        submitted += row[8]
    return Totals(done, failed, sent, dollars, uncertain, uncertain_attempts, dearest, submitted)
