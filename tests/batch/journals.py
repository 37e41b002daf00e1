"""What the tests of the journal share."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from prodia_async import Job
from prodia_async.batch._journal import Journal
from prodia_async.batch._manifest import Entry

KIND = "inference.test.v1"


def an_entry(custom_id: str, kind: str = KIND, *, config: dict[str, Any] | None = None) -> Entry:
    job = Job(kind, config or {"prompt": "a cat"}, custom_id=custom_id)
    return Entry(line=1, job=job, fingerprint=b"f" * 16, inputs_mark=b"m" * 8)


def a_record(custom_id: str, status: str = "done", **more: Any) -> bytes:
    record = {"custom_id": custom_id, "status": status, "job": {"type": KIND}, "outputs": [], "error": None}
    return json.dumps(record | {"attempts": []} | more).encode()


@contextlib.asynccontextmanager
async def open_journal(folder: Path, **options: Any) -> AsyncIterator[Journal]:
    journal = await Journal.open(folder, wall=lambda: 1e9, **options)
    try:
        yield journal
    finally:
        await journal.aclose()


async def run_job(journal: Journal, custom_id: str, dollars: float | None = None) -> None:
    """Send a job and end it well."""
    await journal.sent(an_entry(custom_id), 0.5)
    await journal.done(custom_id, a_record(custom_id), [(f"outputs/{custom_id}.png", 3)], dollars)


def query(folder: Path, statement: str) -> list[Any]:
    with contextlib.closing(sqlite3.connect(folder / "journal.sqlite")) as connection:
        return connection.execute(statement).fetchall()
